//! Which rows, from where, and where it is kept what is done with them.
//!
//! The journal is locked first, by one process at a time; then standard input is read, if the rows come from there.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use bunq_partner::text::quoted;
use bunq_partner::{
    BulkOperation, BulkRequest, ErrorKind, FileJournal, Journal as _, JournalStart, ProvisionId, files,
};

use super::super::arguments::BulkOptions;
use super::super::closing::Closing;
use super::super::exit::Failure;
use super::super::folders;
use super::super::interrupt::blocking;
use super::super::standard_input::announce;
use super::input::{Input, MAX_LEN};

/// What standard input is called in messages.
const STANDARD_INPUT: &str = "standard input";

/// What the program waits for on standard input.
const ROWS: &str = "rows";

/// How many rows of a closing are shown before the question.
const MAX_SHOWN: usize = 3;

/// The options of a command that takes rows.
#[derive(Clone, Copy)]
pub(in super::super) struct RowOptions<'a> {
    pub(in super::super) operation: BulkOperation,
    pub(in super::super) from: &'a Path,
    pub(in super::super) bulk: &'a BulkOptions,
    /// Whether new users are activated.
    pub(in super::super) activates: bool,
}

/// What is to be done, before standard input is read.
pub(in super::super) enum Order {
    Plan(Plan),
    Run(Begin),
}

/// Rows whose number is wanted, and nothing else.
pub(in super::super) struct Plan {
    pub(super) operation: BulkOperation,
    /// `None`: standard input.
    file: Option<Input>,
    pub(super) activates: bool,
}

/// Rows of which something is to be done.
pub(in super::super) struct Begin {
    operation: BulkOperation,
    /// `None`: standard input.
    file: Option<Input>,
    journal: PathBuf,
    activates: bool,
    custody: Option<PathBuf>,
    is_resumed: bool,
}

/// The ids of closings that have none of their own, by the numbers of their rows.
pub(super) type FoundIds = HashMap<u64, ProvisionId>;

/// Rows of a file, and where it is kept what is done with them.
pub(super) struct Job {
    pub(super) input: Input,
    pub(super) journal: PathBuf,
    /// Whether new users are activated.
    pub(super) activates: bool,
    /// The folder in which they are kept then, if it is one.
    pub(super) custody: Option<PathBuf>,
    /// Standard input, if the rows come from there.
    pub(super) copy: Option<Copy>,
    pub(super) is_resumed: bool,
    pub(super) found: FoundIds,
}

impl Order {
    /// Checks what can be checked before standard input is read or a journal begun. `custody` is the folder in which new users are kept,
    /// if it is one.
    pub(in super::super) fn new(
        rows: &RowOptions<'_>,
        custody: Option<&Path>,
        is_dry_run: bool,
    ) -> Result<Self, Failure> {
        let RowOptions { operation, from, bulk: options, activates } = *rows;
        let is_from_stdin = from.as_os_str() == "-";
        if let Some(folder) = custody.filter(|_| activates) {
            check_folder(folder)?;
        }
        if is_dry_run {
            let file = if is_from_stdin { None } else { Some(Input::open(from, operation)?) };
            return Ok(Self::Plan(Plan { operation, file, activates }));
        }
        let journal = if options.resume {
            earlier_journal(from, options.journal.as_deref(), "leave out --resume to begin")?
        } else {
            journal_path(from, options.journal.as_deref())?
        };
        let file = if is_from_stdin { None } else { Some(open_input(from, &journal, operation)?) };
        let custody = custody.map(Path::to_owned);
        Ok(Self::Run(Begin { operation, file, journal, activates, custody, is_resumed: options.resume }))
    }
}

impl Plan {
    /// The rows. It may wait for standard input, of which nothing is kept; dropping the future does not.
    pub(super) async fn input(self) -> Result<Input, Failure> {
        let Self { operation, file, .. } = self;
        if let Some(input) = file {
            return Ok(input);
        }
        announce(ROWS);
        let name = Path::new(STANDARD_INPUT);
        let checked = blocking(move || Ok(Input::check(name, io::stdin().lock(), operation, name))).await;
        checked.map_err(|error| Failure::local(STANDARD_INPUT, &error))?
    }
}

impl Begin {
    /// Whether new users are activated.
    pub(super) fn activates(&self) -> bool {
        self.activates
    }

