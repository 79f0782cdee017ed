//! Takes rows from the input: which of them an earlier run has done, and which are to be done.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::{Either, FutureExt as _, select};
use futures_util::stream::StreamExt as _;
use tokio::time::Instant;

use super::journal::JournalStart;
use super::lookup::{Found, Lookup, Wanted};
use super::outage::Run;
use super::record::{JournalHeader, RowKey, RowRecord, RowState};
use super::request::{BulkOperation, BulkRequest, Requests};
use crate::error::Error;
use crate::reconcile::InFlight;
use crate::types::{ProvisionId, Timestamp};

/// How many rows are held back to be searched for together.
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

/// The input, and what is known of its rows from earlier runs.
pub(super) struct Intake {
    run: Arc<Run>,
    operation: BulkOperation,
    requests: Requests,
    /// The requests of earlier runs, for rows that may have been sent.
    in_flight: InFlight,
    /// What bunq has of the users; `None` if the run does not search for users.
    lookup: Option<Lookup>,
    next_row: u64,
    ready: VecDeque<Incoming>,
    is_over: bool,
}

/// A row that may be done already.
struct Doubt {
    last: RowRecord,
    work: BulkRequest,
    /// An earlier run has sent it, or was about to.
    was_sent: bool,
}

impl Intake {
    /// Opens the journal. The run searches for users if there is one, or if `adopts` says so.
    pub(super) async fn open(
        run: Arc<Run>,
        operation: BulkOperation,
        input: Option<String>,
        adopts: bool,
        requests: Requests,
    ) -> Result<Self, Error> {
        // An earlier run has sent nothing after this run has begun.
        let in_flight = InFlight::until(Instant::now() + run.provisions.config().late_arrival);
        let (base_url, fingerprint) = run.provisions.scope();
        let own = JournalHeader::new(operation, base_url, fingerprint, input);
        let start = run.ledger.start(&own).await?;
        let lookup = if operation == BulkOperation::Create && (adopts || run.ledger.0.is_some()) {
            Some(Lookup::new(Arc::clone(&run), start, own)?)
        } else {
            if !matches!(start, JournalStart::Begun(_)) {
                run.ledger.begin(own).await?;
            }
            None
        };
        let (next_row, ready, is_over) = (1, VecDeque::new(), false);
        Ok(Self { run, operation, requests, in_flight, lookup, next_row, ready, is_over })
    }

    /// The next step, and the intake to go on with.
    pub(super) async fn next(mut self) -> Option<(Result<Incoming, Error>, Self)> {
        loop {
            match self.ready.pop_front() {
                // No row begins any more.
                Some(Incoming::Work { .. }) if self.run.is_ending() => continue,
                Some(step) => return Some((Ok(step), self)),
                None if self.is_over || self.run.is_ending() => return None,
                None => {}
            }
            if let Err(error) = self.take().await {
                self.is_over = true;
                return Some((Err(error), self));
            }
        }
    }

    /// Takes rows in, until there is one to work on. Those that may be done already are searched for together.
    async fn take(&mut self) -> Result<(), Error> {
        let mut doubts = Vec::new();
        while doubts.len() + self.ready.len() < MAX_HELD {
            let next = if doubts.is_empty() && self.ready.is_empty() {
                // An input that waits for something does not hold up the end.
                match select(self.requests.next(), pin!(self.run.ending())).await {
                    Either::Left((next, _)) => Some(next),
                    Either::Right(_) => Some(None),
                }
            } else {
                // It may wait for the outcome of a row that is held here.
                self.requests.next().now_or_never()
            };
            let Some(next) = next else { break };
            let Some(work) = next else {
                self.is_over = true;
                break;
            };
            let row = self.next_row;
            self.next_row += 1;
            if work.operation() != self.operation {
                let [expected, given] = [self.operation, work.operation()].map(|operation| operation.operation().id);
                let problem = format_args!("it is a row of `{given}`, but the operation is `{expected}`");
                return Err(Error::invalid_input(&format!("row {row}"), problem));
            }
            match self.run.ledger.last(row, &RowKey::of(&work)).await? {
                Some(last) if last.state.is_final() => {
                    self.ready.push_back(Incoming::Done(last));
                    if doubts.is_empty() {
                        return Ok(());
                    }
                }
                Some(last) => doubts.push(Doubt { last, work, was_sent: true }),
                // The journal has nothing of it, but its user may be there.
                None if self.lookup.is_some() => {
                    doubts.push(Doubt { last: RowRecord::sent(row, &work), work, was_sent: false });
                }
                None => {
                    self.settle(doubts).await?;
                    self.ready.push_back(Incoming::Work { row, work, in_flight: InFlight::NONE });
                    return Ok(());
                }
            }
        }
        self.settle(doubts).await
    }

    /// Finds out what has become of rows that may be done already.
    async fn settle(&mut self, doubts: Vec<Doubt>) -> Result<(), Error> {
        let (mut ids, mut wanted) = (Vec::new(), Vec::new());
        for Doubt { work, was_sent, .. } in &doubts {
            match work {
                BulkRequest::Close(id) => ids.push(*id),
                BulkRequest::Create(new) => {
                    wanted.push(Wanted { external_uuid: *new.external_uuid(), was_sent: *was_sent });
                }
            }
        }
        let closed = match ids[..] {
            [] => Some(HashSet::new()),
            _ => closed(&self.run, &ids).await?,
        };
        let found = match &mut self.lookup {
            Some(lookup) if !wanted.is_empty() => lookup.find(&wanted, self.in_flight).await?,
            _ => Some(Vec::new()),
        };
        // The end of the run has begun.
        let (Some(closed), Some(found)) = (closed, found) else { return Ok(()) };
        let mut found = found.into_iter();
        for Doubt { last, work, was_sent } in doubts {
            let (row, was_in_doubt) = (last.row, last.is_in_doubt());
            let (done, in_flight) = match &work {
                BulkRequest::Close(id) => {
                    let done = closed.contains(id).then(|| RowRecord { id: Some(*id), ..last }.done(RowState::Found));
                    (done, if was_in_doubt { self.in_flight } else { InFlight::NONE })
                }
                BulkRequest::Create(new) => {
                    let done = match found.next() {
                        None | Some(Found::Nothing) => None,
                        Some(Found::Several(error)) => Some(last.failed(error)),
                        Some(Found::One { existing, is_own }) => {
                            let created = existing.created.map(Timestamp::as_jiff);
                            let last = RowRecord { id: Some(existing.id), created, ..last };
                            Some(match existing.check(new) {
                                _ if is_own => last.done(RowState::Found),
                                Ok(()) => last.done(RowState::Already),
                                Err(error) => last.failed(error),
                            })
                        }
                    };
                    (done, if was_sent { self.in_flight } else { InFlight::NONE })
                }
            };
            self.ready.push_back(match done {
                Some(record) => Incoming::Done(self.run.ledger.record(record).await?),
                None => Incoming::Work { row, work, in_flight },
            });
        }
        Ok(())
    }
}

/// Which of these provisions are closing or closed, read together by pages of the listing; `None` if the end of the run has begun.
async fn closed(run: &Run, ids: &[ProvisionId]) -> Result<Option<HashSet<ProvisionId>>, Error> {
    let read = async || {
        let mut closed = HashSet::new();
        for (id, read) in run.provisions.feed().read_all(ids).await {
            match read {
                Ok(seen) if seen.status.is_closing_or_closed() => _ = closed.insert(id),
                Err(error) if error.is_retryable() => return Err(error),
                // It is closed again, which does no harm.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(closed)
    };
    run.until_done(read).await
}
