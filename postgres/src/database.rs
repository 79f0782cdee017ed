//! A database that several machines use.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bunq_partner::{Error, Secret};
use tokio::runtime::Id;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type};

use crate::connection::{Connection, Pool, column, runtime_for};
use crate::migrations::{self, Migrated};
use crate::trouble::Trouble;
use crate::url::Target;

/// How many statements run at a time. The locks that are held have a connection each beside them.
const MAX_STATEMENTS: usize = 4;

/// The oldest version of PostgreSQL that is used, 13.
const OLDEST_SERVER: i32 = 130_000;

/// The statement that reads a text of a table, up to 1 MiB, which is far more than is kept.
macro_rules! select_text {
    ($rest:literal) => {
        concat!("SELECT CASE WHEN octet_length(text) <= 1048576 THEN text END FROM bunq_partner.", $rest)
    };
}
pub(crate) use select_text;

/// A value of a statement, with its type.
pub(crate) type Value = (Box<dyn ToSql + Send + Sync>, Type);

/// A PostgreSQL database in which the machines of a partner keep what they share. Clones share its connections.
///
/// ```no_run
/// use bunq_partner_postgres::Database;
///
/// # async fn connect() -> Result<(), bunq_partner::Error> {
/// let url = "postgres://acme:PASSWORD@db.example.com/acme";
/// Database::migrate(url).await?;
/// let database = Database::connect(url).await?;
/// # Ok(())
/// # }
/// ```
///
/// # The URL
///
/// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE`, with `%40` for an `@` in the password. Among the parameters are:
///
/// - `sslmode`: `verify-full` unless the server is on this machine, and nothing weaker. On this machine `disable`.
/// - `sslrootcert`: a PEM file with the certificates that are trusted, in place of the system's.
/// - `host`: the folder of a socket, as in `postgres:///acme?host=/run/postgresql`.
/// - `application_name`: names the machine in the list of connections and of who holds a lock; `bunq-partner` if it is missing.
/// - `connect_timeout`, in seconds, for each host: if it is missing, 10, or 3 with several hosts.
///
/// With several hosts, as in `HOST,HOST`, the one that can be written to is used. It is tried first from then on, and one that did not
/// answer is tried last.
///
/// # Connections
///
/// A process has up to 4 for statements, one each that renews permits and a share, and one for each lock that it holds or waits for: up to 1 for a
/// context and 4 for a custody. They are made when they are needed. A connection must have a server process of its own, because locks
/// belong to that: a pooler must be in session mode.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    pool: Arc<Pool>,
    /// The turns of the statements of each runtime, as each has its connections: one that is not run keeps none from others.
    turns: Mutex<HashMap<Id, Arc<Semaphore>>>,
}

impl Database {
    /// Connects to the database, and checks it: whether it is PostgreSQL 13 or later and can be written to, whether its schema is the
    /// one that is needed and the role has the rights, and whether a pooler shares its connections.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Context`](bunq_partner::ErrorKind::Context), with the cause and the remedy. It has no password.
    pub async fn connect(url: impl Into<Secret>) -> Result<Self, Error> {
        let database = Self::open(&url.into()).await?;
        let connection = database.check_server().await.map_err(Trouble::context)?;
        migrations::check(&connection, database.place()).await.map_err(Trouble::context)?;
        database.check_rights(&connection).await.map_err(Trouble::context)?;
        Ok(database)
    }

    /// Makes the schema `bunq_partner` in the database, or brings it to the version that this crate needs. It does nothing if that is
    /// done, and may be called by several processes at once. It never goes back: it refuses a schema that a newer version of this
    /// crate has made and that this one cannot use.
    ///
    /// The role needs the right to create a schema there, and owns it afterwards: no other role migrates it. Services need less:
    /// `role.sql` of this crate grants it.
    ///
    /// # Errors
    ///
    /// Like [`connect`](Self::connect).
    pub async fn migrate(url: impl Into<Secret>) -> Result<Migrated, Error> {
        let database = Self::open(&url.into()).await?;
        let connection = database.check_server().await.map_err(Trouble::context)?;
        migrations::migrate(&connection, database.place()).await.map_err(Trouble::context)
    }

