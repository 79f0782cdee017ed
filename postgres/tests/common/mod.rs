//! Shared parts of the tests: a PostgreSQL server of their own, and a database for each test.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod proxy;
pub mod server;

use std::io::{self, Write as _};

use bunq_partner::Uuid;
use bunq_partner_postgres::Database;

use self::server::Server;

/// The password of the user of each test, which nothing may tell.
pub const PASSWORD: &str = "planted@password";

/// A database of a test, with a user that has the least rights. It is dropped with this.
pub struct TestDatabase {
    pub server: &'static Server,
    pub name: String,
}

impl TestDatabase {
    /// Makes a database without the schema. It is `None` where PostgreSQL is missing: the test ends then.
    pub fn empty() -> Option<Self> {
        let server = or_left_out(Server::shared())?;
        let name = format!("test_{}", Uuid::new_v4().simple());
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        server.sql("postgres", &format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
        Some(Self { server, name })
    }

    /// Makes a database with the schema, and grants the user its rights.
    pub async fn migrated() -> Option<Self> {
        let database = Self::empty()?;
        Database::migrate(database.owner_url()).await.unwrap();
        database.grant();
        Some(database)
    }

    /// Grants the user of the test what services need.
    pub fn grant(&self) {
        self.server.sql(&self.name, include_str!("../../role.sql"));
        self.server.sql(&self.name, &format!("GRANT bunq_partner_service TO {}", self.name));
    }

    /// The URL with which the schema is made.
    pub fn owner_url(&self) -> String {
        self.server.socket_url(&self.name)
    }

    /// The URL of a service.
    pub fn url(&self) -> String {
        format!("postgres://{}:planted%40password@127.0.0.1:{}/{}", self.name, self.server.port(), self.name)
    }

    pub async fn connect(&self) -> Database {
        Database::connect(self.url()).await.unwrap()
    }

    /// Runs SQL as a superuser, and returns what it prints.
    pub fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }
}

/// Returns `None` where PostgreSQL is missing, and says so: the test ends then. Where `CI` is set it must be there.
pub fn or_left_out<T>(server: Result<T, String>) -> Option<T> {
    let problem = match server {
        Ok(server) => return Some(server),
        Err(problem) => problem,
    };
    assert!(std::env::var_os("CI").is_none(), "{problem}");
    // Not `eprintln!`, whose output would be captured with the test's.
    let said = io::stderr().write_all(format!("\na test is left out: {problem}\n").as_bytes());
    said.unwrap();
    None
}

/// Makes the schema in a server of a test's own, and returns its URL.
pub async fn own_database(server: &Server) -> String {
    let url = server.socket_url("postgres");
    Database::migrate(url.as_str()).await.unwrap();
    url
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // A test may have stopped the server; it is removed with everything then.
        let _ = self.server.try_sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let _ = self.server.try_sql("postgres", &format!("DROP ROLE {}", self.name));
    }
}
