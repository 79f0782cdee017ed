//! Shared parts of the tests: a PostgreSQL server of their own, and a database for each test.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The tests of the program have the list of secrets from the library's tests too.
#![allow(clippy::duplicate_mod)]

pub mod proxy;
#[path = "../../../tests/common/secrets.rs"]
pub mod secrets;
pub mod server;

use std::io::{self, Write as _};
use std::thread;

use bunq_partner::Uuid;
use bunq_partner_postgres::Database;

use self::server::Server;

/// The password of the user of each test, which nothing may tell.
pub const PASSWORD: &str = "planted@password";

/// A database of a test, with a user that has the least rights. It is dropped with this, and must not have been given a secret that can
/// be read.
pub struct TestDatabase {
    pub server: &'static Server,
    pub name: String,
}

impl TestDatabase {
    /// Makes a database without the schema. It is `None` where PostgreSQL is missing: the test ends then.
    pub fn empty() -> Option<Self> {
        Some(Self::empty_of(or_left_out(Server::shared())?))
    }

    fn empty_of(server: &'static Server) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        server.sql("postgres", &format!("CREATE DATABASE {name}"));
        server.sql("postgres", &format!("CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"));
        Self { server, name }
    }

    /// Makes a database with the schema, and grants the user its rights.
    pub async fn migrated() -> Option<Self> {
        Some(Self::migrated_of(or_left_out(Server::shared())?).await)
    }

    /// Makes a database with the schema in a server of the test's own, which the test may stop.
    pub async fn migrated_alone() -> Option<Self> {
        Some(Self::migrated_in(or_left_out(Server::own())?).await)
    }

    /// The same in a server that was started.
    pub async fn migrated_in(server: Server) -> Self {
        // It ends with the process.
        Self::migrated_of(Box::leak(Box::new(server))).await
    }

    async fn migrated_of(server: &'static Server) -> Self {
        let database = Self::empty_of(server);
        Database::migrate(database.owner_url()).await.unwrap();
        database.grant();
        database
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

    /// The same with several hosts, which are told apart by their ports.
    pub fn url_of(&self, ports: &[u16]) -> String {
        let hosts: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let hosts = hosts.join(",");
        self.url().replace(&format!("127.0.0.1:{}", self.server.port()), &hosts)
    }

    pub async fn connect(&self) -> Database {
        Database::connect(self.url()).await.unwrap()
    }

    /// All that it has, and all that was ever written to it.
    pub fn written(&self) -> Vec<u8> {
        self.server.written(&self.name)
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
    is_left_out(&problem);
    None
}

/// Says why a test ends before it has begun.
pub fn is_left_out(problem: &str) {
    // Not `eprintln!`, whose output would be captured with the test's.
    let said = io::stderr().write_all(format!("\na test is left out: {problem}\n").as_bytes());
    said.unwrap();
}

/// Makes the schema in a server of a test's own, and returns its URL.
pub async fn own_database(server: &Server) -> String {
    let url = server.socket_url("postgres");
    Database::migrate(url.as_str()).await.unwrap();
    url
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let written = self.written();
        // A test may have stopped the server; it is removed with everything then.
        let _ = self.server.try_sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", self.name));
        let _ = self.server.try_sql("postgres", &format!("DROP ROLE {}", self.name));
        let found = secrets::secret_in(&written).or_else(|| {
            let password = PASSWORD.as_bytes();
            written.windows(password.len()).any(|bytes| bytes == password).then(|| PASSWORD.to_owned())
        });
        assert!(thread::panicking() || found.is_none(), "{} was kept readable: {found:?}", self.name);
    }
}
