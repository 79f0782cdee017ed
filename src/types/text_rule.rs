//! Checks texts by the rules of the document, which also defines the types themselves, their patterns and their bounds.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;

use serde::Deserializer;
use serde::de::{self, Visitor};

use super::InvalidValue;
use crate::text::is_invisible;

/// The rule of a checked text, from the document.
pub(crate) struct TextRule {
    /// The name of the text in errors.
    pub(crate) field: &'static str,
    /// The rule in words, for errors.
    pub(crate) words: &'static str,
    /// The number of characters that the text may have.
    pub(crate) lengths: RangeInclusive<usize>,
    pub(crate) pattern: Option<Pattern>,
    /// Whether it has no invisible character above U+FFFF, where no pattern reaches.
    pub(crate) is_visible: bool,
}

/// The pattern of a text as a table, from the document.
pub(crate) struct Pattern {
    /// The first character of each range of characters, and the class of the range.
    pub(crate) ranges: &'static [(char, u8)],
    /// For each state, from the first: whether a text may end in it, and the state that follows a character of each
    /// class.
    pub(crate) states: &'static [(bool, &'static [u8])],
}

impl TextRule {
    /// Returns the text if it follows the rule.
    pub(crate) fn check(&self, text: String) -> Result<String, InvalidValue> {
        let fits = |pattern: &Pattern| pattern.matches(&text);
        let is_hidden = |c: char| c > '\u{ffff}' && is_invisible(c);
        if self.lengths.contains(&text.chars().count())
            && self.pattern.as_ref().is_none_or(fits)
            && !(self.is_visible && text.contains(is_hidden))
        {
            Ok(text)
        } else {
            Err(InvalidValue::new(self.field, self.words))
        }
    }
}

impl Pattern {
    /// Whether the pattern matches the text.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let after = |(_, after): &(bool, &'static [u8]), character: char| {
            let range = self.ranges.partition_point(|(first, _)| *first <= character).checked_sub(1)?;
            let (_, class) = self.ranges.get(range)?;
            self.states.get(usize::from(*after.get(usize::from(*class))?))
        };
        let end = self.states.first().and_then(|first| text.chars().try_fold(first, after));
        end.is_some_and(|(may_end, _)| *may_end)
    }
}

/// Reads a checked text. It uses a visitor, so that the error has the position of the text.
pub(crate) fn checked_text<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: TryFrom<String, Error = InvalidValue>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(TextVisitor(PhantomData))
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: TryFrom<String, Error = InvalidValue>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.to_owned().try_into().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;
    use crate::types::{CountryCode, EmailAddress, PhoneNumber};

    /// How the texts of a type are read.
    fn read<T: FromStr<Err = InvalidValue>>(good: &[&str], bad: &[&str], problem: &str) {
        for good in good {
            assert!(good.parse::<T>().is_ok(), "{good}");
        }
        for bad in bad {
            let error = bad.parse::<T>().map(drop).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{bad}: {error}");
        }
    }

    #[test]
    fn texts_follow_their_rules() {
        test_timeout::start();
        let long = format!("{}@example.com", "x".repeat(250));
        read::<EmailAddress>(
            &["a@b", "user+tag@mail.example.com", "ünï@example.com"],
            &["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n", "nobody", &long],
            "email: an e-mail address is `name@host` alone, without `mailto:`, `<` and `>`",
        );
        read::<PhoneNumber>(
            &["+31600000000", "+1234567", "+123456789012345"],
            &[
                "",
                "+",
                "31600000000",
                "+0612345678",
                "+31 6000000",
                "+123456",
                "+1234567890123456",
                "+3160000000x",
                "+310600000000",
            ],
            "phone_number: a phone number is `+` and 7 to 15 digits (E.164), without the zero",
        );
        read::<CountryCode>(&["NL"], &["", "nl", "NLD", "N1", "ñL"], "country_code: ");
    }
}
