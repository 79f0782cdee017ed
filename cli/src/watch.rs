//! `watch`: every change of some provisions, or of all that are under way.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;

use bunq_partner::{
    Client, Error, ErrorKind, PageSize, Provision, ProvisionId, ProvisionStatus, Provisions, WaitingFor,
};
use futures_util::future::try_join_all;
use futures_util::stream::{self, Stream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::{Duration, Instant, sleep};

use super::arguments::OutputFormat;
use super::exit::Failure;
use super::invocation::Invocation;
use super::output::{Printer, write_text};
use super::provisions::without_repeats;
use super::records;

/// The pause between two listings.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn run(
    invocation: &Invocation,
    ids: &[ProvisionId],
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let timeout = timeout.unwrap_or(Duration::MAX);
    if invocation.format() == OutputFormat::Json {
        return Err(Failure::usage("changes come one by one: use --output jsonl"));
    }
    if ids.is_empty() {
        return all(invocation, timeout).await;
    }
    let client = invocation.client()?;
    let mut watched = stream::select_all(without_repeats(ids).iter().map(|id| Box::pin(one(&client, *id, timeout))));
    let mut printer = invocation.printer();
    let mut first = None;
    while let Some(change) = watched.next().await {
        match change {
            Ok(seen) => show(invocation, &mut printer, &seen)?,
            Err(error) => {
                let failure = Failure::from(error);
                failure.report(invocation.format().is_json());
                first.get_or_insert(failure.reported());
            }
        }
    }
    first.map_or(Ok(()), Err)
}

/// The changes of one provision until nothing is in progress.
fn one(client: &Client, id: ProvisionId, timeout: Duration) -> impl Stream<Item = Result<Provision, Error>> {
    let changes = client.provisions().wait_until_closed(id).timeout(timeout).changes();
    let changes = changes.map(|change| match change {
        // That it can never be closed is no failure of a watch.
        Err(error) if error.kind() == ErrorKind::Unattainable => error.last_seen::<Provision>().cloned().ok_or(error),
        change => change,
    });
    // Nor is it that the time is up, unless nothing was seen.
    let changes = changes.take_while(|change| {
        let is_over =
            |error: &Error| error.kind() == ErrorKind::WaitTimeout && error.last_seen::<Provision>().is_some();
        std::future::ready(!change.as_ref().err().is_some_and(is_over))
    });
    stream::unfold(Some(Box::pin(changes)), async |changes| {
        let mut changes = changes?;
        let change = changes.next().await?;
        let is_over = change.as_ref().is_ok_and(|seen| seen.waiting_for() == WaitingFor::Nobody);
        Some((change, (!is_over).then_some(changes)))
    })
}

/// The changes of all provisions that are under way, and what becomes of those that are not any more.
async fn all(invocation: &Invocation, timeout: Duration) -> Result<(), Failure> {
    let provisions = invocation.client()?.provisions();
    let mut printer = invocation.printer();
    let mut known: BTreeMap<ProvisionId, Provision> = BTreeMap::new();
    let end = Instant::now().checked_add(timeout);
    loop {
        match look(invocation, &provisions, &mut printer, &known).await {
            Ok(listed) => known = listed,
            // The next round tries again.
            Err(WatchTrouble::Bunq(error)) if error.is_retryable() => invocation.note(&format!("{error}; it goes on")),
            Err(WatchTrouble::Bunq(error)) => return Err(error.into()),
            Err(WatchTrouble::Output(error)) => return Err(error.into()),
        }
        if end.is_some_and(|end| Instant::now() + PAUSE > end) {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

/// Lists those that are under way, and shows what has changed.
async fn look(
    invocation: &Invocation,
    provisions: &Provisions,
    printer: &mut Printer,
    known: &BTreeMap<ProvisionId, Provision>,
) -> Result<BTreeMap<ProvisionId, Provision>, WatchTrouble> {
    let mut listed = BTreeMap::new();
    let in_progress = ProvisionStatus::KNOWN.iter().filter(|status| status.is_in_progress()).cloned();
    let mut listing = pin!(provisions.list().status(in_progress).count(PageSize::MAX).stream());
    while let Some(seen) = listing.try_next().await? {
        listed.insert(seen.id, seen);
    }
    let feed = provisions.feed();
    let others = known.keys().filter(|id| !listed.contains_key(id)).map(|id| feed.nudge(*id));
    for seen in try_join_all(others).await? {
        show(invocation, printer, &seen)?;
    }
    for (id, seen) in &listed {
        if known.get(id).is_none_or(|before| is_changed(before, seen)) {
            show(invocation, printer, seen)?;
        }
    }
    Ok(listed)
}

/// Why a read has failed.
enum WatchTrouble {
    Bunq(Error),
    Output(io::Error),
}

impl From<Error> for WatchTrouble {
    fn from(error: Error) -> Self {
        Self::Bunq(error)
    }
}

impl From<io::Error> for WatchTrouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

fn is_changed(before: &Provision, seen: &Provision) -> bool {
    before.status != seen.status
        || before.sub_status != seen.sub_status
        || before.action_required != seen.action_required
}

fn show(invocation: &Invocation, printer: &mut Printer, seen: &Provision) -> io::Result<()> {
    match invocation.format() {
        OutputFormat::Table => write_text(&(records::change(seen) + "\n")),
        _ => printer.add(records::provision(seen, invocation.shows_secrets())),
    }
}