    async fn open(url: &Secret) -> Result<Self, Error> {
        let target = Target::parse(url)?;
        let trust = target.trust.clone();
        let runtime = runtime_for(&target.place).map_err(Trouble::context)?;
        let tls = runtime.spawn_blocking(move || trust.connector()).await.map_err(Error::context)??;
        let pool = Arc::new(Pool::new(target, tls));
        Ok(Self(Arc::new(Inner { pool, turns: Mutex::default() })))
    }

    /// The turns of the statements of a runtime.
    fn turns_in(&self, runtime: Id) -> Arc<Semaphore> {
        let mut turns = self.0.turns.lock().unwrap_or_else(PoisonError::into_inner);
        // A runtime that has ended leaves none in use.
        turns.retain(|id, turns| *id == runtime || turns.available_permits() < MAX_STATEMENTS);
        Arc::clone(turns.entry(runtime).or_insert_with(|| Arc::new(Semaphore::new(MAX_STATEMENTS))))
    }

    /// Names the database in errors, without a secret: `the database acme at db.example.com:5432`.
    pub(crate) fn place(&self) -> &str {
        self.0.pool.place()
    }

    /// Returns a connection for several statements, such as those of a lock.
    pub(crate) async fn connection(&self) -> Result<Connection, Trouble> {
        self.0.pool.connection().await
    }

    /// Runs a statement in a task of its own: a caller that does not poll keeps no connection from others. If the caller is gone before
    /// its turn has come, nothing is run.
    pub(crate) async fn query(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>, Trouble> {
        self.query_as(sql, values, Ok).await
    }

    /// The same, with what `read` makes of the rows. It is dropped if the caller is gone by then.
    pub(crate) async fn query_as<T: Send + 'static>(
        &self,
        sql: &'static str,
        values: Vec<Value>,
        read: impl FnOnce(Vec<Row>) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let database = self.clone();
        let (mut caller, answer) = oneshot::channel();
        let runtime = runtime_for(self.place())?;
        let turn = self.turns_in(runtime.id()).acquire_owned();
        runtime.spawn(async move {
            let Some(_turn) = unless_gone(&mut caller, turn).await else { return };
            let rows = async { database.connection().await?.query(sql, &borrowed(&values)).await };
            // The caller may be gone.
            let _ = caller.send(rows.await.and_then(read));
        });
        answer.await.unwrap_or_else(|_| Err(Trouble::new(self.place(), "was not asked")))
    }

    /// Runs a statement that may run twice, without a turn. What is not answered in time over a connection, which may be dead, is tried
    /// over a new one, for as long.
    pub(crate) async fn query_twice(&self, within: Duration, sql: &str, values: &[Value]) -> Result<Vec<Row>, Trouble> {
        let query = async || {
            let query = async { self.connection().await?.query(sql, &borrowed(values)).await };
            timeout(within, query).await.unwrap_or_else(|_| Err(Trouble::unanswered(self.place(), within)))
        };
        match query().await {
            Err(trouble) if trouble.ends_connection() => query().await,
            answer => answer,
        }
    }

