//! Connections: how they are made, what one is used for, and which of them are used again.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::trouble::Trouble;
use crate::url::{Target, TargetHost};

/// When a statement is given up that the server has not ended, as `BEGIN` has it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How many connections wait for their next use at most.
const MAX_IDLE: usize = 4;

/// What each connection begins with. A statement may take longer than the lease of a lock, for which one may wait. A setting of the
/// server or of the role must not make what was saved less durable, nor have a statement that has waited see what was before. A server
/// that can sees within a second that a client is gone that waits for a lock: PostgreSQL 14 or later, not on every system. One whose client
/// was cut off ends its connection, and what that held, within half a minute.
const BEGIN: &str = "
    SET statement_timeout = '25s';
    SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '25s';
    SET search_path = '';
    SET tcp_keepalives_idle = 10;
    SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3;
    SET default_transaction_isolation = 'read committed';
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write');
    DO $$ BEGIN
        PERFORM pg_catalog.set_config('client_connection_check_interval', '1s', false);
    EXCEPTION WHEN undefined_object OR invalid_parameter_value THEN
        NULL;
    END $$";

/// The values of a statement, with their types.
pub(crate) type Values<'a, const N: usize> = [(&'a (dyn ToSql + Sync), Type); N];

/// Reads a column of a row of the database `place`.
pub(crate) fn column<'a, T: FromSql<'a>>(place: &str, row: &'a Row, index: usize) -> Result<T, Trouble> {
    row.try_get(index).map_err(|error| Trouble::of(place, &error))
}

/// The runtime that drives what is done with the database `place`.
pub(crate) fn runtime_for(place: &str) -> Result<Handle, Trouble> {
    let problem = "cannot be used here: there is no Tokio runtime with I/O and time";
    Handle::try_current().map_err(|_| Trouble::new(place, problem))
}

/// Makes connections, and keeps those that may be used again.
pub(crate) struct Pool {
    target: Target,
    tls: MakeRustlsConnect,
    idle: Mutex<Vec<(Id, Open)>>,
    /// The index of the host that is tried first: where one that was asked does not answer, that is the next.
    first_host: AtomicUsize,
}

/// A client of the driver, and whether its connection is there: the sender ends with that.
struct Open {
    client: Client,
    ended: watch::Receiver<()>,
    host: usize,
}

/// A host that is being asked for a connection. If it has none, also because the caller has not waited for it, others are tried first from
/// then on.
struct Asked<'a> {
    pool: &'a Pool,
    host: usize,
}

/// A connection. It is used again once it is dropped, if all of its statements have succeeded. If one was never answered, the connections
/// that are idle are not used again either: the same may have become of them.
pub(crate) struct Connection {
    /// It is there until this is dropped.
    open: Option<Open>,
    pool: Arc<Pool>,
    /// The runtime that drives the connection.
    runtime: Id,
    /// The statements without an answer. One that ends the connection, or whose future is dropped, never has one.
    unanswered: AtomicUsize,
    has_failed: AtomicBool,
}

impl Pool {
    pub(crate) fn new(target: Target, tls: MakeRustlsConnect) -> Self {
        Self { target, tls, idle: Mutex::default(), first_host: AtomicUsize::new(0) }
    }

    /// Names the database in errors.
    pub(crate) fn place(&self) -> &str {
        &self.target.place
    }

