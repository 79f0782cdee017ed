//! One client shared by several runtimes that end at any time, as when each test has its own runtime.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bunq_partner::{
    Client, ClientBuilder, FileJournal, FileStore, Journal as _, Operation, ProvisionId, RowRecord, Uuid,
};
use bunq_partner_sandbox::Sandbox;
use futures_util::future::{FutureExt as _, try_join_all};
use futures_util::{StreamExt as _, poll};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::common::{Folder, once};

/// Far longer than anything here takes. An endless wait fails here.
const HANG: Duration = Duration::from_secs(60);

/// A bank in its own runtime, which outlives those of its callers.
struct Bank {
    runtime: Runtime,
    sandbox: Sandbox,
}

impl Bank {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let sandbox = runtime.block_on(Sandbox::start()).unwrap();
        Self { runtime, sandbox }
    }

    /// A client that makes only one attempt.
    fn client(&self) -> ClientBuilder {
        self.sandbox.client().retry(once())
    }

    /// A middlebox in front of the bank, which holds back the next request with this text.
    fn gate(&self, text: &'static str) -> Gate {
        let bank = self.sandbox.base_url().trim_start_matches("http://").trim_end_matches("/v1");
        let bank: SocketAddr = bank.parse().unwrap();
        let listener = self.runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (is_closed, (sender, held)) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
        let (closed, opened) = (Arc::clone(&is_closed), Arc::new(Notify::new()));
        let open = Arc::clone(&opened);
        self.runtime.spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let (closed, opened, sender) = (Arc::clone(&closed), Arc::clone(&opened), sender.clone());
                tokio::spawn(async move {
                    let mut bank = TcpStream::connect(bank).await.unwrap();
                    let (mut from_caller, mut to_caller) = caller.split();
                    let (mut from_bank, mut to_bank) = bank.split();
                    let requests = async {
                        let mut buffer = vec![0; 64 * 1024];
                        while let Ok(len @ 1..) = from_caller.read(&mut buffer).await {
                            let request = String::from_utf8_lossy(&buffer[..len]);
                            if request.contains(text) && closed.swap(false, Ordering::Relaxed) {
                                sender.send(()).unwrap();
                                opened.notified().await;
                            }
                            if to_bank.write_all(&buffer[..len]).await.is_err() {
                                return;
                            }
                        }
                    };
                    tokio::select! {
                        () = requests => {}
                        _ = copy(&mut from_bank, &mut to_caller) => {}
                    }
                });
            }
        });
        Gate { base_url, is_closed, held, opened: open }
    }
}

struct Gate {
    base_url: String,
    is_closed: Arc<AtomicBool>,
    held: mpsc::Receiver<()>,
    opened: Arc<Notify>,
}

