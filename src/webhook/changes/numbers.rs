//! What is counted of changes.

use crate::transport::metrics;

/// What [`Changes`](crate::webhook::Changes) have done since their start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangesNumbers {
    /// Changes that were handed on for the first time.
    pub handed_on: u64,
    /// Changes that were handed on again, because they were dropped without [`done`](crate::webhook::Change::done).
    pub handed_on_again: u64,
    /// Changes that are done.
    pub done: u64,
    /// Of those that were handed on, how many were unconfirmed.
    pub unconfirmed: u64,
    /// Unconfirmed ones that were not handed on by themselves, since another of the same user and kind waited to be taken.
    pub merged: u64,
    /// Reads of objects, whatever came of them.
    pub reads: u64,
    /// Calls that cost no read, because a read has shown a state that is not older than they claim.
    pub known: u64,
    /// Reads that have shown the state that was done already.
    pub unchanged: u64,
    /// Reads that have shown an older state than the one before. The object is read again.
    pub lagging: u64,
    /// Calls about objects that bunq does not have, or not for this partner.
    pub not_ours: u64,
    /// Reads, and writes of the journal, that have failed. They are tried again, reads for an hour.
    pub failed: u64,
    /// Objects whose reads have failed for an hour. If it is about a user, the call is handed on unconfirmed; otherwise it stays in the
    /// journal as long as that keeps it, and is taken up by the next [`Changes`](crate::webhook::Changes).
    pub given_up: u64,
    /// Calls about users who are not in custody.
    pub foreign: u64,
    /// Calls about what nothing reads, those that bunq lists as failed too, unless they are
    /// [asked for](crate::webhook::ChangesBuilder::unconfirmed).
    pub ignored: u64,
    /// Entries that the journal has [dropped](crate::webhook::HintJournal::expired) because of their age, since it was opened.
    pub expired: u64,
    /// Objects that a look has found to have changed, without a call, or with a failed one.
    pub found: u64,
    /// How often something was left out because there was too much: a look takes 10,000 provisions under way and 10,000 failed
    /// deliveries, and follows 10,000 objects of users; 10,000 unconfirmed calls wait to be taken.
    pub left_out: u64,
    /// How many objects wait to be read or handed on now.
    pub waiting: u64,
    /// How many changes are handed on now and not done.
    pub not_done: u64,
}

impl ChangesNumbers {
    /// Tells the metrics what was counted since they were told last.
    pub(super) fn measure(&self, measured: &mut Self) {
        for ((outcome, now), (_, before)) in self.counted().into_iter().zip(measured.counted()) {
            if now > before {
                metrics::changed(outcome, now - before);
            }
        }
        *measured = *self;
    }

    /// What only grows, with its name, but what the journal counts.
    fn counted(&self) -> [(&'static str, u64); 16] {
        let &Self { handed_on, handed_on_again, done, unconfirmed, merged, reads, known, unchanged, lagging, .. } =
            self;
        let &Self { not_ours, failed, given_up, foreign, ignored, found, left_out, .. } = self;
        [
            ("handed_on", handed_on),
            ("handed_on_again", handed_on_again),
            ("done", done),
            ("unconfirmed", unconfirmed),
            ("merged", merged),
            ("reads", reads),
            ("known", known),
            ("unchanged", unchanged),
            ("lagging", lagging),
            ("not_ours", not_ours),
            ("failed", failed),
            ("given_up", given_up),
            ("foreign", foreign),
            ("ignored", ignored),
            ("found", found),
            ("left_out", left_out),
        ]
    }
}