    /// Locks the journal, and then reads standard input, if the rows come from there.
    pub(super) async fn begin(self) -> Result<(Job, FileJournal), Failure> {
        let Self { operation, file, journal: path, activates, custody, is_resumed } = self;
        let journal = FileJournal::open(&path).await?;
        let begun = match journal.start().await? {
            JournalStart::Begun(header) => Some(header),
            _ => None,
        };
        if !is_resumed && begun.is_some() {
            let problem = format!("{} is the journal of an earlier run", path.display());
            let hint = "--resume goes on with it; for other rows, name another journal with --journal";
            return Err(Failure::usage(problem).with_hint(hint));
        }
        let (input, copy) = match file {
            Some(input) => (input, None),
            None => take_standard_input(&path, operation).await.map(|(input, copy)| (input, Some(copy)))?,
        };
        // Before anybody is asked about rows with which the run cannot go on.
        if let Some(header) = &begun {
            header.bulk_operation()?;
            input.check_journal(header.input.as_deref())?;
        }
        // With --resume on a journal that was not begun, nothing is known of any row either.
        let is_resumed = begun.is_some();
        Ok((Job { input, journal: path, activates, custody, copy, is_resumed, found: FoundIds::new() }, journal))
    }
}

impl Job {
    /// What is done, in the words of a question.
    pub(super) fn change(&self) -> String {
        let (rows, from) = (self.input.rows, self.name());
        match self.input.operation {
            BulkOperation::Close => format!("Close the {rows} provisions of {from}"),
            BulkOperation::Create => format!("Create the {rows} users of {from}"),
        }
    }

    /// What the input is called in messages.
    pub(super) fn name(&self) -> String {
        if self.copy.is_some() { STANDARD_INPUT.into() } else { self.input.path.display().to_string() }
    }

    /// What is requested, row by row. It ends at a row of which nothing is known to request.
    pub(super) fn requests(&self) -> Result<impl Iterator<Item = BulkRequest> + Send + use<>, Failure> {
        let found = self.found.clone();
        Ok(self.input.rows()?.zip(1..).map_while(move |(row, place)| row.request(found.get(&place).copied())))
    }

    /// The ids of the provisions that are closed.
    pub(super) fn closings(&self) -> Result<impl Iterator<Item = ProvisionId> + Send + use<>, Failure> {
        Ok(self.requests()?.filter_map(|request| match request {
            BulkRequest::Close(id) => Some(id),
            BulkRequest::Create(_) => None,
        }))
    }

    /// The first of them, if the rows are closings.
    pub(super) fn closing(&self) -> Result<Option<Closing>, Failure> {
        let first: Vec<_> = self.closings()?.take(MAX_SHOWN).collect();
        Ok((!first.is_empty()).then(|| Closing::new(first, self.input.rows)))
    }

    /// How to go on: the command line as it was, for a shell. `None` if nothing was begun.
    pub(super) fn resumption(&self) -> Option<String> {
        if !is_begun(&self.journal) {
            return None;
        }
        let mut words = vec!["bunq-partner".to_owned()];
        let mut last = OsString::new();
        for word in std::env::args_os().skip(1) {
            let kept = match (&self.copy, last.to_str(), word.to_str()) {
                (Some(copy), Some("--from"), Some("-")) => Some(copy.path.clone().into_os_string()),
                (Some(copy), _, Some("--from=-")) => {
                    Some([OsString::from("--from="), copy.path.clone().into()].into_iter().collect())
                }
                _ => None,
            };
            words.push(quoted(&kept.unwrap_or_else(|| word.clone()).to_string_lossy()));
            last = word;
        }
        if !words.iter().any(|word| word == "--resume") {
            words.push("--resume".into());
        }
        Some(format!("`{}` goes on", words.join(" ")))
    }
}

/// The copy of standard input, for the run and for one that goes on with it. It holds what is known of people, and is removed if
/// the run was not begun.
pub(super) struct Copy {
    pub(super) path: PathBuf,
    journal: PathBuf,
}

