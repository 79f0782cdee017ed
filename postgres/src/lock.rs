//! Locks of names, held by one of all processes.
//!
//! A lock is an advisory lock of a connection of its own, so that it ends with its holder's process. Its holder renews a lease as long
//! as it runs. Who waits for longer than a lease that is not renewed ends the holder's connection. What is saved under the lock
//! is saved over that connection, and only while the lock's fence is the newest: a holder that was cut off cannot save
//! over what came after it.

use std::collections::HashSet;
use std::process;
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::{ContextLock, Error};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;
use tokio_postgres::types::{ToSql, Type};

use crate::connection::{Connection, Values};
use crate::database::Database;
use crate::trouble::Trouble;

/// How long the lock of a process lasts that stands still or is cut off. It is less than the timeout of a statement.
const LEASE: Duration = Duration::from_secs(15);

/// How often a lease is renewed.
const RENEWAL: Duration = Duration::from_secs(4);

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
    /// It is there until this is dropped.
    held: Option<Arc<Held>>,
    runtime: Handle,
    renewing: AbortHandle,
}

struct Held {
    connection: Connection,
    fence: i64,
    turn: Turn,
}

impl Locks {
    pub(crate) fn new(database: Database, most: usize) -> Self {
        Self { database, names: Arc::new(watch::Sender::default()), most }
    }

    /// Waits until nobody else has the lock of `name`, and takes it.
    pub(crate) async fn take(&self, name: String) -> Result<Lock, Trouble> {
        let turn = self.turn(name).await;
        let connection = self.database.connection().await?;
        let holder = format!("process {}", process::id());
        let take = "SELECT bunq_partner.take_lock($1, $2, $3 * interval '1 second')";
        let lease = LEASE.as_secs_f64();
        let values: Values<'_, 3> = [(&turn.name, Type::TEXT), (&holder, Type::TEXT), (&lease, Type::FLOAT8)];
        let fence = loop {
            let rows = connection.query(take, &values).await?;
            let fence = rows.first().map(|row| self.database.column::<Option<i64>>(row, 0));
            if let Some(fence) = fence.transpose()?.flatten() {
                break fence;
            }
        };
        let runtime = Handle::current();
        let held = Arc::new(Held { connection, fence, turn });
        let renewing = runtime.spawn(renew(Arc::clone(&held))).abort_handle();
        Ok(Lock { held: Some(held), runtime, renewing })
    }

    /// Waits until nobody in this process has the turn of `name`, and takes it. Whoever waits is told that it is free, and is not handed it: a future
    /// that is not polled would keep it.
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

/// Renews the lease until the lock is dropped or lost.
async fn renew(held: Arc<Held>) {
    let renew = "SELECT bunq_partner.renew_lock($1, $2)";
    loop {
        sleep(RENEWAL).await;
        let values: Values<'_, 2> = [(&held.turn.name, Type::TEXT), (&held.fence, Type::INT8)];
        match held.connection.query(renew, &values).await {
            Ok(rows) if rows.is_empty() => return tracing::warn!(lock = held.turn.name, "the lock was lost"),
            Ok(_) => {}
            Err(trouble) => return tracing::warn!(lock = held.turn.name, "the lock was lost: {trouble}"),
        }
    }
}

impl Lock {
    /// Returns the lock `name` that a caller holds.
    pub(crate) fn of<'a>(lock: &'a ContextLock, name: &str) -> Result<&'a Self, Error> {
        let own = lock.guard::<Self>().filter(|lock| lock.held().turn.name == name);
        own.ok_or_else(|| Error::context(format_args!("the lock that was given is not the lock `{name}`: take that")))
    }

    /// Runs a statement that changes something only if `bunq_partner.hold_lock($1, $2)` returns a row, and then returns a row too. Its
    /// values are the name of the lock, its fence, and `values`.
    pub(crate) async fn change(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<(), Trouble> {
        let held = self.held();
        let lock: Values<'_, 2> = [(&held.turn.name, Type::TEXT), (&held.fence, Type::INT8)];
        let lost = |cause: &str| {
            let name = &held.turn.name;
            let problem = format_args!("no longer holds the lock `{name}` for this process: {cause}: take it again");
            Trouble::new(held.connection.place(), problem)
        };
        match held.connection.query(sql, &[&lock, values].concat()).await {
            Ok(rows) if rows.is_empty() => Err(lost("another has taken it since")),
            Err(trouble) if trouble.ends_connection() => Err(lost(&format!("its connection has ended ({trouble})"))),
            answer => answer.map(drop),
        }
    }

    #[expect(clippy::expect_used, reason = "only drop takes it")]
    fn held(&self) -> &Arc<Held> {
        self.held.as_ref().expect("the lock is held until it is dropped")
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewing.abort();
        let Some(held) = self.held.take() else { return };
        // Where the runtime has ended, the connection ends, and the lock with it.
        self.runtime.spawn(async move {
            let values: Values<'_, 2> = [(&held.turn.name, Type::TEXT), (&held.fence, Type::INT8)];
            let release = "SELECT FROM bunq_partner.release_lock($1, $2) AS was_held WHERE was_held";
            if let Err(trouble) = held.connection.query(release, &values).await {
                tracing::debug!(lock = held.turn.name, "the lock is released by the end of its connection: {trouble}");
            }
        });
    }
}
