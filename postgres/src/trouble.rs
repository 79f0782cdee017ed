//! What is wrong with the database, in words: which database, what happened, what to do.
//!
//! A message has no values of rows: PostgreSQL quotes them in its details, and for some errors in the message itself.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use bunq_partner::Error;
use tokio_postgres::error::{DbError, Severity, SqlState};

/// What to do about a server that cannot be written to.
const READ_ONLY: &str = "it is read-only, as a standby is: connect to the primary";

/// A failure of the database. Whoever called makes an error of the kind that the caller expects.
#[derive(Debug)]
pub(crate) struct Trouble {
    text: String,
    ends_connection: bool,
    /// The database cannot be reached, or cannot do it now.
    is_passing: bool,
}

impl Trouble {
    /// `place` names the database.
    pub(crate) fn new(place: &str, problem: impl fmt::Display) -> Self {
        Self { text: format!("{place} {problem}"), ends_connection: false, is_passing: false }
    }

    /// Says what an error of the driver means.
    pub(crate) fn of(place: &str, error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refusal) => {
                let ends_connection = refusal.parsed_severity() != Some(Severity::Error);
                Self { ends_connection, is_passing: may_pass(refusal.code()), ..Self::new(place, refused(refusal)) }
            }
            None => {
                let (cause, (remedy, is_passing)) = (chain(error), remedy(error));
                let problem = format_args!("cannot be reached ({cause}): {remedy}");
                Self { ends_connection: true, is_passing, ..Self::new(place, problem) }
            }
        }
    }

    /// The connection did not answer in time, so that it is not known what became of its statement.
    pub(crate) fn unanswered(place: &str, timeout: Duration) -> Self {
        let problem = format_args!("has not answered within {timeout:?}: see whether it runs, and what it waits for");
        Self { ends_connection: true, is_passing: true, ..Self::new(place, problem) }
    }

    /// This, and what was met before at another host.
    pub(crate) fn after(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        let text = format!("{}; {}", other.text, self.text);
        Self { text, is_passing: self.is_passing || other.is_passing, ..self }
    }

    /// Whether the connection, and what it held, is gone.
    pub(crate) fn ends_connection(&self) -> bool {
        self.ends_connection
    }

    /// Whether the database cannot be reached, or cannot do it now.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_passing
    }

    /// The error of a store that has met this.
    pub(crate) fn context(self) -> Error {
        match self.is_passing {
            true => Error::unavailable(self.text),
            false => Error::context(self.text),
        }
    }

    /// The error of permits that have met this.
    pub(crate) fn permits(self) -> Error {
        Error::permits(self.text)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// An error with its causes. None of them is the server's, so none has values.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// What to do about a connection that could not be made or has ended, and whether it may be made later as things are.
fn remedy(error: &tokio_postgres::Error) -> (&'static str, bool) {
    let source = error.source();
    let cause = source.and_then(|error| error.downcast_ref::<io::Error>());
    // Errors of the system have no inner one.
    match cause.and_then(|cause| Some((cause.kind(), cause.get_ref()?))) {
        Some((_, inner)) if inner.is::<rustls::Error>() => (
            "see whether its certificate is for that host, and trusted: sslrootcert=FILE names a CA of your own",
            false,
        ),
        Some((io::ErrorKind::PermissionDenied, _)) => (READ_ONLY, true),
        // The driver has no other name for these.
        _ => match source.map(ToString::to_string).as_deref() {
            Some("password missing") => ("write it in the URL, as in postgres://USER:PASSWORD@HOST/DATABASE", false),
            Some("server does not support TLS") => {
                ("see whether it is PostgreSQL, and give it a certificate: ssl = on", false)
            }
            _ => ("see whether it runs, and whether its host and port are right", true),
        },
    }
}

/// What the server's refusal means.
fn refused(error: &DbError) -> String {
    let (code, message) = (error.code(), error.message());
    let remedy = match code {
        &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "check the user, its password and the server's pg_hba.conf"
        }
        &SqlState::INVALID_CATALOG_NAME => "create it, or name another",
        &SqlState::INSUFFICIENT_PRIVILEGE if message.starts_with("permission denied for database") => {
            "grant its role CONNECT there, and CREATE to whoever migrates"
        }
        &SqlState::INSUFFICIENT_PRIVILEGE => "grant its role the rights in role.sql of bunq-partner-postgres",
        &SqlState::UNDEFINED_TABLE
        | &SqlState::UNDEFINED_FUNCTION
        | &SqlState::UNDEFINED_COLUMN
        | &SqlState::UNDEFINED_OBJECT
        | &SqlState::INVALID_SCHEMA_NAME => "its schema is not the one that is needed: migrate it",
        &SqlState::OBJECT_IN_USE => {
            "end it there with pg_terminate_backend, and have all processes connect as one user"
        }
        &SqlState::DISK_FULL => "its disk is full: make room there",
        &SqlState::TOO_MANY_CONNECTIONS => {
            "it has no connection left: raise its max_connections, or run fewer processes"
        }
        &SqlState::READ_ONLY_SQL_TRANSACTION => READ_ONLY,
        &SqlState::ADMIN_SHUTDOWN | &SqlState::CRASH_SHUTDOWN | &SqlState::CANNOT_CONNECT_NOW => {
            "it is starting or stopping: try again"
        }
        &SqlState::QUERY_CANCELED | &SqlState::LOCK_NOT_AVAILABLE => {
            "it is too slow, or something holds a lock there: look at pg_stat_activity"
        }
        _ => "look into its log",
    };
    match may_have_values(code) {
        true => format!("refuses this (SQLSTATE {}): {remedy}", code.code()),
        false => format!("refuses this ({message}, SQLSTATE {}): {remedy}", code.code()),
    }
}

/// Whether such an error is about the state of the server, and not about what is stored or may be done there: it has no connection, memory
/// or disk left, is a standby, starts or stops, or has given a statement up.
fn may_pass(code: &SqlState) -> bool {
    ["08", "25006", "40", "53", "55P03", "57"].iter().any(|class| code.code().starts_with(class))
}

/// Whether the message of such an error may quote a value: those of bad data and of constraints.
fn may_have_values(code: &SqlState) -> bool {
    ["22", "23"].iter().any(|class| code.code().starts_with(class))
}
