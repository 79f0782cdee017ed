//! Changes that end and begin again on the same receiver, and what is refused, held or dropped meanwhile.

use bunq_partner::ErrorKind;
use bunq_partner::webhook::HintJournal as _;
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

use crate::bank::{Bank, MINUTE, SECOND, bounded, next, nothing, provision, still};

/// A change that is done late says nothing about a newer state, which other changes have handed on.
#[tokio::test(start_paused = true)]
async fn what_is_done_after_its_changes_were_dropped_takes_no_newer_mark_away() {
    test_timeout::start();
    let bank = Bank::new().await;
    let id = bank.sandbox.populate(1)[0];
    let mut changes = bank.changes().await;
    bank.call(id.get(), None).await;
    let old = next(&mut changes).await;
    drop(changes);
    bank.sandbox.fail(id);
    let mut changes = bank.client.changes(&bank.receiver).start().unwrap();
    let new = next(&mut changes).await;
    assert_eq!((provision(&old).status.as_str(), provision(&new).status.as_str()), ("ACTIVE", "FAILED"));
    let marks = bank.journal.marks(None).await.unwrap();
    old.done().await.unwrap();
    assert_eq!(bank.journal.marks(None).await.unwrap(), marks);
    drop(new);
    let new = next(&mut changes).await;
    assert_eq!(provision(&new).status.as_str(), "FAILED");
    new.done().await.unwrap();
    nothing(&mut changes, MINUTE).await;
    assert_eq!(bank.pending().await, 0);
}

#[tokio::test(start_paused = true)]
async fn changes_begin_again_as_often_as_they_are_dropped() {
    test_timeout::start();
    let bank = Bank::new().await;
    let ids = bank.sandbox.populate(20);
    for id in &ids {
        bank.call(id.get(), None).await;
    }
    for (number, id) in ids.iter().enumerate() {
        let mut changes = bank.client.changes(&bank.receiver).start().unwrap();
        let again = bank.client.changes(&bank.receiver).start().unwrap_err();
        assert_eq!(again.kind(), ErrorKind::InvalidInput);
        let change = next(&mut changes).await;
        assert_eq!(provision(&change).id, *id, "number {number}");
        change.done().await.unwrap();
        // One is held when its changes end, another is dropped.
        let _held = timeout(MINUTE, changes.next()).await;
        drop(timeout(MINUTE, changes.next()).await);
    }
    assert_eq!(bank.pending().await, 0);
}

/// A full journal refuses a call, and bunq gives up after its sixth try.
#[tokio::test(start_paused = true)]
async fn a_look_finds_what_was_refused() {
    test_timeout::start();
    let bank = Bank::with(still(), |client| client, bounded(1)).await;
    let ids = bank.sandbox.populate(2);
    bank.listen().await;
    bank.call(ids[0].get(), None).await;
    bank.sandbox.fail(ids[1]);
    bank.sandbox.notifications_settled().await;
    for _ in 0..6 {
        sleep(MINUTE).await;
        bank.sandbox.notifications_settled().await;
    }
    assert_eq!(bank.receiver.numbers().full, 6);
    let mut changes = bank.client.changes(&bank.receiver).start().unwrap();
    let mut told = Vec::new();
    for _ in &ids {
        let change = next(&mut changes).await;
        told.push((provision(&change).id, provision(&change).status.as_str().to_owned()));
        change.done().await.unwrap();
    }
    told.sort();
    assert_eq!(told, [(ids[0], "ACTIVE".to_owned()), (ids[1], "FAILED".to_owned())]);
    assert_eq!(changes.numbers().found, 1);
    nothing(&mut changes, SECOND).await;
}
