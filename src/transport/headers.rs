//! Events with the headers of a request and of its response.
//!
//! They have the headers that are listed here, and no others: no token, signature or cookie, whatever headers bunq adds.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::{Level, enabled, event};

use super::credentials::Credentials;

const TARGET: &str = "bunq_partner::headers";

/// The headers that are shown, by their names in lower case.
const SHOWN: [&str; 18] = [
    "accept",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "retry-after",
    "server",
    "transfer-encoding",
    "user-agent",
    "via",
    "x-bunq-client-request-id",
    "x-bunq-client-response-id",
    "x-bunq-geolocation",
    "x-bunq-language",
    "x-bunq-region",
    "x-bunq-warning",
];

/// The largest number of characters that are shown of a value.
const MAX_CHARS: usize = 500;

/// Reports the headers of a request that is about to be sent.
pub(super) fn sent(headers: &HeaderMap, credentials: &Credentials) {
    if enabled!(target: TARGET, Level::DEBUG) {
        event!(target: TARGET, Level::DEBUG, request = shown(headers, credentials));
    }
}

/// Reports the headers of a response.
pub(super) fn received(headers: &HeaderMap, credentials: &Credentials) {
    if enabled!(target: TARGET, Level::DEBUG) {
        event!(target: TARGET, Level::DEBUG, response = shown(headers, credentials));
    }
}

/// A line for each header that is shown. A value may repeat a secret of the call, which is redacted.
fn shown(headers: &HeaderMap, credentials: &Credentials) -> String {
    let is_shown = |(name, _): &(&HeaderName, &HeaderValue)| SHOWN.contains(&name.as_str());
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}: {}", credentials.excerpt(&String::from_utf8_lossy(value.as_bytes()), MAX_CHARS))
    };
    headers.iter().filter(is_shown).map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    #[test]
    fn only_what_is_listed_is_shown_without_the_secrets_of_the_call() {
        test_timeout::start();
        let headers = [
            ("content-type", "application/json"),
            ("x-bunq-warning", "the token secret-token is old"),
            ("x-bunq-client-authentication", "secret-token"),
            ("x-bunq-client-signature", "c2lnbmF0dXJl"),
            ("x-bunq-server-signature", "c2lnbmF0dXJl"),
            ("authorization", "Bearer other"),
            ("proxy-authorization", "Basic other"),
            ("cookie", "id=other"),
            ("set-cookie", "id=other"),
            ("location", "https://example.com/?code=other"),
            ("x-new-of-bunqs", "other"),
        ];
        let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let credentials = Credentials { token: Some(Secret::new("secret-token")), ..Credentials::default() };
        assert_eq!(
            shown(&HeaderMap::from_iter(headers), &credentials),
            "content-type: application/json\nx-bunq-warning: the token [redacted] is old"
        );
    }
}
