//! Many provisions: closed or created at what bunq's rate limits allow, with a journal by which another run goes on.
//!
//! The operations on one provision do the work; here is what becomes of each row, when one is tried again, and when all are
//! given up for now. This module does not know where rows come from, nor what is done with their outcomes.

mod file_journal;
mod intake;
mod journal;
mod lookup;
mod outage;
mod record;
mod request;
mod run;
mod shutdown;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::file_journal::FileJournal;
pub use self::journal::{Journal, JournalStart, MemoryJournal};
pub use self::record::{JournalHeader, RowKey, RowRecord, RowState};
use self::request::Requests;
pub use self::request::{BulkOperation, BulkRequest};
use self::run::{BulkConfig, Run};
pub use self::shutdown::Shutdown;
use crate::error::Error;
use crate::provisions::Provisions;
use crate::types::{CreateProvisionRequest, ProvisionId};
use futures_util::stream::{Stream, StreamExt as _};

impl Provisions {
    /// Closes many provisions: a stream in, a stream of outcomes out.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client, ids: Vec<bunq_partner::ProvisionId>) -> Result<(), bunq_partner::Error> {
    /// use bunq_partner::FileJournal;
    /// use futures_util::{TryStreamExt, stream};
    ///
    /// let journal = FileJournal::open("closing.journal").await?;
    /// let closing = client.provisions().close_all(stream::iter(ids)).journal(journal);
    /// let mut rows = std::pin::pin!(closing.stream());
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{}: {}", row.row, row.state.as_str());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_all(&self, ids: impl Stream<Item = ProvisionId> + Send + 'static) -> Bulk {
        self.bulk(BulkOperation::Close, ids.map(BulkRequest::Close))
    }

    /// Requests many users: a stream in, a stream of outcomes out.
    ///
    /// bunq makes each user afterwards, and gives it a credential that must be taken into use before it expires: after one hour
    /// in the sandbox, four in production. It lets one session be opened in 30 s, so no more than 120 or 480 users may wait for
    /// it. No row begins unless the stream of outcomes is polled: take the users into use as their outcomes come.
    pub fn create_all<T>(&self, new: impl Stream<Item = T> + Send + 'static) -> Bulk
    where
        T: Into<CreateProvisionRequest>,
    {
        self.bulk(BulkOperation::Create, new.map(|new| BulkRequest::Create(Box::new(new.into()))))
    }

    /// [Closes](Self::close_all) or [creates](Self::create_all) what the requests say. A request of another operation ends it
    /// with [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
    pub fn bulk(&self, operation: BulkOperation, requests: impl Stream<Item = BulkRequest> + Send + 'static) -> Bulk {
        Bulk { config: BulkConfig::new(self.clone(), operation), requests: Box::pin(requests) }
    }
}

