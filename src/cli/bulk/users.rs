//! The tokens and the contexts of new users, each in files of its owner's alone.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bunq_partner::jiff::Timestamp;
use bunq_partner::{Client, Error, FileStore, ProvisionId, Secret, files};

/// No token is longer.
const MAX_TOKEN: usize = 4096;

/// A folder with two files for each user, by the id of its provision: `ID.token`, which bunq never shows again, and
/// `ID.json`, the context.
pub(super) struct Users {
    client: Client,
    folder: PathBuf,
}

impl Users {
    pub(super) fn new(client: Client, folder: PathBuf) -> Self {
        Self { client, folder }
    }

    /// Fails if nothing can be stored.
    pub(super) fn check(&self) -> io::Result<()> {
        check(&self.folder)
    }

    fn path(&self, id: ProvisionId, extension: &str) -> PathBuf {
        self.folder.join(format!("{id}.{extension}"))
    }

    /// Waits for the credential of a user, and stores its token. Returns when the credential expires, if that is known;
    /// `None` if the user has a session already.
    pub(super) async fn store_token(
        &self,
        id: ProvisionId,
        timeout: Duration,
    ) -> Result<Option<Option<Timestamp>>, Error> {
        let path = self.path(id, "token");
        // An earlier run has stored it.
        let is_stored = fs::symlink_metadata(&path).is_ok();
        if is_stored && self.user(id)?.context().await?.is_some_and(|context| context.has_session) {
            return Ok(None);
        }
        let provisions = self.client.provisions();
        let seen = if is_stored {
            match provisions.operation_timeout(timeout).get(id).await {
                // The stored token is tried.
                Err(error) if error.is_retryable() => return Ok(Some(None)),
                seen => seen?,
            }
        } else {
            provisions.wait_until_ready(id).timeout(timeout).wait().await?
        };
        let credential = seen.fresh_credential();
        match credential.and_then(|credential| credential.token_value.as_ref()) {
            Some(token) => self.write(id, token).map_err(|error| failed(&path, &error))?,
            None if is_stored => {}
            None => return Err(Error::context(format_args!("provision {id} shows no token"))),
        }
        Ok(Some(credential.and_then(|credential| credential.expiry_time).map(bunq_partner::Timestamp::as_jiff)))
    }

    /// Takes a user into use, whose token is stored.
    pub(super) async fn open_session(&self, id: ProvisionId) -> Result<(), Error> {
        self.user(id)?.open_session().await
    }

    /// Stores a token, which is another than the one that is stored after a reset. A context is of one token.
    fn write(&self, id: ProvisionId, token: &Secret) -> io::Result<()> {
        let (path, context) = (self.path(id, "token"), self.path(id, "json"));
        if read(&path).is_ok_and(|stored| stored.expose() == token.expose()) {
            return Ok(());
        }
        remove(&context)?;
        files::replace_kept(&path, token.expose().as_bytes())
    }

    fn user(&self, id: ProvisionId) -> Result<Client, Error> {
        let path = self.path(id, "token");
        let token = read(&path).map_err(|error| failed(&path, &error))?;
        let store = FileStore::new(self.path(id, "json"));
        self.client.for_user_token(token).context_store(store).build()
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::context(format_args!("{}: {error}", path.display()))
}

/// Removes a file, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn read(path: &Path) -> io::Result<Secret> {
    files::open_kept(path).and_then(|file| files::read_text(file, MAX_TOKEN))
}

/// Fails if somebody else may replace what is in a folder, or if nothing can be stored there.
pub(super) fn check(folder: &Path) -> io::Result<()> {
    files::check_folder(folder)?;
    let probe = folder.join(format!(".bunq-partner-{}", std::process::id()));
    let mut file = files::create_kept(&probe)?;
    let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
    fs::remove_file(&probe)?;
    written
}
