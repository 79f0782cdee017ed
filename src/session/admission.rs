//! Which sessions of users are admitted to the order: those that can be in time beside the sessions of all clients that share the limit.
//!
//! With a store, a session is announced as a candidate before it is admitted: of two clients that announce at the same time, one sees
//! what the other has, and tries again. Only what was admitted refuses others, and makes others late; those that stand last give way
//! to all, and are not announced. A task repeats what is announced as long as sessions wait, and tells what has changed.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::announcements::{Announcements, Last, Others, REPEATED};
use super::order::Order;
use super::place::{Place, check};
use super::queue::{Standing, Wanted};
use crate::error::{Error, ErrorKind};
use crate::sync::lock;

/// Takes a place.
///
/// # Errors
///
/// The session cannot be in time, or another that was admitted could not then, of this client or of another; or its credential was
/// replaced, or nobody is left who acts for users; or what other clients have waiting cannot be known.
pub(super) async fn enter(order: &Arc<Order>, wanted: Wanted<'_>) -> Result<Place, Error> {
    let Some(announcements) = &order.announcements else { return Place::take(order, wanted) };
    let came = Instant::now();
    let mut last = announcements.turn(wanted.standing().deadline).await?;
    // It would fail too, after all that came before it.
    if let Some(error) = last.failed_since(came) {
        return Err(error.clone());
    }
    let mut was_overtaken = false;
    loop {
        let others = announce(order, announcements, &mut last, None).await?;
        let others = if was_overtaken { others } else { others.without_candidates() };
        order.state().hear(order, others);
        check(order, &mut order.state(), Instant::now(), &wanted)?;
        // It tells what comes of this, also if this future is dropped.
        keep(order, announcements);
        let Standing { is_last, deadline, .. } = wanted.standing();
        if !is_last {
            let others = announce(order, announcements, &mut last, Some(deadline)).await?;
            order.state().hear(order, others);
        }
        match Place::take(order, wanted) {
            Err(error) if error.kind() == ErrorKind::RateLimited && !was_overtaken => was_overtaken = true,
            taken => return taken,
        }
    }
}

/// Announces what waits, and a session that may be admitted. Returns what others have.
async fn announce(
    order: &Order,
    announcements: &Announcements,
    last: &mut Last,
    candidate: Option<Instant>,
) -> Result<Others, Error> {
    let deadlines: Vec<_> = order.state().queue.deadlines().collect();
    announcements.tell(last, deadlines.into_iter(), candidate).await
}

/// Has the task of this runtime announce what waits, soon and from now on.
fn keep(order: &Arc<Order>, announcements: &Announcements) {
    let mut keepers = lock(&announcements.keepers);
    // A runtime may have ended.
    keepers.retain(|_, keeper| !keeper.is_finished());
    let runtime = Handle::current();
    keepers.entry(runtime.id()).or_insert_with(|| runtime.spawn(repeat(Arc::clone(order))));
    order.announce();
}

/// Repeats what is announced until nothing waits.
async fn repeat(order: Arc<Order>) {
    let Some(announcements) = &order.announcements else { return };
    loop {
        // It is repeated in any case.
        let _ = timeout(REPEATED, announcements.changed.notified()).await;
        let mut last = announcements.last.lock().await;
        let was_empty = order.state().queue.is_empty();
        match announce(&order, announcements, &mut last, None).await {
            Ok(others) => order.state().hear(&order, others.without_candidates()),
            Err(error) => tracing::debug!(%error, "what sessions wait is not announced to the other clients"),
        }
        let mut keepers = lock(&announcements.keepers);
        if was_empty && order.state().queue.is_empty() {
            keepers.remove(&Handle::current().id());
            return;
        }
    }
}
