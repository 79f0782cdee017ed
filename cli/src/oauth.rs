//! `oauth`: the OAuth client and the callback URL without which bunq provisions no user.

use std::io;
use std::path::Path;

use bunq_partner::types::{OauthClient, OauthClientId, OauthClientStatus};
use bunq_partner::wire::exposed;
use bunq_partner::{Acceptance, CallbackUrl, OauthSetup, RowState, Secret, files};
use serde::{Deserialize, Serialize};

use super::exit::Failure;
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
    if let Some(path) = secret_file {
        SecretFile::check(path)?;
    }
    let client = invocation.client()?;
    let setup = client.oauth().ensure(url.clone()).await?;
    if let Some(path) = secret_file {
        SecretFile::new(client.base_url(), &setup)?.write(path)?;
        invocation.note(&format!("client id and secret are in {}", path.display()));
    }
    let fields = setup_fields(Some(&setup), Some(url), invocation.shows_secrets());
    Ok(invocation.printer().single(Record::of(fields))?)
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

    /// Refuses to replace a file that is none of these.
    fn check(path: &Path) -> Result<(), Failure> {
        let refused = |problem: &str| {
            let problem = format!("--secret-file {}: {problem}", path.display());
            Failure::usage(problem).with_hint("nothing was sent: give another file")
        };
        match files::open_kept(path).and_then(|file| files::read_text(file, MAX_LEN)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(refused(&error.to_string())),
            Ok(text) => match serde_json::from_str::<Self>(text.expose()) {
                Ok(file) if file.bunq_partner_oauth_client == FORMAT => Ok(()),
                // The message of serde_json may quote a secret.
                _ => Err(refused("it was not written by this program")),
            },
        }
    }

    fn write(&self, path: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string(self).map(|text| Secret::new(text + "\n")).map_err(io::Error::from);
        let written = text.and_then(|text| files::replace_kept(path, text.expose().as_bytes()));
        written.map_err(|error| {
            let failure = Failure::local(format_args!("--secret-file {}", path.display()), &error);
            failure.with_hint("the OAuth client and its callback URL are there: run this again with another file")
        })
    }
}
