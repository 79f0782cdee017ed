//! The tokens and the contexts of new users, each in files that only their owner can read, compared with what bunq says.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bunq_partner::jiff::Timestamp;
use bunq_partner::types::CredentialId;
use bunq_partner::{Client, CredentialStatus, Error, FileStore, Provision, ProvisionId, Secret, files};

use super::super::folders::try_to_store;
use super::token_file::{Origin, TokenFile};

/// How many files of one name are renamed at most.
const MAX_ASIDE: u32 = 1000;

/// A folder with two files for each user, by the id of its provision: `ID.token`, with the token, which bunq never shows again,
/// and `ID.json`, the context.
///
/// bunq says which of them are right. An unused credential is shown with its token: that is stored, and what is
/// there instead is renamed. One that is in use is not shown any more: then the files are used if they are of this credential,
/// and nothing is renamed, because it may be the only copy.
pub(super) struct Users {
    client: Client,
    folder: PathBuf,
    /// Says what is wrong with a file.
    warn: Box<dyn Fn(String) + Send + Sync>,
    /// The tokens with which sessions are to be opened. The files are not believed a second time.
    tokens: Mutex<HashMap<ProvisionId, Secret>>,
}

impl Users {
    pub(super) fn new(client: Client, folder: PathBuf, warn: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self { client, folder, warn: Box::new(warn), tokens: Mutex::default() }
    }

    pub(super) fn check(&self) -> io::Result<()> {
        check(&self.folder)
    }

    fn path(&self, id: ProvisionId, extension: &str) -> PathBuf {
        self.folder.join(format!("{id}.{extension}"))
    }

    /// Waits for the credential of a user, together with those who wait for others, and stores its token. Returns when the
    /// credential expires, if that is known; `None` if the user has a session already.
    pub(super) async fn store_token(
        &self,
        id: ProvisionId,
        timeout: Duration,
    ) -> Result<Option<Option<Timestamp>>, Error> {
        let seen = match self.client.provisions().wait_until_ready(id).timeout(timeout).wait().await {
            Ok(seen) => seen,
            Err(error) => return self.find_in_use(id, error).await,
        };
        let fresh = seen.fresh_credential().and_then(|credential| Some((credential, credential.token_value.clone()?)));
        let (credential, token) = fresh.ok_or_else(|| Error::context(format_args!("provision {id} shows no token")))?;
        self.store(TokenFile::new(self.origin(id, credential.id), token.clone()))?;
        self.begin_context(id, token.clone()).await?;
        self.tokens().insert(id, token);
        Ok(Some(credential.expiry_time.map(bunq_partner::Timestamp::as_jiff)))
    }

    /// Activates a user, whose token is stored.
    pub(super) async fn open_session(&self, id: ProvisionId) -> Result<(), Error> {
        let token = self.tokens().get(&id).cloned();
        let token = token.ok_or_else(|| Error::context(format_args!("no token of provision {id} is stored")))?;
        self.user(id, token)?.open_session().await?;
        self.tokens().remove(&id);
        Ok(())
    }

    /// The user of a wait that has failed may have been activated by an earlier run.
    async fn find_in_use(&self, id: ProvisionId, error: Error) -> Result<Option<Option<Timestamp>>, Error> {
        let Some(seen) = error.last_seen::<Provision>() else { return Err(error) };
        let is_closed = seen.status.is_closing_or_closed();
        let credential = seen.credential.as_ref();
        let is_used = credential.is_some_and(|credential| credential.status == Some(CredentialStatus::Active));
        if !is_used && !is_closed {
            return Err(error);
        }
        let path = self.path(id, "token");
        let problem = match TokenFile::read(&path) {
            Ok(None) => return Err(error),
            Err(problem) => problem,
            Ok(Some(stored)) => {
                // A closed user has no credential any more.
                let shown = credential.filter(|_| !is_closed).map_or(stored.origin.credential_id, |shown| shown.id);
                match self.origin(id, shown).differs(&stored.origin) {
                    Some(problem) => problem,
                    None => {
                        let context = self.user(id, stored.token.clone())?.context().await?;
                        if context.is_some_and(|context| context.has_session) {
                            return Ok(None);
                        }
                        if is_closed {
                            return Err(error);
                        }
                        self.tokens().insert(id, stored.token);
                        return Ok(Some(None));
                    }
                }
            }
        };
        (self.warn)(format!("{} is not used: {problem}", path.display()));
        Err(error)
    }

    /// Stores a token that bunq has just shown, in the place of what is not the same.
    fn store(&self, shown: TokenFile) -> Result<(), Error> {
        let path = self.path(shown.origin.provision_id, "token");
        let problem = match TokenFile::read(&path) {
            Ok(None) => None,
            Ok(Some(stored)) if stored == shown => return Ok(()),
            Ok(Some(stored)) => {
                let problem = shown.origin.differs(&stored.origin);
                Some(problem.unwrap_or_else(|| "bunq shows another token of this credential".into()))
            }
            Err(problem) => Some(problem),
        };
        if let Some(problem) = problem {
            self.put_aside(&path, &problem)?;
        }
        shown.write(&path).map_err(|error| failed(&path, &error))
    }

    /// Puts a context aside with which the first session cannot be opened: one that is not of this token, or that has a session
    /// already, which bunq says was never opened.
    async fn begin_context(&self, id: ProvisionId, token: Secret) -> Result<(), Error> {
        let problem = match self.user(id, token)?.context().await {
            Ok(None) => return Ok(()),
            Ok(Some(context)) if !context.has_session => return Ok(()),
            Ok(Some(_)) => "it has a session, and bunq says that there was none yet".to_owned(),
            Err(error) => format!("it is no context of this token ({error})"),
        };
        for path in [self.path(id, "json"), self.path(id, "json.lock")] {
            if fs::symlink_metadata(&path).is_ok() {
                self.put_aside(&path, &problem)?;
            }
        }
        Ok(())
    }

    /// Renames a file that does not fit. It is not removed: it may be of use elsewhere.
    fn put_aside(&self, path: &Path, problem: &str) -> Result<(), Error> {
        let free = (1..=MAX_ASIDE).map(|number| {
            let mut aside = path.as_os_str().to_owned();
            aside.push(format!(".aside-{number}"));
            PathBuf::from(aside)
        });
        let aside = free.into_iter().find(|aside| fs::symlink_metadata(aside).is_err());
        let aside = aside.ok_or_else(|| Error::context(format_args!("{}: too many are put aside", path.display())))?;
        fs::rename(path, &aside)
            .map_err(|error| Error::context(format_args!("{}: {problem}, and {error}", path.display())))?;
        (self.warn)(format!("{} is put aside as {}: {problem}", path.display(), aside.display()));
        Ok(())
    }

    fn origin(&self, provision_id: ProvisionId, credential_id: Option<CredentialId>) -> Origin {
        let (base_url, api_key_fingerprint) = (self.client.base_url().into(), self.client.api_key_fingerprint().into());
        Origin { base_url, api_key_fingerprint, provision_id, credential_id }
    }

    fn user(&self, id: ProvisionId, token: Secret) -> Result<Client, Error> {
        let store = FileStore::new(self.path(id, "json"));
        self.client.for_user_token(token).context_store(store).build()
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<ProvisionId, Secret>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::context(format_args!("{}: {error}", path.display()))
}

/// Fails if somebody else may replace what is in a folder, or if nothing can be stored there.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    files::check_folder(folder)?;
    try_to_store(folder)
}
