//! The formatter: what it accepts, what it refuses and where, and that it changes no token.

use minisnap_component::error::Error;
use minisnap_component::json::{Formatter, MAX_DEPTH, Sink};
use proptest::prelude::*;
use serde_json::Value;

fn format(text: &str) -> Result<String, String> {
    format_pieces(&[text])
}

fn format_pieces(pieces: &[&str]) -> Result<String, String> {
    let formatted = || {
        let mut formatter = Formatter::new(Vec::new());
        for piece in pieces {
            formatter.push(piece)?;
        }
        formatter.finish()
    };
    match formatted() {
        Ok(bytes) => Ok(String::from_utf8(bytes).expect("UTF-8 stays UTF-8")),
        Err(Error::InvalidState(problem)) => Err(problem),
        Err(error) => panic!("a Vec takes everything: {error}"),
    }
}

fn format_bytes<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Result<String, String> {
    let mut formatter = Formatter::new(Vec::new());
    let mut pushed = Ok(());
    for piece in pieces {
        pushed = pushed.and_then(|()| formatter.push_bytes(piece));
    }
    match pushed.and_then(|()| formatter.finish()) {
        Ok(bytes) => Ok(String::from_utf8(bytes).expect("UTF-8 stays UTF-8")),
        Err(Error::InvalidState(problem)) => Err(problem),
        Err(error) => panic!("a Vec takes everything: {error}"),
    }
}

/// Whether serde_json takes `text`, or `None` where it stops at a number beyond its own range, which JSON allows.
fn serde_json_accepts(text: &str) -> Option<bool> {
    match serde_json::from_str::<Value>(text) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().starts_with("number out of range") => None,
        Err(_) => Some(false),
    }
}

#[test]
fn no_token_changes() {
    for token in [
        "123456789012345678901234567890",
        "1.0",
        "1e400",
        "-0",
        "-0.0e-0",
        "1E+5",
        "0.10",
        r#""\u00e9""#,
        r#""é""#,
        r#""\/\b\f\n\r\t\"\\""#,
        r#""\uD83D\uDE00""#,
        r#""😀""#,
        "\"\u{7f}\u{80}\u{2028}\"",
        "true",
        "false",
        "null",
        r#""""#,
        "[]",
        "{}",
    ] {
        assert_eq!(format(token).as_deref(), Ok(token));
        assert_eq!(format(&format!(" \t\r\n{token} \t\r\n")).as_deref(), Ok(token));
        assert_eq!(format(&format!("[{token},{token}]")).unwrap(), format!("[\n  {token},\n  {token}\n]"));
        assert_eq!(format(&format!("{{\"k\":{token}}}")).unwrap(), format!("{{\n  \"k\": {token}\n}}"));
    }
}

