//! The permits that a member holds, and the task that renews their leases.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_postgres::types::Type;

use super::{Member, metrics, value};
use crate::trouble::Trouble;

/// A lease is renewed so many times while it lasts.
const RENEWALS: u32 = 3;

/// The permits that are held.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    permits: HashSet<i64>,
    /// Renews them. It ends when there are none.
    renewal: Option<JoinHandle<()>>,
}

impl Held {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Renews the lease of a permit from now on.
    pub(super) fn add(member: &Arc<Member>, id: i64) {
        let mut state = member.held.state();
        state.permits.insert(id);
        // The runtime of the last task may have ended.
        if state.renewal.as_ref().is_none_or(JoinHandle::is_finished) {
            state.renewal = Some(tokio::spawn(renew(Arc::clone(member))));
        }
    }

    pub(super) fn remove(&self, id: i64) {
        self.state().permits.remove(&id);
    }

    /// The permits; `None` if there are none, and the task ends.
    fn to_renew(&self) -> Option<Vec<i64>> {
        let mut state = self.state();
        if state.permits.is_empty() {
            state.renewal = None;
            return None;
        }
        Some(state.permits.iter().copied().collect())
    }
}

/// Renews the leases of all permits that a member holds, with one statement each time.
async fn renew(member: Arc<Member>) {
    let mut ticks = interval(member.lease / RENEWALS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(permits) = member.held.to_renew() else { return };
        let lost = match member.renew(permits).await {
            Ok(lost) => lost,
            Err(trouble) => {
                tracing::warn!("the leases of permits are not renewed: {trouble}");
                continue;
            }
        };
        for id in lost {
            // It may have been settled meanwhile.
            if member.held.state().permits.remove(&id) {
                metrics::lost();
                tracing::warn!(
                    "the lease of a permit has ended while its call lasted: other calls may be sent meanwhile"
                );
            }
        }
    }
}

impl Member {
    /// Returns the permits whose leases have ended before.
    async fn renew(&self, permits: Vec<i64>) -> Result<Vec<i64>, Trouble> {
        let renew = "SELECT bunq_partner.renew_permits($1, $2, $3)";
        let values = vec![value(permits, Type::INT8_ARRAY), value(super::microseconds(self.lease), Type::INT8)];
        let rows = self.ask("renew", renew, values).await?;
        rows.first().map_or(Ok(Vec::new()), |row| self.database.column(row, 0))
    }
}