    /// Returns a connection that is idle, or makes one.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Connection, Trouble> {
        let runtime = runtime_for(self.place())?.id();
        match self.idle_of(runtime) {
            Some(open) => Ok(self.opened(open, runtime)),
            None => self.bare_connection().await?.begin().await,
        }
    }

    /// Makes a connection that has the settings of the server, until it [begins](Connection::begin).
    pub(crate) async fn bare_connection(self: &Arc<Self>) -> Result<Connection, Trouble> {
        let runtime = runtime_for(self.place())?.id();
        Ok(self.opened(self.connect().await?, runtime))
    }

    fn opened(self: &Arc<Self>, open: Open, runtime: Id) -> Connection {
        let (unanswered, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Connection { open: Some(open), pool: Arc::clone(self), runtime, unanswered, has_failed }
    }

    /// The connection that was used last: the others are closed by the server, or by what is between, sooner.
    fn idle_of(&self, runtime: Id) -> Option<Open> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, open)| !open.client.is_closed());
        let index = idle.iter().rposition(|(of, _)| *of == runtime)?;
        Some(idle.remove(index).1)
    }

    /// Makes a connection to the first host that can be written to.
    async fn connect(&self) -> Result<Open, Trouble> {
        let (count, first) = (self.target.hosts.len(), self.first_host.load(Ordering::Relaxed));
        let mut trouble = None;
        for host in (first..first + count).map(|index| index % count) {
            let asked = Asked { pool: self, host };
            match self.connect_to(host).await {
                Ok(open) => {
                    mem::forget(asked);
                    self.first_host.store(host, Ordering::Relaxed);
                    return Ok(open);
                }
                Err(problem) => trouble = Some(problem.after(trouble)),
            }
        }
        Err(trouble.unwrap_or_else(|| Trouble::new(self.place(), "has no host")))
    }

    async fn connect_to(&self, host: usize) -> Result<Open, Trouble> {
        let TargetHost { config, place } = &self.target.hosts[host];
        let connecting = async {
            let (client, connection) = config.connect(self.tls.clone()).await?;
            let (driving, ended) = watch::channel(());
            let name = place.clone();
            tokio::spawn(async move {
                let _driving = driving;
                if let Err(error) = connection.await {
                    tracing::debug!("a connection has ended: {}", Trouble::of(&name, &error));
                }
            });
            Ok(Open { client, ended, host })
        };
        let share = ANSWER_TIMEOUT / u32::try_from(self.target.hosts.len()).unwrap_or(u32::MAX);
        in_time(place, share, connecting).await
    }

    /// Has other hosts tried before this one.
    fn avoid(&self, host: usize) {
        let next = (host + 1) % self.target.hosts.len();
        // Unless that is so already.
        let _ = self.first_host.compare_exchange(host, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.pool.avoid(self.host);
    }
}

async fn in_time<T>(
    place: &str,
    limit: Duration,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Trouble> {
    match timeout(limit, answer).await {
        Ok(answer) => answer.map_err(|error| Trouble::of(place, &error)),
        Err(_) => Err(Trouble::unanswered(place, limit)),
    }
}

impl Connection {
    /// Makes the settings with which it is used.
    pub(crate) async fn begin(self) -> Result<Self, Trouble> {
        self.execute(BEGIN).await?;
        Ok(self)
    }

    /// Ends the connection, so that it is not used again.
    pub(crate) fn close(mut self) {
        self.open = None;
    }

    /// Runs a statement, in one round trip. After a failure the connection is not used again for others. Of its other ways to run a
    /// statement, the driver logs the values.
    pub(crate) async fn query(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Trouble> {
        self.answer(self.open().client.query_typed(sql, values)).await
    }

    /// Runs statements without values.
    pub(crate) async fn execute(&self, sql: &str) -> Result<(), Trouble> {
        self.answer(self.open().client.batch_execute(sql)).await
    }

    async fn answer<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Trouble> {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        let answer = in_time(self.pool.place(), ANSWER_TIMEOUT, answer).await;
        if answer.as_ref().err().is_none_or(|trouble| !trouble.ends_connection()) {
            self.unanswered.fetch_sub(1, Ordering::Relaxed);
        }
        self.has_failed.fetch_or(answer.is_err(), Ordering::Relaxed);
        answer
    }

    /// Has the server end the statement that runs. The connection is not used again for others: it may end a later one.
    pub(crate) async fn cancel(&self) -> Result<(), Trouble> {
        self.has_failed.store(true, Ordering::Relaxed);
        let token = self.open().client.cancel_token();
        in_time(self.pool.place(), ANSWER_TIMEOUT, token.cancel_query(self.pool.tls.clone())).await
    }

    /// Waits for the end of the connection.
    pub(crate) async fn ended(&self) {
        // Nothing is sent.
        let _ = self.open().ended.clone().changed().await;
    }

    #[expect(clippy::expect_used, reason = "only drop takes it")]
    fn open(&self) -> &Open {
        self.open.as_ref().expect("the connection is there until it is dropped")
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut idle = self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.unanswered.get_mut() > 0 {
            idle.clear();
            self.open.iter().for_each(|open| self.pool.avoid(open.host));
        } else if let Some(open) = self.open.take().filter(|open| !open.client.is_closed())
            && !*self.has_failed.get_mut()
            && idle.len() < MAX_IDLE
        {
            idle.push((self.runtime, open));
        }
    }
}
