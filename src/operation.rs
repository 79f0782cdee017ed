//! The operations of the document and how each is called: with which token, whether it may be repeated, how often.
//!
//! The table is generated from the document's `x-bunq-*` members.

use std::fmt;
use std::time::Duration;

/// The name of the parameter for the user in a path.
pub(crate) const PATH_USER: &str = "user_id";

/// One operation of the document.
///
/// ```
/// use bunq_partner::{Operation, PathUser, SessionOf};
///
/// let upload = Operation::CREATE_ATTACHMENT;
/// assert_eq!((upload.session_of, upload.path_user), (Some(SessionOf::Either), Some(PathUser::Session)));
/// let content_type = upload.content_types.iter().find(|content_type| content_type.begins(b"\xff\xd8\xff\xe0"));
/// assert_eq!(content_type.map(|content_type| content_type.name), Some("image/jpeg"));
/// ```
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
    /// The names of its parameters that are ids. An id is a positive integer of at most 63 bits.
    pub ids: &'static [&'static str],
    /// The names of its query parameters.
    pub query: &'static [&'static str],
    /// The names of the headers that a caller gives, such as the description of a file. The client sets all other headers.
    pub headers: &'static [&'static str],
    /// The names of the members of its body, and of its headers, that are about a person and do not belong into logs.
    pub personal: &'static [&'static str],
    /// Whether its request has a body.
    pub has_body: bool,
    /// The content types of its body, if that is bytes, such as a file. The list is empty if the body is JSON or there is none.
    pub content_types: &'static [ContentType],
    /// Whether a success response says more than that the call has succeeded. The body of one that does not may be empty.
    pub has_result: bool,
    /// Whether its result is the bytes of the response, such as a file, in place of JSON. Refusals are JSON in either case.
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

/// A content type of the bytes that an operation takes: see [`Operation::content_types`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContentType {
    /// Its name, such as `image/png`.
    pub name: &'static str,
    /// The beginnings that files of this type have. Each file has one of them.
    pub first_bytes: &'static [&'static [u8]],
}

impl ContentType {
    /// Whether a file has one of the beginnings of this type. The rest of the file is not looked at.
    pub fn begins(&self, file: &[u8]) -> bool {
        self.first_bytes.iter().any(|first| file.starts_with(first))
    }
}

/// Whose session an operation takes: see [`Operation::session_of`]. A client refuses the operations of others before it sends
/// anything, as bunq would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionOf {
    /// The session of a partner.
    Partner,
    /// The session of a user that a partner has provisioned: see [`Client::users`](crate::Client::users).
    User,
    /// The session of a partner, or of a provisioned user.
    Either,
}

/// The user in the path of an operation, `user_id`: see [`Operation::path_user`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathUser {
    /// The user of the session. The client fills it in; no method and no call by name takes it.
    Session,
    /// The user that the caller names. If the caller names none, it is the user of the session.
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
        names.filter(|name| !(*name == PATH_USER && self.path_user == Some(PathUser::Session)))
    }
}

include!(concat!(env!("OUT_DIR"), "/operations.rs"));
