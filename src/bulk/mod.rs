//! Closes or creates many provisions as fast as bunq's rate limits allow, with a journal from which another run goes on.
//!
//! The operations on one provision do the work. This module decides what becomes of each row, when a row is tried again, and when
//! the run gives up for now. It does not know where rows come from, nor what is done with their outcomes.

mod file_journal;
mod intake;
mod journal;
mod lookup;
mod outage;
mod record;
mod request;
mod run;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt as _};

pub use self::file_journal::FileJournal;
pub use self::journal::{Journal, JournalStart, MemoryJournal};
pub use self::record::{JournalHeader, RowKey, RowRecord, RowState};
use self::request::Requests;
pub use self::request::{BulkOperation, BulkRequest};
use self::run::BulkConfig;
use crate::error::Error;
use crate::provisions::Provisions;
use crate::transport::shutdown::Shutdown;
use crate::types::{CreateProvisionRequest, ProvisionId};

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
    ///     println!("{}: {}", row.row, row.state);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn close_all(&self, ids: impl Stream<Item = ProvisionId> + Send + 'static) -> Bulk {
        self.bulk(BulkOperation::Close, ids.map(BulkRequest::Close))
    }

    /// Requests many users: a stream in, a stream of outcomes out.
    ///
    /// bunq makes each user afterwards, and gives it a credential that must be activated before it expires: after one hour
    /// in the sandbox, four in production. bunq lets one session be opened in 30 s, so at most 120 or 480 users may wait for
    /// activation. No row begins unless the stream of outcomes is polled: activate the users as their outcomes come.
    pub fn create_all<T>(&self, new: impl Stream<Item = T> + Send + 'static) -> Bulk
    where
        T: Into<CreateProvisionRequest>,
    {
        self.bulk(BulkOperation::Create, new.map(|new| BulkRequest::Create(Box::new(new.into()))))
    }

    /// [Closes](Self::close_all) or [creates](Self::create_all) what the requests say. A request of the other operation ends the run
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
/// A row that bunq refuses is [`Failed`](RowState::Failed). A failure that passes by itself is tried again, and so is a failure
/// of the network or of the whole bank, until nothing has succeeded for an [hour](Self::outage_timeout). A row that fails
/// three times while others succeed is [`Unfinished`](RowState::Unfinished). [`Client::failures`](crate::Client::failures) says
/// what the run waits for. A certificate that is not trusted, or another [misconfiguration](crate::Error::is_misconfiguration),
/// ends the run at once, unless a call has succeeded since the run began. If a creation was requested more than once, a search
/// follows, and the row is `Failed` with [`Duplicate`](crate::ErrorKind::Duplicate) if bunq has made two users.
///
/// # With a journal
///
/// The run writes to the [`Journal`] before it sends a request, and again when it knows the outcome. Another run with the same
/// journal and the same input goes on, whenever and however the first one ended. It yields final rows as they were written, including
/// those that have failed; if all rows are final, it waits for nothing and makes no call. It reads from bunq what became of rows in doubt
/// before it sends them again, several at a time with a page of the listing. A closing that bunq refuses fails only after a read
/// that begins when no earlier request can [arrive](crate::ClientBuilder::late_arrival) any more. The rows must come in the same order,
/// each provision or user once.
///
/// # Users that are there already
///
/// The journal of an earlier run may have been lost. So a run with a journal, new or not, creates a user only after a search has
/// shown that bunq has none with the same `external_uuid`; without a journal it searches if [`adopt`](Self::adopt) says so. The first
/// row that is not final [waits](crate::ClientBuilder::late_arrival) once for requests that an earlier run may have sent. Then the run
/// searches for up to 1,000 rows at a time, as the input has them: by pages of 200, newest first, until it has read as many pages as
/// there were rows to search for, and then with a read for each row. So a search takes at most two calls for each row, and at most
/// twice as many as there are pages. It holds about 50 bytes for each provision that was listed.
///
/// A user that exists becomes that of the row, which is [`Already`](RowState::Already), with its id and the time of its
/// creation; bunq does not show [whether it has the row's e-mail address and phone number](crate::Acceptance::Already). If an
/// earlier run with the same journal has sent the request, the row is [`Found`](RowState::Found). A provision that is closing, closed or
/// failed, or that bunq shows to differ from what the row requests, is never taken: the row is `Failed` with
/// [`Unattainable`](crate::ErrorKind::Unattainable), which names the provision. If two are neither closing, closed nor failed, it is
/// `Failed` with [`Duplicate`](crate::ErrorKind::Duplicate).
///
/// # Cancellation
///
/// After [`Shutdown::begin`] no request begins, and the operation ends when those on the wire are answered, at the latest after five
/// seconds. Dropping the stream ends it at once; the outcome of what was sent is then in doubt, as after a crash.
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

    /// Names the input, for example by its digest. The journal is bound to it: a journal that was begun with another input is
    /// refused. Each row is compared with the journal in any case.
    pub fn input(mut self, name: impl Into<String>) -> Self {
        self.config.input = Some(name.into());
        self
    }

    /// Sets whether the run [searches for users that exist already](Self#users-that-are-there-already) without a journal too. With a
    /// journal it always does. The default is `false`. It has no effect on closings.
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
    /// keeps every row from succeeding, such as a refused API key or a network that is down. The rows in progress end
    /// before it.
    pub fn stream(self) -> impl Stream<Item = Result<RowRecord, Error>> + Send + 'static {
        self.config.start(self.requests)
    }
}

impl fmt::Debug for Bulk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulk").field("config", &self.config).finish_non_exhaustive()
    }
}
