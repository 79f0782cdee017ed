//! From the command line to a client: the environment, the key, the context file, or a bunq of this program's own; and the
//! questions that a person is asked before something happens.

use std::fs;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use bunq_partner::reqwest::Url;
use bunq_partner::{
    Client, ClientBuilder, Environment, ErrorKind, FileStore, Operation, RateLimit, ReceiptFile, Secret, files,
};
use bunq_partner_sandbox::{Sandbox, SeedProvision};
use etcetera::BaseStrategy as _;
use tokio::task::spawn_blocking;

use super::arguments::{ConnectionOptions, OutputOptions};
use super::exit::Failure;
use super::words::clean;

/// The environment variable that partners already use.
const API_KEY: &str = "BUNQ_API_KEY";

/// No key is longer.
const MAX_KEY_LEN: usize = 4096;

/// How long bunq may take to carry out what is in doubt.
const LATE_ARRIVAL: Duration = Duration::from_secs(10);

/// The provisions of `--sandbox`: one in every state.
const SAMPLES: &str = include_str!("samples.json");

/// A bank, and how to reach it.
pub(super) struct BankConnection {
    pub(super) environment: Environment,
    pub(super) base_url: String,
    pub(super) api_key: Secret,
    /// `None`: the context is in memory.
    pub(super) context: Option<PathBuf>,
    /// The bank itself, if it is this program's own.
    sandbox: Option<Sandbox>,
    /// How many times as fast as bunq allows.
    rehearse: u32,
    /// Where bunq's signed responses are stored.
    pub(super) receipts: Option<ReceiptFile>,
    /// What is to be said of the file that the key comes from.
    pub(super) warning: Option<String>,
}

impl BankConnection {
    /// Finds the key and the context file. It may ask for the key, and starts the sandbox if one is wanted.
    pub(super) async fn new(options: &ConnectionOptions, needs_key: bool) -> Result<Self, Failure> {
        let rehearse = options.rehearse.unwrap_or(1);
        if options.sandbox {
            return Self::to_sandbox(rehearse).await;
        }
        let environment = options.env;
        let base_url = options.base_url.clone().unwrap_or_else(|| environment.base_url().to_owned());
        if rehearse > 1 && !Environment::is_loopback(&base_url) {
            return Err(Failure::usage("--rehearse is for a bank on this machine: bunq would refuse what is faster"));
        }
        let (sandbox, receipts) = (None, None);
        if !needs_key && options.api_key_file.is_none() {
            // What is only shown is shown without a key too, and leaves nothing behind.
            let api_key = Secret::new(if environment == Environment::Sandbox { "sandbox_" } else { "-" });
            let (context, warning) = (None, None);
            return Ok(Self { environment, base_url, api_key, context, sandbox, rehearse, receipts, warning });
        }
        let (api_key, warning) = api_key(options.api_key_file.as_deref())?;
        let context = Some(match &options.context {
            Some(file) => file.clone(),
            None => state_folder()?.join(context_name(environment, &base_url, &api_key)),
        });
        Ok(Self { environment, base_url, api_key, context, sandbox, rehearse, receipts, warning })
    }

    async fn to_sandbox(rehearse: u32) -> Result<Self, Failure> {
        let seed: Vec<SeedProvision> =
            serde_json::from_str(SAMPLES).map_err(|error| Failure::local("the samples", &error.into()))?;
        let sandbox = Sandbox::builder().seed(seed).start().await;
        let sandbox = sandbox.map_err(|error| Failure::local("the sandbox cannot be started", &error))?;
        Ok(Self {
            environment: Environment::Sandbox,
            base_url: sandbox.base_url().to_owned(),
            api_key: sandbox.api_key(),
            context: None,
            sandbox: Some(sandbox),
            rehearse,
            receipts: None,
            warning: None,
        })
    }

    /// Whether the bank is on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        Environment::is_loopback(&self.base_url)
    }

    /// Fails if a receipt could not be written.
    pub(super) fn check_receipts(&self) -> Result<(), Failure> {
        self.receipts.as_ref().and_then(ReceiptFile::failure).map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// A client that keeps its context.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let builder = match (&self.sandbox, &self.context) {
            (Some(sandbox), _) => sandbox.client(),
            (None, Some(file)) => self.builder().context_store(FileStore::new(file)),
            (None, None) => self.builder(),
        };
        let builder = match &self.receipts {
            Some(receipts) => builder.observer(receipts.clone()),
            None => builder,
        };
        Ok(builder.build()?)
    }

    /// A client to be built, without a context.
    pub(super) fn builder(&self) -> ClientBuilder {
        let builder = Client::builder(self.environment).base_url(&self.base_url).api_key(self.api_key.clone());
        if self.rehearse == 1 {
            return builder;
        }
        let builder = builder.late_arrival(LATE_ARRIVAL / self.rehearse);
        Operation::ALL.iter().fold(builder, |builder, operation| {
            let RateLimit { calls, per, .. } = operation.rate_limit;
            builder.rate_limit(operation, calls, per / self.rehearse)
        })
    }

    /// How long one call of an operation takes of its limit.
    pub(super) fn interval(&self, operation: &Operation) -> Duration {
        if self.sandbox.is_some() {
            return Duration::ZERO;
        }
        operation.rate_limit.per / operation.rate_limit.calls / self.rehearse
    }
}

