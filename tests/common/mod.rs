//! What the tests share: a bunq on loopback and a client for it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::sandbox::{JournalEntry, Sandbox};
use bunq_partner::{Client, NewProvision, ProvisionId, RetryPolicy, Uuid, Waiter};

pub async fn start() -> (Sandbox, Client) {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(AT_ONCE).build().unwrap();
    (sandbox, client)
}

/// One try.
pub const ONCE: RetryPolicy = RetryPolicy { attempts: 1, ..AT_ONCE };

pub async fn start_without_retries() -> (Sandbox, Client) {
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(ONCE).build().unwrap();
    (sandbox, client)
}

/// As many tries as usual, but without pauses.
pub const AT_ONCE: RetryPolicy = RetryPolicy { attempts: 4, backoff: Duration::ZERO, backoff_cap: Duration::ZERO };

pub fn person() -> NewProvision {
    let email = "user@example.com".parse().unwrap();
    NewProvision::person(Uuid::new_v4(), email, "+31600000000".parse().unwrap())
}

pub fn id(id: u64) -> ProvisionId {
    id.try_into().unwrap()
}

/// Polls without dawdling: the sandbox moves on at each look.
pub fn quick(waiter: Waiter) -> Waiter {
    waiter.poll_every(Duration::from_millis(1))
}

/// A provision that is ready.
pub async fn ready(client: &Client) -> ProvisionId {
    quick(client.provisions().create(person()).await.unwrap()).wait().await.unwrap().id
}

/// The calls of `method` on a path that ends in `path`.
pub fn calls(sandbox: &Sandbox, method: &str, path: &str) -> Vec<JournalEntry> {
    sandbox.journal().into_iter().filter(|call| call.method == method && call.path.ends_with(path)).collect()
}

/// Collects every line that anybody logs.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What has been logged since the last time.
    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