#[test]
fn the_order_of_keys_and_duplicate_keys_stay() {
    assert_eq!(format(r#"{"b":1,"a":2,"b":3}"#).unwrap(), "{\n  \"b\": 1,\n  \"a\": 2,\n  \"b\": 3\n}");
}

#[test]
fn what_is_refused_names_line_and_column() {
    for (text, expected) in [
        ("", "line 1 column 1: the text ends where a value is expected"),
        (" \n ", "line 2 column 2: the text ends where a value is expected"),
        ("{\"a\":1,}", "line 1 column 8: `}` where a name is expected"),
        ("[1,]", "line 1 column 4: `]` where a value is expected"),
        ("[1 2]", "line 1 column 4: `2` where `,` or `]` is expected"),
        ("{\"a\" 1}", "line 1 column 6: `1` where `:` is expected"),
        ("{a:1}", "line 1 column 2: `a` where a name or `}` is expected"),
        ("{\"a\":1]", "line 1 column 7: `]` where `,` or `}` is expected"),
        ("[\n1,\n 01]", "line 3 column 3: a number has a leading zero"),
        ("-", "line 1 column 2: the text ends where a digit is expected"),
        ("1.", "line 1 column 3: the text ends where a digit is expected"),
        ("1.e5", "line 1 column 3: `e` where a digit is expected"),
        ("+1", "line 1 column 1: `+` where a value is expected"),
        (".5", "line 1 column 1: `.` where a value is expected"),
        ("NaN", "line 1 column 1: `N` where a value is expected; JSON has neither `NaN` nor `Infinity`"),
        (
            "[Infinity]",
            "line 1 column 2: `I` where a value or `]` is expected; JSON has neither `NaN` nor `Infinity`",
        ),
        (
            "[0,-Infinity]",
            "line 1 column 5: `I` where a digit is expected; JSON has neither `NaN` nor `Infinity`",
        ),
        ("[0 N]", "line 1 column 4: `N` where `,` or `]` is expected"),
        ("tru", "line 1 column 4: the text ends where the rest of a literal is expected"),
        ("nul1", "line 1 column 4: `1` where `true`, `false` or `null` is expected"),
        ("'a'", "line 1 column 1: `'` where a value is expected"),
        ("\"a", "line 1 column 3: the text ends where the rest of a string is expected"),
        ("\"a\nb\"", "line 1 column 3: the control character 0x0a is not escaped"),
        (r#""\x""#, "line 1 column 3: `x` where one of `\"\\/bfnrtu` after a backslash is expected"),
        (r#""\u12g4""#, "line 1 column 6: `g` where a hexadecimal digit is expected"),
        (r#""\ud800""#, "line 1 column 8: the escape of a lone surrogate, which is half of a character"),
        (r#""\ud800\n""#, "line 1 column 9: the escape of a lone surrogate, which is half of a character"),
        (
            r#""\ud800\u0041""#,
            "line 1 column 13: the escape of a lone surrogate, which is half of a character",
        ),
        (r#""\udc00""#, "line 1 column 7: the escape of a lone surrogate, which is half of a character"),
        ("1 1", "line 1 column 3: `1` where nothing more after the value is expected"),
        ("[] // done", "line 1 column 4: `/` where nothing more after the value is expected"),
        ("\u{feff}1", "line 1 column 1: a byte order mark (BOM) where a value is expected"),
        ("[1,\u{a0}2]", "line 1 column 4: a character beyond ASCII where a value is expected"),
        ("{\"a\":{\"b\":[1,2", "line 1 column 15: the text ends where `,` or `]` is expected"),
    ] {
        assert_eq!(format(text), Err(expected.to_owned()), "{text:?}");
        assert_eq!(serde_json_accepts(text), Some(false), "{text:?}");
    }
}

#[test]
fn nesting_ends_where_serde_json_ends_it() {
    for (open, inner, close) in [("[", "", "]"), ("{\"k\":", "1", "}"), ("[{\"k\":", "1", "}]")] {
        let depth_each = open.matches(['[', '{']).count();
        for depth in [MAX_DEPTH / depth_each, MAX_DEPTH / depth_each + 1] {
            let text = open.repeat(depth) + inner + &close.repeat(depth);
            assert_eq!(Some(format(&text).is_ok()), serde_json_accepts(&text), "{open} {depth} deep");
            assert_eq!(format(&text).is_ok(), depth * depth_each <= MAX_DEPTH, "{open} {depth} deep");
        }
    }
    // The input does not decide how deep the program's own stack gets.
    let problem = format(&"[".repeat(1_000_000)).unwrap_err();
    assert_eq!(problem, "line 1 column 128: arrays and objects are nested deeper than 127");
}

#[test]
fn a_token_larger_than_the_buffer_passes_whole() {
    let string = format!("\"{}\"", "long ".repeat(200_000));
    assert_eq!(format(&format!("[1,{string},2]")).unwrap(), format!("[\n  1,\n  {string},\n  2\n]"));
}

#[test]
fn bytes_are_checked_across_the_pieces_they_are_read_in() {
    // Characters of two to four bytes at every offset from the end of a buffer.
    for shift in 0..12 {
        let text = format!("\"{}{}\"", "x".repeat(shift), "é€😀".repeat(1000));
        for size in [1, 2, 3, 5, 7, 4096] {
            let pieces = || text.as_bytes().chunks(size);
            assert_eq!(format_bytes(pieces()).as_deref(), Ok(text.as_str()));
            assert!(format_bytes(text.as_bytes()[..text.len() - 3].chunks(size)).is_err());
        }
    }
    for (bytes, expected) in [
        (&b"[\n \"a\xFF\"]"[..], "line 2 column 4: a byte is not UTF-8"),
        (b"\"\xE2\x82", "line 1 column 2: a byte is not UTF-8"),
        (b"\"\xE2\x82\"", "line 1 column 2: a byte is not UTF-8"),
        (b"\"\xED\xA0\x80\"", "line 1 column 2: a byte is not UTF-8"),
        (b"\xC3\xA9", "line 1 column 1: a character beyond ASCII where a value is expected"),
    ] {
        assert_eq!(format_bytes([bytes].into_iter()), Err(expected.to_owned()), "{bytes:?}");
        assert_eq!(format_bytes(bytes.chunks(1)), Err(expected.to_owned()), "{bytes:?}, byte by byte");
    }
}

#[test]
fn what_is_no_utf_8_is_refused_by_its_name() {
    let utf_16 = |text: &str, to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        text.encode_utf16().flat_map(to_bytes).collect()
    };
    let (little, big) = (u16::to_le_bytes, u16::to_be_bytes);
    let starts_as_utf_16 = "line 1 column 1: the text starts as UTF-16, and not as UTF-8";
    for (bytes, expected) in [
        (b"\xEF\xBB\xBF{}".to_vec(), "line 1 column 1: a byte order mark (BOM) where a value is expected"),
        (utf_16("\u{feff}{}", little), starts_as_utf_16),
        (utf_16("\u{feff}{}", big), starts_as_utf_16),
        (utf_16("{}", little), "line 1 column 2: a NUL byte, as in UTF-16, where a name or `}` is expected"),
        (utf_16("{}", big), "line 1 column 1: a NUL byte, as in UTF-16, where a value is expected"),
        (utf_16("\"a\"", little), "line 1 column 2: a NUL byte, as in UTF-16, is not escaped"),
        (
            b"\x1F\x8B\x08\x00".to_vec(),
            "line 1 column 1: 0x1f, the first byte of gzip data, where a value is expected",
        ),
        (b"[\x1F]".to_vec(), "line 1 column 2: the control character 0x1f where a value or `]` is expected"),
        (b"[\xFF]".to_vec(), "line 1 column 2: a byte is not UTF-8"),
    ] {
        assert_eq!(format_bytes([bytes.as_slice()].into_iter()), Err(expected.to_owned()), "{bytes:?}");
        assert_eq!(format_bytes(bytes.chunks(1)), Err(expected.to_owned()), "{bytes:?}, byte by byte");
    }
}

#[test]
fn text_goes_out_in_large_pieces() {
    struct Pieces(Vec<usize>);
    impl Sink for Pieces {
        fn take(&mut self, bytes: &[u8]) -> minisnap_component::error::Result<()> {
            self.0.push(bytes.len());
            Ok(())
        }
    }
    let mut formatter = Formatter::new(Pieces(Vec::new()));
    formatter.push(&format!("[{}1]", "1,".repeat(1_000_000))).unwrap();
    let Pieces(pieces) = formatter.finish().unwrap();
    let (last, rest) = pieces.split_last().unwrap();
    assert!(*last > 0 && rest.len() > 10);
    assert!(rest.iter().all(|&size| size > 0 && size % (64 << 10) == 0), "{rest:?}");
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 100, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Text that is JSON, or nearly.
fn near_json() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u", "\\ud83d", "\\ude00", "\"a\"", "\"a\":", "0", "1",
        "-", ".", "e", "E", "+", "00", "1.5", "true", "false", "null", "tru", " ", "\n", "\t", "\u{1}", "é",
        "😀", "\u{feff}",
    ]);
    let assembled = prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat());
    let damaged =
        (any_value(), any::<prop::sample::Index>(), any::<char>()).prop_map(|(value, index, inserted)| {
            let mut text: Vec<char> = value.to_string().chars().collect();
            let at = index.index(text.len());
            text[at] = inserted;
            text.into_iter().collect()
        });
    prop_oneof![assembled, damaged]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_serde_json_wrote_is_formatted_as_serde_json_formats_it(value in any_value()) {
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(format(&serde_json::to_string(&value).unwrap()), Ok(pretty.clone()));
        prop_assert_eq!(format(&pretty), Ok(pretty.clone()));
    }

    #[test]
    fn what_serde_json_refuses_is_refused_and_nothing_else(text in near_json()) {
        if let Some(accepted) = serde_json_accepts(&text) {
            prop_assert_eq!(format(&text).is_ok(), accepted, "{:?}: {:?}", text, format(&text));
        }
    }

    /// Where more follows, tokens are taken whole, and else a byte at a time.
    #[test]
    fn what_is_taken_whole_is_what_is_taken_byte_by_byte(text in near_json(), pretty in any_value(), spaces in 0..80usize) {
        let pretty = serde_json::to_string_pretty(&pretty).unwrap();
        for text in [format!("{text}{}", " ".repeat(spaces)), format!("[{pretty},\n{text}{}", " ".repeat(spaces)), pretty.replace('\n', "\r\n\t")] {
            let bytes = format_bytes(text.as_bytes().chunks(1));
            prop_assert_eq!(format(&text), bytes, "{:?}", text);
        }
    }

    #[test]
    fn pieces_make_what_the_whole_makes(text in near_json(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| text.floor_char_boundary(cut.index(text.len() + 1))).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]).collect();
        prop_assert_eq!(format_pieces(&pieces), format(&text));
    }
}
