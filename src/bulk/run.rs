//! One run of an operation: it takes rows in, works on them, and yields records.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::stream::{Stream, StreamExt as _, TryStreamExt as _, once, unfold};
use tokio::time::Instant;

use super::intake::{Incoming, Intake};
use super::journal::{Journal, Ledger};
use super::outage::{Failures, GiveUp, Outage, Run};
use super::record::{RowRecord, RowState, is_refused};
use super::request::{BulkOperation, BulkRequest, Requests};
use crate::error::{Error, ErrorKind};
use crate::feed::{Acceptance, Waiter};
use crate::provisions::Provisions;
use crate::reconcile::InFlight;
use crate::retry::{self, Attempts, Decision, Policy};
use crate::sync::lock;
use crate::transport::shutdown::Shutdown;
use crate::types::{CreateProvisionRequest, Timestamp};

/// How many rows are in progress at once: enough to use bunq's limits fully while some responses are late.
const CONCURRENCY: usize = 16;

/// How long nothing may succeed before an operation is given up for now.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What is done, and how.
#[derive(Debug)]
pub(super) struct BulkConfig {
    pub(super) provisions: Provisions,
    pub(super) operation: BulkOperation,
    pub(super) journal: Option<Arc<dyn Journal>>,
    pub(super) input: Option<String>,
    /// Whether the run searches for users without a journal too.
    pub(super) adopts: bool,
    pub(super) outage_timeout: Duration,
    pub(super) shutdown: Shutdown,
}

impl BulkConfig {
    pub(super) fn new(provisions: Provisions, operation: BulkOperation) -> Self {
        let (outage_timeout, shutdown) = (OUTAGE_TIMEOUT, Shutdown::default());
        Self { provisions, operation, journal: None, input: None, adopts: false, outage_timeout, shutdown }
    }

    /// Begins the run, and yields its records.
    pub(super) fn start(self, requests: Requests) -> impl Stream<Item = Result<RowRecord, Error>> + Send + 'static {
        let BulkConfig { provisions, operation, journal, input, adopts, outage_timeout, shutdown } = self;
        let outage = Outage::new(outage_timeout, Arc::clone(provisions.health()));
        let (ledger, over, failure) = (Ledger(journal), Shutdown::default(), Mutex::default());
        let run = Arc::new(Run { provisions, ledger, outage, shutdown, over, failure });
        let (worker, ending, end) = (Arc::clone(&run), Arc::clone(&run), Arc::clone(&run));
        let intake = once(Intake::open(run, operation, input, adopts, requests));
        let steps = intake.map_ok(|intake| unfold(intake, Intake::next)).try_flatten();
        let outcomes = steps.map(move |step| {
            let run = Arc::clone(&worker);
            async move {
                match step? {
                    Incoming::Done(record) => Ok(record),
                    Incoming::Work { row, work, in_flight } => run.work(row, &work, in_flight).await,
                }
            }
        });
        outcomes
            .buffer_unordered(CONCURRENCY)
            .filter_map(move |outcome| {
                // What ends the run comes last: the rows in progress end first.
                let outcome = outcome.map_err(|error| ending.end_with(error)).ok();
                async { outcome.map(Ok) }
            })
            .chain(once(async move { end.failure().take() }).filter_map(|failure| async { failure.map(Err) }))
    }
}

impl Run {
    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        lock(&self.failure)
    }

    /// Ends the run with this failure, unless another was first.
    fn end_with(&self, error: Error) {
        self.over.begin();
        self.failure().get_or_insert(error);
    }

    /// Sends the request of a row until its outcome is known, it is given up, or the shutdown has begun and none is on the wire.
    async fn work(&self, row: u64, work: &BulkRequest, in_flight: InFlight) -> Result<RowRecord, Error> {
        let sent = self.ledger.record(RowRecord::sent(row, work)).await?;
        let gate = self.provisions.gate(&self.shutdown);
        let provisions = self.provisions.through(&gate);
        let (failures, created) = (Failures::default(), None);
        let mut attempts = RowAttempts { run: self, provisions, sent: &sent, work, in_flight, failures, created };
        let outcome = match select(retry::repeat(&mut attempts), pin!(gate.emptied())).await {
            Either::Left((Err((error, _)), _)) if error.kind() == ErrorKind::ShutDown => None,
            Either::Left((outcome, _)) => Some(outcome),
            Either::Right(_) => None,
        };
        let is_in_doubt = attempts.in_flight.is_any();
        let Some(outcome) = outcome else {
            // It may be that of the client.
            self.over.begin();
            return self.ledger.record(sent.stopped(is_in_doubt || gate.may_have_run())).await;
        };
        let record = match outcome {
            Ok(record) => {
                self.outage.over();
                record
            }
            Err((error, GiveUp::Row)) if is_refused(&error) => {
                self.outage.over();
                sent.failed(error)
            }
            Err((error, give_up)) => {
                if give_up == GiveUp::All {
                    self.end_with(error.clone());
                }
                sent.given_up(error, is_in_doubt)
            }
        };
        self.ledger.record(record).await
    }
}

