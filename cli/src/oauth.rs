//! `oauth`: the OAuth client and the callback URL without which bunq provisions no user.

use std::io;
use std::path::Path;

use bunq_partner::types::{OauthClient, OauthClientId, OauthClientStatus};
use bunq_partner::wire::exposed;
use bunq_partner::{Acceptance, CallbackUrl, Error, ErrorKind, OauthSetup, RowState, Secret, files};
use serde::{Deserialize, Serialize};

use super::exit::Failure;
use super::folders::try_to_store_file;
use super::interrupt::blocking;
use super::invocation::Invocation;
use super::output::{Field, GREEN, Record, YELLOW, names};
use super::records::secret;

pub(super) async fn show(invocation: &Invocation) -> Result<(), Failure> {
    let clients = invocation.client()?.api().list_oauth_clients().await?.into_inner();
    if clients.is_empty() {
        invocation.note("there is no OAuth client: `bunq-partner oauth ensure URL` creates one");
    }
    let mut printer = invocation.printer();
    for client in &clients {
        printer.add(Record::of(client_fields(Some(client), invocation.shows_secrets())))?;
    }
    Ok(printer.finish()?)
}

pub(super) async fn ensure(
    invocation: &Invocation,
    url: &CallbackUrl,
    secret_file: Option<&Path>,
) -> Result<(), Failure> {
    let client = invocation.client()?;
    if let Some(path) = secret_file {
        let (file, base_url) = (path.to_owned(), client.base_url().to_owned());
        let checked = blocking(move || SecretFile::check(&file, &base_url)).await;
        checked.map_err(|error| {
            let failure = Failure::usage(format!("--secret-file {}: {error}", path.display()));
            failure.with_hint("nothing was sent: give another file")
        })?;
    }
    let setup = client.oauth().ensure(url.clone()).await.map_err(not_ensured)?;
    if let Some(path) = secret_file {
        let (file, secrets) = (path.to_owned(), SecretFile::new(client.base_url(), &setup)?);
        blocking(move || secrets.write(&file)).await.map_err(|error| {
            let failure = Failure::local(format_args!("--secret-file {}", path.display()), &error);
            failure.with_hint("the OAuth client and its callback URL are there: run this again with another file")
        })?;
        invocation.note(&format!("client id and secret are in {}", path.display()));
    }
    let fields = setup_fields(Some(&setup), Some(url), invocation.shows_secrets());
    Ok(invocation.printer().single(Record::of(fields))?)
}

/// The failure with what to do about OAuth clients.
fn not_ensured(error: Error) -> Failure {
    let there = error.last_seen::<OauthClient>().map(|client| format!("the OAuth client {} is there", client.id));
    let hint = match error.kind() {
        ErrorKind::Duplicate | ErrorKind::Unattainable => Some(
            "`bunq-partner oauth show` shows them; `bunq-partner help api update_oauth_client` says how to activate or cancel one",
        ),
        _ if error.is_doubtful() => Some("run this again after some seconds: it creates only what lacks"),
        _ => None,
    };
    let failure = Failure::from(error);
    let failure = match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    };
    failure.or_hint(there)
}

pub(super) fn client_columns() -> Vec<&'static str> {
    names(&client_fields(None, false))
}

pub(super) fn setup_columns() -> Vec<&'static str> {
    names(&setup_fields(None, None, false))
}

fn client_fields(client: Option<&OauthClient>, shows_secrets: bool) -> Vec<Field> {
    let status = client.map(|client| &client.status);
    let style = if status == Some(&OauthClientStatus::Active) { GREEN } else { YELLOW };
    let urls = client.map(|client| client.callback_url.iter().map(|known| known.url.as_str()).collect::<Vec<_>>());
    vec![
        Field::new("oauth_client_id", 0, client.map(|client| client.id)),
        Field::text("oauth_client_status", 0, status).styled(Some(style)),
        Field::text("callback_urls", 1, urls.map(|urls| urls.join(" "))),
        secret("client_id", client.and_then(|client| client.client_id.as_ref()), shows_secrets),
        secret("secret", client.and_then(|client| client.secret.as_ref()), shows_secrets),
    ]
}

fn setup_fields(setup: Option<&OauthSetup>, url: Option<&CallbackUrl>, shows_secrets: bool) -> Vec<Field> {
    let outcome = |name, acceptance: Option<Acceptance>| {
        Field::new(name, 0, acceptance.map(|acceptance| RowState::from(acceptance).as_str())).styled(Some(GREEN))
    };
    vec![
        Field::new("oauth_client_id", 0, setup.map(|setup| setup.client)),
        outcome("oauth_client_outcome", setup.map(|setup| setup.client_acceptance)),
        Field::text("callback_url", 1, url.map(CallbackUrl::as_str)),
        Field::new("callback_url_id", 1, setup.and_then(|setup| setup.callback_url)),
        outcome("callback_url_outcome", setup.map(|setup| setup.callback_url_acceptance)),
        secret("client_id", setup.and_then(|setup| setup.client_id.as_ref()), shows_secrets),
        secret("secret", setup.and_then(|setup| setup.secret.as_ref()), shows_secrets),
    ]
}

/// The format that this version writes, and the only one that it reads.
const FORMAT: u64 = 1;

/// The problem with a file of something else.
const FOREIGN: &str = "it was not written by this program";

/// No such file is larger.
const MAX_LEN: usize = 64 * 1024;

/// The file with the client id and the secret, for its owner alone.
#[derive(Serialize, Deserialize)]
struct SecretFile {
    bunq_partner_oauth_client: u64,
    base_url: String,
    oauth_client_id: OauthClientId,
    #[serde(serialize_with = "exposed")]
    client_id: Secret,
    #[serde(serialize_with = "exposed")]
    secret: Secret,
}

impl SecretFile {
    fn new(base_url: &str, setup: &OauthSetup) -> Result<Self, Failure> {
        let (Some(client_id), Some(secret)) = (setup.client_id.clone(), setup.secret.clone()) else {
            let problem = format!("bunq does not show the secret of the OAuth client {}", setup.client);
            return Err(Failure::negative(problem).with_hint("the client is there, with its callback URL"));
        };
        let base_url = base_url.to_owned();
        Ok(Self { bunq_partner_oauth_client: FORMAT, base_url, oauth_client_id: setup.client, client_id, secret })
    }

    /// Fails if the file could not be written, or has something that is not to be replaced. bunq may show a secret once only.
    fn check(path: &Path, base_url: &str) -> io::Result<()> {
        match files::open_kept(path).and_then(|file| files::read_text(file, MAX_LEN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => match serde_json::from_str::<Self>(read?.expose()) {
                Ok(file) if file.bunq_partner_oauth_client != FORMAT => return Err(io::Error::other(FOREIGN)),
                Ok(file) if file.base_url != base_url => {
                    let problem = format!("it has the OAuth client {} of {}", file.oauth_client_id, file.base_url);
                    return Err(io::Error::other(problem));
                }
                Ok(_) => {}
                // The message of serde_json may quote a secret.
                Err(_) => return Err(io::Error::other(FOREIGN)),
            },
        }
        try_to_store_file(path)
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let text = Secret::new(serde_json::to_string(self)? + "\n");
        files::replace_kept(path, text.expose().as_bytes())
    }
}
