//! One run of an operation: rows in, what becomes of them, records out.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt as _, once, unfold};
use tokio::time::{Instant, sleep};

use super::intake::{Earlier, Intake, Step};
use super::journal::Journal;
use super::ledger::Ledger;
use super::outage::{Failures, Next, Outage, Patience};
use super::record::{RowRecord, RowState, is_refused};
use super::row::{Row, Rows};
use super::shutdown::Shutdown;
use crate::error::{Error, ErrorKind};
use crate::feed::{Acceptance, Waiter};
use crate::operation::Operation;
use crate::provisions::Provisions;
use crate::sync::lock;
use crate::types::{CreateProvisionRequest, Timestamp};

/// How many rows are in progress at once: enough to use bunq's limits fully while some responses are late.
const CONCURRENCY: usize = 16;

/// How long nothing may succeed before an operation is given up for now.
const OUTAGE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What is done, and how.
#[derive(Debug)]
pub(super) struct BulkConfig {
    pub(super) provisions: Provisions,
    pub(super) operation: &'static Operation,
    pub(super) journal: Option<Arc<dyn Journal>>,
    pub(super) input: Option<String>,
    /// Users are looked for without a journal too.
    pub(super) adopts: bool,
    pub(super) outage_timeout: Duration,
    pub(super) shutdown: Shutdown,
}

impl BulkConfig {
    pub(super) fn new(provisions: Provisions, operation: &'static Operation) -> Self {
        let (outage_timeout, shutdown) = (OUTAGE_TIMEOUT, Shutdown::default());
        Self { provisions, operation, journal: None, input: None, adopts: false, outage_timeout, shutdown }
    }
}

/// What all rows of a run share.
#[derive(Debug)]
pub(super) struct Run {
    provisions: Provisions,
    ledger: Ledger,
    shutdown: Shutdown,
    outage: Arc<Outage>,
    /// Earlier runs have sent nothing after it.
    began: Instant,
    /// What ends the run.
    failure: Mutex<Option<Error>>,
}

