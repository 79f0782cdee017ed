//! A request as it came in.

use std::net::IpAddr;

use bytes::Bytes;

use super::journal;

/// A request as it came in.
#[derive(Clone)]
pub(super) struct ReceivedCall {
    /// The address that it came from.
    pub(super) from: IpAddr,
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// In order, with names in lower case.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

impl ReceivedCall {
    /// The value of a header, unless it is empty.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        journal::header(&self.headers, name).filter(|value| !value.is_empty())
    }

    /// Whether a header is absent or has one of these values.
    pub(super) fn header_is_any_of(&self, name: &str, values: &[&str]) -> bool {
        journal::header(&self.headers, name).is_none_or(|value| values.contains(&value))
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.header("X-Bunq-Client-Authentication")
    }
}
