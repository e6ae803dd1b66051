//! The formatter with its vectors, as it is in the component, beside the same natively, a byte at a time.

use minisnap_component::error::Error;
use minisnap_component::json::{Formatter, MAX_DEPTH};
use minisnap_host::Grant;
use minisnap_tests::bench::Bench;
use minisnap_tests::minisnap;
use proptest::prelude::*;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

fn bench() -> (TempDir, Bench) {
    let dir = tempdir().unwrap();
    let bench = Bench::linked(minisnap(), Grant::new(dir.path().join("store")), &dir.path().join("own"));
    (dir, bench)
}

/// What is to come out: every byte is a piece of its own, so that no token lies whole in one.
fn byte_by_byte(start: &[u8], levels: u32, text: &[u8]) -> Result<Vec<u8>, String> {
    let mut formatter = Formatter::new(Vec::new()).after(start).nested(levels as usize);
    let pushed = text.chunks(1).try_for_each(|byte| formatter.push_bytes(byte));
    pushed.and_then(|()| formatter.finish()).map_err(|error| match error {
        Error::InvalidState(problem) => problem,
        error => panic!("a Vec takes everything: {error}"),
    })
}

#[track_caller]
fn assert_same(bench: &mut Bench, start: &[u8], levels: u32, text: &str) {
    let expected = byte_by_byte(start, levels, text.as_bytes());
    for size in [text.len().max(1), 1000, 61] {
        let pieces: Vec<Vec<u8>> = text.as_bytes().chunks(size).map(<[u8]>::to_vec).collect();
        let found = bench.format_pieces(start, levels, &pieces);
        assert!(
            found == expected,
            "pieces of {size} bytes of {}",
            text.chars().take(200).collect::<String>()
        );
    }
}

#[test]
fn strings_and_lines_that_end_near_the_end_of_a_piece_stay_as_they_are() {
    let (_dir, mut bench) = bench();
    // A string that reaches to here, and what follows it, up to the end of the buffer and beyond.
    for end in [64 << 10, (64 << 10) + 4096 - 512, (64 << 10) + 4096] {
        for offset in -40..40_i64 {
            let filler = "x".repeat(60_000);
            let rest = usize::try_from(end + offset - 60_000).unwrap();
            let text = format!(
                "[\"{filler}\",{{\"{}\":-1.5e10,\"b\":[true,\"\\n\",null]}},12]{}",
                "y".repeat(rest - 40),
                " ".repeat(64)
            );
            assert_same(&mut bench, b"start", 1, &text);
        }
    }
}

#[test]
fn the_deepest_lines_stay_as_they_are() {
    let (_dir, mut bench) = bench();
    for (levels, depth) in [(0, MAX_DEPTH), (1, MAX_DEPTH - 1), (100, 27), (1, MAX_DEPTH)] {
        let inner = "1,".repeat(400) + "2";
        let text = format!("{}{inner}{}{}", "[".repeat(depth), "]".repeat(depth), " ".repeat(64));
        assert_same(&mut bench, b"", levels, &text);
        let pretty = byte_by_byte(b"", 0, text.as_bytes()).map(|pretty| String::from_utf8(pretty).unwrap());
        assert_same(&mut bench, b"", levels, &pretty.unwrap_or(text));
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,80}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 200, 10, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..10).prop_map(Value::from),
            prop::collection::hash_map("[a-z\"\\\\]{0,40}", inner, 0..10)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Any JSON, laid out or not, and the same with one byte replaced.
#[test]
fn whatever_the_text_is_the_component_formats_it_as_byte_by_byte() {
    let (_dir, bench) = bench();
    let bench = std::cell::RefCell::new(bench);
    let config = ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() };
    let cases = (any_value(), any::<bool>(), any::<prop::sample::Index>(), "[ -~\n\x00\x1f\x7f]", 0..3_u32);
    proptest!(config, |((value, laid_out, place, other, levels) in cases)| {
        let text = if laid_out { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap() + &" ".repeat(64);
        let mut changed: Vec<char> = text.chars().collect();
        let at = place.index(changed.len());
        changed[at] = other.chars().next().unwrap();
        for text in [text, changed.into_iter().collect()] {
            assert_same(&mut bench.borrow_mut(), b"{", levels, &text);
        }
    });
}