impl Run {
    pub(super) fn start(
        config: BulkConfig,
        rows: Rows,
    ) -> impl Stream<Item = Result<RowRecord, Error>> + Send + 'static {
        let run = Arc::new(Self {
            provisions: config.provisions.clone(),
            ledger: Ledger(config.journal.clone()),
            shutdown: config.shutdown.clone(),
            outage: Arc::new(Outage::new(config.outage_timeout, Arc::clone(config.provisions.health()))),
            began: Instant::now(),
            failure: Mutex::default(),
        });
        let (opened, worker, end) = (Arc::clone(&run), Arc::clone(&run), Arc::clone(&run));
        let steps = once(async move { opened.open(config, rows).await }).flat_map(|intake| match intake {
            Ok(intake) => unfold(intake, Intake::next).left_stream(),
            Err(error) => once(async { Err(error) }).right_stream(),
        });
        let outcomes = steps.map(move |step| {
            let run = Arc::clone(&worker);
            async move {
                match step? {
                    Step::Done(record) => Ok(record),
                    Step::Work { row, work, is_repeated } => run.work(row, &work, is_repeated).await,
                }
            }
        });
        let ending = Arc::clone(&run);
        outcomes
            .buffer_unordered(CONCURRENCY)
            .filter_map(move |outcome| {
                // What ends the run comes last: the rows in progress end first.
                let outcome = outcome.map_err(|error| ending.end_with(error)).ok();
                async { outcome.map(Ok) }
            })
            .chain(once(async move { end.failure().take() }).filter_map(|failure| async { failure.map(Err) }))
    }

    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        lock(&self.failure)
    }

    /// Ends the run with this failure, unless another was first.
    fn end_with(&self, error: Error) {
        self.shutdown.begin();
        self.failure().get_or_insert(error);
    }

    async fn open(self: Arc<Self>, config: BulkConfig, rows: Rows) -> Result<Intake, Error> {
        let BulkConfig { provisions, operation, input, adopts, shutdown, .. } = config;
        let patience = Patience { outage: Arc::clone(&self.outage), shutdown: shutdown.clone() };
        let earlier = Earlier::open(provisions, operation, self.ledger.clone(), input, adopts, patience).await?;
        Ok(Intake::new(earlier, rows, shutdown))
    }

    /// Sends the request of a row until its outcome is known, or it is given up.
    async fn work(&self, row: u64, work: &Row, is_repeated: bool) -> Result<RowRecord, Error> {
        let sent = self.ledger.record(work.key().sent(row)).await?;
        // When a request whose outcome is in doubt was sent at the latest.
        let mut in_doubt = is_repeated.then_some(self.began);
        let mut failures = Failures::default();
        let mut created = None;
        loop {
            let began = Instant::now();
            let error = match self.request(&sent, work, in_doubt, &mut created).await {
                Ok(record) => {
                    self.outage.over();
                    return self.ledger.record(record).await;
                }
                Err(error) => error,
            };
            // Where there is a user already, it is not requested again before a look.
            if error.is_doubtful()
                || matches!(work, Row::Create(_)) && error.operation() != Some(&Operation::CREATE_PROVISION)
            {
                in_doubt = Some(Instant::now());
            }
            let pause = match self.outage.after(&error, &mut failures, began, fastrand::f64()) {
                Next::RetryAfter(pause) => pause,
                Next::GiveUpRow if is_refused(&error) => {
                    self.outage.over();
                    return self.ledger.record(sent.failed(error)).await;
                }
                Next::GiveUpRow => return self.ledger.record(sent.given_up(error, in_doubt.is_some())).await,
                Next::GiveUpAll => {
                    self.end_with(error.clone());
                    return self.ledger.record(sent.given_up(error, in_doubt.is_some())).await;
                }
            };
            tracing::debug!(row, %error, pause_seconds = pause.as_secs_f64(), "a row has failed: it is tried again");
            // A creation that is in doubt may still arrive.
            let pause = if in_doubt.is_some() { pause.max(self.late_arrival(work)) } else { pause };
            if self.shutdown.within(pause).await {
                return self.ledger.record(sent.given_up(error, in_doubt.is_some())).await;
            }
        }
    }

    fn late_arrival(&self, work: &Row) -> Duration {
        match work {
            Row::Close(_) => Duration::ZERO,
            Row::Create(_) => self.provisions.config().late_arrival,
        }
    }

    async fn request(
        &self,
        sent: &RowRecord,
        work: &Row,
        in_doubt: Option<Instant>,
        created: &mut Option<Waiter>,
    ) -> Result<RowRecord, Error> {
        let was_requested = in_doubt.is_some();
        let waiter = match work {
            Row::Close(id) => self.provisions.close_after(*id, in_doubt).await?,
            Row::Create(new) => self.create(new, was_requested, created).await?,
        };
        // It was this row's request that is found.
        let is_found = was_requested && waiter.acceptance() == Acceptance::Already;
        let state = if is_found { RowState::Found } else { waiter.acceptance().into() };
        let created = waiter.created().map(Timestamp::as_jiff);
        let response_id = waiter.response_id().map(str::to_owned);
        Ok(RowRecord { id: Some(waiter.id()), created, response_id, ..sent.clone().now(state) })
    }

    /// Creates a user, unless it is created already, and holds it against what was requested.
    async fn create(
        &self,
        new: &CreateProvisionRequest,
        was_requested: bool,
        created: &mut Option<Waiter>,
    ) -> Result<Waiter, Error> {
        let waiter = match created.take() {
            Some(waiter) => waiter,
            None if was_requested => self.provisions.ensure(new.clone()).await?,
            None => self.provisions.create(new.clone()).await?,
        };
        let confirmed = self.confirm(new, waiter.clone()).await;
        if confirmed.as_ref().is_err_and(|error| error.kind() != ErrorKind::InvalidResponse) {
            // It is there, whatever the look has met.
            *created = Some(waiter.clone());
        }
        confirmed.map(|()| waiter)
    }

    async fn confirm(&self, new: &CreateProvisionRequest, waiter: Waiter) -> Result<(), Error> {
        let may_be_several = waiter.is_repeated();
        // The response may be that to another creation.
        waiter.confirm().await?;
        if may_be_several {
            sleep(self.provisions.config().late_arrival).await;
            self.provisions.find(*new.external_uuid()).await?;
        }
        Ok(())
    }
}
