//! Reading what a client sent: members of a JSON body, parameters of a query, numbers of a path.
//!
//! Whatever cannot be read becomes a refusal that names the member and its value.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::answer::Refusal;

/// The JSON object that a body must hold.
pub(super) struct Fields {
    members: Map<String, Value>,
    /// What the names of the members start with in messages.
    prefix: String,
}

impl Fields {
    pub(super) fn from_body(body: &[u8]) -> Result<Self, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => Ok(Self { members, prefix: String::new() }),
            Ok(_) => Err(Refusal::bad_request("The body is not a JSON object.")),
            Err(error) => Err(Refusal::bad_request(format!("The body is not JSON: {error}."))),
        }
    }

    /// The member `name` as it is. What may be missing may not therefore be null.
    pub(super) fn given(&self, name: &str) -> Option<&Value> {
        self.members.get(name)
    }

    /// The member `name`, `None` when it is missing or null.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.members.get(name).filter(|value| !value.is_null())
    }

    /// A text that must be there and not be empty.
    pub(super) fn text(&self, name: &str) -> Result<&str, Refusal> {
        match self.get(name) {
            None => Err(self.missing(name)),
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(other) => Err(self.invalid(name, other, "a text that is not empty")),
        }
    }

    /// A text that must be there and fulfil `is_valid`; `what` says in the refusal what it should be.
    pub(super) fn text_that(&self, name: &str, what: &str, is_valid: fn(&str) -> bool) -> Result<&str, Refusal> {
        let text = self.text(name)?;
        if is_valid(text) { Ok(text) } else { Err(self.invalid(name, &text.into(), what)) }
    }

    /// A text that may be missing, but if there must fulfil `is_valid`.
    pub(super) fn optional_text_that(
        &self,
        name: &str,
        what: &str,
        is_valid: fn(&str) -> bool,
    ) -> Result<Option<&str>, Refusal> {
        match self.given(name) {
            Some(Value::Null) => Err(self.invalid(name, &Value::Null, what)),
            Some(_) => self.text_that(name, what, is_valid).map(Some),
            None => Ok(None),
        }
    }

    /// A list of texts, `None` when it is missing.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<&str>>, Refusal> {
        let Some(value) = self.given(name) else { return Ok(None) };
        let texts = value.as_array().and_then(|items| items.iter().map(Value::as_str).collect());
        texts.map(Some).ok_or_else(|| self.invalid(name, value, "a list of texts"))
    }

    /// An object that must be there.
    pub(super) fn object(&self, name: &str) -> Result<Self, Refusal> {
        match self.get(name) {
            None => Err(self.missing(name)),
            Some(Value::Object(members)) => {
                Ok(Self { members: members.clone(), prefix: format!("{}{name}.", self.prefix) })
            }
            Some(other) => Err(self.invalid(name, other, "an object")),
        }
    }

    pub(super) fn missing(&self, name: &str) -> Refusal {
        Refusal::bad_request(format!("{}{name} is required.", self.prefix))
    }

    pub(super) fn invalid(&self, name: &str, value: &Value, what: &str) -> Refusal {
        Refusal::bad_request(format!("{}{name} has the value {}: it must be {what}.", self.prefix, shown(value)))
    }
}

/// The parameters of a query, decoded, in order.
pub(super) fn query_parameters(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(name), percent_decoded(value))
        })
        .collect()
}

/// `text` with `%41` and `+` as what they stand for; a `%` that starts nothing stays as it is.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    bytes.push(high * 16 + low);
                    rest = after;
                }
                _ => bytes.push(b'%'),
            },
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The number that `text` is, if it is one of bunq's: decimal digits, from 0 to 2^63 - 1.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_decimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<i64>().ok().filter(|_| is_decimal).and_then(|number| number.try_into().ok())
}

/// The UUID that `text` is in its usual form, with hyphens.
pub(super) fn uuid(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|_| text.len() == 36)
}

/// A value for a message: as JSON, cut where it gets long.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 100;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((cut, _)) => format!("{}...", &text[..cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let pairs = query_parameters("status=CREATED%2CACTIVE&&a+b=%zz%4&c&%C3%A9=%ff");
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("status", "CREATED,ACTIVE"), ("a b", "%zz%4"), ("c", ""), ("é", "\u{fffd}")]);
    }

    #[test]
    fn numbers_are_bunqs_alone() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("9223372036854775807"), Some(i64::MAX as u64));
        for text in ["", "+1", "-1", "1.0", " 1", "9223372036854775808", "x", "١"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_uuid_is_written_with_hyphens() {
        assert!(uuid("550e8400-e29b-41d4-a716-446655440000").is_some());
        assert!(uuid("550e8400e29b41d4a716446655440000").is_none());
        assert!(uuid("{550e8400-e29b-41d4-a716-446655440000}").is_none());
    }

    #[test]
    fn what_is_wrong_is_named_and_long_values_are_cut() {
        let body = format!(r#"{{"a":"","b":[1],"c":{{"d":true}},"e":"{}","f":null}}"#, "é".repeat(5000));
        let fields = Fields::from_body(body.as_bytes()).unwrap();
        let message = |refusal: Refusal| refusal.message;
        assert_eq!(message(fields.text("f").unwrap_err()), "f is required.");
        assert_eq!(
            message(fields.text("a").unwrap_err()),
            r#"a has the value "": it must be a text that is not empty."#
        );
        assert_eq!(message(fields.texts("b").unwrap_err()), "b has the value [1]: it must be a list of texts.");
        let inner = fields.object("c").unwrap_or_else(|refusal| panic!("{}", refusal.message));
        assert!(message(inner.text("d").unwrap_err()).starts_with("c.d has the value true"));
        let cut = message(fields.text_that("e", "short", |text| text.len() < 3).unwrap_err());
        assert!(cut.ends_with("éé...: it must be short.") && cut.len() < 300, "{cut}");
    }

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for body in ["", "[]", "1", "{", "\"a\"", "\u{feff}{}"] {
            assert_eq!(Fields::from_body(body.as_bytes()).err().map(|refusal| refusal.status), Some(400), "{body:?}");
        }
    }
}
