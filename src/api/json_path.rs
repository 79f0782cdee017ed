//! Finds the place in a JSON text where its decoding failed, from serde_json's position, without decoding the text
//! again.

/// One segment of a path.
enum Segment {
    Member(String),
    Item(usize),
}

/// The path of the innermost value with the character at this line and column, as in `Response[0].Id.id`; empty for the
/// whole text. The text must be valid JSON up to there.
pub(super) fn at(json: &[u8], line: usize, column: usize) -> String {
    let lines_before = json.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    let offset = lines_before.map(<[u8]>::len).sum::<usize>() + column;
    let mut path = String::new();
    for segment in segments(json, offset.saturating_sub(1)) {
        match segment {
            Segment::Member(name) if path.is_empty() => path = name,
            Segment::Member(name) => path += &format!(".{name}"),
            Segment::Item(index) => path += &format!("[{index}]"),
        }
    }
    path
}

/// The segments that lead to the value at `position`.
fn segments(json: &[u8], position: usize) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    // For each enclosing container: whether it is an object that expects the name of a member next.
    let mut waits_for_name = Vec::new();
    let mut at = 0;
    while at <= position {
        match json.get(at) {
            None => break,
            Some(b'{') => {
                segments.push(Segment::Member(String::new()));
                waits_for_name.push(true);
            }
            Some(b'[') => {
                segments.push(Segment::Item(0));
                waits_for_name.push(false);
            }
            Some(b'}' | b']') => {
                segments.pop();
                waits_for_name.pop();
            }
            Some(b',') => match segments.last_mut() {
                Some(Segment::Item(index)) => *index += 1,
                _ => waits_for_name.iter_mut().rev().take(1).for_each(|waits| *waits = true),
            },
            Some(b'"') => {
                let end = end_of_text(json, at);
                if let (Some(waits), Some(Segment::Member(name))) = (waits_for_name.last_mut(), segments.last_mut())
                    && std::mem::take(waits)
                {
                    *name = serde_json::from_slice(&json[at..end]).unwrap_or_default();
                }
                at = end - 1;
            }
            Some(_) => {}
        }
        at += 1;
    }
    segments
}

/// The position after the end of the string that begins at `start`.
fn end_of_text(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::types::ProvisionId;

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Outer {
        list: Vec<Inner>,
        other: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        id: ProvisionId,
    }

    fn path(json: &str) -> String {
        let error = serde_json::from_str::<Outer>(json).unwrap_err();
        at(json.as_bytes(), error.line(), error.column())
    }

    #[test]
    fn the_value_is_named() {
        test_timeout::start();
        for (json, expected) in [
            (r#"{"list":[{"id":1},{"id":"x"}]}"#, "list[1].id"),
            (r#"{"list":[{"id":1},{"id":null }]}"#, "list[1].id"),
            (r#"{"list":[{"id":1},{"id":{"a":1}}]}"#, "list[1].id"),
            (r#"{"list":[{"id":1},{"id":0}]}"#, "list[1].id"),
            (r#"{"list":[{"id":-1},{"id":2}]}"#, "list[0].id"),
            ("{\n \"list\": [],\n \"other\": {\"id\" : [1] }}", "other.id"),
            (r#"{"a,]}\"":["x,{"],"list":[{"id":true}]}"#, "list[0].id"),
            (r#"{"list":[{"id":1},{}]}"#, "list[1]"),
            (r#"{"list":[{"id":1}],"other":{"ID":1}}"#, "other"),
            (r#"{"list":[7]}"#, "list[0]"),
            (r#"{"list":"none"}"#, "list"),
            (r#"{"other":null}"#, ""),
            ("[]", ""),
            ("7", ""),
        ] {
            assert_eq!(path(json), expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(json in proptest::collection::vec(any::<u8>(), 0..60), line in 0_usize..4, column in 0_usize..80) {
            test_timeout::start();
            at(&json, line, column);
            let text = format!(r#"{{"a\"":[{}"#, String::from_utf8_lossy(&json));
            at(text.as_bytes(), line, column);
        }
    }
}
