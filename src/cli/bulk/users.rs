//! The tokens and the contexts of new users, each in files of its owner's alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bunq_partner::jiff::Timestamp;
use bunq_partner::{Client, Error, FileStore, ProvisionId, Secret, Uuid};

/// No token is longer.
const MAX_TOKEN: u64 = 4096;

/// A folder with two files for each user: `UUID.token`, which bunq never shows again, and `UUID.json`, the context.
pub(super) struct Users {
    client: Client,
    folder: PathBuf,
}

impl Users {
    pub(super) fn new(client: Client, folder: PathBuf) -> Self {
        Self { client, folder }
    }

    fn path(&self, external_uuid: Uuid, extension: &str) -> PathBuf {
        self.folder.join(format!("{external_uuid}.{extension}"))
    }

    /// Waits for the credential of a user, and stores its token. Returns when the credential expires, if that is known;
    /// `None` if the user has a session already.
    pub(super) async fn store_token(
        &self,
        external_uuid: Uuid,
        id: ProvisionId,
        timeout: Duration,
    ) -> Result<Option<Option<Timestamp>>, Error> {
        let path = self.path(external_uuid, "token");
        if fs::symlink_metadata(&path).is_ok() {
            // An earlier run has stored it.
            let context = self.user(external_uuid)?.context().await?;
            return Ok(if context.is_some_and(|context| context.has_session) { None } else { Some(None) });
        }
        let ready = self.client.provisions().wait_until_ready(id).timeout(timeout).wait().await?;
        let credential = ready.fresh_credential();
        let token = credential.and_then(|credential| credential.token_value.as_ref());
        let token = token.ok_or_else(|| Error::context(format_args!("provision {id} shows no token")))?;
        write(&path, token).map_err(|error| failed(&path, &error))?;
        Ok(Some(credential.and_then(|credential| credential.expiry_time).map(bunq_partner::Timestamp::as_jiff)))
    }

    /// Takes a user into use, whose token is stored.
    pub(super) async fn open_session(&self, external_uuid: Uuid) -> Result<(), Error> {
        self.user(external_uuid)?.open_session().await
    }

    fn user(&self, external_uuid: Uuid) -> Result<Client, Error> {
        let path = self.path(external_uuid, "token");
        let token = read(&path).map_err(|error| failed(&path, &error))?;
        let store = FileStore::new(self.path(external_uuid, "json"));
        self.client.for_user_token(token).context_store(store).build()
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::context(format_args!("{}: {error}", path.display()))
}

/// Writes a token so that it is there, whole and its owner's alone, or not at all.
fn write(path: &Path, token: &Secret) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(token.expose().as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    #[cfg(unix)]
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Secret> {
    let mut token = String::with_capacity(4096);
    File::open(path)?.take(MAX_TOKEN).read_to_string(&mut token)?;
    Ok(token.into())
}
