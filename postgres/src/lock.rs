//! Locks of names, held by one of all processes.
//!
//! A lock is a row with a fence, and an advisory lock of a connection of its own, which ends with its holder's process. The holder
//! renews a lease as long as it runs, over another connection if the first has ended. Who has waited for a whole lease that was not
//! renewed ends the holder's connection, and takes the lock. What is saved under a lock is saved only while its fence is in the row: a
//! holder that was cut off cannot save over what came after it.

use std::collections::HashSet;
use std::pin::pin;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bunq_partner::{ContextLock, Error, Uuid};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::connection::{Connection, Values, runtime_for};
use crate::database::{Database, unless_gone};
use crate::trouble::Trouble;

/// How long the lock of a process lasts that stands still or is cut off. It is less than the timeout of a statement.
const LEASE: Duration = Duration::from_secs(15);

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(4);

/// How long a renewal may take before it is tried over another connection. There is time for that within the lease.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(7);

/// After what time a lease is renewed again whose connection has ended. Who takes the lock waits for longer.
const RETRY: Duration = Duration::from_millis(200);

/// How long the server has to answer before its lock is waited for. It is less than the wait for the lock of a user, so that a server that
/// does not answer is not taken for a lock that is held.
const TO_ANSWER: Duration = Duration::from_secs(4);

/// The locks of one kind that this process holds or is about to have. One process asks for each name once, with one connection.
#[derive(Debug, Clone)]
pub(crate) struct Locks {
    database: Database,
    names: Arc<watch::Sender<HashSet<String>>>,
    /// How many are held at a time, because each has a connection.
    most: usize,
}

/// The turn of a name in this process.
#[derive(Debug)]
struct Turn {
    name: String,
    names: Arc<watch::Sender<HashSet<String>>>,
}

/// A lock that is held until this is dropped.
pub(crate) struct Lock {
    held: Arc<Held>,
    runtime: Handle,
    renewing: AbortHandle,
}

struct Held {
    database: Database,
    /// Its backend has the advisory lock.
    connection: Mutex<Arc<Connection>>,
    fence: Uuid,
    turn: Turn,
}

impl Locks {
    pub(crate) fn new(database: Database, most: usize) -> Self {
        Self { database, names: Arc::new(watch::Sender::default()), most }
    }

    /// Waits until nobody else has the lock of `name`, and takes it. The turn in this process lasts until the server waits no more for
    /// a caller that is gone: so there is one waiting connection for each name.
    pub(crate) async fn take(&self, name: String) -> Result<Lock, Trouble> {
        let runtime = runtime_for(self.database.place())?;
        let turn = self.turn(name).await;
        let database = self.database.clone();
        let (mut caller, lock) = oneshot::channel();
        runtime.spawn(async move {
            let taken = take(database, turn, &mut caller).await;
            // A lock that the caller does not get is released.
            let _ = taken.transpose().map(|taken| caller.send(taken));
        });
        lock.await.unwrap_or_else(|_| Err(Trouble::new(self.database.place(), "was not asked for a lock")))
    }

