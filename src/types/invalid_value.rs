//! The error of a value that breaks the rule of its type.

use std::fmt;

use crate::text::one_line;

/// The largest number of characters in the text of an error.
const MAX_CHARS: usize = 500;

/// The error of a value that breaks the rule of its type. It converts into an [`Error`](crate::Error) of the kind
/// [`InvalidInput`](crate::ErrorKind::InvalidInput).
///
/// ```
/// use bunq_partner::types::CountryCode;
///
/// let error = "Holland".parse::<CountryCode>().unwrap_err();
/// assert_eq!(error.field(), "country_code");
/// assert_eq!(error.rule(), "a country is two capital letters (ISO 3166-1), as in NL");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidValue {
    field: &'static str,
    rule: String,
}

impl InvalidValue {
    pub(crate) fn new(field: &'static str, rule: impl fmt::Display) -> Self {
        Self { field, rule: one_line(&rule.to_string(), MAX_CHARS) }
    }

    /// Returns the name of the value in the document.
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the rule in words.
    pub fn rule(&self) -> &str {
        &self.rule
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.rule)
    }
}

impl std::error::Error for InvalidValue {}