    /// The row of an answer that always has one.
    pub(crate) fn row<'a>(&self, rows: &'a [Row]) -> Result<&'a Row, Trouble> {
        rows.first().ok_or_else(|| Trouble::new(self.place(), "has answered nothing"))
    }

    /// Reads a column of a row.
    pub(crate) fn column<'a, T: FromSql<'a>>(&self, row: &'a Row, index: usize) -> Result<T, Trouble> {
        column(self.place(), row, index)
    }

    /// Reads a text that was kept as bytes, with a statement of [`select_text!`]. `None` if there is none.
    pub(crate) async fn text(&self, sql: &'static str, values: Vec<Value>) -> Result<Option<Secret>, Trouble> {
        let rows = self.query(sql, values).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let damaged = |how| Trouble::new(self.place(), format_args!("has a text that is {how}: it is damaged"));
        let bytes = self.column::<Option<Vec<u8>>>(row, 0)?.ok_or_else(|| damaged("longer than 1 MiB"))?;
        String::from_utf8(bytes).map(|text| Some(Secret::new(text))).map_err(|_| damaged("not UTF-8"))
    }

    /// Checks that the server can be used, with a connection that is returned then. No setting is made before it is known that a pooler
    /// does not hand them on to others.
    async fn check_server(&self) -> Result<Connection, Trouble> {
        let refused = |problem: &str| Trouble::new(self.place(), problem);
        let first = self.0.pool.bare_connection().await?;
        let rows = first.query("SELECT version(), current_setting('server_version_num')::integer", &[]).await?;
        for row in &rows {
            let (name, version): (String, i32) = (self.column(row, 0)?, self.column(row, 1)?);
            if !name.starts_with("PostgreSQL ") {
                return Err(refused("is not PostgreSQL, whose locks are needed: use PostgreSQL 13 or later"));
            }
            if version < OLDEST_SERVER {
                return Err(refused(&format!("is PostgreSQL {}: 13 or later is needed", version / 10_000)));
            }
        }
        let second = self.0.pool.bare_connection().await?;
        let mut backends = [0; 5];
        for (index, connection) in [&first, &second, &second, &first, &first].into_iter().enumerate() {
            for row in connection.query("SELECT pg_backend_pid()", &[]).await? {
                backends[index] = self.column(&row, 0)?;
            }
        }
        if !is_of_each(backends) {
            return Err(refused(
                "is behind a pooler that shares connections, which frees locks that are held: connect to the server itself, or have the pooler in session mode",
            ));
        }
        second.close();
        first.begin().await
    }

    /// Checks that the role may do what this crate does.
    async fn check_rights(&self, connection: &Connection) -> Result<(), Trouble> {
        let missing = connection.query(include_str!("missing_rights.sql"), &[]).await?;
        let missing = missing.iter().map(|row| self.column::<String>(row, 0)).collect::<Result<Vec<_>, _>>()?;
        match missing.is_empty() {
            true => Ok(()),
            false => {
                let problem =
                    format!("does not grant the role {}: run role.sql of bunq-partner-postgres", missing.join(", "));
                Err(Trouble::new(self.place(), problem))
            }
        }
    }
}

/// Does work for a caller, unless the caller is gone before it is done.
pub(crate) async fn unless_gone<T, W: Future>(caller: &mut oneshot::Sender<T>, work: W) -> Option<W::Output> {
    let mut work = pin!(work);
    poll_fn(|context| match caller.poll_closed(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => work.as_mut().poll(context).map(Some),
    })
    .await
}

/// A value of a statement.
pub(crate) fn value<T: ToSql + Send + Sync + 'static>(value: T, kind: Type) -> Value {
    (Box::new(value), kind)
}

/// What the functions of the database take: at most a year, which is longer than any limit.
pub(crate) fn microseconds(time: Duration) -> i64 {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    i64::try_from(time.min(YEAR).as_micros()).unwrap_or(i64::MAX)
}

fn borrowed(values: &[Value]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    values.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect()
}

/// Whether two connections have a backend each, and keep it. The second was asked twice in a row, and then the first: a pooler that hands
/// out its backends in turn, however many, does not answer so.
fn is_of_each([first, second, second_again, first_again, first_once_more]: [i32; 5]) -> bool {
    first != second && second == second_again && first == first_again && first == first_once_more
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.place()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooler_that_shares_connections_is_found() {
        test_timeout::start();
        assert!(is_of_each([7, 8, 8, 7, 7]));
        for shared in [[7, 7, 7, 7, 7], [7, 8, 7, 8, 7], [7, 8, 9, 7, 7], [7, 8, 8, 9, 7], [7, 8, 8, 7, 8]] {
            assert!(!is_of_each(shared), "{shared:?}");
        }
        for backends in 1..10 {
            let in_turn = std::array::from_fn(|index| index as i32 % backends);
            assert!(!is_of_each(in_turn), "{in_turn:?}");
        }
    }
}
