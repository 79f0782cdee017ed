//! Reads what a client sent, with the types of the document.
//!
//! What cannot be read becomes a refusal with the reason.

use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::wire::response::Refusal;

/// The body of a request, as a type of the document.
pub(crate) fn body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // serde reads a struct also from a list of the values of its members.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Refusal::bad_request("The body is not as documented: it is a list."));
    }
    serde_json::from_slice(body).map_err(|error| {
        let what = if error.is_data() { "The body is not as documented" } else { "The body is not JSON" };
        Refusal::bad_request(format!("{what}: {error}."))
    })
}

/// The parameters of a query, decoded, in order.
pub(crate) fn query_parameters(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// Reads a number as bunq writes it: decimal digits, from 0 to 2^63 - 1.
pub(crate) fn number(text: &str) -> Option<u64> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<i64>().ok().filter(|_| is_decimal).and_then(|number| number.try_into().ok())
}

/// Reads a UUID in its usual form, with hyphens.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

/// A value for a message: as JSON, cut where it gets long.
pub(crate) fn shown(value: &Value) -> String {
    const MAX_BYTES: usize = 100;
    let text = value.to_string();
    match text.char_indices().nth(MAX_BYTES) {
        None => text,
        Some((cut, _)) => format!("{}...", &text[..cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        test_timeout::start();
        let pairs = query_parameters("status=CREATED%2CACTIVE&&a+b=%zz%4&c&%C3%A9=%ff");
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("status", "CREATED,ACTIVE"), ("a b", "%zz%4"), ("c", ""), ("é", "\u{fffd}")]);
    }

    #[test]
    fn only_bunqs_numbers_are_read() {
        test_timeout::start();
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("9223372036854775807"), Some(9_223_372_036_854_775_807));
        for text in ["", "-1", "+1", "1.0", "9223372036854775808", "x"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn a_uuid_has_its_hyphens() {
        test_timeout::start();
        assert!(uuid("550e8400-e29b-41d4-a716-446655440000").is_some());
        assert_eq!(uuid("550e8400e29b41d4a716446655440000"), None);
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        test_timeout::start();
        assert_eq!(shown(&"é".repeat(500).into()).chars().count(), 103);
    }
}
