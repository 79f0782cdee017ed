//! From the settings to a client: the key, the context file, or a bunq of this program's own.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context as Digest, SHA256};
use bunq_partner::reqwest::Url;
use bunq_partner::types::InquiryEntryType;
use bunq_partner::{
    Client, ClientBuilder, ContextStore, Custody, Environment, Error, ErrorKind, FileStore, LimitScope, Operation,
    RateLimit, ReceiptFile, Remedy, RetryPolicy, Secret, Shutdown, UserInstallation,
};
use bunq_partner_sandbox::{Sandbox, SeedInquiry, SeedProvision};

use super::exit::Failure;
use super::folders;
use super::interrupt::until_interrupted;
use super::key_command;
use super::postgres::SharedStores;
use super::questions;
use super::secret_file;
use super::settings::{Bank, BankSettings, KeyPlace, Source};
use super::words::clean;

/// No file is larger that is sent.
pub(super) const MAX_UPLOAD: usize = 16 * 1024 * 1024;

/// How long bunq may take to carry out what is in doubt.
pub(super) const LATE_ARRIVAL: Duration = Duration::from_secs(10);

/// The provisions of `--sandbox`: one in every state.
const SAMPLES: &str = include_str!("samples.json");

/// The user of `--sandbox` that is in custody.
const SAMPLE_USER: u64 = 1015;

/// Where the keys and the session are kept.
pub(super) enum ContextPlace {
    Memory,
    File(PathBuf),
    Database(Arc<dyn ContextStore>),
}

impl ContextPlace {
    /// What outlasts this process.
    pub(super) fn store(&self) -> Option<Arc<dyn ContextStore>> {
        match self {
            Self::Memory => None,
            Self::File(file) => Some(Arc::new(FileStore::new(file))),
            Self::Database(store) => Some(Arc::clone(store)),
        }
    }

    /// The path of the file, or the name in the database.
    pub(super) fn shown(&self) -> Option<String> {
        match self {
            Self::Memory => None,
            Self::File(file) => Some(file.display().to_string()),
            Self::Database(store) => Some(store.name()),
        }
    }
}

/// What a command needs of a connection.
#[derive(Clone, Copy, Default)]
pub(super) struct Needs {
    pub(super) key: bool,
    /// The database that machines share, if one is named.
    pub(super) database: bool,
}

/// A bank, and how to reach it.
pub(super) struct BankConnection {
    pub(super) environment: Environment,
    pub(super) base_url: String,
    /// The host that plain HTTP is allowed to.
    plain_http: Option<String>,
    pub(super) api_key: Secret,
    pub(super) context: ContextPlace,
    /// What other machines use too.
    pub(super) shared: Option<SharedStores>,
    /// The bank itself, if it is this program's own.
    sandbox: Option<Sandbox>,
    /// How many times as fast as bunq allows.
    pub(super) rehearse: u32,
    /// Where bunq's signed responses are stored.
    pub(super) receipts: Option<ReceiptFile>,
    /// What the bank takes of users, and what it counts calls by. A sandbox of this program's own tells its clients itself.
    user_installation: UserInstallation,
    limits_are_per: LimitScope,
    /// What is kept of users, if the command acts for some.
    pub(super) custody: Option<Arc<dyn Custody>>,
    /// After it no request of this connection begins.
    pub(super) shutdown: Shutdown,
    /// Warnings about the file of the key, and about plain HTTP.
    pub(super) warnings: Vec<String>,
    /// The profile that this comes from, if it does.
    pub(super) profile: Option<String>,
    /// The settings name a database, which may not be connected.
    pub(super) names_database: bool,
}

impl BankConnection {
    /// Finds the key and the context. It may ask for the key, and starts the sandbox if one is wanted.
    pub(super) async fn new(bank: &Bank, rehearse: u32, needs: Needs) -> Result<Self, Failure> {
        let Bank::At(settings) = bank else { return Self::to_sandbox(rehearse).await };
        let (environment, base_url) = (settings.environment.value, settings.base_url.value.clone());
        let plain_http = settings.plain_http.clone();
        let in_clear = |host| {
            format!("--plain-http {host}: whoever is on the way can read the API key, and read and change every call")
        };
        let mut warnings: Vec<_> = plain_http.iter().filter(|_| is_plain(&base_url)).map(in_clear).collect();
        let profile = settings.profile.as_ref().map(|profile| profile.value.to_string());
        if rehearse > 1 && !Environment::is_loopback(&base_url) {
            return Err(Failure::usage("--rehearse is for a bank on this machine: bunq would refuse what is faster"));
        }
        let (sandbox, receipts, custody, shutdown) = (None, None, None, Shutdown::default());
        let shared = match settings.postgres.as_ref().filter(|_| needs.database) {
            Some(postgres) => {
                let (shared, warning) = until_interrupted(None, SharedStores::connect(postgres)).await?;
                warnings.extend(warning);
                Some(shared)
            }
            None => None,
        };
        let (api_key, context) = if needs.key || matches!(settings.api_key.value, KeyPlace::File(_)) {
            let (api_key, warning) = api_key(settings).await?;
            warnings.extend(warning);
            let context = match (&settings.context.value, &shared) {
                (Some(file), _) => ContextPlace::File(file.clone()),
                (None, Some(shared)) => ContextPlace::Database(shared.context()),
                (None, None) if settings.postgres.is_some() => ContextPlace::Memory,
                (None, None) => {
                    ContextPlace::File(make_state_folder()?.join(context_name(environment, &base_url, &api_key)))
                }
            };
            (api_key, context)
        } else {
            // What is only shown is shown without a key too, and leaves nothing behind.
            (Secret::new(if environment == Environment::Sandbox { "sandbox_" } else { "-" }), ContextPlace::Memory)
        };
        Ok(Self {
            environment,
            base_url,
            plain_http,
            api_key,
            context,
            shared,
            sandbox,
            rehearse,
            receipts,
            user_installation: settings.user_installation.value,
            limits_are_per: settings.limits_are_per.value,
            custody,
            shutdown,
            warnings,
            profile,
            names_database: settings.postgres.is_some(),
        })
    }

