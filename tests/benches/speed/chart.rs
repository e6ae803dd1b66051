//! The chart: each ratio on a logarithmic axis, beside its target.

use std::fmt::Write;

use crate::report::{Met, Report, Row};

const WIDTH: f64 = 980.0;
/// The height of a row, and where the first one starts.
const ROW: f64 = 20.0;
const TOP: f64 = 64.0;
/// Where the axis starts and ends.
const LEFT: f64 = 590.0;
const RIGHT: f64 = 920.0;
/// The ratios at both ends of the axis, and those that it names.
const LEAST: f64 = 0.25;
const MOST: f64 = 16.0;
const NAMED: [f64; 7] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];

/// Colours that are told apart by all, on white and on black.
const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .small { font-size: 11px; fill: #57606a }
  .grid { stroke: #d0d7de }
  .one { stroke: #57606a }
  .met { stroke: #0969da; fill: #0969da }
  .missed { stroke: #bc4c00; fill: none }
  .free { stroke: #6e7781; fill: #6e7781 }
  .target { stroke: #24292f; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .one { stroke: #9198a1 }
    .met { stroke: #58a6ff; fill: #58a6ff }
    .missed { stroke: #f0883e; fill: none }
    .free { stroke: #9198a1; fill: #9198a1 }
    .target { stroke: #e6edf3 }
  }";

pub fn svg(report: &Report) -> String {
    let rows: Vec<&Row> = report.rows.iter().filter(|row| row.ratio.median >= LEAST / 2.0).collect();
    let bottom = TOP + ROW * rows.len() as f64;
    let height = bottom + 48.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"How many times as long the store takes as what it is compared with\">\n<style>{STYLE}\n</style>\n"
    );
    let mut add = |line: String| {
        let _ = writeln!(svg, "{line}");
    };
    add(text(
        8.0,
        34.0,
        "",
        "work, state / what it is compared with; times as long (of rates: times as much)",
    ));
    add(text(
        8.0,
        16.0,
        "small",
        "● target met,  ◇ target not met,  gray: no target;  ┃ the target;  line: the middle half of the rounds",
    ));
    for ratio in NAMED {
        let class = if ratio == 1.0 { "one" } else { "grid" };
        add(vertical(x(ratio), TOP - 8.0, bottom, class));
        add(format!(
            "<text class=\"small\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{ratio}</text>",
            x(ratio),
            TOP - 14.0
        ));
    }
    for (index, row) in rows.iter().enumerate() {
        let y = TOP + ROW * (index as f64 + 0.5);
        add(text(8.0, y + 4.0, "", &format!("{}, {} / {}", row.work, row.state, row.against)));
        let (ratio, class) = (row.ratio, class(row));
        add(format!(
            "<line class=\"{class}\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            x(ratio.low),
            x(ratio.high)
        ));
        if let Some(target) = row.target {
            add(vertical(x(target.value()), y - 7.0, y + 7.0, "target"));
        }
        add(mark(x(ratio.median), y, class));
        add(text(RIGHT + 12.0, y + 4.0, "", &format!("{:.2}", ratio.median)));
        let against = format!("<title>{} against {}: {:.2}</title>", row.work, row.against, ratio.median);
        add(format!(
            "<rect fill=\"transparent\" x=\"0\" y=\"{:.1}\" width=\"{WIDTH}\" height=\"{ROW}\">{}</rect>",
            y - ROW / 2.0,
            against.replace('`', "")
        ));
    }
    for (line, words) in wrapped(&report.place).into_iter().enumerate() {
        add(text(8.0, bottom + 20.0 + 14.0 * line as f64, "small", &words));
    }
    svg + "</svg>\n"
}

fn class(row: &Row) -> &'static str {
    match row.target {
        None => "free",
        Some(target) => match target.is_met(row.ratio) {
            Met::Mostly => "met",
            Met::ByTheMedian | Met::Not => "missed",
        },
    }
}

fn x(ratio: f64) -> f64 {
    let place = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + place * (RIGHT - LEFT)
}

fn mark(x: f64, y: f64, class: &str) -> String {
    match class {
        "missed" => format!(
            "<path class=\"missed\" stroke-width=\"2\" d=\"M{:.1} {y:.1}L{x:.1} {:.1}L{:.1} {y:.1}L{x:.1} {:.1}Z\"/>",
            x - 5.0,
            y - 5.0,
            x + 5.0,
            y + 5.0
        ),
        _ => format!("<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>"),
    }
}

fn vertical(x: f64, top: f64, bottom: f64, class: &str) -> String {
    format!("<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>")
}

fn text(x: f64, y: f64, class: &str, words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
    format!("<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{words}</text>")
}

/// Lines of about as many characters as fit.
fn wrapped(words: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split(' ') {
        if lines.last().is_some_and(|line| line.len() + word.len() > 140) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            *line += word;
            line.push(' ');
        }
    }
    lines
}