/// The API key, from where it is safe: never from the command line. And what is to be said of its file.
fn api_key(file: Option<&Path>) -> Result<(Secret, Option<String>), Failure> {
    if let Some(file) = file {
        return key_file(file);
    }
    match std::env::var(API_KEY) {
        Ok(key) if !key.is_empty() => return Ok((key.trim().into(), None)),
        Err(std::env::VarError::NotUnicode(_)) => return Err(Failure::usage(format!("{API_KEY} is not text"))),
        Ok(_) | Err(std::env::VarError::NotPresent) => {}
    }
    if !io::stdin().is_terminal() {
        let hint = "or give --api-key-file; --sandbox tries everything without a key";
        return Err(Failure::usage(format!("there is no API key: set {API_KEY}")).with_hint(hint));
    }
    let key = rpassword::prompt_password("API key (it is not shown): ");
    let key = key.map_err(|error| Failure::local("the API key cannot be asked for", &error))?;
    Ok((key.trim().into(), None))
}

fn key_file(path: &Path) -> Result<(Secret, Option<String>), Failure> {
    let said = |problem: String| format!("--api-key-file {}: {problem}", path.display());
    let failed = |error: io::Error| Failure::usage(said(error.to_string()));
    let (file, warning) = files::open_secret(path).map_err(failed)?;
    let key = files::read_text(file, MAX_KEY_LEN).map_err(failed)?;
    Ok((key.expose().trim().into(), warning.map(said)))
}

/// The folder for what outlasts a run, which is made if it is missing, readable only by its owner.
fn state_folder() -> Result<PathBuf, Failure> {
    let strategy = etcetera::choose_base_strategy();
    let unusable = |problem: String| Failure::of_kind(ErrorKind::Context, format!("{problem}: give --context"));
    let strategy = strategy.map_err(|error| unusable(error.to_string()))?;
    let folder = strategy.state_dir().unwrap_or_else(|| strategy.data_dir()).join("bunq-partner");
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let cannot_be_made = |error| unusable(format!("the folder {} cannot be made: {error}", folder.display()));
    builder.create(&folder).map_err(cannot_be_made)?;
    Ok(folder)
}

/// The name of the context file of a key: one for each environment, base URL and key.
fn context_name(environment: Environment, base_url: &str, api_key: &Secret) -> String {
    let mut digest = Digest::new(&SHA256);
    for part in ["bunq-partner context file", base_url.trim_end_matches('/'), api_key.expose()] {
        digest.update(part.as_bytes());
        digest.update(b"\n");
    }
    let digest = digest.finish();
    let short: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{environment}-{short}.json")
}

/// Whether the bank is the real one, by what is said of it or by where it is.
pub(super) fn is_production(options: &ConnectionOptions) -> bool {
    let host = |url: &str| url.parse::<Url>().ok().and_then(|url| url.host_str().map(str::to_owned));
    let is_productions = |url: &String| host(url) == host(Environment::Production.base_url());
    !options.sandbox
        && (options.env == Environment::Production || options.base_url.as_ref().is_some_and(is_productions))
}

pub(super) async fn confirm_change(options: &ConnectionOptions, what: &str) -> Result<(), Failure> {
    if options.yes || !is_production(options) {
        return Ok(());
    }
    let needed = Failure::usage(format!("{what} in production: confirm it with --yes"));
    ask(&format!("{what} in production?"), needed).await
}

pub(super) async fn confirm_secrets(options: &OutputOptions) -> Result<(), Failure> {
    if !options.show_secrets {
        return Ok(());
    }
    let needed = Failure::usage("--show-secrets is for a person at a terminal: there is none to ask");
    ask("Tokens will be shown. Whoever sees them can act for the user. Show them?", needed).await
}

/// Asks a person; `unattended` is the failure if there is no terminal. Dropping the future does not block on the answer.
async fn ask(question: &str, unattended: Failure) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(unattended);
    }
    let question = format!("{} [y/N] ", clean(question));
    let answer = spawn_blocking(move || {
        write!(io::stderr(), "{question}").and_then(|()| io::stderr().flush())?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = answer.await.map_err(io::Error::from).flatten();
    let answer = answer.map_err(|error| Failure::local("the question cannot be asked", &error))?;
    if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
        Ok(())
    } else {
        Err(Failure::negative("nothing was done"))
    }
}
