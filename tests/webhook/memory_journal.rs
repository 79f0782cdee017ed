//! The journal of hints in memory.

use std::time::Duration;

use bunq_partner::ErrorKind;
use bunq_partner::webhook::{Appended, EntryId, HintJournal, HintJournalBounds, HintedObject, MemoryHintJournal};

use crate::journal::hint;

async fn kept(journal: &MemoryHintJournal, number: u64) -> Option<EntryId> {
    match journal.append(hint(number)).await.unwrap() {
        Appended::Kept(id) => Some(id),
        Appended::Full => None,
    }
}

async fn provisions(journal: &MemoryHintJournal, after: Option<EntryId>) -> Vec<u64> {
    let page = journal.pending(after).await.unwrap().into_iter();
    page.map(|(_, hint)| match hint.object {
        Some(HintedObject::Provision(id)) => id.get(),
        other => panic!("{other:?}"),
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn it_keeps_as_many_as_it_may_until_they_are_done() {
    test_timeout::start();
    let bounds = HintJournalBounds::default().max_entries(3).max_age(Duration::from_secs(60));
    let journal = MemoryHintJournal::new(bounds).unwrap();
    let clone = journal.clone();
    let entries = [kept(&journal, 1).await, kept(&clone, 2).await, kept(&journal, 3).await].map(Option::unwrap);
    assert_eq!(kept(&journal, 4).await, None);
    assert_eq!(provisions(&clone, None).await, [1, 2, 3]);
    assert_eq!(provisions(&clone, Some(entries[0])).await, [2, 3]);
    for _ in 0..2 {
        clone.done(entries[1]).await.unwrap();
    }
    assert_eq!(provisions(&journal, None).await, [1, 3]);
    journal.done(entries[0]).await.unwrap();
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(provisions(&journal, None).await, [0_u64; 0]);
    assert_eq!((journal.expired(), kept(&journal, 5).await.is_some()), (1, true));
    assert_eq!(journal.name(), "the journal of hints in memory");
    assert_eq!(format!("{journal:?}"), "MemoryHintJournal");
}

#[tokio::test]
async fn bounds_that_cannot_be_are_refused() {
    test_timeout::start();
    let error = MemoryHintJournal::new(HintJournalBounds::default().max_entries(0)).unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.to_string().contains("max_entries: 0 is not"), "{error}");
}
