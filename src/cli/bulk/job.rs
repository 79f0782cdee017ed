//! Which rows, from where, and where it is kept what is done with them.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bunq_partner::{Operation, files, quoted};

use super::super::arguments::BulkOptions;
use super::super::exit::Failure;
use super::input::Input;
use super::rows::Kind;
use super::users;

/// Rows of a file, and where it is kept what is done with them.
pub(in super::super) struct Job {
    pub(super) input: Input,
    pub(super) journal: PathBuf,
    /// Where the credentials of new users are kept, if they are taken into use.
    pub(super) users: Option<PathBuf>,
    /// Where standard input is kept, if the rows come from there.
    pub(super) spooled: Option<PathBuf>,
}

impl Job {
    /// Checks the whole input, and whether there is a journal. `None`: the command has no input file.
    pub(in super::super) fn prepare(
        kind: Kind,
        options: &BulkOptions,
        users: Option<&Path>,
        is_dry_run: bool,
    ) -> Result<Option<Self>, Failure> {
        let Some(from) = &options.from else { return Ok(None) };
        let journal = journal_path(from, options.journal.as_deref())?;
        let found = match fs::symlink_metadata(&journal) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::usage(format!("the journal {}: {error}", journal.display()))),
        };
        if journal == *from {
            let problem = format!("--journal {}: it is not a file for a journal alone", journal.display());
            return Err(Failure::usage(problem));
        }
        let is_spooled = from.as_os_str() == "-";
        // An empty one was not begun. A run that was has its standard input beside its journal.
        if found.as_ref().is_some_and(|found| found.is_file() && found.len() > 0)
            && !options.resume
            && (!is_dry_run || is_spooled)
        {
            let problem = format!("{} is the journal of an earlier run", journal.display());
            let hint = "--resume goes on with it; for other rows, name another journal with --journal";
            return Err(Failure::usage(problem).with_hint(hint));
        }
        if found.is_none() && options.resume {
            let problem = format!("there is no journal {}: nothing to go on with", journal.display());
            return Err(Failure::usage(problem).with_hint("leave out --resume to begin"));
        }
        if let Some(users) = users {
            check_folder(users)?;
        }
        let (users, spooled) = (users.map(Path::to_owned), spool_path(&journal));
        if !is_spooled {
            return Ok(Some(Self { input: Input::check(from, kind)?, journal, users, spooled: None }));
        }
        if options.resume {
            let problem = format!("standard input was kept in {}: give --from {0}", spooled.display());
            return Err(Failure::usage(problem));
        }
        spool(&spooled).map_err(|error| {
            Failure::local(format_args!("standard input cannot be kept in {}", spooled.display()), &error)
        })?;
        match Input::check(&spooled, kind) {
            Ok(input) => Ok(Some(Self { input, journal, users, spooled: Some(spooled) })),
            Err(failure) => {
                let _ = fs::remove_file(&spooled);
                Err(failure)
            }
        }
    }

    /// What is done, in the words of a question.
    pub(in super::super) fn change(&self) -> String {
        let Input { rows, path, .. } = &self.input;
        match self.input.kind {
            Kind::Close => format!("Close the {rows} provisions of {}", path.display()),
            Kind::Create => format!("Create the {rows} users of {}", path.display()),
        }
    }

    pub(super) fn operation(&self) -> &'static Operation {
        match self.input.kind {
            Kind::Close => &Operation::UPDATE_PROVISION,
            Kind::Create => &Operation::CREATE_PROVISION,
        }
    }

    /// How to go on: the command line as it was, for a shell. `None` if nothing was begun.
    pub(super) fn resumption(&self) -> Option<String> {
        if !self.is_begun() {
            return None;
        }
        let mut words = vec!["bunq-partner".to_owned()];
        let mut last = OsString::new();
        for word in std::env::args_os().skip(1) {
            let spooled = match (&self.spooled, last.to_str(), word.to_str()) {
                (Some(spooled), Some("--from"), Some("-")) => Some(spooled.clone().into_os_string()),
                (Some(spooled), _, Some("--from=-")) => {
                    Some([OsString::from("--from="), spooled.into()].into_iter().collect())
                }
                _ => None,
            };
            words.push(quoted(&spooled.unwrap_or_else(|| word.clone()).to_string_lossy()));
            last = word;
        }
        if !words.iter().any(|word| word == "--resume") {
            words.push("--resume".into());
        }
        Some(format!("`{}` goes on", words.join(" ")))
    }

    fn is_begun(&self) -> bool {
        fs::metadata(&self.journal).is_ok_and(|found| found.len() > 0)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Standard input is kept for another run, of which there is none if this one was not begun.
        if let Some(spooled) = &self.spooled
            && !self.is_begun()
        {
            let _ = fs::remove_file(spooled);
        }
    }
}

/// Refuses a folder in which nothing can be stored safely, before users are created whose tokens would be lost.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    if !folder.is_dir() {
        return Err(Failure::usage(format!("the folder {} does not exist: make it first", folder.display())));
    }
    users::check(folder)
        .map_err(|error| Failure::usage(format!("nothing can be stored in the folder {}: {error}", folder.display())))
}

/// Where the journal is.
pub(super) fn journal_path(from: &Path, given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(journal) => Ok(journal.to_owned()),
        None if from.as_os_str() == "-" => {
            Err(Failure::usage("--from -: say with --journal where the journal is to be"))
        }
        None => Ok(beside(from, ".journal")),
    }
}

/// Where standard input is kept.
fn spool_path(journal: &Path) -> PathBuf {
    beside(journal, ".input")
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(extension);
    path.into()
}

/// Keeps standard input in a file of its owner's alone, because a run that is cut off needs it again.
fn spool(path: &Path) -> io::Result<()> {
    // One is left of a run that was not begun.
    let _ = fs::remove_file(path);
    let mut file = files::create_kept(path)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.sync_all()
}