/// One row in progress, and what its attempts have in common.
struct RowAttempts<'a> {
    run: &'a Run,
    provisions: Provisions,
    /// The row, as it was written before anything was sent.
    sent: &'a RowRecord,
    work: &'a BulkRequest,
    /// The requests that were sent for it, also by earlier runs.
    in_flight: InFlight,
    failures: Failures,
    /// The user, once there is one, with its state, until it is compared with what was requested.
    created: Option<(Waiter, RowState)>,
}

impl Policy for RowAttempts<'_> {
    type Failure = Error;
    type Stop = GiveUp;

    fn after(&mut self, error: &Error, began: Instant, chance: f64) -> Decision<GiveUp> {
        match (self.run.outage.after(error, &mut self.failures, began, chance), self.work) {
            (Decision::RetryAfter(pause), BulkRequest::Create(_)) => {
                Decision::RetryAfter(pause.max(self.in_flight.left()))
            }
            // A second closing does no harm.
            (decision, BulkRequest::Create(_) | BulkRequest::Close(_)) => decision,
        }
    }
}

impl Attempts for RowAttempts<'_> {
    type Done = RowRecord;

    async fn attempt(&mut self) -> Result<RowRecord, Error> {
        let (provisions, was_requested) = (&self.provisions, self.in_flight.is_any());
        let (waiter, state) = match self.created.take() {
            Some(created) => created,
            None => {
                let waiter = match self.work {
                    BulkRequest::Close(id) => provisions.close_after(*id, &mut self.in_flight).await?,
                    BulkRequest::Create(new) => provisions.create_after(*new.clone(), &mut self.in_flight).await?,
                };
                let state = match waiter.acceptance() {
                    // It is that of an earlier request for the row.
                    Acceptance::Already if was_requested => RowState::Found,
                    acceptance => acceptance.into(),
                };
                (waiter, state)
            }
        };
        if let BulkRequest::Create(new) = self.work {
            // Where there is a user, another is not requested before a search.
            self.in_flight = self.in_flight.and(InFlight::until(Instant::now()));
            let confirmed = confirm(provisions, new, waiter.clone()).await;
            if confirmed.as_ref().is_err_and(|error| error.kind() != ErrorKind::InvalidResponse) {
                // The user exists even if reading it back failed.
                self.created = Some((waiter.clone(), state));
            }
            confirmed?;
        }
        let created = waiter.created().map(Timestamp::as_jiff);
        let response_id = waiter.response_id().map(str::to_owned);
        Ok(RowRecord { id: Some(waiter.id()), created, response_id, ..self.sent.clone().now(state) })
    }

    async fn pause(&mut self, error: &Error, time: Duration) -> ControlFlow<Result<RowRecord, GiveUp>> {
        let (row, pause_seconds) = (self.sent.row, time.as_secs_f64());
        tracing::debug!(row, %error, pause_seconds, "a row has failed: it is tried again");
        match self.run.ends_within(time).await {
            true => ControlFlow::Break(Err(GiveUp::Row)),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Reads a user that was created, and searches for another if it was requested more than once.
async fn confirm(provisions: &Provisions, new: &CreateProvisionRequest, waiter: Waiter) -> Result<(), Error> {
    let earlier = waiter.earlier_requests();
    // The response may be that to another creation.
    waiter.confirm().await?;
    if earlier.is_any() {
        earlier.over().await;
        provisions.find(*new.external_uuid()).await?;
    }
    Ok(())
}
