//! `watch`: every change of some provisions, or of all that are under way.

use std::collections::BTreeMap;
use std::io;

use bunq_partner::{
    Client, Error, ErrorKind, PageSize, Provision, ProvisionId, ProvisionStatus, Provisions, WaitingFor,
};
use console::Term;
use futures_util::future::try_join_all;
use futures_util::stream::{self, Stream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::time::{Duration, Instant, sleep};

use super::arguments::OutputFormat;
use super::exit::{Failure, told};
use super::invocation::Invocation;
use super::line_clock::LineClock;
use super::output::{Printer, write_text};
use super::records;

const PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn run(
    invocation: &Invocation,
    ids: &[ProvisionId],
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let timeout = timeout.unwrap_or(Duration::MAX);
    if ids.is_empty() {
        return all(invocation, timeout).await;
    }
    let client = invocation.client()?;
    let mut watched = stream::select_all(ids.iter().map(|id| Box::pin(one(&client, *id, timeout))));
    let mut lines = Lines::new(invocation);
    let mut first = None;
    while let Some(change) = watched.next().await {
        match change {
            Ok(seen) => lines.add(&seen)?,
            Err(error) => {
                let failure = Failure::from(error);
                failure.report(invocation.format().is_json());
                first.get_or_insert(failure.reported());
            }
        }
    }
    first.map_or_else(|| Ok(lines.end()?), Err)
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
    let mut lines = Lines::new(invocation);
    let mut known = BTreeMap::new();
    let end = Instant::now().checked_add(timeout);
    loop {
        match look(&provisions, &known).await {
            Ok((listed, others)) => {
                let is_new = |seen: &&Provision| known.get(&seen.id).is_none_or(|before| is_changed(before, seen));
                for seen in others.iter().chain(listed.values().filter(is_new)) {
                    lines.add(seen)?;
                }
                known = listed;
            }
            // The next round tries again.
            Err(error) if error.is_retryable() => invocation.note(&format!("{}; it goes on", told(&error))),
            Err(error) => return Err(error.into()),
        }
        if end.is_some_and(|end| Instant::now() + PAUSE > end) {
            return Ok(lines.end()?);
        }
        sleep(PAUSE).await;
    }
}

type Known = BTreeMap<ProvisionId, Provision>;

/// Lists those that are under way, and reads those that are not any more.
async fn look(provisions: &Provisions, known: &Known) -> Result<(Known, Vec<Provision>), Error> {
    let in_progress = ProvisionStatus::KNOWN.iter().filter(|status| status.is_in_progress()).cloned();
    let listing = provisions.list().status(in_progress).count(PageSize::MAX).stream();
    let listed: Known = listing.map_ok(|seen| (seen.id, seen)).try_collect().await?;
    let feed = provisions.feed();
    let others = known.keys().filter(|id| !listed.contains_key(id)).map(|id| feed.nudge(*id));
    let others = try_join_all(others).await?;
    Ok((listed, others))
}

fn is_changed(before: &Provision, seen: &Provision) -> bool {
    before.status != seen.status
        || before.sub_status != seen.sub_status
        || before.action_required != seen.action_required
}

/// The changes as they are written.
struct Lines<'a> {
    invocation: &'a Invocation,
    printer: Printer,
    clock: LineClock,
}

impl<'a> Lines<'a> {
    fn new(invocation: &'a Invocation) -> Self {
        Self { invocation, printer: invocation.printer(), clock: LineClock::new(Term::stdout().is_term()) }
    }

    fn add(&mut self, seen: &Provision) -> io::Result<()> {
        if self.invocation.format() != OutputFormat::Table {
            return self.printer.add(records::provision(seen, self.invocation.shows_secrets()));
        }
        let (date, time) = self.clock.now();
        let date = date.map(|date| format!("{date}\n")).unwrap_or_default();
        write_text(&format!("{date}{}\n", records::change(&time, seen)))
    }

    fn end(mut self) -> io::Result<()> {
        if self.invocation.format() == OutputFormat::Table { Ok(()) } else { self.printer.finish() }
    }
}
