//! The calls that were received.

use std::collections::VecDeque;
use std::fmt;

use super::fault::Fault;

/// How many calls the journal keeps.
const LONGEST: usize = 10_000;

/// A call that the sandbox received.
///
/// Headers and body are kept as they came: **they hold API keys, tokens and personal data**. `Debug` leaves
/// them out, the fields do not.
#[derive(Clone)]
#[non_exhaustive]
pub struct JournalEntry {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path, from `/v1` on.
    pub path: String,
    /// The query of the URL, as it was received.
    pub query: Option<String>,
    /// The headers in the order in which they came, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; empty when it was too large to be taken.
    pub body: String,
    /// The status that the sandbox decided on, before any edit. It may not have reached the caller: see `fault`.
    pub status: u16,
    /// The result of checking the signature of the call.
    pub signature: ReceivedSignature,
    /// The fault that was played on it.
    pub fault: Option<Fault>,
    /// Whether the call was carried out, whatever its response says. `false` for a refused call.
    pub carried_out: bool,
}

impl JournalEntry {
    /// The value of the first header called `name`, in whatever case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

impl fmt::Debug for JournalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalEntry")
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
    /// The signature is the installation's, over the very body that was received.
    Valid,
    /// The signature is not the installation's over this body.
    Invalid,
    /// The signature could not be checked: the call has no token of an installation, or its body is too large.
    Unchecked,
}

/// The value of the first header called `name`, in whatever case.
pub(super) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The last calls, oldest first.
#[derive(Debug, Default)]
pub(super) struct Journal(VecDeque<JournalEntry>);

impl Journal {
    pub(super) fn push(&mut self, entry: JournalEntry) {
        if self.0.len() == LONGEST {
            self.0.pop_front();
        }
        self.0.push_back(entry);
    }

    pub(super) fn take(&mut self) -> Vec<JournalEntry> {
        std::mem::take(&mut self.0).into()
    }

    pub(super) fn entries(&self) -> Vec<JournalEntry> {
        self.0.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: usize) -> JournalEntry {
        JournalEntry {
            method: "GET".to_owned(),
            path: format!("/v1/{number}"),
            query: Some("secret-query".to_owned()),
            headers: vec![("x-bunq-client-authentication".to_owned(), "secret-token".to_owned())],
            body: "secret-body".to_owned(),
            status: 200,
            signature: ReceivedSignature::None,
            fault: Some(Fault::Drop),
            carried_out: true,
        }
    }

    #[test]
    fn debug_shows_no_secrets() {
        assert_eq!(
            format!("{:?}", entry(1)),
            "JournalEntry { method: \"GET\", path: \"/v1/1\", status: 200, signature: None, fault: Some(Drop), \
             carried_out: true, .. }"
        );
    }

    #[test]
    fn the_oldest_entries_are_dropped() {
        let mut journal = Journal::default();
        (0..LONGEST + 5).for_each(|number| journal.push(entry(number)));
        let entries = journal.entries();
        assert_eq!(entries.len(), LONGEST);
        assert_eq!(entries[0].path, "/v1/5");
    }

    #[test]
    fn a_header_is_found_in_any_case() {
        assert_eq!(entry(1).header("X-Bunq-Client-Authentication"), Some("secret-token"));
        assert_eq!(entry(1).header("user-agent"), None);
    }
}
