//! The keys of the sandboxes of a process, and of their clients. To make one takes a tenth of a second of CPU time, longer than
//! everything else in most tests, so they are used again.

use std::io;
use std::sync::{LazyLock, Mutex};

use bunq_partner::wire::{SignatureError, SigningKey};
use tokio::task::spawn_blocking;

use crate::lock;

type Shared = LazyLock<Result<SigningKey, SignatureError>>;

/// The keys of the sandboxes that have ended.
static FREE: Mutex<Vec<SigningKey>> = Mutex::new(Vec::new());

/// A key that no sandbox has, for a fault.
static FOREIGN: Shared = LazyLock::new(SigningKey::generate);

/// Those of clients, which take them in turn: after a reinstallation, a signature with the key before is not valid.
static CLIENTS: [Shared; 2] = [LazyLock::new(SigningKey::generate), LazyLock::new(SigningKey::generate)];

/// The key that a sandbox starts with. No other one gets it, as long as this one runs.
pub(crate) struct LeasedKey(SigningKey);

impl LeasedKey {
    pub(crate) async fn take() -> io::Result<Self> {
        let free = lock(&FREE).pop();
        match free {
            Some(key) => Ok(Self(key)),
            None => new().await.map(Self),
        }
    }

    pub(crate) fn key(&self) -> SigningKey {
        self.0.clone()
    }
}

impl Drop for LeasedKey {
    fn drop(&mut self) {
        lock(&FREE).push(self.0.clone());
    }
}

pub(crate) async fn foreign() -> io::Result<SigningKey> {
    made(|| FOREIGN.clone()).await
}

pub(crate) async fn new() -> io::Result<SigningKey> {
    made(SigningKey::generate).await
}

/// The key of the client that is the nth to ask for one. It may block.
pub(crate) fn of_client(nth: usize) -> Result<SigningKey, SignatureError> {
    CLIENTS[nth % CLIENTS.len()].clone()
}

/// Runtimes whose time is paused wait for it.
async fn made(make: fn() -> Result<SigningKey, SignatureError>) -> io::Result<SigningKey> {
    spawn_blocking(make).await?.map_err(io::Error::other)
}
