//! JSON lines: the objects of a text, each with the number of its line.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::super::lines::{BYTE_ORDER_MARK, split};

/// The members of an object in their order, each as often as it is there.
pub(super) struct Members(pub(super) Vec<(String, Value)>);

/// The objects of a text, a line for each, with the numbers of their lines. Lines without a text are nothing.
pub(super) struct JsonObjects {
    rest: Bytes,
    line: u64,
}

impl JsonObjects {
    pub(super) fn new(text: Bytes) -> Self {
        Self { rest: text, line: 0 }
    }
}

impl Iterator for JsonObjects {
    type Item = (u64, Result<Members, String>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (line, rest) = split(&self.rest);
            let (line, rest) = (self.rest.slice_ref(line), self.rest.slice_ref(rest));
            self.rest = rest;
            self.line += 1;
            // Files that were joined have one before the first line of each.
            let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line);
            if !line.trim_ascii().is_empty() {
                return Some((self.line, members(line.trim_ascii_end())));
            }
        }
        None
    }
}

fn members(line: &[u8]) -> Result<Members, String> {
    serde_json::from_slice(line).map_err(|error| {
        let reason = match error.classify() {
            Category::Eof => "the line breaks off",
            Category::Data => "it is not an object",
            _ => "it is not JSON",
        };
        // Its column counts bytes.
        let before = line.get(..error.column()).unwrap_or(line);
        format!("character {}: {reason}", String::from_utf8_lossy(before).chars().count())
    })
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_may_be_joined() {
        test_timeout::start();
        let objects = JsonObjects::new("\u{feff}{\"id\":7}\n\u{feff}{\"id\":8}\r\n\u{feff}\n".into());
        assert_eq!(objects.map(|(line, members)| (line, members.is_ok())).collect::<Vec<_>>(), [(1, true), (2, true)]);
    }

    #[test]
    fn places_are_those_of_an_editor() {
        test_timeout::start();
        for text in ["\r\n{\"a\":é}", "\r{\"é\":x}", "\n{\"é\":1"] {
            let [(line, Err(problem))] = &JsonObjects::new(text.into()).collect::<Vec<_>>()[..] else {
                panic!("{text:?}")
            };
            assert!(*line == 2 && problem.starts_with("character 6: "), "{text:?}: {problem}");
        }
    }
}
