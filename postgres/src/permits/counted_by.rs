//! By what bunq counts calls, for members that share windows.

use bunq_partner::{LimitScope, PermitWindow};

/// By what bunq counts the calls of all members.
///
/// bunq's documentation is not settled: an older text counts by address; a newer one by "your API key, session, or IP address". What
/// counts together at bunq must count together here, or bunq refuses calls.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CountedBy {
    /// By the address that calls come from, whatever their keys. Members that call from one address give it the same name.
    Address(String),
    /// By API key, whatever the address. A partner and its users count as one.
    Key,
    /// By both: a call needs a permit of its address, and one of its key.
    AddressAndKey(String),
}

impl CountedBy {
    /// The names of the windows in which a call of this window counts.
    pub(super) fn windows(&self, window: &PermitWindow) -> Vec<String> {
        let PermitWindow { operation, scope, base_url, api_key_fingerprint: fingerprint, .. } = window;
        let named = |what: String| format!("{base_url} {} {what}", operation.id);
        // A user has the fingerprint of its partner, a slash, and its id. A fingerprint may have slashes too.
        let is_id = |(_, id): &(&str, &str)| id.bytes().all(|byte| byte.is_ascii_digit());
        let partners = fingerprint.rsplit_once('/').filter(is_id).map_or(&**fingerprint, |(partners, _)| partners);
        let (address, key) = (|name: &str| named(format!("address {name}")), || named(format!("key {partners}")));
        match (scope, self) {
            (LimitScope::Session, _) => vec![named(format!("session {fingerprint}"))],
            (_, Self::Address(name)) => vec![address(name)],
            (_, Self::Key) => vec![key()],
            (_, Self::AddressAndKey(name)) => vec![address(name), key()],
        }
    }

    /// The kinds of windows in which calls count, as the function `permit_scope` of the database has them.
    pub(super) fn scopes(&self) -> Vec<String> {
        let (address, key) = (|name: &str| format!("address {name}"), || "key".to_owned());
        match self {
            Self::Address(name) => vec![address(name)],
            Self::Key => vec![key()],
            Self::AddressAndKey(name) => vec![address(name), key()],
        }
    }
}
