//! The operations of the document and how each is called: with which token, whether it may be repeated, how often.
//!
//! The table is generated from the `x-bunq-*` of the document.

use std::time::Duration;

/// One operation of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The names of its query parameters.
    pub query: &'static [&'static str],
    /// Whether its request has a body.
    pub has_body: bool,
    /// Whether a second execution changes nothing more than the first.
    pub idempotent: bool,
    /// Whether the client makes this call by itself, to open or end a session. [`Api`](crate::Api) does not offer it.
    pub managed: bool,
    /// How often bunq lets one address call it.
    pub rate_limit: RateLimit,
}

/// The token that an operation takes in `X-Bunq-Client-Authentication`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// None: the installation, from which the first token comes.
    None,
    /// That of the installation.
    Installation,
    /// That of the session.
    Session,
}

/// At most so many calls within any period of that length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many calls.
    pub calls: u32,
    /// The length of the period.
    pub per: Duration,
}

impl Operation {
    /// The operation with this `operationId`.
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

    /// Whether a second execution does no harm: the operation is idempotent, or is a step towards a session, of which
    /// another harms nobody.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.idempotent || self.auth != Auth::Session
    }

    /// The names of the parameters in its path.
    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }
}

include!(concat!(env!("OUT_DIR"), "/operations.rs"));
