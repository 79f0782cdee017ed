//! Credentials are activated, of several users in the order in which they expire, and replaced.

use std::collections::HashSet;
use std::pin::pin;
use std::time::Duration;

use bunq_partner::text::duration;
use bunq_partner::{Error, ErrorKind, Operation, ProvisionId, RateLimit, UserClient, UserEvent};
use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::sleep;

use super::super::arguments::OutputFormat;
use super::super::batch::Batch;
use super::super::bulk::interrupted;
use super::super::exit::{Failure, after_output, told};
use super::super::interrupt;
use super::super::invocation::Invocation;
use super::super::output::{write_text, write_value};
use super::super::provisions::show_previews;
use super::super::screen;
use super::records::{interruption, outcome};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

/// The activation of some users, in the words of a question.
pub(in super::super) fn change(ids: &[ProvisionId]) -> String {
    match ids {
        [id] => format!("Activate the credential of {id}"),
        ids => format!("Activate the credentials of {} users", ids.len()),
    }
}

/// Activates users, and says what became of each. Interrupted, it ends when no request is on the wire any more.
pub(in super::super) async fn activate(
    invocation: &Invocation,
    ids: &[ProvisionId],
    is_dry_run: bool,
) -> Result<(), Failure> {
    if is_dry_run {
        return plan(invocation, ids.len());
    }
    let first = interrupt::listen()?;
    tokio::select! {
        biased;
        done = activate_all(invocation, ids) => done,
        failure = interrupted(invocation, &invocation.connection.shutdown, first) => Err(failure),
    }
}

async fn activate_all(invocation: &Invocation, ids: &[ProvisionId]) -> Result<(), Failure> {
    let users = invocation.client()?.users();
    let bar = screen::live_line(ProgressBar::new(ids.len() as u64), "{bar:30} {pos}/{len} users  {elapsed}");
    bar.enable_steady_tick(TICK);
    // All are in the queue at once, so that the credential goes first that expires first.
    let all = stream::iter(ids.to_vec()).map(|id| {
        let users = users.clone();
        async move { (id, users.activate(id).await) }
    });
    let all = all.buffer_unordered(ids.len().max(1));
    let (mut outcomes, mut events) = (pin!(all), pin!(users.events()));
    let mut end = pin!(async {
        invocation.connection.shutdown.begun().await;
        sleep(interrupt::LAST_RESPONSES).await;
    });
    let mut batch = Batch::new(invocation);
    let (mut left, mut delayed): (HashSet<_>, _) = (ids.iter().copied().collect(), HashSet::new());
    let place = |id| ids.iter().position(|other| *other == id).unwrap_or_default();
    loop {
        let (id, activated) = tokio::select! {
            biased;
            next = outcomes.next() => match next {
                Some(next) => next,
                None => break,
            },
            () = &mut end => break,
            Some(event) = events.next() => {
                if let UserEvent::Delayed(id, error) = event && delayed.insert(id) {
                    let told = told(&error);
                    invocation.note(&format!("no session can be opened for the user of {id}: {told}; others go first"));
                }
                continue;
            }
        };
        if activated.as_ref().is_err_and(|error| error.kind() == ErrorKind::ShutDown) {
            continue;
        }
        left.remove(&id);
        bar.inc(1);
        batch.add(place(id), Some(outcome(id, &activated, user_id(&activated).await)), activated.err());
    }
    bar.finish_and_clear();
    for id in ids.iter().filter(|id| left.contains(id)) {
        batch.add(place(*id), Some(interruption(*id)), None);
    }
    let done = batch.finish();
    if left.is_empty() {
        return done;
    }
    let hint = format!("{} users are not activated: the same command goes on with them", left.len());
    after_output(Err(Failure::interrupted(Some(hint))), done)
}

/// Replaces the credential of a user, and activates the new one.
pub(in super::super) async fn reset(invocation: &Invocation, id: ProvisionId, is_dry_run: bool) -> Result<(), Failure> {
    let client = invocation.client()?;
    if is_dry_run {
        return show_previews(invocation.format(), &client.provisions().preview_reset_token(id)?);
    }
    let activated = client.users().reset(id).await;
    let is_shown = activated.is_ok() || invocation.format() != OutputFormat::Table;
    let record = outcome(id, &activated, user_id(&activated).await);
    let written = if is_shown { invocation.printer().single(record) } else { Ok(()) };
    after_output(activated.map(drop).map_err(Failure::from), written)
}

/// The user of a session that is open, if bunq has named it.
async fn user_id(activated: &Result<UserClient, Error>) -> Option<u64> {
    Some(activated.as_ref().ok()?.user().await.ok()?.id.get())
}

/// Says how long it takes at bunq's limit.
fn plan(invocation: &Invocation, count: usize) -> Result<(), Failure> {
    let (operation, users) = (&Operation::CREATE_SESSION, u32::try_from(count).unwrap_or(u32::MAX));
    let RateLimit { calls, per, .. } = operation.rate_limit;
    let takes = invocation.connection.interval(operation).saturating_mul(users);
    if invocation.format() == OutputFormat::Table {
        let users = if count == 1 { "1 user".to_owned() } else { format!("{count} users") };
        return Ok(write_text(&format!("{users}: {} calls in {}\n", operation.id, duration(takes)))?);
    }
    let plan = json!({
        "users": count,
        "operation": operation.id,
        "calls": calls,
        "per_seconds": per.as_secs(),
        "seconds": takes.as_secs(),
    });
    Ok(write_value(invocation.format(), &plan)?)
}
