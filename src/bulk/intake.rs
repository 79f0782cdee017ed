//! The input on its way to the work: what an earlier run has done of it, and what is to be done.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;

use futures_util::future::{Either, FutureExt as _, select};
use futures_util::stream::StreamExt as _;
use tokio::time::Instant;

use super::doubt;
use super::journal::JournalStart;
use super::ledger::Ledger;
use super::lookup::{Found, Lookup, Wanted};
use super::operation::BulkOperation;
use super::outage::Patience;
use super::record::{JournalHeader, RowRecord, RowState};
use super::request::{BulkRequest, Requests};
use super::shutdown::Shutdown;
use crate::error::Error;
use crate::provisions::{Existing, InFlight, Provisions};
use crate::types::{CreateProvisionRequest, ProvisionId, ProvisionStatus, Timestamp};

/// How many rows are held back, while those among them are gathered that are looked for.
const MAX_HELD: usize = 1000;

/// A row to work on, or one that is done already.
#[derive(Debug)]
pub(super) enum Incoming {
    Done(RowRecord),
    Work {
        row: u64,
        work: BulkRequest,
        /// The requests of earlier runs.
        in_flight: InFlight,
    },
}

/// The input on its way to the work.
pub(super) struct Intake {
    earlier: Earlier,
    operation: BulkOperation,
    requests: Requests,
    shutdown: Shutdown,
    next_row: u64,
    ready: VecDeque<Incoming>,
    is_over: bool,
}

/// What is known of earlier runs.
pub(super) struct Earlier {
    provisions: Provisions,
    ledger: Ledger,
    patience: Patience,
    /// The requests of earlier runs, for rows of which it is not known that there was none.
    in_flight: InFlight,
    /// What bunq has of the users; `None` if none is looked for.
    lookup: Option<Lookup>,
}

/// A row that may be done already.
struct Doubt {
    last: RowRecord,
    work: BulkRequest,
    /// An earlier run has sent it, or was about to.
    was_sent: bool,
}

impl Intake {
    pub(super) fn new(earlier: Earlier, operation: BulkOperation, requests: Requests, shutdown: Shutdown) -> Self {
        Self { earlier, operation, requests, shutdown, next_row: 1, ready: VecDeque::new(), is_over: false }
    }

