//! The formatter on any text, whole and in pieces: it takes what serde_json takes, and changes no token.
//!
//! The first byte of the input says how many of the next bytes are places to cut the rest, which is the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use minisnap_component::error::Error;
use minisnap_component::json::Formatter;
use serde_json::Value;

fuzz_target!(|input: &[u8]| {
    let Some((&count, rest)) = input.split_first() else { return };
    let count = usize::from(count % 8).min(rest.len());
    let (cuts, bytes) = rest.split_at(count);
    let whole = format(&[bytes]);
    assert_eq!(format(&pieces(bytes, cuts)), whole, "the pieces make something else");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(format(&single), whole, "what is taken byte by byte is something else");
    let Ok(text) = str::from_utf8(bytes) else {
        assert!(whole.is_err(), "bytes that are not UTF-8 were taken");
        return;
    };

    let parsed = serde_json::from_str::<Value>(text);
    match whole {
        Ok(formatted) => {
            // JSON bounds no number; a `Value` without arbitrary precision does.
            if let Err(error) = &parsed {
                assert!(error.to_string().starts_with("number out of range"), "{error}");
            }
            assert_eq!(without_white_space(&formatted), without_white_space(text), "a token changed");
            assert_eq!(
                format(&[formatted.as_bytes()]).as_ref(),
                Ok(&formatted),
                "formatting again changes it"
            );
            if let Ok(value) = parsed {
                let compact = serde_json::to_string(&value).unwrap();
                assert_eq!(
                    format(&[compact.as_bytes()]).unwrap(),
                    serde_json::to_string_pretty(&value).unwrap()
                );
            }
        }
        Err(problem) => assert!(parsed.is_err(), "serde_json takes it: {problem}"),
    }
});

fn format(pieces: &[&[u8]]) -> Result<String, String> {
    let formatted = || {
        let mut formatter = Formatter::new(Vec::new());
        for piece in pieces {
            formatter.push_bytes(piece)?;
        }
        formatter.finish()
    };
    match formatted() {
        Ok(bytes) => Ok(String::from_utf8(bytes).expect("UTF-8 stays UTF-8")),
        Err(Error::InvalidState(problem)) => Err(problem),
        Err(error) => panic!("a Vec takes everything: {error}"),
    }
}

fn pieces<'b>(bytes: &'b [u8], cuts: &[u8]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|&cut| usize::from(cut) * bytes.len() / 255).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect()
}

/// The text without the white space between its tokens.
fn without_white_space(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    json.chars()
        .filter(|&c| {
            if in_string {
                in_string = escaped || c != '"';
                escaped = !escaped && c == '\\';
                return true;
            }
            in_string = c == '"';
            !matches!(c, ' ' | '\t' | '\r' | '\n')
        })
        .collect()
}