    /// Waits until nobody in this process has the turn of `name`, and takes it. Whoever waits is told that it is free, and is not handed
    /// it: a future that is not polled would keep it.
    async fn turn(&self, name: String) -> Turn {
        let is_free = |names: &HashSet<String>| names.len() < self.most && !names.contains(&name);
        let mut changes = self.names.subscribe();
        while !self.names.send_if_modified(|names| is_free(names) && names.insert(name.clone())) {
            // The sender is there as long as this.
            let _ = changes.wait_for(is_free).await;
        }
        Turn { name, names: Arc::clone(&self.names) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.names.send_if_modified(|names| names.remove(&self.name));
    }
}

/// Takes a lock. It is `None` if the caller is gone before that.
async fn take<T>(database: Database, turn: Turn, caller: &mut oneshot::Sender<T>) -> Result<Option<Lock>, Trouble> {
    let Some(connection) = unless_gone(caller, answering(&database)).await else { return Ok(None) };
    let connection = connection?;
    let holder = format!("process {}", process::id());
    let take = "SELECT bunq_partner.take_lock($1, $2, $3 * interval '1 second')";
    let lease = LEASE.as_secs_f64();
    let values: Values<'_, 3> = [(&turn.name, Type::TEXT), (&holder, Type::TEXT), (&lease, Type::FLOAT8)];
    let fence = loop {
        if caller.is_closed() {
            return Ok(None);
        }
        let mut taking = pin!(connection.query(take, &values));
        let rows = match unless_gone(caller, taking.as_mut()).await {
            Some(rows) => rows?,
            None => {
                if let Err(trouble) = connection.cancel().await {
                    tracing::debug!(
                        lock = turn.name,
                        "the server may wait for the lock until the lease is over: {trouble}"
                    );
                }
                taking.await?
            }
        };
        let fence = rows.first().map(|row| database.column::<Option<Uuid>>(row, 0));
        if let Some(fence) = fence.transpose()?.flatten() {
            break fence;
        }
    };
    let connection = Mutex::new(Arc::new(connection));
    let held = Arc::new(Held { database, connection, fence, turn });
    let runtime = Handle::current();
    let renewing = runtime.spawn(renew(Arc::clone(&held))).abort_handle();
    Ok(Some(Lock { held, runtime, renewing }))
}

/// Returns a connection over which the server answers.
async fn answering(database: &Database) -> Result<Connection, Trouble> {
    let answer = async {
        let connection = database.connection().await?;
        connection.query("SELECT", &[]).await?;
        Ok(connection)
    };
    timeout(TO_ANSWER, answer).await.unwrap_or_else(|_| Err(Trouble::unanswered(database.place(), TO_ANSWER)))
}

/// Renews the lease until the lock is dropped or lost.
async fn renew(held: Arc<Held>) {
    let renew = "SELECT bunq_partner.renew_lock($1, $2)";
    let (mut pause, mut is_stuck) = (RENEWAL, false);
    loop {
        let connection = held.connection();
        // One that has ended is replaced at once, before somebody else takes the lock.
        let has_ended = timeout(pause, connection.ended()).await.is_ok();
        let renewing = async {
            let connection = match has_ended || is_stuck {
                true => Arc::new(held.database.connection().await?),
                false => connection,
            };
            let rows = connection.query(renew, &held.key()).await?;
            let is_held = rows.first().map(|row| held.database.column::<Option<bool>>(row, 0)).transpose()?.flatten();
            Ok::<_, Trouble>((connection, is_held))
        };
        (pause, is_stuck) = match timeout(RENEWAL_TIMEOUT, renewing).await {
            Ok(Ok((_, None))) => return tracing::warn!(lock = held.turn.name, "another process has taken the lock"),
            Ok(Ok((connection, Some(is_held)))) => {
                held.set_connection(connection);
                (if is_held { RENEWAL } else { RETRY }, false)
            }
            Ok(Err(trouble)) => {
                tracing::debug!(lock = held.turn.name, "the lease was not renewed: {trouble}");
                // The next round does not wait where the connection of the lock has ended.
                sleep(RETRY).await;
                (Duration::ZERO, trouble.ends_connection())
            }
            Err(_) => (Duration::ZERO, true),
        };
    }
}

impl Held {
    /// The first two values of each statement about a lock.
    fn key(&self) -> Values<'_, 2> {
        [(&self.turn.name, Type::TEXT), (&self.fence, Type::UUID)]
    }

    fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_connection(&self, connection: Arc<Connection>) {
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Runs a statement that may run twice, over another connection if that of the lock has ended.
    async fn query(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Trouble> {
        match self.connection().query(sql, values).await {
            Err(trouble) if trouble.ends_connection() => self.database.connection().await?.query(sql, values).await,
            answer => answer,
        }
    }

    /// Releases the lock. The row goes first: who gets the advisory lock then sees that it was released.
    async fn release(&self) -> Result<(), Trouble> {
        self.query("DELETE FROM bunq_partner.lock WHERE name = $1 AND fence = $2", &self.key()).await?;
        let unlock = "SELECT pg_advisory_unlock(bunq_partner.lock_key($1))";
        self.connection().query(unlock, &self.key()[..1]).await.map(drop)
    }
}

impl Lock {
    /// Returns the lock `name` that a caller holds.
    pub(crate) fn of<'a>(lock: &'a ContextLock, name: &str) -> Result<&'a Self, Error> {
        let own = lock.guard::<Self>().filter(|lock| lock.held.turn.name == name);
        own.ok_or_else(|| Error::context(format_args!("the lock that was given is not the lock `{name}`: take that")))
    }

    /// Runs a statement that changes something only if `bunq_partner.hold_lock($1, $2)` returns a row, and then returns a row too. Its
    /// values are the name of the lock, its fence, and `values`. It may run twice.
    pub(crate) async fn change(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<(), Trouble> {
        let held = &self.held;
        let rows = held.query(sql, &[&held.key(), values].concat()).await?;
        match rows.is_empty() {
            false => Ok(()),
            true => {
                let name = &held.turn.name;
                let problem = format_args!(
                    "no longer holds the lock `{name}` for this process, which stood still or was cut off, or it was lost in a failover: \
                     another may have it by now"
                );
                Err(Trouble::new(held.database.place(), problem))
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewing.abort();
        let held = Arc::clone(&self.held);
        // Where the runtime has ended, the connection ends, and the lock with it.
        self.runtime.spawn(async move {
            if let Err(trouble) = held.release().await {
                tracing::debug!(lock = held.turn.name, "the lock is released by the end of its connection: {trouble}");
            }
        });
    }
}
