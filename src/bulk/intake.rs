//! The input on its way to the work: what an earlier run has done of it, and what is to be done.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;

use futures_util::future::{Either, FutureExt as _, select};
use futures_util::stream::StreamExt as _;
use tokio::time::sleep;

use super::doubt::{self, Created, CreatedSince};
use super::journal::JournalStart;
use super::ledger::Ledger;
use super::outage::Patience;
use super::record::{JournalHeader, RowRecord, RowState};
use super::row::{Row, Rows};
use super::shutdown::Shutdown;
use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::provisions::Provisions;
use crate::types::{PageSize, ProvisionId, ProvisionStatus};

/// How many rows are held back, while those in doubt among them are gathered.
const MAX_HELD: usize = 1000;

/// A row to work on, or one that is done already.
#[derive(Debug)]
pub(super) enum Step {
    Done(RowRecord),
    Work {
        row: u64,
        work: Row,
        /// It may have been requested before.
        is_repeated: bool,
    },
}

/// The input on its way to the work.
pub(super) struct Intake {
    earlier: Earlier,
    rows: Rows,
    shutdown: Shutdown,
    next_row: u64,
    ready: VecDeque<Step>,
    is_over: bool,
}

/// What is known of earlier runs.
pub(super) struct Earlier {
    provisions: Provisions,
    ledger: Ledger,
    patience: Patience,
    /// What was created since the first of them began; `None` if there was none, or if rows are closed.
    since: Option<CreatedSince>,
}

impl Intake {
    pub(super) fn new(earlier: Earlier, rows: Rows, shutdown: Shutdown) -> Self {
        Self { earlier, rows, shutdown, next_row: 1, ready: VecDeque::new(), is_over: false }
    }

    /// The next step, and the intake to go on with.
    pub(super) async fn next(mut self) -> Option<(Result<Step, Error>, Self)> {
        loop {
            match self.ready.pop_front() {
                // No row begins after a shutdown.
                Some(Step::Work { .. }) if self.shutdown.has_begun() => continue,
                Some(step) => return Some((Ok(step), self)),
                None if self.is_over || self.shutdown.has_begun() => return None,
                None => {}
            }
            if let Err(error) = self.take().await {
                self.is_over = true;
                return Some((Err(error), self));
            }
        }
    }

    /// Takes rows in, until there is one to work on. Those before it that are in doubt are looked for together.
    async fn take(&mut self) -> Result<(), Error> {
        let mut doubts = Vec::new();
        while doubts.len() + self.ready.len() < MAX_HELD {
            let next = if doubts.is_empty() && self.ready.is_empty() {
                // An input that waits for something does not hold up the end.
                match select(self.rows.next(), pin!(self.shutdown.begun())).await {
                    Either::Left((next, _)) => Some(next),
                    Either::Right(_) => Some(None),
                }
            } else {
                // It may wait for the outcome of a row that is held here.
                self.rows.next().now_or_never()
            };
            let work = match next {
                Some(Some(work)) => work,
                Some(None) => {
                    self.is_over = true;
                    break;
                }
                None => break,
            };
            let row = self.next_row;
            self.next_row += 1;
            match self.earlier.ledger.last(row, work.key()).await? {
                Some(last) if last.state.is_final() => {
                    self.ready.push_back(Step::Done(last));
                    if doubts.is_empty() {
                        return Ok(());
                    }
                }
                Some(last) => doubts.push((last, work)),
                None => {
                    self.ready.extend(self.earlier.settle(doubts).await?);
                    self.ready.push_back(self.earlier.fresh(row, work).await?);
                    return Ok(());
                }
            }
        }
        self.ready.extend(self.earlier.settle(doubts).await?);
        Ok(())
    }
}

