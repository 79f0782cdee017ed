//! `close --from`, `create --from` and `report`: many rows of a file, with a journal.
//!
//! The library does the work; here are the input ([`input`]), what is shown meanwhile ([`meter`]), what becomes of created
//! users ([`uptake`]), and the report ([`report`]).

pub(super) mod input;
mod meter;
pub(super) mod report;
mod uptake;
mod users;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use bunq_partner::{Bulk, FileJournal, Operation, Shutdown};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;

use self::input::{Input, Kind, Row};
use self::meter::Meter;
use self::uptake::{Event, Uptake};
use super::arguments::{BulkOptions, Format};
use super::exit::Failure;
use super::interrupt;
use super::invocation::Invocation;
use super::output::{write_text, write_value};

/// Rows of a file, and where it is kept what is done with them.
pub(super) struct Job {
    pub(super) input: Input,
    journal: PathBuf,
    /// Where the credentials of new users are kept, if they are taken into use.
    users: Option<PathBuf>,
}

impl Job {
    /// Checks the whole input, and whether there is a journal. `None`: the command has no input file.
    pub(super) fn prepare(
        kind: Kind,
        options: &BulkOptions,
        users: Option<&Path>,
        is_dry_run: bool,
    ) -> Result<Option<Self>, Failure> {
        let Some(from) = &options.from else { return Ok(None) };
        let journal = journal_path(from, options.journal.as_deref())?;
        let exists = fs::symlink_metadata(&journal).is_ok();
        if exists && !options.resume && !is_dry_run {
            let problem = format!("{} is the journal of an earlier run", journal.display());
            return Err(Failure::usage(problem).with_hint("--resume goes on with it; --journal begins another"));
        }
        if !exists && options.resume {
            let problem = format!("there is no journal {}: nothing to go on with", journal.display());
            return Err(Failure::usage(problem).with_hint("leave out --resume to begin"));
        }
        if let Some(users) = users.filter(|users| !users.is_dir()) {
            return Err(Failure::usage(format!("the folder {} does not exist: make it first", users.display())));
        }
        let users = users.map(Path::to_owned);
        if from.as_os_str() != "-" {
            let input = Input::check(from, kind)?;
            return Ok(Some(Self { input, journal, users }));
        }
        let kept = spool_path(&journal);
        if options.resume {
            let problem = format!("standard input was kept in {}: give --from {0}", kept.display());
            return Err(Failure::usage(problem));
        }
        spool(&kept).map_err(|error| {
            Failure::local(format_args!("standard input cannot be kept in {}", kept.display()), &error)
        })?;
        let input = Input::check(&kept, kind);
        if input.is_err() || is_dry_run {
            // Nothing was done with it.
            let _ = fs::remove_file(&kept);
        }
        Ok(Some(Self { input: input?, journal, users }))
    }

    /// What is done, in the words of a question.
    pub(super) fn change(&self) -> String {
        let Input { rows, path, .. } = &self.input;
        match self.input.kind {
            Kind::Close => format!("Close the {rows} provisions of {}", path.display()),
            Kind::Create => format!("Create the {rows} users of {}", path.display()),
        }
    }

    fn operation(&self) -> &'static Operation {
        match self.input.kind {
            Kind::Close => &Operation::UPDATE_PROVISION,
            Kind::Create => &Operation::CREATE_PROVISION,
        }
    }

    /// How to go on.
    fn resumption(&self) -> String {
        let command = match self.input.kind {
            Kind::Close => "close",
            Kind::Create => "create",
        };
        let users = self.users.iter().map(|users| format!(" --take-into-use {}", users.display())).collect::<String>();
        format!(
            "`bunq-partner {command} --from {} --journal {}{users} --resume` goes on",
            self.input.path.display(),
            self.journal.display()
        )
    }
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
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.flush()?;
    file.sync_all()
}

/// Says what would be done, and how long it takes at bunq's rate limits.
pub(super) fn plan(invocation: &Invocation, job: &Job) -> Result<(), Failure> {
    let (rows, operation) = (job.input.rows, job.operation());
    let connection = &invocation.connection;
    let sending = times(connection.interval(operation), rows);
    let opening =
        if job.users.is_some() { times(connection.interval(&Operation::CREATE_SESSION), rows) } else { Duration::ZERO };
    let takes = sending.max(opening);
    let json = json!({
        "rows": rows,
        "operation": operation.id,
        "calls": operation.rate_limit.calls,
        "per_seconds": operation.rate_limit.per.as_secs(),
        "seconds": takes.as_secs(),
    });
    if invocation.format() != Format::Table {
        return Ok(write_value(invocation.format(), &json)?);
    }
    let takes = meter::words(takes);
    Ok(write_text(&format!("{rows} rows: {} calls in {takes}\n", operation.id))?)
}

