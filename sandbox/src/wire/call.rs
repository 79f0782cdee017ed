//! A request as it came in.

use std::net::IpAddr;

use bytes::Bytes;

use crate::wire::call_log;

#[derive(Clone)]
pub(crate) struct ReceivedCall {
    /// The address that it came from.
    pub(crate) from: IpAddr,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// In order, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

impl ReceivedCall {
    /// The value of a header, unless it is empty.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        call_log::header(&self.headers, name).filter(|value| !value.is_empty())
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.header("X-Bunq-Client-Authentication")
    }
}