    /// The next step, and the intake to go on with.
    pub(super) async fn next(mut self) -> Option<(Result<Incoming, Error>, Self)> {
        loop {
            match self.ready.pop_front() {
                // No row begins after a shutdown.
                Some(Incoming::Work { .. }) if self.shutdown.has_begun() => continue,
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

    /// Takes rows in, until there is one to work on. Those that may be done already are looked for together.
    async fn take(&mut self) -> Result<(), Error> {
        let mut doubts = Vec::new();
        while doubts.len() + self.ready.len() < MAX_HELD {
            let next = if doubts.is_empty() && self.ready.is_empty() {
                // An input that waits for something does not hold up the end.
                match select(self.requests.next(), pin!(self.shutdown.begun())).await {
                    Either::Left((next, _)) => Some(next),
                    Either::Right(_) => Some(None),
                }
            } else {
                // It may wait for the outcome of a row that is held here.
                self.requests.next().now_or_never()
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
            if work.operation() != self.operation {
                let [expected, given] = [self.operation, work.operation()].map(|operation| operation.operation().id);
                let problem = format_args!("it is a row of `{given}`, but the operation is `{expected}`");
                return Err(Error::invalid_input(&format!("row {row}"), problem));
            }
            match self.earlier.ledger.last(row, &work.key()).await? {
                Some(last) if last.state.is_final() => {
                    self.ready.push_back(Incoming::Done(last));
                    if doubts.is_empty() {
                        return Ok(());
                    }
                }
                Some(last) => doubts.push(Doubt { last, work, was_sent: true }),
                // Nothing was written of it, but its user may be there.
                None if self.earlier.lookup.is_some() => {
                    doubts.push(Doubt { last: work.sent(row), work, was_sent: false });
                }
                None => {
                    self.ready.extend(self.earlier.settle(doubts).await?);
                    self.ready.push_back(Incoming::Work { row, work, in_flight: InFlight::NONE });
                    return Ok(());
                }
            }
        }
        self.ready.extend(self.earlier.settle(doubts).await?);
        Ok(())
    }
}

impl Earlier {
    /// Opens the journal. Users are looked for if there is one, or if `adopts` says so.
    pub(super) async fn open(
        provisions: Provisions,
        operation: BulkOperation,
        ledger: Ledger,
        input: Option<String>,
        adopts: bool,
        patience: Patience,
    ) -> Result<Self, Error> {
        // An earlier run has sent nothing after this run has begun.
        let in_flight = InFlight::until(Instant::now() + provisions.config().late_arrival);
        let (base_url, fingerprint) = provisions.scope();
        let own = JournalHeader::new(operation, base_url, fingerprint, input);
        let start = ledger.start(&own).await?;
        if operation == BulkOperation::Create && (adopts || ledger.0.is_some()) {
            let lookup = Lookup::new(provisions.clone(), ledger.clone(), patience.clone(), start, own)?;
            return Ok(Self { provisions, ledger, patience, in_flight, lookup: Some(lookup) });
        }
        if !matches!(start, JournalStart::Begun(_)) {
            ledger.begin(own).await?;
        }
        Ok(Self { provisions, ledger, patience, in_flight, lookup: None })
    }

    /// Finds out what has become of rows that may be done already.
    async fn settle(&mut self, doubts: Vec<Doubt>) -> Result<Vec<Incoming>, Error> {
        if doubts.is_empty() {
            return Ok(Vec::new());
        }
        let (mut closings, mut creations) = (Vec::new(), Vec::new());
        for Doubt { last, work, was_sent } in doubts {
            match work {
                BulkRequest::Close(id) => closings.push((last, id)),
                BulkRequest::Create(new) => {
                    let wanted = Wanted { external_uuid: *new.external_uuid(), was_sent };
                    creations.push((wanted, last, new));
                }
            }
        }
        let mut steps = self.settle_closings(closings).await?;
        steps.extend(self.settle_creations(creations).await?);
        Ok(steps)
    }

    async fn settle_closings(&self, doubts: Vec<(RowRecord, ProvisionId)>) -> Result<Vec<Incoming>, Error> {
        let ids: Vec<_> = doubts.iter().map(|(_, id)| *id).collect();
        let look = async || match doubt::statuses(&self.provisions, &ids).await {
            // Then each is found out when it is closed again, which does no harm.
            Err(error) if !error.is_retryable() => Ok(HashMap::new()),
            looked => looked,
        };
        let Some(statuses) = self.patience.until_done(look).await? else { return Ok(Vec::new()) };
        let mut steps = Vec::new();
        for (last, id) in doubts {
            steps.push(self.closed(&statuses, last, id).await?);
        }
        Ok(steps)
    }

    async fn closed(
        &self,
        statuses: &HashMap<ProvisionId, ProvisionStatus>,
        last: RowRecord,
        id: ProvisionId,
    ) -> Result<Incoming, Error> {
        if statuses.get(&id).is_some_and(ProvisionStatus::is_closing_or_closed) {
            return self.found(RowRecord { id: Some(id), ..last }).await;
        }
        let in_flight = if last.is_in_doubt() { self.in_flight } else { InFlight::NONE };
        Ok(Incoming::Work { row: last.row, work: BulkRequest::Close(id), in_flight })
    }

    async fn found(&self, last: RowRecord) -> Result<Incoming, Error> {
        self.ledger.record(last.done(RowState::Found)).await.map(Incoming::Done)
    }

    async fn settle_creations(
        &mut self,
        doubts: Vec<(Wanted, RowRecord, Box<CreateProvisionRequest>)>,
    ) -> Result<Vec<Incoming>, Error> {
        let wanted: Vec<_> = doubts.iter().map(|(wanted, ..)| *wanted).collect();
        let found = match &mut self.lookup {
            Some(lookup) => lookup.find(&wanted, self.in_flight).await?,
            None => Some(wanted.iter().map(|_| Found::Nothing).collect()),
        };
        let mut steps = Vec::new();
        for ((wanted, last, new), found) in doubts.into_iter().zip(found.into_iter().flatten()) {
            steps.push(self.created(last, new, wanted.was_sent, found).await?);
        }
        Ok(steps)
    }

    async fn created(
        &self,
        last: RowRecord,
        new: Box<CreateProvisionRequest>,
        was_sent: bool,
        found: Found,
    ) -> Result<Incoming, Error> {
        let with = |existing: Existing, last: RowRecord| RowRecord {
            id: Some(existing.id),
            created: existing.created.map(Timestamp::as_jiff),
            ..last
        };
        let record = match found {
            Found::Nothing => {
                let in_flight = if was_sent { self.in_flight } else { InFlight::NONE };
                return Ok(Incoming::Work { row: last.row, work: BulkRequest::Create(new), in_flight });
            }
            Found::Own(existing) => return self.found(with(existing, last)).await,
            Found::Other(existing) => match existing.check(&new) {
                Ok(()) => with(existing, last).done(RowState::Already),
                Err(error) => with(existing, last).failed(error),
            },
            Found::Several(error) => last.failed(error),
        };
        self.ledger.record(record).await.map(Incoming::Done)
    }
}
