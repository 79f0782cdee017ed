//! The calls that were received.

use std::collections::VecDeque;
use std::fmt;

use bunq_partner::Operation;
use bytes::Bytes;

use crate::wire::fault::Fault;

/// How many calls the log keeps, and how many bytes of them.
const LONGEST: usize = 10_000;
const LARGEST: usize = 64 * 1024 * 1024;

/// A call that the sandbox received.
///
/// Headers and body are kept as they came: **they hold API keys, tokens and personal data**. `Debug` leaves
/// them out, the fields do not.
#[derive(Clone)]
#[non_exhaustive]
pub struct CallLogEntry {
    /// The operation that it calls, if the document has one with this method and path.
    pub operation: Option<&'static Operation>,
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path, from `/v1` on.
    pub path: String,
    /// The query of the URL, as it was received.
    pub query: Option<String>,
    /// The headers in the order in which they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text; empty when it was too large to be taken, or is no text.
    pub body: String,
    /// The body, byte for byte; empty when it was too large to be taken.
    pub bytes: Bytes,
    /// The status that the sandbox handled on, before any edit. It may not have reached the caller: see `fault`.
    pub status: u16,
    /// The result of checking the signature of the call.
    pub signature: ReceivedSignature,
    /// The fault that was played on it.
    pub fault: Option<Fault>,
    /// Whether the call was carried out, whatever its response says. `false` for a refused call.
    pub carried_out: bool,
}

impl CallLogEntry {
    /// The length of what it has in bytes.
    fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.path.len() + self.query.as_ref().map_or(0, String::len) + headers + self.body.len() + self.bytes.len()
    }

    /// The value of the first header called `name`, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

impl fmt::Debug for CallLogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallLogEntry")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("status", &self.status)
            .field("signature", &self.signature)
            .field("fault", &self.fault)
            .field("carried_out", &self.carried_out)
            .finish_non_exhaustive()
    }
}

/// The result of checking the signature of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReceivedSignature {
    /// The call had no signature.
    None,
    /// The signature was made with the installation's key, over the body that was received.
    Valid,
    /// The signature was not made with the installation's key over this body.
    Invalid,
    /// The signature could not be checked: the call has no token of an installation, or its body is too large.
    Unchecked,
}

/// The value of the first header called `name`, in whatever case.
pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The last calls, oldest first.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    entries: VecDeque<CallLogEntry>,
    size: usize,
}

impl CallLog {
    pub(crate) fn push(&mut self, entry: CallLogEntry) {
        self.size += entry.size();
        self.entries.push_back(entry);
        while self.entries.len() > LONGEST || self.size > LARGEST {
            self.size -= self.entries.pop_front().map_or(self.size, |oldest| oldest.size());
        }
    }

    pub(crate) fn take(&mut self) -> Vec<CallLogEntry> {
        std::mem::take(self).entries.into()
    }

    pub(crate) fn entries(&self) -> Vec<CallLogEntry> {
        self.entries.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: usize) -> CallLogEntry {
        CallLogEntry {
            operation: None,
            method: "GET".to_owned(),
            path: format!("/v1/{number}"),
            query: Some("secret-query".to_owned()),
            headers: vec![("x-bunq-client-authentication".to_owned(), "secret-token".to_owned())],
            body: "secret-body".to_owned(),
            bytes: Bytes::from_static(b"secret-body"),
            status: 200,
            signature: ReceivedSignature::None,
            fault: Some(Fault::Drop),
            carried_out: true,
        }
    }

    #[test]
    fn debug_shows_no_secrets() {
        test_timeout::start();
        assert_eq!(
            format!("{:?}", entry(1)),
            "CallLogEntry { method: \"GET\", path: \"/v1/1\", status: 200, signature: None, fault: Some(Drop), \
             carried_out: true, .. }"
        );
    }

    #[test]
    fn the_oldest_entries_are_dropped() {
        test_timeout::start();
        let mut call_log = CallLog::default();
        (0..LONGEST + 5).for_each(|number| call_log.push(entry(number)));
        let entries = call_log.entries();
        assert_eq!(entries.len(), LONGEST);
        assert_eq!(entries[0].path, "/v1/5");
    }

    #[test]
    fn the_oldest_entries_give_way_to_large_ones() {
        test_timeout::start();
        let large = |number| CallLogEntry { body: "x".repeat(LARGEST / 4), ..entry(number) };
        let mut call_log = CallLog::default();
        (0..10).for_each(|number| call_log.push(large(number)));
        assert_eq!(
            call_log.entries().iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(),
            ["/v1/7", "/v1/8", "/v1/9"]
        );
        assert_eq!(call_log.take().len(), 3);
        call_log.push(large(10));
        assert_eq!(call_log.entries().len(), 1);
    }

    #[test]
    fn a_header_is_found_in_any_case() {
        test_timeout::start();
        assert_eq!(entry(1).header("X-Bunq-Client-Authentication"), Some("secret-token"));
        assert_eq!(entry(1).header("user-agent"), None);
    }
}
