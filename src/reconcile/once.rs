//! Requests that bunq cannot be asked about: what is about to be sent is kept before it is sent.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{InDoubt, InFlight, Reconcile, Reconciled};
use crate::api::Api;
use crate::custody::{Step, Steps};
use crate::error::{CallMetadata, Error, ErrorKind, Remedy, Sent};
use crate::feed::Acceptance;
use crate::operation::Operation;

/// A request that is sent once: nothing at bunq tells whether it was carried out.
#[derive(Debug)]
pub(crate) struct Once<'a, B> {
    pub(crate) api: &'a Api,
    pub(crate) steps: &'a Steps,
    pub(crate) operation: &'static Operation,
    pub(crate) request: &'a B,
    /// What to do when nobody knows what came of it.
    pub(crate) advice: (&'static str, Remedy),
}

impl<B: Serialize + Sync> Once<'_, B> {
    /// Sends the request, or returns what it has made before.
    ///
    /// # Errors
    ///
    /// [`Unattainable`](ErrorKind::Unattainable) if it was begun before, and nobody knows what came of it.
    pub(crate) async fn send<T, F>(self, send: impl FnMut(Api) -> F + Send) -> Result<(T, Acceptance), Error>
    where
        T: Copy + Send + Sync + TryFrom<u64> + Into<u64> + 'static,
        F: Future<Output = Result<T, Error>> + Send,
    {
        match self.steps.begin(self.operation, self.request).await? {
            Step::New => self.carry_out(Step::New, send).await,
            Step::Done { id } => {
                let made = id.try_into().map_err(|_| Error::internal("a step was kept with an id that is none"))?;
                Ok((made, Acceptance::Already))
            }
            Step::InDoubt { since } => {
                let problem = format_args!(
                    "nothing was sent: the same request was begun at {since}, by another call that is not over or before a crash"
                );
                let error = Error::new(ErrorKind::Unattainable, Sent::No, problem);
                let error = error.with_metadata(CallMetadata::new(self.operation, 0)).in_doubt(None);
                Err(advised(error, self.advice))
            }
        }
    }

    /// Sends the request, whatever is kept of it.
    pub(crate) async fn send_again<T, F>(self, send: impl FnMut(Api) -> F + Send) -> Result<(T, Acceptance), Error>
    where
        T: Copy + Send + Sync + Into<u64> + 'static,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let before = self.steps.begin_again(self.operation, self.request).await?;
        self.carry_out(before, send).await
    }

    /// Sends a request that is kept as begun. If it surely was not carried out, what came of it before is kept again.
    async fn carry_out<T, F>(
        self,
        before: Step,
        mut send: impl FnMut(Api) -> F + Send,
    ) -> Result<(T, Acceptance), Error>
    where
        T: Copy + Send + Sync + Into<u64> + 'static,
        F: Future<Output = Result<T, Error>> + Send,
    {
        let Self { api, steps, operation, request, advice } = self;
        let (budget, mut in_flight) = (api.budget(), InFlight::NONE);
        let within = api.until(budget);
        let reconcile = Reconcile {
            policy: api.transport().policy(operation),
            budget,
            // There is nothing to look at, now or later.
            poll_interval: Duration::ZERO,
            late_arrival: Duration::ZERO,
            in_doubt: InDoubt::Stop,
            in_flight: &mut in_flight,
        };
        match reconcile.until_known(|reuse| send(within.over(reuse)), async || Ok(None)).await {
            Ok(Reconciled { done, acceptance, .. }) => {
                let kept = steps.done(operation, request, done.into()).await;
                kept.map_err(|error| error.after_carrying_out(operation).with_last_seen(Arc::new(done)))?;
                Ok((done, acceptance))
            }
            Err(error) if error.is_doubtful() => Err(advised(error, advice)),
            Err(error) => Err(steps.refused(operation, request, before, error).await),
        }
    }
}

fn advised(error: Error, (why, remedy): (&str, Remedy)) -> Error {
    error.with_advice(why).with_remedy(remedy)
}