/// An operation on many provisions, made by [`close_all`](Provisions::close_all), [`create_all`](Provisions::create_all) or
/// [`bulk`](Provisions::bulk).
///
/// [`stream`](Self::stream) begins it, and yields one [`RowRecord`] for each row, in the order in which they end. Up to 16 rows
/// are in progress at once; bunq's rate limits decide how fast they go. Each request is what [`Provisions::close`] or
/// [`Provisions::create`] makes of it.
///
/// A row that bunq refuses has [`Failed`](RowState::Failed). A failure that passes by itself is tried again, and so is one
/// of the network or of the bank as a whole, until nothing has succeeded for an [hour](Self::outage_timeout). A row that fails
/// three times while others succeed is [`Unfinished`](RowState::Unfinished). [`Client::failures`](crate::Client::failures) says
/// what it waits for. A certificate that is not trusted, or another [misconfiguration](crate::Error::is_misconfiguration),
/// ends it at once, unless a call has succeeded since it began. A creation that was requested more than once
/// is followed by a search, and has `Failed` with [`Duplicate`](crate::ErrorKind::Duplicate) if bunq has made two users.
///
/// # With a journal
///
/// What is about to be sent, and what became of it, is written to the [`Journal`] first. Another run with the same journal and
/// the same input goes on, whenever and however the first one ended. Final rows, also those that have failed, are yielded as
/// they were written; where all are final, nothing is waited for and no call is made. What is in doubt is looked for at bunq
/// before it is sent again, several at a time by a page of the listing. A closing that bunq refuses fails only after a look
/// that begins when no other can [arrive](crate::ClientBuilder::late_arrival) any more. The rows must come in the same order,
/// each provision or user once.
///
/// # Users that are there already
///
/// A journal that is new may be one that was lost. So a run with a journal, new or not, creates no user before it has looked
/// whether bunq has one with the same `external_uuid`; without a journal it does so if [`adopt`](Self::adopt) says so. The first
/// row that is not final [waits](crate::ClientBuilder::late_arrival) once for what an earlier run may have sent. Then up to 1,000
/// rows at a time, as the input has them, are looked for: by pages of 200, newest first, until as many pages were read as there
/// were rows to look for, and then by a read of each row. So the look takes at most two calls for each row, and at most twice as
/// many as there are pages. It holds about 50 bytes for each provision that was listed.
///
/// A user that is there is taken for that of the row, which is [`Already`](RowState::Already), with its id and the time of its
/// creation; bunq does not show [whether it has the row's e-mail address and phone number](crate::Acceptance::Already). One that an
/// earlier run with the same journal has sent is [`Found`](RowState::Found). A provision that is closing, closed or failed, or that is
/// not what the row requests as far as bunq shows it, is never taken: the row has `Failed` with
/// [`Unattainable`](crate::ErrorKind::Unattainable), and names it. Of two that are going, it is
/// [`Duplicate`](crate::ErrorKind::Duplicate).
///
/// # Cancellation
///
/// [`Shutdown`] ends the operation after the rows in progress. Dropping the stream ends it at once; what was sent is then in
/// doubt, as in a crash.
#[must_use = "nothing is done until its stream is polled"]
pub struct Bulk {
    config: BulkConfig,
    requests: Requests,
}

impl Bulk {
    /// Sets the journal. Without one, nothing is known of the operation after a crash.
    pub fn journal(mut self, journal: impl Journal) -> Self {
        self.config.journal = Some(Arc::new(journal));
        self
    }

    /// Names the input, by its digest for example. The journal is bound to it: one that was begun with another is refused. Each
    /// row is held against the journal in any case.
    pub fn input(mut self, name: impl Into<String>) -> Self {
        self.config.input = Some(name.into());
        self
    }

    /// Sets whether users that bunq has already are [looked for](Self#users-that-are-there-already) without a journal too, and
    /// taken for those of the rows. With a journal that is always so. The default is `false`. Closing looks for nothing.
    pub fn adopt(mut self, adopts: bool) -> Self {
        self.config.adopts = adopts;
        self
    }

    /// Sets how long nothing may succeed before the operation is given up for now. The default is an hour.
    pub fn outage_timeout(mut self, timeout: Duration) -> Self {
        self.config.outage_timeout = timeout;
        self
    }

    /// Sets the handle by which the operation is ended early.
    pub fn shutdown(mut self, shutdown: &Shutdown) -> Self {
        self.config.shutdown = shutdown.clone();
        self
    }

    /// Begins, and yields what became of each row.
    ///
    /// # Errors
    ///
    /// The error is the last item: [`Storage`](crate::ErrorKind::Storage) if the journal cannot be used or is another's, or what
    /// keeps every row from succeeding, such as a refused API key or a network that stays away. The rows in progress have
    /// ended before it.
    pub fn stream(self) -> impl Stream<Item = Result<RowRecord, Error>> + Send + 'static {
        Run::start(self.config, self.requests)
    }
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("config", &self.config).finish_non_exhaustive()
    }
}
