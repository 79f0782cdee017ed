//! A bank, a client and a receiver in one process, for tests of the whole chain: call, hint, read, change.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::types::NotificationCategory;
use bunq_partner::webhook::{
    Change, ChangedObject, Changes, HintJournal as _, HintJournalBounds, MemoryHintJournal, Receiver,
};
use bunq_partner::{Client, ClientBuilder, Environment, Provision, ProvisionId};
use bunq_partner_sandbox::{Pace, Sandbox, SandboxBuilder};
use futures_util::StreamExt as _;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};
use tower_service::Service as _;

use crate::common::at_once;
use crate::receiver::SEGMENT;
use crate::serve::serve;

pub(crate) const PROVISION: NotificationCategory = NotificationCategory::PartnerUserProvision;
pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Bank {
    pub(crate) sandbox: Sandbox,
    pub(crate) client: Client,
    pub(crate) receiver: Receiver<MemoryHintJournal>,
    pub(crate) journal: MemoryHintJournal,
    /// When provisions and failures were read with success. A log of so many calls would be full.
    reads: Arc<Mutex<Vec<Instant>>>,
}

/// A bank in which nothing moves by itself.
pub(crate) fn still() -> SandboxBuilder {
    Sandbox::builder().pace(Pace::Manual)
}

pub(crate) fn bounded(max_entries: usize) -> HintJournalBounds {
    HintJournalBounds::default().max_entries(max_entries)
}

impl Bank {
    pub(crate) async fn new() -> Self {
        Self::with(still(), |client| client, HintJournalBounds::default()).await
    }

    pub(crate) async fn with(
        sandbox: SandboxBuilder,
        set: impl FnOnce(ClientBuilder) -> ClientBuilder,
        bounds: HintJournalBounds,
    ) -> Self {
        let sandbox = sandbox.start().await.unwrap();
        let client = set(sandbox.client().retry(at_once()).poll_interval(2 * SECOND)).build().unwrap();
        client.open_session().await.unwrap();
        let journal = MemoryHintJournal::new(bounds).unwrap();
        let receiver = Receiver::builder(Environment::Sandbox, SEGMENT).build(journal.clone()).unwrap();
        let reads: Arc<Mutex<Vec<_>>> = Arc::default();
        let counted = Arc::clone(&reads);
        sandbox.before_signing(move |call, _| {
            if call.method == "GET" {
                counted.lock().unwrap().push(Instant::now());
            }
        });
        Self { sandbox, client, receiver, journal, reads }
    }

    /// The first look is over when this returns.
    pub(crate) async fn changes(&self) -> Changes {
        let mut changes = self.client.changes(&self.receiver).start().unwrap();
        nothing(&mut changes, 5 * SECOND).await;
        self.take_reads();
        changes
    }

    pub(crate) fn take_reads(&self) -> usize {
        std::mem::take(&mut *self.reads.lock().unwrap()).len()
    }

    /// bunq calls, or whoever knows the path.
    pub(crate) async fn called(&self, category: &str, object: Value) -> StatusCode {
        let body = json!({"NotificationUrl": {"category": category, "object": object}}).to_string();
        let request = Request::post(format!("/{SEGMENT}")).header(CONTENT_TYPE, "application/json").body(body).unwrap();
        self.receiver.clone().call(request).await.unwrap().status()
    }

    /// Somebody calls about a provision, with the `updated` that they claim.
    pub(crate) async fn call(&self, id: u64, updated: Option<&str>) -> StatusCode {
        self.called("PARTNER_USER_PROVISION", json!({"PartnerUserProvision": {"id": id, "updated": updated}})).await
    }

    /// How many entries are not done.
    pub(crate) async fn pending(&self) -> usize {
        let (mut count, mut after) = (0, None);
        loop {
            let page = self.journal.pending(after).await.unwrap();
            let Some((last, _)) = page.last() else { return count };
            (count, after) = (count + page.len(), Some(*last));
        }
    }

    /// Has the sandbox call the receiver over real connections, with the server of the guide.
    pub(crate) async fn listen(&self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/{SEGMENT}", listener.local_addr().unwrap());
        tokio::spawn(serve(listener, self.receiver.clone()));
        self.client.notifications().ensure(PROVISION, url.parse().unwrap()).await.unwrap();
    }

    pub(crate) async fn close_all(&self, ids: &[ProvisionId]) {
        let provisions = self.client.provisions();
        let closed = stream::iter(ids).map(|id| provisions.close(*id)).buffered(16);
        closed.for_each(async |waiter| drop(waiter.unwrap())).await;
    }
}

/// The next change, long before the second look.
pub(crate) async fn next(changes: &mut Changes) -> Change {
    timeout(MINUTE, changes.next()).await.unwrap().unwrap()
}

pub(crate) async fn nothing(changes: &mut Changes, time: Duration) {
    let change = timeout(time, changes.next()).await;
    assert!(change.is_err(), "{change:?}");
}

pub(crate) fn provision(change: &Change) -> &Provision {
    match change.object() {
        ChangedObject::Provision(provision) => provision,
        other => panic!("{other:?}"),
    }
}

/// The same in an order that jumps from one end to the other.
pub(crate) fn mixed<T: Copy>(all: &[T]) -> Vec<T> {
    (0..all.len()).map(|number| all[number * 7919 % all.len()]).collect()
}
