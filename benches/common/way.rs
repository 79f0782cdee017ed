//! The way to a bank: a relay on loopback that takes its time in both directions, and sees when each close begins and ends.

#![allow(dead_code)]

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::Result;

/// A way to a bank. It ends when this is dropped.
pub(crate) struct Way {
    pub(crate) base_url: String,
    closes: Arc<Mutex<Closes>>,
    relay: JoinHandle<()>,
}

/// The closes that went over a way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closes {
    /// When each request came from the client.
    pub(crate) began: Vec<Instant>,
    /// When each response was about to be handed to the client.
    pub(crate) ended: Vec<Instant>,
    /// The sum of the times between.
    pub(crate) took: Duration,
    /// How many responses were 429.
    pub(crate) refused: usize,
}

impl Closes {
    /// The client's own time before each close that had to wait, in milliseconds: from the response that frees its permit to its
    /// request, less the window.
    pub(crate) fn own_times(&self, calls: u32, per: Duration) -> Vec<f64> {
        let (mut began, mut ended) = (self.began.clone(), self.ended.clone());
        began.sort_unstable();
        ended.sort_unstable();
        let waited = began.iter().skip(calls as usize).zip(&ended);
        waited.map(|(next, free)| ((*next - *free).as_secs_f64() - per.as_secs_f64()) * 1e3).collect()
    }
}

impl Way {
    /// Opens a way to the bank at `base_url`. Each direction takes a random time of this range in milliseconds, anew for each
    /// request and each response.
    pub(crate) async fn to(base_url: &str, each_way: RangeInclusive<u64>) -> Result<Self> {
        let address = base_url.trim_start_matches("http://");
        let (address, path) = address.split_once('/').map_or((address, ""), |(address, path)| (address, path));
        let (address, listener) = (address.to_owned(), TcpListener::bind("127.0.0.1:0").await?);
        let base_url = format!("http://{}/{path}", listener.local_addr()?);
        let closes = Arc::default();
        let seen = Arc::clone(&closes);
        let relay = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(bank) = TcpStream::connect(&address).await else { return };
                tokio::spawn(relay(client, bank, each_way.clone(), Arc::clone(&seen)));
            }
        });
        Ok(Self { base_url, closes, relay })
    }

    pub(crate) fn closes(&self) -> Closes {
        lock(&self.closes).clone()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

/// Relays one connection. A request follows the response to the one before.
async fn relay(mut client: TcpStream, mut bank: TcpStream, each_way: RangeInclusive<u64>, seen: Arc<Mutex<Closes>>) {
    let pause = || Duration::from_millis(fastrand::u64(each_way.clone()));
    let (mut request, mut response) = ([0; 16 * 1024], [0; 16 * 1024]);
    let (mut began, mut is_begun) = (Instant::now(), false);
    let _ = client.set_nodelay(true);
    let _ = bank.set_nodelay(true);
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(read @ 1..) = read else { return };
                if !is_begun && request.starts_with(b"PUT ") {
                    (began, is_begun) = (Instant::now(), true);
                }
                take(pause()).await;
                if bank.write_all(&request[..read]).await.is_err() {
                    return;
                }
            }
            read = bank.read(&mut response) => {
                let Ok(read @ 1..) = read else { return };
                take(pause()).await;
                if std::mem::take(&mut is_begun) {
                    let ended = Instant::now();
                    let mut seen = lock(&seen);
                    seen.began.push(began);
                    seen.ended.push(ended);
                    seen.took += ended - began;
                    seen.refused += usize::from(response.starts_with(b"HTTP/1.1 429"));
                }
                if client.write_all(&response[..read]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes no time at all for zero, where a timer would take a millisecond.
async fn take(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn lock(closes: &Mutex<Closes>) -> MutexGuard<'_, Closes> {
    closes.lock().unwrap_or_else(PoisonError::into_inner)
}
