//! The file that the state is kept in: the whole state on its first line, and what has changed since then on a line for each change.
//!
//! A line is written before the response leaves that depends on it, so it is there however the process ends. It is not synced: after a
//! power failure the last lines may be missing. The whole state is synced when it is written.
//!
//! The file is locked, or two sandboxes would each hide what the other one writes. Where there are no locks, it is used without one.

use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bunq_partner::Secret;
use bunq_partner::files;
use tokio::time::{Instant, sleep};

/// No larger file is read or written.
const MAX_LEN: usize = 256 * 1024 * 1024;

/// Until the changes have this size, or that of the whole state, the file is not written anew.
const MIN_CHANGES: usize = 1024 * 1024;

/// How long a sandbox that ends may still have the file, and how often it is tried again.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
    file: File,
    /// The length of the whole state, and of the changes after it.
    whole: usize,
    changes: usize,
    /// Why nothing more is written.
    problem: Option<String>,
}

impl StateFile {
    /// Locks the file that is there, until what is returned is dropped.
    pub(crate) async fn lock(path: &Path) -> io::Result<Option<File>> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let locked = match files::open_kept(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file.and_then(locked),
            };
            match locked {
                Err(error) if is_in_use(&error) && Instant::now() < patience => sleep(PAUSE).await,
                locked => return locked.map(Some).map_err(|error| named(path, error)),
            }
        }
    }

    /// Reads the file; `None`: there is none. What a process could not write completely before it ended is left out.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Secret>> {
        let read = || {
            let mut bytes = Vec::new();
            files::open_kept(path)?.take(MAX_LEN as u64 + 1).read_to_end(&mut bytes)?;
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                bytes.truncate(end + 1);
            }
            files::read_text(bytes.as_slice(), MAX_LEN)
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            read => read.map(Some).map_err(|error| named(path, error)),
        }
    }

    /// Creates the file, or replaces what is in it.
    pub(crate) fn create(path: PathBuf, state: &Secret) -> io::Result<Self> {
        let (file, whole) = write(&path, state)?;
        Ok(Self { path, file, whole, changes: 0, problem: None })
    }

    /// Whether these changes can be added. Otherwise it is time for the whole state.
    pub(crate) fn takes(&self, changes: &Secret) -> bool {
        let changes = self.changes + changes.expose().len() + 1;
        changes <= self.whole.max(MIN_CHANGES) && self.whole + changes <= MAX_LEN
    }

    /// Adds changes, if there are any.
    pub(crate) fn add(&mut self, changes: Option<&Secret>) -> io::Result<()> {
        self.check()?;
        let Some(changes) = changes else { return Ok(()) };
        let line = line(changes);
        let line = line.expose().as_bytes();
        let added = self.file.write_all(line).map_err(|error| named(&self.path, error));
        self.changes += line.len();
        self.remember(added)
    }

    /// Replaces everything by the whole state.
    pub(crate) fn replace(&mut self, state: &Secret) -> io::Result<()> {
        self.check()?;
        let written = write(&self.path, state).map(|(file, whole)| {
            (self.file, self.whole, self.changes) = (file, whole, 0);
        });
        self.remember(written)
    }

    /// After a failure the file lacks something, which nothing that comes later may hide.
    fn remember(&mut self, outcome: io::Result<()>) -> io::Result<()> {
        self.problem = outcome.as_ref().err().map(ToString::to_string);
        outcome
    }

    fn check(&self) -> io::Result<()> {
        self.problem.as_ref().map_or(Ok(()), |problem| Err(io::Error::other(problem.clone())))
    }
}

/// Writes the whole state, and opens the file for what follows.
fn write(path: &Path, state: &Secret) -> io::Result<(File, usize)> {
    let line = line(state);
    let text = line.expose();
    let written = match text.len() {
        0..=MAX_LEN => {
            files::replace_kept(path, text.as_bytes()).and_then(|()| files::append_kept(path)).and_then(locked)
        }
        length => {
            Err(io::Error::other(format!("the state has {length} bytes, and at most {MAX_LEN} can be read again")))
        }
    };
    Ok((written.map_err(|error| named(path, error))?, text.len()))
}

/// Locks a file for as long as it is open.
fn locked(file: File) -> io::Result<File> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            "another sandbox keeps its state there: end that one, or give another file",
        )),
        Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
    }
}

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy
}

fn line(text: &Secret) -> Secret {
    Secret::new(format!("{}\n", text.expose()))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the state file {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("sandbox-state-{}", uuid::Uuid::new_v4()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("state")
        }

        fn text(&self) -> String {
            StateFile::read(&self.file()).unwrap().unwrap().expose().to_owned()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_not_written_completely_is_left_out() {
        test_timeout::start();
        let folder = Folder::new();
        assert!(StateFile::read(&folder.file()).unwrap().is_none());
        let mut file = StateFile::create(folder.file(), &"whole".into()).unwrap();
        for changes in ["first", "second \u{e9}"] {
            file.add(Some(&changes.into())).unwrap();
        }
        file.add(None).unwrap();
        let written = fs::read(folder.file()).unwrap();
        assert_eq!(folder.text(), "whole\nfirst\nsecond \u{e9}\n");
        for end in 1..=3 {
            fs::write(folder.file(), &written[..written.len() - end]).unwrap();
            assert_eq!(folder.text(), "whole\nfirst\n", "also within a character");
        }
        fs::write(folder.file(), "{}").unwrap();
        assert_eq!(folder.text(), "{}", "a state without changes may lack the end of its line");
    }

    #[test]
    fn the_whole_is_written_anew_before_the_changes_outgrow_it() {
        test_timeout::start();
        let folder = Folder::new();
        let mut file = StateFile::create(folder.file(), &"whole".into()).unwrap();
        let changes = Secret::new("c".repeat(MIN_CHANGES / 2 - 1));
        for _ in 0..2 {
            assert!(file.takes(&changes));
            file.add(Some(&changes)).unwrap();
        }
        assert!(!file.takes(&"".into()));
        let large = Secret::new("w".repeat(3 * MIN_CHANGES));
        file.replace(&large).unwrap();
        assert!(file.takes(&Secret::new("c".repeat(2 * MIN_CHANGES))));
        assert_eq!(folder.text().len(), 3 * MIN_CHANGES + 1);
    }

    #[test]
    fn after_a_failure_nothing_is_written_and_each_call_says_so() {
        test_timeout::start();
        let folder = Folder::new();
        let mut file = StateFile::create(folder.file(), &"whole".into()).unwrap();
        // It cannot be written to.
        file.file = File::open(folder.file()).unwrap();
        let problem = file.add(Some(&"lost".into())).unwrap_err().to_string();
        assert!(problem.starts_with(&format!("the state file {}: ", folder.file().display())), "{problem}");
        for again in [file.add(None), file.add(Some(&"later".into())), file.replace(&"whole".into())] {
            assert_eq!(again.unwrap_err().to_string(), problem);
        }
        assert_eq!(folder.text(), "whole\n");
    }
}