impl Earlier {
    /// Opens the journal, and looks at what an earlier run has created.
    pub(super) async fn open(
        provisions: Provisions,
        operation: &Operation,
        ledger: Ledger,
        input: Option<String>,
        patience: Patience,
    ) -> Result<Self, Error> {
        let (base_url, fingerprint) = provisions.scope();
        let mut own = JournalHeader::new(operation, base_url, fingerprint, input);
        let start = ledger.start(&own).await?;
        let mut since = None;
        if operation == &Operation::CREATE_PROVISION && ledger.0.is_some() {
            let newest_before = match &start {
                JournalStart::New => {
                    let Some(newest) = patience.until_done(async || newest(&provisions).await).await? else {
                        // Nothing is begun after a shutdown.
                        return Ok(Self { provisions, ledger, since, patience });
                    };
                    own.newest_before = newest;
                    None
                }
                JournalStart::Begun(earlier) => Some(earlier.newest_before),
                JournalStart::Lost => Some(None),
            };
            if let Some(newest_before) = newest_before {
                since = patience.until_done(async || created_since(&provisions, newest_before).await).await?;
            }
        }
        if !matches!(start, JournalStart::Begun(_)) {
            ledger.begin(own).await?;
        }
        Ok(Self { provisions, ledger, since, patience })
    }

    /// A row of which no run has written. An earlier run may have sent it nevertheless, if its journal has lost its end.
    async fn fresh(&self, row: u64, work: Row) -> Result<Step, Error> {
        match &self.since {
            Some(since) => self.look_for(since, work.key().sent(row), work, false).await,
            None => Ok(Step::Work { row, work, is_repeated: false }),
        }
    }

    /// Finds out what has become of rows in doubt.
    async fn settle(&self, doubts: Vec<(RowRecord, Row)>) -> Result<Vec<Step>, Error> {
        let ids = doubts.iter().filter_map(|(_, work)| match work {
            Row::Close(id) => Some(*id),
            Row::Create(_) => None,
        });
        let ids: Vec<_> = ids.collect();
        let look = async || match doubt::statuses(&self.provisions, ids.clone()).await {
            // Then each is found out when it is closed again, which does no harm.
            Err(error) if !error.is_retryable() => Ok(HashMap::new()),
            looked => looked,
        };
        let Some(statuses) = self.patience.until_done(look).await? else { return Ok(Vec::new()) };
        let mut steps = Vec::new();
        for (last, work) in doubts {
            steps.push(match &self.since {
                Some(since) => self.look_for(since, last, work, true).await?,
                None => self.closed(&statuses, last, work).await?,
            });
        }
        Ok(steps)
    }

    async fn closed(
        &self,
        statuses: &HashMap<ProvisionId, ProvisionStatus>,
        last: RowRecord,
        work: Row,
    ) -> Result<Step, Error> {
        let status = last.id.and_then(|id| statuses.get(&id));
        if matches!(status, Some(ProvisionStatus::Cancelled | ProvisionStatus::Closed)) {
            return self.found(last).await;
        }
        Ok(Step::Work { row: last.row, work, is_repeated: last.is_in_doubt() })
    }

    /// Looks for the user of a row among those that were created since the first run began.
    async fn look_for(
        &self,
        since: &CreatedSince,
        last: RowRecord,
        work: Row,
        is_repeated: bool,
    ) -> Result<Step, Error> {
        let created = last.external_uuid.and_then(|external_uuid| since.of(external_uuid));
        match created {
            Some(Created::One(id)) => self.found(RowRecord { id: Some(id), ..last }).await,
            Some(Created::Several) => {
                let problem = "bunq has created several provisions for the row: close all but one";
                let error = Error::new(ErrorKind::Duplicate, Sent::Responded, problem);
                self.ledger.record(last.failed(error)).await.map(Step::Done)
            }
            // It is looked at as before a repeated request.
            Some(Created::PerhapsBefore) => Ok(Step::Work { row: last.row, work, is_repeated: true }),
            None => Ok(Step::Work { row: last.row, work, is_repeated }),
        }
    }

    async fn found(&self, last: RowRecord) -> Result<Step, Error> {
        let found = RowRecord { error_kind: None, status: None, response_id: None, ..last.now(RowState::Found) };
        self.ledger.record(found).await.map(Step::Done)
    }
}

async fn newest(provisions: &Provisions) -> Result<Option<ProvisionId>, Error> {
    let page = provisions.list().count(PageSize::new(1)?).page().await?;
    Ok(page.items.first().map(|newest| newest.id))
}

/// What was created since the first run began. What an earlier run has sent last may still arrive, so it waits first; no clock
/// says reliably how long ago that was.
async fn created_since(provisions: &Provisions, newest_before: Option<ProvisionId>) -> Result<CreatedSince, Error> {
    sleep(provisions.config().late_arrival).await;
    CreatedSince::list(provisions, newest_before).await
}
