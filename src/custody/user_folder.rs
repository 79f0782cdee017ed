//! The folder with a file for each user, as the blocking operations on it. Who may use them is decided above.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use zeroize::Zeroizing;

use super::head::{self, HEAD_LEN};
use super::interface::{CustodyEntry, CustodyFilter, MAX_TEXT_LEN};
use super::record::REMEDY;
use crate::error::Error;
use crate::files::{
    check_own_folder, create_kept, create_own_folder, for_owner_alone, open_kept, open_kept_with, read_text,
    remove_kept, replace_kept_by,
};
use crate::sync::lock;
use crate::text::quoted;
use crate::types::{ProvisionId, Secret};

/// How many entries a page has.
const PAGE: usize = 1000;

/// From how many files on a second thread reads half of them.
const WORTH_A_THREAD: usize = 100;

/// `ID.json` is the record of a user. In the folder `unactivated` is an empty file with the id of each user that is not activated:
/// it is made before the record and removed after it, so that none is overlooked, and what it says is not believed.
#[derive(Debug)]
pub(super) struct UserFolder {
    path: PathBuf,
    /// The ids that were there when the first page of all was read, until the last one is.
    ids: Mutex<Option<Arc<[ProvisionId]>>>,
}

/// A page of entries.
#[derive(Debug, Default)]
pub(super) struct UserPage {
    pub(super) entries: Vec<CustodyEntry>,
    /// Users that are not unactivated, although it is marked so.
    pub(super) not_unactivated: Vec<ProvisionId>,
}

impl UserPage {
    /// Takes in what was read of a user.
    fn take(&mut self, filter: CustodyFilter, id: ProvisionId, read: Result<Option<CustodyEntry>, Error>) {
        match read {
            Ok(Some(entry)) if filter == CustodyFilter::All || !entry.is_activated => self.entries.push(entry),
            // It was removed, or activated, meanwhile, or before a crash.
            Ok(_) if filter == CustodyFilter::Unactivated => self.not_unactivated.push(id),
            Ok(_) => {}
            Err(error) => {
                self.entries.push(CustodyEntry { problem: Some(error.to_string()), ..CustodyEntry::new(id) });
            }
        }
    }
}