impl Gate {
    fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }

    /// Waits until a request is held back.
    fn wait(&self) {
        self.held.recv_timeout(HANG).unwrap();
    }

    /// Lets the request through.
    fn open(&self) {
        self.opened.notify_one();
    }
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn threaded(threads: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

/// The ways in which a runtime ends.
const ENDS: [fn(Runtime); 3] =
    [drop, Runtime::shutdown_background, |runtime| runtime.shutdown_timeout(Duration::from_millis(1))];

async fn close(client: &Client, id: ProvisionId) -> Result<(), bunq_partner::Error> {
    client.provisions().close(id).await?.await.map(drop)
}

#[test]
fn what_is_waited_for_ends_well_whatever_ends_beside_it() {
    test_timeout::start();
    let bank = Bank::new();
    let client = bank.sandbox.client().retry(crate::common::at_once()).build().unwrap();
    let (waited_for, abandoned) = (bank.sandbox.populate(80), bank.sandbox.populate(160));
    let (mut of_waited_for, mut of_abandoned) = (waited_for.chunks(10), abandoned.chunks(20));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            let (waited_for, abandoned) = (of_waited_for.next().unwrap(), of_abandoned.next().unwrap());
            let (client, failures) = (&client, &failures);
            scope.spawn(move || {
                for (waited_for, abandoned) in waited_for.iter().zip(abandoned.chunks(2)) {
                    let runtime = if fastrand::bool() { single() } else { threaded(2) };
                    for id in abandoned.iter().copied() {
                        let client = client.clone();
                        runtime.spawn(async move { close(&client, id).await });
                    }
                    if let Err(error) = runtime.block_on(close(client, *waited_for)) {
                        failures.lock().unwrap().push(error.to_string());
                    }
                    fastrand::choice(ENDS).unwrap()(runtime);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}: {failures:#?}", failures.len(), waited_for.len());
    // All other runtimes have ended.
    single().block_on(async {
        for id in waited_for {
            assert!(client.provisions().get(id).await.unwrap().is_closed());
        }
    });
}

#[test]
fn a_call_outlives_the_runtime_that_has_called_before() {
    test_timeout::start();
    let bank = Bank::new();
    let gate = bank.gate("GET /v1/partner-user-provision/");
    let client = bank.client().base_url(&gate.base_url).build().unwrap();
    let id = bank.sandbox.populate(1)[0];
    for end in ENDS {
        let (here, there) = (threaded(1), threaded(1));
        // It has pooled a connection.
        there.block_on(client.provisions().get(id)).unwrap();
        gate.close();
        let provisions = client.provisions();
        let call = here.spawn(async move { provisions.get(id).await });
        gate.wait();
        end(there);
        gate.open();
        here.block_on(call).unwrap().unwrap();
    }
}

/// Waits for two provisions, which reads a page of the listing.
async fn wait_for_two(client: &Client, ids: &[ProvisionId]) -> Result<(), bunq_partner::Error> {
    let waits = ids[..2].iter().map(|id| client.provisions().wait_until_closed(*id).wait());
    try_join_all(waits).await.map(drop)
}

#[test]
fn whoever_still_waits_takes_the_polling_over() {
    test_timeout::start();
    let bank = Bank::new();
    let gate = bank.gate("GET /v1/partner-user-provision?");
    let client = bank.client().base_url(&gate.base_url).build().unwrap();
    for end in ENDS {
        let (here, there) = (single(), threaded(1));
        let ids = bank.sandbox.populate(3);
        let closing = here.block_on(client.provisions().close(ids[2])).unwrap();
        gate.close();
        let client = client.clone();
        there.spawn(async move { wait_for_two(&client, &ids).await });
        gate.wait();
        // The wait joins the polls of the other runtime.
        let mut waiting = pin!(closing.wait());
        assert!(here.block_on(async { poll!(&mut waiting).is_pending() }));
        end(there);
        here.block_on(async { timeout(HANG, waiting).await.unwrap().unwrap() });
    }
}

#[test]
fn whoever_still_waits_opens_the_session() {
    test_timeout::start();
    let bank = Bank::new();
    let folder = Folder::new();
    for path in ["POST /v1/installation", "POST /v1/device-server", "POST /v1/session-server"] {
        for (end, is_stored) in ENDS.into_iter().zip([false, true, true]) {
            let gate = bank.gate(path);
            let mut builder = bank.client().base_url(&gate.base_url);
            if is_stored {
                builder = builder.context_store(FileStore::new(folder.path(&Uuid::new_v4().to_string())));
            }
            let client = builder.build().unwrap();
            let (here, there) = (single(), threaded(1));
            gate.close();
            let opening = client.clone();
            there.spawn(async move { opening.open_session().await });
            gate.wait();
            let mut waiting = pin!(client.open_session());
            assert!(here.block_on(async { poll!(&mut waiting).is_pending() }));
            end(there);
            here.block_on(async { timeout(HANG, waiting).await.unwrap().unwrap() });
        }
    }
}

/// Runtimes end at any step of an opening, even between the end of a connection or a write and the end of the opening.
#[test]
fn a_session_is_opened_whatever_ends_beside_it() {
    test_timeout::start();
    let bank = Bank::new();
    let folder = Folder::new();
    let id = bank.sandbox.populate(1)[0];
    for round in 0..30 {
        bank.sandbox.take_call_log();
        let mut builder = bank.client();
        if round % 3 > 0 {
            builder = builder.context_store(FileStore::new(folder.path(&round.to_string())));
        }
        let client = builder.build().unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let (runtime, opening) = (threaded(2), client.clone());
                    runtime.spawn(async move { opening.open_session().await });
                    // At some point, the waiting runtime makes this many calls.
                    let calls = fastrand::usize(0..=4);
                    while bank.sandbox.call_log().len() < calls && !is_over.load(Ordering::Relaxed) {
                        thread::yield_now();
                    }
                    fastrand::choice(ENDS).unwrap()(runtime);
                });
            }
            scope.spawn(|| {
                let seen = threaded(1).block_on(async { timeout(HANG, client.provisions().get(id)).await });
                is_over.store(true, Ordering::Relaxed);
                seen.unwrap().unwrap();
            });
        });
    }
}

