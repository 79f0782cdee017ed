//! The operations of the document and what it says of each: which token it takes, whether it may be repeated,
//! how often bunq lets it be called.
//!
//! The table itself is made from the document's `x-bunq-*` by `build.rs`.

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
    /// Whether doing it twice is the same as doing it once.
    pub idempotent: bool,
    /// How often bunq lets one address call it.
    pub rate_limit: RateLimit,
}

/// The token that an operation takes in `X-Bunq-Client-Authentication`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auth {
    /// None: the installation, which is where the first token comes from.
    None,
    /// That of the installation.
    Installation,
    /// That of the session.
    Session,
}

/// So many calls within any stretch of so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// How many calls.
    pub calls: u32,
    /// Within which time.
    pub per: Duration,
}

impl Operation {
    /// Whether a failed try may be followed by another though it may have been carried out: it is idempotent, or one
    /// of those that make a session, of which another harms nobody.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.idempotent || self.auth != Auth::Session
    }
}

include!(concat!(env!("OUT_DIR"), "/operations.rs"));