impl UserFolder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path: std::path::absolute(&path).unwrap_or(path), ids: Mutex::default() }
    }

    pub(super) fn name(&self) -> String {
        format!("the custody in {}", self.path.display())
    }

    pub(super) fn name_of(&self, id: ProvisionId) -> String {
        format!("the record {} of provision {id}", self.file(id).display())
    }

    pub(super) fn refused(&self, problem: impl std::fmt::Display) -> Error {
        Error::context(format_args!("{}: {problem}", self.name()))
    }

    fn refused_of(&self, id: ProvisionId, problem: impl std::fmt::Display) -> Error {
        Error::context(format_args!("{}: {problem}", self.name_of(id)))
    }

    fn file(&self, id: ProvisionId) -> PathBuf {
        self.path.join(format!("{id}.json"))
    }

    fn mark(&self, id: ProvisionId) -> PathBuf {
        self.marks().join(id.to_string())
    }

    fn marks(&self) -> PathBuf {
        self.path.join("unactivated")
    }

    /// What is being written. One name for all, so that what a crash has left is removed without a search for it.
    fn unfinished(&self) -> PathBuf {
        self.path.join("custody.bunq-partner-tmp")
    }

    /// Refuses a folder that is not its owner's alone.
    fn check(&self) -> Result<(), Error> {
        check_own_folder(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                let path = quoted(&self.path.to_string_lossy());
                self.refused(format_args!("it does not exist: make it first, with `mkdir -m 700 {path}`"))
            }
            _ => self.refused(error),
        })
    }

    /// Opens the file whose lock is that of the folder.
    pub(super) fn open_lock(&self) -> Result<File, Error> {
        self.check()?;
        let path = self.path.join("custody.lock");
        let opened = open_kept_with(&path, for_owner_alone().create(true).truncate(false));
        opened.map_err(|error| self.refused(format_args!("its lock `{}`: {error}", path.display())))
    }

    /// Removes what a crash has left, and makes what the first save needs.
    pub(super) fn prepare(&self) -> Result<(), Error> {
        remove_kept(&self.unfinished())
            .and_then(|()| create_own_folder(&self.marks()))
            .map_err(|error| self.refused(error))
    }

    pub(super) fn read(&self, id: ProvisionId) -> Result<Option<Secret>, Error> {
        let file = match open_kept(self.file(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.refused_of(id, error))?,
        };
        let whole = read_text(file, HEAD_LEN + MAX_TEXT_LEN).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.refused_of(id, format_args!("{error}, so it is no record: {REMEDY}")),
            _ => self.refused_of(id, error),
        })?;
        let (head, text) = whole.expose().split_at_checked(HEAD_LEN).unwrap_or((whole.expose(), ""));
        self.decode(head.as_bytes(), id)?;
        Ok(Some(text.into()))
    }

    pub(super) fn write(&self, entry: &CustodyEntry, text: &Secret) -> Result<(), Error> {
        let id = entry.provision_id;
        let written = || {
            if !entry.is_activated {
                create_mark(&self.mark(id))?;
            }
            let head = head::encode(entry).map_err(io::Error::other)?;
            let mut content = Zeroizing::new(Vec::with_capacity(head.len() + text.expose().len()));
            content.extend_from_slice(&head);
            content.extend_from_slice(text.expose().as_bytes());
            replace_kept_by(&self.unfinished(), &self.file(id), &content)?;
            if entry.is_activated { self.unmark(id) } else { Ok(()) }
        };
        written().map_err(|error| self.refused_of(id, error))
    }

    pub(super) fn remove(&self, id: ProvisionId) -> Result<(), Error> {
        remove_kept(&self.file(id)).and_then(|()| self.unmark(id)).map_err(|error| self.refused_of(id, error))
    }

    fn unmark(&self, id: ProvisionId) -> io::Result<()> {
        let mark = self.mark(id);
        if mark.exists() { remove_kept(&mark) } else { Ok(()) }
    }

    /// Removes the mark of a user that is not unactivated. Nobody may be writing.
    pub(super) fn correct_mark(&self, id: ProvisionId) -> Result<(), Error> {
        match self.read_entry(id)? {
            Some(entry) if !entry.is_activated => Ok(()),
            _ => self.unmark(id).map_err(|error| self.refused(error)),
        }
    }

    pub(super) fn entry(&self, id: ProvisionId) -> Result<Option<CustodyEntry>, Error> {
        self.check()?;
        self.read_entry(id)
    }

    pub(super) fn list(&self, filter: CustodyFilter, after: Option<ProvisionId>) -> Result<UserPage, Error> {
        self.check()?;
        let ids = self.ids(filter, after)?;
        let mut page = UserPage::default();
        let mut left = &ids[ids.partition_point(|id| Some(*id) <= after)..];
        while !left.is_empty() {
            let (now, later) = left.split_at(left.len().min(PAGE - page.entries.len()));
            for (id, read) in now.iter().zip(self.read_entries(now)) {
                page.take(filter, *id, read);
            }
            if page.entries.len() == PAGE {
                return Ok(page);
            }
            left = later;
        }
        if filter == CustodyFilter::All {
            *lock(&self.ids) = None;
        }
        Ok(page)
    }

    /// The ids of users, in ascending order. Those of all are read once for all pages: in a large folder that takes longer than a page.
    fn ids(&self, filter: CustodyFilter, after: Option<ProvisionId>) -> Result<Arc<[ProvisionId]>, Error> {
        match filter {
            CustodyFilter::Unactivated => ids_in(&self.marks(), "").map_err(|error| self.refused(error)),
            CustodyFilter::All => {
                let mut kept = lock(&self.ids);
                if let (Some(ids), Some(_)) = (&*kept, after) {
                    return Ok(Arc::clone(ids));
                }
                let ids = ids_in(&self.path, ".json").map_err(|error| self.refused(error))?;
                Ok(Arc::clone(kept.insert(ids)))
            }
        }
    }

    /// Reads the heads of several files, half of them on another thread: nearly all of it is the system's work.
    fn read_entries(&self, ids: &[ProvisionId]) -> Vec<Result<Option<CustodyEntry>, Error>> {
        let read = |ids: &[ProvisionId]| ids.iter().map(|id| self.read_entry(*id)).collect::<Vec<_>>();
        if ids.len() < WORTH_A_THREAD {
            return read(ids);
        }
        let (first, second) = ids.split_at(ids.len() / 2);
        thread::scope(|scope| {
            let other = thread::Builder::new().spawn_scoped(scope, || read(second));
            let mut entries = read(first);
            let other = other.ok().and_then(|other| other.join().ok());
            entries.extend(other.unwrap_or_else(|| read(second)));
            entries
        })
    }

    #[cfg(test)]
    pub(super) fn is_listing(&self) -> bool {
        lock(&self.ids).is_some()
    }

    /// Reads the head of a file, and nothing secret.
    fn read_entry(&self, id: ProvisionId) -> Result<Option<CustodyEntry>, Error> {
        let file = match open_kept(self.file(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| self.refused_of(id, error))?,
        };
        let mut head = Vec::with_capacity(HEAD_LEN);
        let read = file.take(HEAD_LEN as u64).read_to_end(&mut head);
        read.map_err(|error| self.refused_of(id, format_args!("it cannot be read: {error}")))?;
        self.decode(&head, id).map(Some)
    }

    fn decode(&self, head: &[u8], id: ProvisionId) -> Result<CustodyEntry, Error> {
        head::decode(head, id).map_err(|problem| self.refused_of(id, format_args!("{problem}: {REMEDY}")))
    }
}

fn create_mark(mark: &Path) -> io::Result<()> {
    match create_kept(mark) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// The ids whose files have this extension in a folder, sorted. A folder that is not there has none; other files are not looked at.
fn ids_in(folder: &Path, extension: &str) -> io::Result<Arc<[ProvisionId]>> {
    let files = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Arc::default()),
        files => files?,
    };
    let mut ids = Vec::new();
    for file in files {
        let name = file?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_suffix(extension)).filter(|number| !number.starts_with('0'));
        ids.extend(number.and_then(|number| number.parse::<ProvisionId>().ok()));
    }
    ids.sort_unstable();
    Ok(ids.into())
}