fn times(interval: Duration, rows: u64) -> Duration {
    interval.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX))
}

/// Closes or creates what the input says.
pub(super) async fn run(invocation: &Invocation, job: &Job) -> Result<(), Failure> {
    let client = invocation.client()?;
    let journal = FileJournal::open(&job.journal).await?;
    let shutdown = Shutdown::default();
    let rows = stream::iter(job.input.rows()?);
    let (bulk, uptake) = match job.input.kind {
        Kind::Close => {
            let ids = rows.filter_map(async |row| if let Row::Close(id) = row { Some(id) } else { None });
            (client.provisions().close_all(ids), None)
        }
        Kind::Create => {
            let uptake = Uptake::begin(&invocation.connection, &client, job.users.clone(), shutdown.clone());
            let new = rows.filter_map(async |row| if let Row::Create(new) = row { Some(*new) } else { None });
            (client.provisions().create_all(uptake.gate(new)), Some(uptake))
        }
    };
    let bulk = bulk.journal(journal).input(&job.input.digest).shutdown(&shutdown);
    let mut meter = Meter::new(invocation, &job.input);
    let done = tokio::select! {
        biased;
        done = drive(invocation, bulk, &shutdown, &mut meter, uptake) => done,
        failure = interrupted(invocation, &shutdown) => Err(failure),
    };
    let is_complete = meter.is_complete();
    drop(meter);
    if fs::metadata(&job.journal).is_ok_and(|found| found.len() == 0) {
        // Nothing was begun.
        let _ = fs::remove_file(&job.journal);
    }
    let done = done.and_then(|()| match (is_complete, shutdown.has_begun()) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::interrupted(None)),
        (false, false) => Err(Failure::usage(format!("{} has changed since it was checked", job.input.path.display()))),
    });
    done.map_err(|failure| failure.or_hint(job.resumption()))?;
    let journal = FileJournal::read(&job.journal).await?;
    report::write(invocation.format(), &job.input, &journal, false)
        .await
        .map_err(|failure| failure.or_hint(job.resumption()))
}

/// Ends the run at the first signal after the rows in progress, and at the second at once.
async fn interrupted(invocation: &Invocation, shutdown: &Shutdown) -> Failure {
    let both = async {
        interrupt::listen()?.await;
        // Before anybody is told of it.
        let second = interrupt::listen()?;
        shutdown.begin();
        invocation.note("the rows in progress end first; a second Ctrl-C stops at once");
        second.await;
        io::Result::Ok(())
    };
    match both.await {
        Ok(()) => Failure::interrupted(None),
        Err(error) => Failure::local("signals cannot be listened to", &error),
    }
}

/// Goes through the outcomes, and what becomes of new users.
async fn drive(
    invocation: &Invocation,
    bulk: Bulk,
    shutdown: &Shutdown,
    meter: &mut Meter<'_>,
    mut uptake: Option<Uptake>,
) -> Result<(), Failure> {
    let mut rows = pin!(bulk.stream());
    let mut outcome = Ok(());
    let (mut is_over, mut used, mut is_held) = (false, 0_u64, false);
    loop {
        let event = async {
            match &mut uptake {
                Some(uptake) => uptake.event().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            row = rows.next(), if !is_over => match row {
                Some(Ok(row)) => {
                    meter.add(&row);
                    if let Err(failure) = invocation.connection.check_receipts()
                        && outcome.is_ok()
                    {
                        shutdown.begin();
                        outcome = Err(failure);
                    }
                    uptake.iter().for_each(|uptake| uptake.add(&row));
                }
                Some(Err(error)) => outcome = Err(error.into()),
                None => {
                    is_over = true;
                    match &mut uptake {
                        Some(uptake) => uptake.end(),
                        None => return outcome,
                    }
                }
            },
            event = event => match event {
                Event::Over => return outcome,
                Event::InUse => {
                    used += 1;
                    meter.used(used);
                }
                Event::Failed(external_uuid, error) => {
                    meter.failed(&format!("the user {external_uuid} is not taken into use"), &error);
                    if outcome.is_ok() {
                        outcome = Err(Failure::from(error).reported());
                    }
                }
                Event::Expired(count) => meter.note(&format!("the credentials of {count} users have expired unused: `bunq-partner reset-token` gets others")),
                Event::Held { waiting } if !std::mem::replace(&mut is_held, true) => meter.note(&format!(
                    "{waiting} users wait to be taken into use, and bunq lets one session be opened in 30 s: no more are created \
                     than can be before their credentials expire"
                )),
                Event::Held { .. } => {}
            },
        }
    }
}
