//! Which of the OAuth clients that bunq lists is meant, and whether it has a callback URL.

use reqwest::Url;

use crate::error::{Error, ErrorKind, Sent};
use crate::types::{OauthCallbackUrl, OauthCallbackUrlId, OauthClient, OauthClientId, OauthClientStatus};

/// The active client, if there is one.
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if several are active.
pub(super) fn only_active(clients: Vec<OauthClient>) -> Result<Option<OauthClient>, Error> {
    let mut active: Vec<_> = clients.into_iter().filter(|client| client.status == OauthClientStatus::Active).collect();
    if active.len() > 1 {
        let problem = format_args!(
            "{} OAuth clients are active, where there should be one: {}; cancel the others with update_oauth_client",
            active.len(),
            listed(&active)
        );
        return Err(Error::new(ErrorKind::Duplicate, Sent::Responded, problem));
    }
    Ok(active.pop())
}

/// The active client, or `None` if there is no client at all.
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if several are active, [`Unattainable`](ErrorKind::Unattainable) if none is.
pub(super) fn none_at_all(clients: Vec<OauthClient>) -> Result<Option<OauthClient>, Error> {
    let there = listed(&clients);
    match only_active(clients)? {
        None if !there.is_empty() => Err(unattainable(format_args!(
            "no OAuth client is active, and there is {there}: activate one with update_oauth_client, or create another with \
             create_oauth_client"
        ))),
        found => Ok(found),
    }
}

/// The client of this id, which should be the only active one.
///
/// # Errors
///
/// [`Duplicate`](ErrorKind::Duplicate) if several are active, [`Unattainable`](ErrorKind::Unattainable) if this one is not.
pub(super) fn current(id: OauthClientId, clients: Vec<OauthClient>) -> Result<OauthClient, Error> {
    let there = if clients.is_empty() { "none".to_owned() } else { listed(&clients) };
    let is_shown = clients.iter().any(|client| client.id == id);
    only_active(clients)?.filter(|client| client.id == id).ok_or_else(|| match is_shown {
        true => unattainable(format_args!(
            "the OAuth clients have changed meanwhile: client {id} was active, and now there is {there}; see who else changes \
             them, and try again"
        )),
        false => unattainable(format_args!(
            "bunq has the OAuth client {id}, and does not show it: it shows {there}; try again when it does"
        )),
    })
}

/// The error of a client that does not have the callback URL that was registered.
pub(super) fn not_shown(client: &OauthClient, url: &Url) -> Error {
    let id = client.id;
    unattainable(format_args!(
        "bunq has taken the callback URL {url}, and does not show it with the OAuth client {id}: try again when it does"
    ))
}

/// The callback URL of the client that is the same URL, perhaps in another spelling, or has the id of the one that was `created`.
pub(super) fn registered<'a>(
    client: &'a OauthClient,
    url: &Url,
    created: Option<OauthCallbackUrlId>,
) -> Option<&'a OauthCallbackUrl> {
    let is_created = |known: &OauthCallbackUrl| created.is_some() && known.id == created;
    let is_same =
        |known: &&OauthCallbackUrl| is_created(known) || Url::parse(&known.url).is_ok_and(|known| known == *url);
    client.callback_url.iter().find(is_same)
}

/// How many clients a message names.
const NAMED: usize = 10;

fn listed(clients: &[OauthClient]) -> String {
    let named: Vec<_> = clients.iter().take(NAMED).map(|client| format!("{} ({})", client.id, client.status)).collect();
    match clients.len().checked_sub(NAMED) {
        None | Some(0) => named.join(", "),
        Some(more) => format!("{} and {more} more", named.join(", ")),
    }
}

fn unattainable(problem: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unattainable, Sent::Responded, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(id: u64, status: &str, urls: &[&str]) -> OauthClient {
        let urls: Vec<_> = urls.iter().map(|url| serde_json::json!({ "url": url })).collect();
        serde_json::from_value(serde_json::json!({ "id": id, "status": status, "callback_url": urls })).unwrap()
    }

    #[test]
    fn the_client_is_the_only_active_one() {
        test_timeout::start();
        for (clients, found, problem) in [
            (vec![], Some(None), ""),
            (vec![client(7, "ACTIVE", &[])], Some(Some(7)), ""),
            (vec![client(6, "CANCELLED", &[]), client(7, "ACTIVE", &[])], Some(Some(7)), ""),
            (
                vec![client(6, "CANCELLED", &[])],
                None,
                "no OAuth client is active, and there is 6 (CANCELLED): activate",
            ),
            (
                vec![client(6, "SUSPENDED", &[]), client(7, "CANCELLED_PENDING", &[])],
                None,
                "there is 6 (SUSPENDED), 7 (CANCELLED_PENDING): activate",
            ),
            (
                vec![client(6, "ACTIVE", &[]), client(5, "CANCELLED", &[]), client(7, "ACTIVE", &[])],
                None,
                "2 OAuth clients are active, where there should be one: 6 (ACTIVE), 7 (ACTIVE); cancel",
            ),
        ] {
            let chosen = none_at_all(clients.clone());
            let error = chosen.as_ref().err().map(ToString::to_string).unwrap_or_default();
            assert!(error.contains(problem) && error.is_empty() == problem.is_empty(), "{error}");
            assert_eq!(chosen.ok().map(|chosen| chosen.map(|client| client.id.get())), found, "{clients:?}");
        }
        let changed = |clients| current(client(7, "ACTIVE", &[]).id, clients).unwrap_err().to_string();
        let problem = changed(vec![client(7, "CANCELLED", &[])]);
        assert!(problem.contains("client 7 was active, and now there is 7 (CANCELLED);"), "{problem}");
        let problem = changed(vec![client(8, "ACTIVE", &[])]);
        assert!(
            problem.contains("bunq has the OAuth client 7, and does not show it: it shows 8 (ACTIVE);"),
            "{problem}"
        );
        assert!(changed(vec![]).contains("it shows none;"));
        // What to do is not cut off, however many there are.
        let many = (1..400).map(|id| client(id, "CANCELLED_PENDING", &[])).collect();
        let problem = none_at_all(many).unwrap_err().to_string();
        assert!(problem.contains("10 (CANCELLED_PENDING) and 389 more: activate one"), "{problem}");
        assert!(problem.ends_with("create another with create_oauth_client"), "{problem}");
    }

    #[test]
    fn a_url_is_known_in_each_spelling() {
        test_timeout::start();
        let asked = Url::parse("https://partner.example.com/callback").unwrap();
        for (known, is_same) in [
            ("https://partner.example.com/callback", true),
            ("https://Partner.Example.com:443/callback", true),
            ("https://partner.example.com/callback/", false),
            ("https://partner.example.com/Callback", false),
            ("https://partner.example.com:8443/callback", false),
            ("https://partner.example.com/callback?a", false),
            ("callback", false),
        ] {
            let client = client(7, "ACTIVE", &["https://other.example.com", known]);
            assert_eq!(registered(&client, &asked, None).map(|found| found.url.as_str()), is_same.then_some(known));
        }
        let root = Url::parse("https://partner.example.com").unwrap();
        assert!(registered(&client(7, "ACTIVE", &["https://partner.example.com/"]), &root, None).is_some());
        let german = Url::parse("https://xn--bcher-kva.example/callback").unwrap();
        assert!(registered(&client(7, "ACTIVE", &["https://b\u{fc}cher.example/callback"]), &german, None).is_some());
    }
}