    async fn to_sandbox(rehearse: u32) -> Result<Self, Failure> {
        let seed: Vec<SeedProvision> =
            serde_json::from_str(SAMPLES).map_err(|error| Failure::local("the samples", &error.into()))?;
        let sandbox = Sandbox::builder().seed(seed).start().await;
        let sandbox = sandbox.map_err(|error| Failure::local("the sandbox cannot be started", &error))?;
        Ok(Self {
            environment: Environment::Sandbox,
            base_url: sandbox.base_url().to_owned(),
            plain_http: None,
            api_key: sandbox.api_key(),
            context: ContextPlace::Memory,
            shared: None,
            sandbox: Some(sandbox),
            rehearse,
            receipts: None,
            user_installation: UserInstallation::default(),
            limits_are_per: LimitScope::default(),
            custody: None,
            shutdown: Shutdown::default(),
            warnings: Vec::new(),
            profile: None,
            names_database: false,
        })
    }

    /// Takes a user of `--sandbox` into custody, of whom bunq asks something: there are commands that act for one.
    pub(super) async fn take_sample_user(&self) -> Result<(), Failure> {
        let Some(sandbox) = &self.sandbox else { return Ok(()) };
        let id = SAMPLE_USER.try_into().map_err(Error::from)?;
        let client = self.client()?;
        client.provisions().reset_token(id).await?.wait().await?;
        client.users().activate(id).await?;
        sandbox.inquire(id, SeedInquiry::new([InquiryEntryType::UserPersonSourceOfFund]));
        Ok(())
    }

    /// The same failure, with what to do if a user of `--sandbox` is not in custody.
    pub(super) fn of_sample_user(&self, failure: Failure) -> Failure {
        let is_missing = failure.error().is_some_and(|error| error.remedy() == Some(Remedy::Activate));
        if self.sandbox.is_none() || !is_missing {
            return failure;
        }
        failure.with_hint(format!(
            "--sandbox begins anew with each command, with the user of {SAMPLE_USER} in custody; for others, start `bunq-partner sandbox`, \
             and use it with a custody"
        ))
    }

    /// Whether the bank may be bunq's, which is reached by HTTPS alone.
    pub(super) fn may_be_bunqs(&self) -> bool {
        !Environment::is_loopback(&self.base_url) && !is_plain(&self.base_url)
    }

    /// Fails if a receipt could not be written.
    pub(super) fn check_receipts(&self) -> Result<(), Failure> {
        self.receipts.as_ref().and_then(ReceiptFile::failure).map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// A client that keeps its context.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        self.client_with(|builder| builder)
    }