/// A nudge is answered, and told to a waiter, across runtimes that end.
#[test]
fn a_nudge_from_another_runtime_is_told_to_a_waiter() {
    test_timeout::start();
    let bank = Bank::new();
    let client = bank.client().poll_interval(Duration::from_secs(3600)).build().unwrap();
    for end in ENDS {
        let (here, there) = (single(), threaded(1));
        let id = bank.sandbox.populate(1)[0];
        let closing = there.block_on(client.provisions().close(id)).unwrap();
        let mut changes = pin!(closing.changes());
        let seen = here.block_on(async { timeout(HANG, changes.next()).await.unwrap().unwrap() });
        assert!(!seen.unwrap().is_closed());
        there.block_on(async { timeout(HANG, client.provisions().feed().nudge(id)).await.unwrap().unwrap() });
        end(there);
        let seen = here.block_on(async { timeout(HANG, changes.next()).await.unwrap().unwrap() });
        assert!(seen.unwrap().is_closed());
        // The worker of the nudges has ended with its runtime.
        here.block_on(async { timeout(HANG, client.provisions().feed().nudge(id)).await.unwrap().unwrap() });
    }
}

/// A runtime that exists but is not being run makes no progress.
#[test]
fn a_runtime_that_is_not_run_holds_up_no_other() {
    test_timeout::start();
    let bank = Bank::new();
    let gate = bank.gate("GET /v1/partner-user-provision?");
    let client = bank.client().base_url(&gate.base_url).build().unwrap();
    let ids = bank.sandbox.populate(7);
    let (first, second) = (single(), single());
    // Each runtime has pooled a connection, and has polled.
    for (runtime, id) in [&first, &second, &first, &second].into_iter().zip(&ids[3..]) {
        runtime.block_on(async { timeout(HANG, close(&client, *id)).await.unwrap().unwrap() });
    }
    // It has begun to poll.
    gate.close();
    let (waiting, ended) = (client.clone(), ids[2]);
    first.spawn(async move { wait_for_two(&waiting, &ids).await });
    first.block_on(async { tokio::task::spawn_blocking(move || gate.wait()).await.unwrap() });
    second.block_on(async { timeout(HANG, close(&client, ended)).await.unwrap().unwrap() });
}

/// It has workers for polls and for nudges, which have not begun.
#[test]
fn a_nudge_waits_for_no_runtime_that_is_not_run() {
    test_timeout::start();
    // The bank is in the second, whose time is paused: the seconds for which the nudges wait for the first are over at once.
    let second = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let sandbox = second.block_on(Sandbox::start()).unwrap();
    let (client, ids) = (sandbox.client().retry(once()).build().unwrap(), sandbox.populate(2));
    let (first, feed) = (single(), client.provisions().feed());
    let mut waiting = pin!(client.provisions().wait_until_closed(ids[0]).wait());
    assert!(first.block_on(async { poll!(&mut waiting).is_pending() }));
    let _nudge = {
        let _entered = first.enter();
        feed.nudge(ids[1])
    };
    let nudges = ids.iter().map(|id| feed.nudge(*id));
    let seen = second.block_on(async { timeout(HANG, try_join_all(nudges)).await.unwrap().unwrap() });
    assert!(seen.iter().map(|seen| seen.id).eq(ids));
}

/// When a runtime ends, its tasks return their permits and their places in the queue.
#[test]
fn permits_and_places_are_given_back() {
    test_timeout::start();
    let bank = Bank::new();
    let gate = bank.gate("GET /v1/partner-user-provision");
    let window = Duration::from_millis(100);
    let client = bank.client().rate_limit(&Operation::GET_PROVISION, 1, window).base_url(&gate.base_url);
    let client = client.build().unwrap();
    let id = bank.sandbox.populate(1)[0];
    for end in ENDS {
        let (here, there) = (single(), threaded(1));
        let provisions = client.provisions();
        gate.close();
        for _ in 0..3 {
            let provisions = provisions.clone();
            there.spawn(async move { provisions.get(id).await });
        }
        gate.wait();
        let mut waiting = pin!(provisions.get(id));
        assert!(here.block_on(async { poll!(&mut waiting).is_pending() }));
        end(there);
        here.block_on(async { timeout(HANG, waiting).await.unwrap().unwrap() });
    }
}

fn record(row: u64) -> RowRecord {
    let json =
        format!(r#"{{"row": {row}, "at": "2026-11-01T12:00:00Z", "state": "sent", "kind": "id", "key": "{row}"}}"#);
    serde_json::from_str(&json).unwrap()
}

/// Work that is handed to a runtime that has ended is not done.
#[test]
fn a_journal_is_written_after_a_runtime_has_ended() {
    test_timeout::start();
    let folder = Folder::new();
    for end in ENDS {
        let (here, there) = (single(), threaded(1));
        let journal = here.block_on(FileJournal::open(folder.path(&Uuid::new_v4().to_string()))).unwrap();
        let ended = there.handle().clone();
        end(there);
        {
            let _entered = ended.enter();
            journal.append(record(1)).now_or_never().unwrap().unwrap_err();
        }
        here.block_on(async { timeout(HANG, journal.append(record(2))).await.unwrap().unwrap() });
        assert_eq!(here.block_on(journal.last(2)).unwrap().unwrap().row, 2);
    }
}
