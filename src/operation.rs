//! The operations of the document and how each is called: with which token, whether it may be repeated, how often.
//!
//! The table is generated from the document's `x-bunq-*` members.

use std::fmt;
use std::time::Duration;

/// One operation of the document.
///
/// Its `Debug` shows its id alone, because it is a member of much that is logged.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Its `operationId`.
    pub id: &'static str,
    /// Its HTTP method.
    pub method: &'static str,
    /// Its path below the base URL, as the document writes it.
    pub path: &'static str,
    /// The token that it takes.
    pub auth: Auth,
    /// Whose session it takes; `None` if it takes no session.
    pub session_of: Option<SessionOf>,
    /// The user in its path; `None` if its path has none.
    pub path_user: Option<PathUser>,
    /// The names of its parameters that are ids: positive integers of at most 63 bits.
    pub ids: &'static [&'static str],
    /// The names of its query parameters.
    pub query: &'static [&'static str],
    /// The names of its header parameters that are the caller's own. All other headers are the client's.
    pub headers: &'static [&'static str],
    /// Whether its request has a body.
    pub has_body: bool,
    /// The content types of a body that is bytes, such as a file. There are none if the body is JSON.
    pub content_types: &'static [ContentType],
    /// Whether a success response says more than that the call has succeeded. The body of one that does not may be empty.
    pub has_result: bool,
    /// Whether its result is the body of the response as it is, such as a file.
    pub returns_bytes: bool,
    /// Whether a second execution does no harm: it changes nothing more than the first, or makes something that stays
    /// unused, such as a second session.
    pub idempotent: bool,
    /// Whether the client makes this call by itself, to open or end a session. [`Api`](crate::Api) does not offer it.
    pub managed: bool,
    /// How often bunq lets one address call it.
    pub rate_limit: RateLimit,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({})", self.id)
    }
}

/// The token that an operation takes in `X-Bunq-Client-Authentication`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// No token. The installation, which issues the first token, takes none.
    None,
    /// The token of the installation.
    Installation,
    /// The token of the session.
    Session,
}

/// A content type of the bytes that an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentType {
    /// Its name, such as `image/png`.
    pub name: &'static str,
    /// What a file of this type begins with: one of these.
    pub first_bytes: &'static [&'static [u8]],
}

impl ContentType {
    /// Whether a file begins as one of this type does.
    pub fn begins(&self, file: &[u8]) -> bool {
        self.first_bytes.iter().any(|first| file.starts_with(first))
    }
}

/// Whose session an operation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionOf {
    /// A partner's.
    Partner,
    /// That of a user whom a partner has provisioned.
    User,
    /// Both.
    Either,
}

/// The user in the path of an operation, `user_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathUser {
    /// The user of the session. The client fills it in, and nobody gives it.
    Session,
    /// Any user that the caller names. If the caller names none, the client fills in that of the session.
    Chosen,
}

/// A rate limit: at most `calls` calls within any period of the length `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// The number of calls.
    pub calls: u32,
    /// The length of the period.
    pub per: Duration,
}

impl RateLimit {
    /// Allows at most `calls` calls within any period of the length `per`.
    pub const fn new(calls: u32, per: Duration) -> Self {
        Self { calls, per }
    }
}

impl Operation {
    /// Returns the operation with this `operationId`.
    ///
    /// ```
    /// use bunq_partner::Operation;
    ///
    /// assert_eq!(Operation::by_id("get_provision"), Some(&Operation::GET_PROVISION));
    /// assert_eq!(Operation::by_id("get_everything"), None);
    /// ```
    pub fn by_id(id: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|operation| operation.id == id)
    }

    /// The names of the parameters in its path that a caller gives: all but the [user of the session](PathUser::Session).
    pub fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        let names = self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
        names.filter(|name| !(*name == "user_id" && self.path_user == Some(PathUser::Session)))
    }
}

include!(concat!(env!("OUT_DIR"), "/operations.rs"));