    /// The same client, with other settings.
    pub(super) fn client_with(&self, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client, Failure> {
        let builder = match &self.receipts {
            Some(receipts) => self.keeping().observer(receipts.clone()),
            None => self.keeping(),
        };
        self.built(set(builder).shutdown(&self.shutdown))
    }

    /// A client to be built, with the context and the custody.
    pub(super) fn keeping(&self) -> ClientBuilder {
        let builder = match (&self.sandbox, self.context.store()) {
            (Some(sandbox), _) => sandbox.client(),
            (None, Some(store)) => self.builder().context_store(store),
            (None, None) => self.builder(),
        };
        match &self.custody {
            Some(custody) => builder.custody(Arc::clone(custody)),
            None => builder,
        }
    }

    /// Gives the context file that is named after another API key the name of this one, so that the installation stays. Returns what to
    /// tell if this key has one already. A context file that was typed, or is of a profile, stays where it is.
    pub(super) fn take_over_context(&self, old: &Secret) -> Result<Option<String>, Failure> {
        let (ContextPlace::File(file), Ok(folder)) = (&self.context, state_folder()) else { return Ok(None) };
        let named_after = |key| folder.join(context_name(self.environment, &self.base_url, key));
        let before = named_after(old);
        if *file != named_after(&self.api_key) || *file == before || !before.exists() {
            return Ok(None);
        }
        if file.exists() {
            let (before, file) = (before.display(), file.display());
            return Ok(Some(format!("{before} is left, with the installation of the key before: this key has {file}")));
        }
        fs::rename(&before, file).map(|()| None).map_err(|error| {
            let problem = format!("{} cannot be renamed to {}: {error}", before.display(), file.display());
            Failure::of_kind(ErrorKind::Context, problem)
        })
    }

    /// Builds a client. What cannot be used is named as it was typed.
    pub(super) fn built(&self, builder: ClientBuilder) -> Result<Client, Failure> {
        builder.build().map_err(|error| {
            let hint = match error.field() {
                Some("base_url") if is_plain(&self.base_url) => {
                    "--plain-http HOST allows it, for a sandbox in a network that you trust"
                }
                Some("api_key" | "base_url") => "`bunq-partner config show` says where each setting is from",
                Some("allow_plain_http") => {
                    let typed = Failure::from(error);
                    let problem = typed.message().replacen("allow_plain_http", "--plain-http", 1);
                    return typed.saying(problem);
                }
                _ => return error.into(),
            };
            Failure::from(error).or_hint(Some(hint.to_owned()))
        })
    }

    /// A client to be built, without a context.
    pub(super) fn builder(&self) -> ClientBuilder {
        let builder = Client::builder(self.environment).base_url(&self.base_url).api_key(self.api_key.clone());
        let builder = builder.user_installation(self.user_installation).limits_are_per(self.limits_are_per);
        let builder = builder.max_upload_size(MAX_UPLOAD);
        let builder = match &self.shared {
            Some(shared) => shared.limit(builder),
            None => builder,
        };
        let builder = match &self.plain_http {
            Some(host) => builder.allow_plain_http(host),
            None => builder,
        };
        if self.rehearse == 1 {
            return builder;
        }
        let mut retry = RetryPolicy::default();
        retry.initial_backoff /= self.rehearse;
        retry.max_backoff /= self.rehearse;
        let builder = builder.late_arrival(LATE_ARRIVAL / self.rehearse).retry(retry);
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

/// Whether calls to a base URL are sent in clear over a network.
fn is_plain(base_url: &str) -> bool {
    base_url.parse::<Url>().is_ok_and(|url| url.scheme() == "http") && !Environment::is_loopback(base_url)
}

/// The API key, which is never on the command line, and a warning about its file.
async fn api_key(settings: &BankSettings) -> Result<(Secret, Option<String>), Failure> {
    let source = &settings.api_key.source;
    match &settings.api_key.value {
        KeyPlace::File(file) => until_interrupted(None, key_file(file, source)).await,
        KeyPlace::Variable(key) => Ok((key.clone(), None)),
        KeyPlace::Command(words) => {
            let key = until_interrupted(None, key_command::key(words, secret_file::MAX_LEN)).await;
            Ok((key.map_err(|failure| failure.of(&format!("api_key_command of {source}")))?, None))
        }
        KeyPlace::Asked => Ok((ask_for_key(settings.shown_base_url()).await?, None)),
        KeyPlace::Elsewhere(other) => Err(settings.key_is_elsewhere(other)),
    }
}

/// The API key before this one, and a warning about its file. It is on no command line.
pub(super) async fn old_key(file: Option<&Path>) -> Result<(Secret, Option<String>), Failure> {
    if let Some(file) = file {
        return key_file(file, &Source::Option("--old-api-key-file")).await;
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("there is no API key to open with: give --old-api-key-file FILE"));
    }
    let key = questions::hidden("API key before (it is not shown): ".to_owned(), "the API key before").await?;
    Ok((key, None))
}

async fn ask_for_key(base_url: &str) -> Result<Secret, Failure> {
    if !io::stdin().is_terminal() {
        let hint = "or give --api-key-file, or a profile that has one; --sandbox tries everything without a key";
        return Err(Failure::usage("there is no API key: set BUNQ_API_KEY").with_hint(hint));
    }
    questions::hidden(format!("API key for {} (it is not shown): ", clean(base_url)), "the API key").await
}

async fn key_file(path: &Path, source: &Source) -> Result<(Secret, Option<String>), Failure> {
    let said = |problem: String| match source {
        Source::Option(option) => format!("{option} {}: {problem}", path.display()),
        _ => format!("api_key_file {} of {source}: {problem}", path.display()),
    };
    secret_file::read(path, said).await
}

/// The folder for what outlasts a run.
pub(super) fn state_folder() -> Result<PathBuf, Failure> {
    let no_folder = |problem| {
        Failure::of_kind(ErrorKind::Context, format!("the session has no folder: {problem}, or give --context"))
    };
    Ok(folders::state().map_err(no_folder)?.join("bunq-partner"))
}

/// Makes that folder if it is missing, readable only by its owner.
fn make_state_folder() -> Result<PathBuf, Failure> {
    let folder = state_folder()?;
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(&folder).map_err(|error| {
        let problem = format!("the folder {} cannot be made: {error}: give --context", folder.display());
        Failure::of_kind(ErrorKind::Context, problem)
    })?;
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