impl Drop for Copy {
    fn drop(&mut self) {
        if !is_begun(&self.journal) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Copies standard input to a file that only its owner can read. If the future is dropped, the copy is removed.
async fn take_standard_input(journal: &Path, operation: BulkOperation) -> Result<(Input, Copy), Failure> {
    let path = copy_path(journal);
    let failed = |error: &io::Error| {
        Failure::local(format_args!("{STANDARD_INPUT} cannot be kept in {}", path.display()), error)
    };
    let mut file = match files::create_kept(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(left_over(&path, journal)),
        made => made.map_err(|error| failed(&error))?,
    };
    let copy = Copy { path: path.clone(), journal: journal.to_owned() };
    announce(ROWS);
    let copied = blocking(move || {
        // What is more than that is refused.
        io::copy(&mut io::stdin().lock().take(MAX_LEN + 1), &mut file)?;
        file.sync_all()?;
        file.rewind()?;
        Ok(file)
    });
    let file = copied.await.map_err(|error| failed(&error))?;
    Ok((Input::check(&path, file, operation, Path::new(STANDARD_INPUT))?, copy))
}

/// An earlier copy, which may still be needed.
fn left_over(copy: &Path, journal: &Path) -> Failure {
    let [shown, journal] = [copy, journal].map(|path| quoted(&path.to_string_lossy()));
    let problem = format!("{} is there already: a run was killed before it began", copy.display());
    Failure::usage(problem).with_hint(format!(
        "if it is whole, `--from {shown} --journal {journal}` takes its rows; otherwise remove it, and give the rows again"
    ))
}

/// Opens the input of a run with this journal. A copy of standard input is a file that is kept.
pub(super) fn open_input(from: &Path, journal: &Path, operation: BulkOperation) -> Result<Input, Failure> {
    if *from != copy_path(journal) {
        return Input::open(from, operation);
    }
    let file = files::open_kept(from).map_err(|error| Failure::usage(format!("{}: {error}", from.display())))?;
    Input::check(from, file, operation, from)
}

/// Refuses a folder in which nothing can be stored safely, before users are created whose tokens would be lost.
fn check_folder(folder: &Path) -> Result<(), Failure> {
    if !folder.exists() {
        return Err(Failure::usage(format!(
            "the folder {} does not exist: make it first, with `mkdir -m 700 FOLDER`",
            folder.display()
        )));
    }
    folders::check_custody(folder)
        .map_err(|error| Failure::usage(format!("nothing can be stored in the folder {}: {error}", folder.display())))
}

/// The path of the journal of an earlier run, whose rows are in a file. `hint` is given if it is missing.
pub(super) fn earlier_journal(from: &Path, given: Option<&Path>, hint: &str) -> Result<PathBuf, Failure> {
    let journal = journal_path(from, given)?;
    check_is_there(&journal).map_err(|failure| failure.or_hint(Some(hint.into())))?;
    if from.as_os_str() == "-" {
        let copy = copy_path(&journal);
        return Err(Failure::usage(format!("standard input was kept in {}: give --from {0}", copy.display())));
    }
    Ok(journal)
}

/// Where the journal is.
fn journal_path(from: &Path, given: Option<&Path>) -> Result<PathBuf, Failure> {
    match given {
        Some(journal) if journal == from => {
            let problem = format!("--journal {}: it is the input: give the journal a file of its own", from.display());
            Err(Failure::usage(problem))
        }
        Some(journal) => Ok(journal.to_owned()),
        None if from.as_os_str() == "-" => {
            Err(Failure::usage("--from -: say with --journal where the journal is to be"))
        }
        None => Ok(beside(from, ".journal")),
    }
}

/// Refuses a journal that is missing.
fn check_is_there(journal: &Path) -> Result<(), Failure> {
    let Err(error) = fs::symlink_metadata(journal) else { return Ok(()) };
    Err(Failure::of_kind(
        ErrorKind::Storage,
        match error.kind() {
            io::ErrorKind::NotFound => format!("there is no journal {}: no run has begun with it", journal.display()),
            _ => format!("the journal {}: {error}", journal.display()),
        },
    ))
}

/// Whether a run was begun with a journal: an empty one says nothing.
fn is_begun(journal: &Path) -> bool {
    fs::metadata(journal).is_ok_and(|found| found.len() > 0)
}

/// Where standard input is kept.
fn copy_path(journal: &Path) -> PathBuf {
    beside(journal, ".input")
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(extension);
    path.into()
}
