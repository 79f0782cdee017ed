//! `close --from`, `create --from` and `report`: many rows of a file, with a journal.
//!
//! The library does the work; here are the input ([`input`], [`rows`], [`csv_records`], [`json_objects`], [`mistakes`], [`job`]), which
//! provisions its rows mean ([`looks`]), what is shown meanwhile ([`meter`]), what becomes of created users ([`activation`]), the report
//! ([`report`]), and the failed rows as a new input ([`new_input`]).

mod activation;
mod csv_records;
mod input;
mod job;
mod json_objects;
mod looks;
mod meter;
mod mistakes;
mod new_input;
pub(super) mod report;
mod rows;

use std::pin::pin;
use std::time::Duration;

use bunq_partner::{Bulk, BulkOperation, Client, Error, FileJournal, Operation, RowRecord, Shutdown};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use self::activation::{Activation, ActivationEvent};
use self::input::Input;
use self::job::{Begin, FoundIds, Job, Plan, earlier_journal, open_input};
pub(super) use self::job::{Order, RowOptions};
use self::meter::Meter;
use super::arguments::OutputFormat;
use super::confirmation::{check_attended, confirm};
use super::connection::BankConnection;
use super::exit::{Failure, told};
use super::interrupt::{self, until_interrupted};
use super::invocation::Invocation;
use super::output::{write_text, write_value};
use super::release::Release;

/// How long nothing happens before that is said.
const SILENCE: Duration = Duration::from_secs(15);

/// Says what would be done, and how long it takes at bunq's rate limits.
pub(super) async fn plan(invocation: &Invocation, plan: Plan) -> Result<(), Failure> {
    let (operation, activates) = (plan.operation, plan.activates);
    let (input, called) = (plan.input().await?, operation.operation());
    let rows = input.rows;
    let connection = &invocation.connection;
    let sending = times(connection.interval(called), rows);
    let opening = if activates { times(connection.interval(&Operation::CREATE_SESSION), rows) } else { Duration::ZERO };
    let takes = sending.max(opening);
    let is_watched = operation == BulkOperation::Create && !activates;
    let capacity = if is_watched { Some(activation::capacity(connection, &invocation.client()?)) } else { None };
    let looked_up = match operation {
        BulkOperation::Create => rows,
        BulkOperation::Close => input.looks,
    };
    let (looks, looking) = looking(&invocation.connection, looked_up);
    let json = json!({
        "rows": rows,
        "operation": called.id,
        "calls": called.rate_limit.calls,
        "per_seconds": called.rate_limit.per.as_secs(),
        "seconds": takes.as_secs(),
        "look_rows": looked_up,
        "max_look_calls": looks,
        "max_look_seconds": looking.as_secs(),
        "max_waiting_users": capacity,
    });
    if invocation.format() != OutputFormat::Table {
        return Ok(write_value(invocation.format(), &json)?);
    }
    if let Some(capacity) = capacity.filter(|capacity| rows > *capacity as u64) {
        invocation.note(&format!(
            "the run stops at {capacity} users until others are activated: --activate FOLDER activates them, all in {}",
            meter::words(times(connection.interval(&Operation::CREATE_SESSION), rows))
        ));
    }
    let takes = meter::words(takes);
    let mut text = format!("{rows} rows: {} calls in {takes}\n", called.id);
    if looks > 0 {
        let why = match operation {
            BulkOperation::Create => "whether the users are there already".to_owned(),
            BulkOperation::Close => format!("{looked_up} rows need a look at bunq"),
        };
        let (called, takes) = (Operation::LIST_PROVISIONS.id, meter::words(looking));
        text += &format!("before them at most {looks} calls of {called} in {takes}: {why}\n");
    }
    Ok(write_text(&text)?)
}

/// The most calls that look up so many rows, which are a page or a read for each, or both, and how long these take.
fn looking(connection: &BankConnection, rows: u64) -> (u64, Duration) {
    let calls = rows.saturating_mul(2);
    (calls, times(connection.interval(&Operation::LIST_PROVISIONS), calls))
}

fn times(interval: Duration, rows: u64) -> Duration {
    interval.saturating_mul(u32::try_from(rows).unwrap_or(u32::MAX))
}

