//! The chart: how much faster or slower than native, a line each, with the times.

use std::fmt::Write;

use crate::report::{Group, Report, Row, duration};

const WIDTH: f64 = 1120.0;
/// The height of a row, and where the first one starts.
const ROW: f64 = 22.0;
const TOP: f64 = 64.0;
/// Where the axis starts and ends.
const LEFT: f64 = 400.0;
const RIGHT: f64 = 700.0;
/// The ratios at both ends of the axis, and those that it names.
const LEAST: f64 = 0.25;
const MOST: f64 = 4.0;
const NAMED: [(f64, &str); 5] =
    [(0.25, "4 times as fast"), (0.5, ""), (1.0, "as native"), (2.0, ""), (4.0, "4 times as slow")];

/// Colours that are told apart by all, on white and on black.
const STYLE: &str = "
  text { font: 12px system-ui, sans-serif; fill: #24292f }
  .head { font-weight: 600 }
  .small { font-size: 11px; fill: #57606a }
  .grid { stroke: #d0d7de }
  .one { stroke: #57606a }
  .faster { fill: #1a7f37 }
  .slower { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9198a1 }
    .grid { stroke: #3d444d }
    .one { stroke: #9198a1 }
    .faster { fill: #3fb950 }
    .slower { fill: #f0883e }
  }";

pub fn svg(report: &Report) -> String {
    let groups = [(Group::Create, "create"), (Group::Restore, "restore"), (Group::Other, "other")];
    let shown = report.rows.iter().filter(|row| row.group.is_some()).count();
    let bottom = TOP + ROW * (shown + groups.len()) as f64;
    let height = bottom + 48.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"How fast the store is beside native programs\">\n<style>{STYLE}\n</style>\n"
    );
    let mut add = |line: String| {
        let _ = writeln!(svg, "{line}");
    };
    add(text(8.0, 20.0, "head", "The store, in its sandbox, beside native programs"));
    add(text(8.0, 38.0, "small", "To the left and green: the store is faster. To the right: it is slower."));
    for (ratio, name) in NAMED {
        let class = if ratio == 1.0 { "one" } else { "grid" };
        add(format!(
            "<line class=\"{class}\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{bottom:.1}\"/>",
            x(ratio),
            TOP - 6.0
        ));
        add(format!(
            "<text class=\"small\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
            x(ratio),
            TOP - 12.0
        ));
    }
    let mut y = TOP;
    for (group, name) in groups {
        add(text(8.0, y + 15.0, "head", name));
        y += ROW;
        for row in report.rows.iter().filter(|row| row.group == Some(group)) {
            add(text(8.0, y + 15.0, "", &format!("{}, {}", row.work, row.state)));
            add(bar(row, y));
            add(text(RIGHT + 46.0, y + 15.0, "", &compared(row)));
            y += ROW;
        }
    }
    for (line, words) in wrapped(&report.place).into_iter().enumerate() {
        add(text(8.0, bottom + 20.0 + 14.0 * line as f64, "small", &words));
    }
    svg + "</svg>\n"
}

/// From as fast as native to as fast as it is.
fn bar(row: &Row, y: f64) -> String {
    let (from, to) = (x(1.0), x(row.ratio.median));
    let class = if row.ratio.median <= 1.0 { "faster" } else { "slower" };
    format!(
        "<rect class=\"{class}\" x=\"{:.1}\" width=\"{:.1}\" y=\"{:.1}\" height=\"{:.1}\" rx=\"2\"/>",
        from.min(to),
        (from - to).abs().max(2.0),
        y + 4.0,
        ROW - 8.0
    )
}

/// The times, or how many times as much.
fn compared(row: &Row) -> String {
    match row.times {
        Some([ours, other]) => {
            format!("{}, beside {} of {}", duration(ours), duration(other), row.against)
        }
        None => format!("{:.2} times as long as {}", row.ratio.median, row.against),
    }
}

fn x(ratio: f64) -> f64 {
    let place = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    LEFT + place * (RIGHT - LEFT)
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
