//! Requests of which bunq shows what came: a repetition begins with a look.

use serde::Serialize;
use tokio::time::Instant;

use super::{InDoubt, InFlight, Reconcile, Reconciled, VerbConfig};
use crate::api::Api;
use crate::custody::{Step, Steps};
use crate::error::Error;
use crate::feed::Acceptance;
use crate::operation::Operation;
use crate::transport::call_budget::CallBudget;

/// A change that is requested once: bunq shows whether it is made.
#[derive(Debug)]
pub(crate) struct Looked<'a, B> {
    pub(crate) api: &'a Api,
    pub(crate) steps: &'a Steps,
    pub(crate) config: VerbConfig,
    pub(crate) budget: CallBudget,
    pub(crate) operation: &'static Operation,
    /// What tells the request from others.
    pub(crate) request: &'a B,
    /// The id of what it changes.
    pub(crate) id: u64,
    /// Whether a look comes before the first request too. Otherwise it comes before a repetition alone.
    pub(crate) looks_first: bool,
}

impl<B: Serialize + Sync> Looked<'_, B> {
    /// Sends the request, unless a look shows that it was carried out. The look begins with what is kept of an earlier one, and waits until that
    /// cannot arrive any more, also after a crash. Of what is sent, `is_carried_out` says whether bunq has changed something.
    ///
    /// It must not be called at once for the same user by one client.
    pub(crate) async fn send<T, S, L>(
        self,
        mut send: impl FnMut(Api) -> S + Send,
        mut look: impl FnMut(Api) -> L + Send,
        is_carried_out: impl Fn(&T) -> bool,
    ) -> Result<Reconciled<T>, Error>
    where
        T: Send,
        S: Future<Output = Result<T, Error>> + Send,
        L: Future<Output = Result<Option<T>, Error>> + Send,
    {
        let Self { api, steps, config, budget, operation, request, id, looks_first } = self;
        let VerbConfig { poll_interval, late_arrival } = config;
        let within = api.until(budget);
        let before = steps.begin_again(operation, request).await?;
        let mut in_flight = match before {
            Step::New => InFlight::NONE,
            // Nobody knows when it was sent: clocks can be set. So it gets its whole time. bunq may not show yet what it has carried out.
            Step::InDoubt { .. } | Step::Done { .. } => InFlight::until(Instant::now() + late_arrival),
        };
        let found = async {
            let found = if looks_first || in_flight.is_any() { look(within.clone()).await? } else { None };
            if found.is_some() || !in_flight.is_any() {
                return Ok(found);
            }
            in_flight.over_within(budget).await?;
            look(within.clone()).await
        };
        match found.await.map_err(Error::before_sending) {
            Ok(None) => {}
            Ok(Some(done)) => {
                steps.settled(operation, request, Some(id)).await;
                let acceptance =
                    if let Step::InDoubt { .. } = before { Acceptance::Found } else { Acceptance::Already };
                return Ok(Reconciled { done, acceptance, earlier: in_flight });
            }
            Err(error) => return Err(steps.refused(operation, request, before, error).await),
        }
        let (policy, in_doubt) = (api.transport().policy(operation), InDoubt::RepeatAfterLateArrival);
        let in_flight = &mut in_flight;
        let reconcile = Reconcile { policy, budget, poll_interval, late_arrival, in_doubt, in_flight };
        let check = || look(api.until(api.check_by(budget)));
        match reconcile.until_known(|reuse| send(within.over(reuse)), check).await {
            Ok(reconciled) => {
                steps.settled(operation, request, is_carried_out(&reconciled.done).then_some(id)).await;
                Ok(reconciled)
            }
            Err(error) if error.is_doubtful() => Err(error),
            // Neither this one nor one before it was carried out.
            Err(error) => Err(steps.refused(operation, request, Step::New, error).await),
        }
    }
}