/// Closes or creates what the input says, after a confirmation in production.
pub(super) async fn run(invocation: &Invocation, order: Begin) -> Result<(), Failure> {
    // From now on a signal does not end the process by itself.
    let mut first = pin!(interrupt::listen()?);
    let client = invocation.client()?;
    let begin = async {
        // No user is created whose token could not be kept.
        if order.activates() {
            client.users().check_custody().await?;
        }
        let (mut job, journal) = order.begin().await?;
        // Nothing is looked up for a question that nobody can answer.
        check_attended(invocation, Some(&job.change()))?;
        job.found = look(invocation, &client, &job, &journal).await?;
        confirm(invocation, Some(&job.change()), job.closing()?).await?;
        Ok::<_, Failure>((job, journal))
    };
    let (job, journal) = tokio::select! {
        biased;
        begun = begin => begun?,
        () = &mut first => return Err(Failure::interrupted(None)),
    };
    let shutdown = invocation.connection.shutdown.clone();
    let is_finished = is_finished(&journal, &job.input).await?;
    let (operation, requests) = (job.input.operation, stream::iter(job.requests()?));
    let activation = match operation {
        BulkOperation::Close => None,
        // No user is created, so none has to wait for a place.
        BulkOperation::Create if is_finished && !job.activates => None,
        BulkOperation::Create => {
            let custody = job.custody.clone();
            Some(Activation::begin(&invocation.connection, &client, job.activates, custody, shutdown.clone()))
        }
    };
    let release = match operation {
        BulkOperation::Close => Release::among(invocation, job.closings()?).await,
        BulkOperation::Create => Release::none(),
    };
    let bulk = match &activation {
        Some(activation) => client.provisions().bulk(operation, activation.gate(requests)),
        None => client.provisions().bulk(operation, requests),
    };
    let bulk = bulk.journal(journal).input(&job.input.digest).shutdown(&shutdown);
    let mut meter = Meter::new(invocation, &job.input);
    let done = tokio::select! {
        biased;
        done = drive(invocation, &client, bulk, &shutdown, &mut meter, activation) => done,
        failure = interrupted(invocation, &shutdown, first) => Err(failure),
    };
    let (is_complete, without_receipt) = (meter.is_complete(), meter.without_receipt);
    drop(meter);
    let done = done.and_then(|unused| match is_complete {
        true => Ok(unused),
        false => Err(unused.unwrap_or_else(|| Failure::interrupted(None))),
    });
    let unused = done.map_err(|failure| failure.resumed_by(job.resumption()))?;
    if let Some(copy) = &job.copy {
        invocation.note(&format!("standard input is kept in {} for the report", copy.path.display()));
    }
    if invocation.connection.receipts.is_some() && without_receipt > 0 {
        invocation
            .note(&format!("{without_receipt} rows have no receipt: bunq's response was lost, or there was none"));
    }
    let released = async {
        release.remove_closed(invocation, &client).await;
        Ok(())
    };
    until_interrupted(None, released).await?;
    let journal = FileJournal::read(&job.journal).await?;
    let report = report::write(invocation.view.clone(), &job.input, &journal, false, job.resumption());
    until_interrupted(None, report).await?;
    unused.map_or(Ok(()), |failure| Err(failure.resumed_by(job.resumption())))
}

/// Looks up the rows that do not name a provision for certain.
async fn look(invocation: &Invocation, client: &Client, job: &Job, journal: &FileJournal) -> Result<FoundIds, Failure> {
    let looks = job.input.looks;
    if looks > 0 && !job.is_resumed {
        let (calls, time) = looking(&invocation.connection, looks);
        let takes = meter::words(time);
        invocation.note(&format!("{looks} rows need a look at bunq first: at most {calls} calls in {takes}"));
    }
    looks::find(&client.provisions(), job, journal).await
}

/// Whether nothing more is to be done for any row. Fails if the journal has the entry of another row.
async fn is_finished(journal: &FileJournal, input: &Input) -> Result<bool, Failure> {
    let mut is_finished = true;
    for (row, place) in input.rows()?.zip(1..) {
        is_finished &= input.last(journal, place, &row).await?.is_some_and(|last| last.state.is_final());
    }
    Ok(is_finished)
}

/// Ends the run at the first signal when nothing is on the wire any more, and at the second at once.
pub(super) async fn interrupted(
    invocation: &Invocation,
    shutdown: &Shutdown,
    first: impl Future<Output = ()>,
) -> Failure {
    first.await;
    // Listens before the note is printed.
    let second = match interrupt::listen() {
        Ok(second) => second,
        Err(failure) => return failure,
    };
    shutdown.begin();
    invocation.note(
        "no request begins any more; those on the wire have 5 s to be answered, and a second Ctrl-C stops at once",
    );
    second.await;
    Failure::interrupted(None)
}

