//! A journal whose entries appear in another order than that of their numbers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::webhook::{
    Appended, Change, ChangedObject, ChangesNumbers, EntryId, Hint, HintJournal, HintJournalBounds, Mark, MarkedObject,
    MemoryHintJournal, Receiver,
};
use bunq_partner::{BoxFuture, Environment, Error, ProvisionId};
use bunq_partner_sandbox::{Pace, Sandbox};
use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use serde_json::json;
use tokio::time::timeout;
use tower_service::Service as _;

use crate::changes::SEGMENT;
use crate::common::at_once;

/// A journal of a database that has not committed one entry yet, although its transaction has a number.
#[derive(Debug)]
struct Late {
    journal: MemoryHintJournal,
    uncommitted: Mutex<Option<EntryId>>,
}

impl HintJournal for Late {
    fn name(&self) -> String {
        "the journal of this test".into()
    }

    fn append(&self, hint: Hint) -> BoxFuture<'_, Result<Appended, Error>> {
        self.journal.append(hint)
    }

    fn done(&self, id: EntryId) -> BoxFuture<'_, Result<(), Error>> {
        self.journal.done(id)
    }

    fn pending(&self, after: Option<EntryId>) -> BoxFuture<'_, Result<Vec<(EntryId, Hint)>, Error>> {
        Box::pin(async move {
            let page = self.journal.pending(after).await?.into_iter();
            let uncommitted = *self.uncommitted.lock().unwrap();
            Ok(page.filter(|(entry, _)| Some(*entry) != uncommitted).collect())
        })
    }

    fn mark(&self, mark: Mark) -> BoxFuture<'_, Result<(), Error>> {
        self.journal.mark(mark)
    }

    fn mark_of<'a>(&'a self, object: &'a MarkedObject) -> BoxFuture<'a, Result<Option<Mark>, Error>> {
        self.journal.mark_of(object)
    }

    fn marks<'a>(&'a self, after: Option<&'a MarkedObject>) -> BoxFuture<'a, Result<Vec<Mark>, Error>> {
        self.journal.marks(after)
    }
}

async fn called(receiver: &Receiver<Arc<Late>>, id: ProvisionId) {
    let body = json!({"NotificationUrl": {
        "category": "PARTNER_USER_PROVISION",
        "object": {"PartnerUserProvision": {"id": id}},
    }});
    let request = Request::post(format!("/{SEGMENT}")).header(CONTENT_TYPE, "application/json");
    let answer = receiver.clone().call(request.body(body.to_string()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

fn provision(change: &Change) -> ProvisionId {
    match change.object() {
        ChangedObject::Provision(provision) => provision.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_appears_late_is_taken_and_what_was_taken_is_not_taken_again() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let ids = sandbox.populate(2);
    let client = sandbox.client().retry(at_once()).build().unwrap();
    let journal = MemoryHintJournal::new(HintJournalBounds::default()).unwrap();
    let uncommitted = Mutex::new(Some(EntryId::new(1)));
    let receiver = Receiver::builder(Environment::Sandbox, SEGMENT);
    let journal = Arc::new(Late { journal, uncommitted });
    let receiver = receiver.build(Arc::clone(&journal)).unwrap();
    let mut changes = client.changes(&receiver).start().unwrap();
    for id in &ids {
        called(&receiver, *id).await;
    }
    let look = Duration::from_secs(300);
    let held = timeout(look, changes.next()).await.unwrap().unwrap();
    assert_eq!(provision(&held), ids[1]);
    *journal.uncommitted.lock().unwrap() = None;
    let late = timeout(2 * look, changes.next()).await.unwrap().unwrap();
    assert_eq!(provision(&late), ids[0]);
    late.done().await.unwrap();
    // Two looks later too, the one that is held is as it was.
    assert!(timeout(2 * look, changes.next()).await.is_err());
    held.done().await.unwrap();
    assert!(journal.pending(None).await.unwrap().is_empty());
    let ChangesNumbers { handed_on, handed_on_again, done, reads, known, .. } = changes.numbers();
    assert_eq!((handed_on, handed_on_again, done, reads, known), (2, 0, 2, 2, 0));
}
