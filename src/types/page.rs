//! A page of a listing, and the cursors that lead to the next one.
//!
//! bunq points to the next page with a relative URL. The client takes only the cursor from it, never the URL itself: a
//! response must not decide where requests go.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidValue;

/// The largest number of items on a page: from 1 to 200.
///
/// ```
/// use bunq_partner::PageSize;
///
/// assert_eq!(PageSize::new(50)?.get(), 50);
/// assert!(PageSize::new(0).is_err());
/// # Ok::<(), bunq_partner::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct PageSize(NonZeroU64);

impl PageSize {
    /// The largest page that bunq returns: 200 items.
    pub const MAX: Self = Self(NonZeroU64::MIN.saturating_add(199));

    /// Makes the size of a page of at most `count` items.
    ///
    /// # Errors
    ///
    /// If `count` is 0 or over 200.
    pub fn new(count: u64) -> Result<Self, InvalidValue> {
        NonZeroU64::new(count)
            .map(Self)
            .filter(|size| *size <= Self::MAX)
            .ok_or_else(|| InvalidValue::new("count", format_args!("{count} is not from 1 to {}", Self::MAX.get())))
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl TryFrom<u64> for PageSize {
    type Error = InvalidValue;

    fn try_from(count: u64) -> Result<Self, InvalidValue> {
        Self::new(count)
    }
}

impl From<PageSize> for u64 {
    fn from(size: PageSize) -> Self {
        size.get()
    }
}

/// A position in a listing, from which it can be continued. Listings begin with the newest item.
///
/// Its text form can be stored, so that another process can continue.
///
/// ```
/// use bunq_partner::{Cursor, ProvisionId};
///
/// let cursor = Cursor::older_than("123".parse::<ProvisionId>()?);
/// assert_eq!(cursor.to_string(), "older_id=123");
/// assert_eq!("older_id=123".parse::<Cursor>()?, cursor);
/// # Ok::<(), bunq_partner::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cursor {
    /// Items older than the one with this id.
    OlderThan(i64),
    /// Items newer than the one with this id.
    NewerThan(i64),
}

impl Cursor {
    /// The position from which a listing continues with the items that are older than the one with this id. An id of any kind
    /// converts.
    pub fn older_than(id: impl Into<i64>) -> Self {
        Self::OlderThan(id.into())
    }

    /// The position from which a listing continues with the items that are newer than the one with this id. An id of any kind
    /// converts.
    pub fn newer_than(id: impl Into<i64>) -> Self {
        Self::NewerThan(id.into())
    }

    /// The value of the parameter `older_id`, if it has one.
    pub(crate) fn older_id(self) -> Option<i64> {
        match self {
            Self::OlderThan(id) => Some(id),
            Self::NewerThan(_) => None,
        }
    }

    /// The value of the parameter `newer_id`, if it has one.
    pub(crate) fn newer_id(self) -> Option<i64> {
        match self {
            Self::NewerThan(id) => Some(id),
            Self::OlderThan(_) => None,
        }
    }

    /// Whether a listing from here leads to newer items.
    pub(crate) fn is_forwards(self) -> bool {
        matches!(self, Self::NewerThan(_))
    }

    /// Whether a page at `self` that continues at `next` would lead to items that have been listed already.
    pub(crate) fn leads_back(self, next: Self) -> bool {
        match (self, next) {
            (Self::OlderThan(last), Self::OlderThan(next)) => next >= last,
            (Self::NewerThan(last), Self::NewerThan(next)) => next <= last,
            _ => false,
        }
    }

    /// Makes a cursor from the name of a query parameter and its value, a positive number.
    fn from_parameter(name: &str, value: &str) -> Option<Self> {
        let cursor = match name {
            "older_id" => Self::OlderThan,
            "newer_id" => Self::NewerThan,
            _ => return None,
        };
        value.parse().ok().filter(|id| *id > 0).map(cursor)
    }

    /// Finds the cursor called `name` in one of the URLs of bunq's `Pagination`.
    fn from_url(url: &str, name: &str) -> Option<Self> {
        let mut pairs = url.split_once('?')?.1.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(other, _)| *other == name).and_then(|(name, value)| Self::from_parameter(name, value))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OlderThan(id) => write!(f, "older_id={id}"),
            Self::NewerThan(id) => write!(f, "newer_id={id}"),
        }
    }
}

impl FromStr for Cursor {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        text.split_once('=').and_then(|(name, value)| Self::from_parameter(name, value)).ok_or_else(|| {
            InvalidValue::new("cursor", format_args!("`{text}` is neither `older_id=…` nor `newer_id=…`"))
        })
    }
}

/// One page of a listing, newest item first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The items. A page can be empty although an older one follows.
    pub items: Vec<T>,
    /// Where the next older page begins; `None` if there is nothing older.
    pub older: Option<Cursor>,
    /// Where the next newer page begins; `None` if there is nothing newer.
    pub newer: Option<Cursor>,
    /// Where items will be listed that do not exist yet.
    pub future: Option<Cursor>,
}

impl<T> Page<T> {
    /// Makes a page from the items and the links of a response.
    pub(crate) fn new(
        items: Vec<T>,
        older_url: Option<&str>,
        newer_url: Option<&str>,
        future_url: Option<&str>,
    ) -> Result<Self, String> {
        let [older, newer] = cursors(older_url, newer_url)?;
        Ok(Self { items, older, newer, future: future_url.and_then(|url| Cursor::from_url(url, "newer_id")) })
    }
}

/// The cursors of two links. A link without a cursor is an error: taken for the end of the listing, it would lose items.
fn cursors(older_url: Option<&str>, newer_url: Option<&str>) -> Result<[Option<Cursor>; 2], String> {
    let cursor = |url: Option<&str>, link: &str, name: &str| match url {
        Some(url) => {
            Cursor::from_url(url, name).map(Some).ok_or(format!("the {link} of its Pagination holds no cursor"))
        }
        None => Ok(None),
    };
    Ok([cursor(older_url, "older_url", "older_id")?, cursor(newer_url, "newer_url", "newer_id")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cursor_of_a_link_is_used() {
        test_timeout::start();
        for (url, cursor) in [
            ("/v1/partner-user-provision?count=10&older_id=42", Some(Cursor::OlderThan(42))),
            ("https://elsewhere.example.com/?newer_id=7&older_id=8", Some(Cursor::OlderThan(8))),
            ("/v1/partner-user-provision?newer_id=5", None),
            ("/v1/partner-user-provision?older_id=-1", None),
            ("/v1/partner-user-provision?older_id=0", None),
            ("/v1/partner-user-provision?older_id=9223372036854775808", None),
            ("/v1/partner-user-provision?count=10", None),
            ("", None),
        ] {
            assert_eq!(Cursor::from_url(url, "older_id"), cursor, "{url}");
        }
    }

    #[test]
    fn a_cursor_can_be_stored_as_text() {
        test_timeout::start();
        for cursor in [Cursor::OlderThan(42), Cursor::NewerThan(7)] {
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
        assert_eq!(
            "older_id=x".parse::<Cursor>().unwrap_err().to_string(),
            "cursor: `older_id=x` is neither `older_id=…` nor `newer_id=…`"
        );
    }

    #[test]
    fn a_page_size_is_from_1_to_200() {
        test_timeout::start();
        assert_eq!(PageSize::new(200).unwrap(), PageSize::MAX);
        assert_eq!(PageSize::new(1).unwrap().get(), 1);
        for count in [0, 201, u64::MAX] {
            let error = PageSize::new(count).unwrap_err();
            assert_eq!(error.to_string(), format!("count: {count} is not from 1 to 200"));
        }
    }
}