/// Whether the end of the run has stopped a row.
fn is_stopped(row: &RowRecord) -> bool {
    !row.state.is_final() && row.error.is_none()
}

/// Goes through the outcomes, and what becomes of new users. Returns the failure of those that are not activated.
async fn drive(
    invocation: &Invocation,
    client: &Client,
    bulk: Bulk,
    shutdown: &Shutdown,
    meter: &mut Meter<'_>,
    mut activation: Option<Activation>,
) -> Result<Option<Failure>, Failure> {
    let (mut rows, mut failures) = (pin!(bulk.stream()), pin!(client.failures()));
    let mut outcome = Ok(());
    let (mut is_over, mut used, mut was_held) = (false, 0_u64, false);
    let (mut unused, mut first_unused) = (0_u64, None);
    // When a row has ended last, how long after it that is said, and why none has.
    let (mut last_row, mut silence, mut cause) = (Instant::now(), SILENCE, None);
    loop {
        let is_held = activation.as_ref().is_some_and(Activation::is_full);
        if is_held {
            last_row = Instant::now();
        } else {
            meter.hold(None);
        }
        let event = async {
            match &mut activation {
                Some(activation) => activation.event().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            row = rows.next(), if !is_over => match row {
                Some(Ok(row)) => {
                    (last_row, silence, cause) = (Instant::now(), SILENCE, None);
                    if !is_stopped(&row) {
                        meter.add(&row);
                    }
                    if let Err(failure) = invocation.connection.check_receipts()
                        && outcome.is_ok()
                    {
                        shutdown.begin();
                        outcome = Err(failure);
                    }
                    activation.iter().for_each(|activation| activation.add(&row));
                }
                Some(Err(error)) => {
                    // Users are not activated either.
                    shutdown.begin();
                    outcome = Err(error.into());
                }
                None => {
                    is_over = true;
                    match &mut activation {
                        Some(activation) => activation.end(),
                        None => return outcome.map(|()| None),
                    }
                }
            },
            Some(failure) = failures.next(), if !is_over && !shutdown.has_begun() => {
                if cause.as_ref().map(Error::kind) != Some(failure.kind()) {
                    meter.stands_still(&failure);
                }
                cause = Some(failure);
            }
            () = sleep_until(last_row + silence), if !is_over && !is_held => {
                let cause = cause.as_ref().map_or("bunq is asked what is done already, or has not answered yet".to_owned(), told);
                let silent = meter::words(silence);
                meter.note(&format!(
                    "no row has ended for {silent}: {cause}; it is tried for an hour, and Ctrl-C ends it"
                ));
                silence *= 4;
            }
            event = event => match event {
                ActivationEvent::Over { left } => {
                    let unused = unused + left as u64;
                    if left > 0 {
                        first_unused.get_or_insert_with(|| Failure::interrupted(None));
                    }
                    let failure = first_unused.map(|failure: Failure| {
                        failure.saying(format!("{unused} users are not activated, and their credentials expire"))
                    });
                    return outcome.map(|()| failure);
                }
                ActivationEvent::Activated => {
                    used += 1;
                    meter.used(used);
                }
                ActivationEvent::Delayed(external_uuid, error) => meter.note(&format!(
                    "no session can be opened for the user {external_uuid}: {}; others go first, an outage is waited out for an \
                     hour, and Ctrl-C ends it",
                    told(&error)
                )),
                ActivationEvent::Failed(external_uuid, error) => {
                    meter.failed(&format!("the user {external_uuid} is not activated"), &error);
                    unused += 1;
                    first_unused.get_or_insert_with(|| Failure::from(error).reported());
                }
                ActivationEvent::Expired(count) => meter.note(&format!("the credentials of {count} users have expired unused: `bunq-partner users reset ID` gets others")),
                ActivationEvent::Held { waiting, by } => {
                    meter.hold(Some(by));
                    if !std::mem::replace(&mut was_held, true) {
                        meter.note(&format!(
                            "no more than {waiting} users wait to be activated at a time, because bunq lets one session be opened \
                             in 30 s and their credentials expire: {by}"
                        ));
                    }
                }
            },
        }
    }
}
