//! The file that receipts are written to.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::reader::{Chain, MAX_LINE};
use super::receipt::Receipt;
use crate::error::Error;
use crate::files::lines::{Format, LineFile};
use crate::operation::Operation;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;
use crate::transport::observer::{Exchange, ExchangeObserver};

const FORMAT: Format = Format {
    magic: br#"{"bunq_partner_receipt":"#,
    max_line: MAX_LINE,
    // A receipt is never thrown away.
    max_torn: 0,
    damaged: "keep it as it is, and give the path of another for the receipts to come",
    foreign: "it does not hold receipts: give the path of a file that does, or of one to be made",
};

/// Writes a [`Receipt`] of each response to `create_provision` and `update_provision`, so of each creation, closing and
/// reset, and of each response to a user's call that changes something, such as an answer. Clones write to the same file.
///
/// The file follows the rule of [`files`](crate::files) for kept files: only its owner can read and write it (mode 0600).
/// It has one line of JSON for each receipt, and lines are only added. One process uses it at a time.
///
/// A call returns when its receipt is synced. If writing the receipt fails, the call does not fail: check
/// [`failure`](Self::failure) before you continue. [`ReceiptReader`](crate::ReceiptReader) checks the receipts.
///
/// ```no_run
/// # async fn example() -> Result<(), bunq_partner::Error> {
/// use bunq_partner::{Client, Environment, ReceiptFile};
///
/// let receipts = ReceiptFile::open("receipts.jsonl").await?;
/// let client = Client::builder(Environment::Sandbox).api_key("sandbox_…").observer(receipts.clone()).build()?;
/// // After what must not be without a receipt:
/// if let Some(failure) = receipts.failure() {
///     return Err(failure);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ReceiptFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    file: LineFile,
    chain: Arc<Mutex<Chain>>,
    failure: Mutex<Option<Error>>,
}

impl ReceiptFile {
    /// Opens the file at `path`, or creates it in a folder that must exist. If a crash has left an unfinished line at
    /// the end, that line is cut off, and nothing else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Storage`](crate::ErrorKind::Storage) if the file contains anything but receipts, if others may use
    /// it, if another process uses it, or if it cannot be read or written.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let chain = Arc::new(Mutex::new(Chain::default()));
        let reader = {
            let chain = Arc::clone(&chain);
            move |number: u64, _: u64, line: &[u8]| {
                let line = std::str::from_utf8(line).ok();
                let followed = line.and_then(|line| lock(&chain).follow(line));
                followed.ok_or_else(|| format!("line {number} is damaged: {}", FORMAT.damaged))
            }
        };
        let opened = LineFile::open(&path, FORMAT, reader).await;
        let (file, _) = opened.map_err(|problem| refused(&path, &problem))?;
        Ok(Self(Arc::new(Shared { path, file, chain, failure: Mutex::default() })))
    }

    /// The first write error, if any.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.0.failure).clone()
    }

    async fn write(&self, exchange: &Exchange) -> Result<(), String> {
        let Shared { file, chain, .. } = &*self.0;
        let json = serde_json::to_string(&Receipt::new(exchange)).map_err(|error| error.to_string())?;
        let place = {
            // Lines must be added in the order of the chain.
            let mut chain = lock(chain);
            file.add(chain.tie(&json).as_bytes())?
        };
        file.written(place).await
    }
}

fn refused(path: &Path, problem: &str) -> Error {
    Error::storage(format_args!("the receipts {}: {problem}", path.display()))
}

impl ExchangeObserver for ReceiptFile {
    fn observe<'a>(&'a self, exchange: &'a Exchange) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let operation = exchange.operation;
            let has_receipt = match exchange.for_user {
                None => [&Operation::CREATE_PROVISION, &Operation::UPDATE_PROVISION].contains(&operation),
                Some(_) => operation.method != "GET" && !operation.managed,
            };
            if !has_receipt {
                return;
            }
            let mut missing = Missing { of: &self.0, problem: Some("a write did not end in time".into()) };
            missing.problem = self.write(exchange).await.err();
        })
    }
}

/// Records a receipt as missing unless its write ends, even if the call stops waiting for it.
struct Missing<'a> {
    of: &'a Shared,
    problem: Option<String>,
}

impl Drop for Missing<'_> {
    fn drop(&mut self) {
        if let Some(problem) = &self.problem {
            lock(&self.of.failure).get_or_insert_with(|| refused(&self.of.path, problem));
        }
    }
}
