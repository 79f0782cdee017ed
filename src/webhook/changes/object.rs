//! One object that was called about, and what is known of it.

use std::time::Duration;

use tokio::time::Instant;

use super::changed_object::ChangedObject;
use super::version::Version;
use crate::types::{NotificationFilterFailureId, ProvisionId, Timestamp, UserId};
use crate::webhook::mark::{Mark, MarkedObject};
use crate::webhook::{EntryId, Hint, HintedObject};

/// The pause before something is tried again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is read and handed on as one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// An object that is read, and whose states have marks.
    Object(MarkedObject),
    /// An object that is somebody's whom the call names, until it is known whose.
    OfUser(HintedObject, UserId),
    /// A call that is handed on by itself, since nothing reads what it is about.
    Call(CallId),
}

/// A call, as it was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum CallId {
    /// It has come.
    Entry(EntryId),
    /// bunq lists it as failed.
    Failure(NotificationFilterFailureId),
}

impl Key {
    /// The object that is read, if it is known whose it is.
    pub(super) fn object(&self) -> Option<&MarkedObject> {
        match self {
            Self::Object(object) => Some(object),
            Self::OfUser(..) | Self::Call(_) => None,
        }
    }

    /// The provision of the user whose object it is.
    pub(super) fn provision_id(&self) -> Option<ProvisionId> {
        self.object()?.provision_id
    }

    /// What there is to hand on if nothing reads the object of a user any more.
    pub(super) fn hint(&self) -> Option<Box<Hint>> {
        let object = self.object().filter(|object| object.provision_id.is_some())?;
        Some(Box::new(Hint::about(&object.object)))
    }

    /// The mark of a state. `None` for one that is unconfirmed.
    pub(super) fn mark(&self, version: Option<Version>, is_done: bool, is_under_way: bool) -> Option<Mark> {
        let (object, Version { updated, digest }) = self.object().cloned().zip(version)?;
        Some(Mark { object, updated, digest, is_done, is_under_way })
    }
}

/// Calls that ask for an object to be read.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    pub(super) entries: Vec<EntryId>,
    /// The latest `updated` that they claim; `None` if one claims nothing.
    pub(super) claim: Option<Timestamp>,
    /// The last of them, if it may have to be handed on as it is.
    pub(super) hint: Option<Box<Hint>>,
    /// When the last of them was taken in.
    pub(super) since: Option<Instant>,
    /// A session was asked for because of them, and there may be none.
    pub(super) is_session_tried: bool,
    /// A page of the listing lacks it: it is read by its id.
    pub(super) is_unlisted: bool,
    /// Whose the object may be, if bunq does not show it to the user of its key.
    pub(super) others: Vec<ProvisionId>,
}

impl Ask {
    pub(super) fn join(&mut self, later: Self) {
        self.entries.extend(later.entries);
        self.claim = self.claim.zip(later.claim).map(|(own, later)| own.max(later));
        self.hint = later.hint.or(self.hint.take());
        self.since = later.since;
        self.is_session_tried |= later.is_session_tried;
        self.is_unlisted |= later.is_unlisted;
        if !later.others.is_empty() {
            self.others = later.others;
        }
    }

    /// Whatever the calls claim, it is to be read.
    pub(super) fn again(self) -> Self {
        Self { claim: None, ..self }
    }
}

/// A state that was read, or that nobody can read.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) object: ChangedObject,
    /// `None` if it is unconfirmed.
    pub(super) version: Option<Version>,
    pub(super) is_under_way: bool,
}

impl Seen {
    /// A call that nobody can confirm.
    pub(super) fn unconfirmed(provision_id: Option<ProvisionId>, hint: Box<Hint>) -> Self {
        Self { object: ChangedObject::Unconfirmed { provision_id, hint }, version: None, is_under_way: false }
    }
}

/// A state that is to be handed on, with the entries that are done with it.
pub(super) struct News {
    pub(super) seen: Seen,
    pub(super) entries: Vec<EntryId>,
}

/// A state that is being handed on.
pub(super) struct Told {
    pub(super) stage: Stage,
    pub(super) version: Option<Version>,
    pub(super) is_under_way: bool,
    pub(super) entries: Vec<EntryId>,
    /// Calls about other objects of the user, for which this one stands.
    pub(super) merged: Vec<(Key, Vec<EntryId>)>,
}

impl Told {
    /// All that is done with it.
    pub(super) fn all_entries(&self) -> Vec<EntryId> {
        let merged = self.merged.iter().flat_map(|(_, entries)| entries);
        self.entries.iter().chain(merged).copied().collect()
    }
}

pub(super) enum Stage {
    /// Its mark is being kept.
    Marking(ChangedObject),
    Ready(ChangedObject),
    Given,
}

pub(super) struct Object {
    /// Its place in the order of arrivals.
    pub(super) place: u64,
    /// What it is to be read for, and what it is being read for.
    pub(super) asked: Option<Ask>,
    pub(super) reading: Option<Ask>,
    pub(super) next: Option<Box<News>>,
    pub(super) told: Option<Box<Told>>,
    /// The state that was handed on last and is not any more, and whether it is done or was dropped.
    pub(super) last: Option<(Version, bool)>,
    /// When it may be read: no sooner than each of these.
    pub(super) next_read: Instant,
    pub(super) retry: Instant,
    /// When something may be handed on again.
    pub(super) tell: Instant,
    pub(super) failures: u32,
    /// Since when all reads have failed.
    pub(super) failing_since: Option<Instant>,
    pub(super) lags: u32,
    pub(super) drops: u32,
    pub(super) due: Option<Instant>,
}

impl Object {
    pub(super) fn new(place: u64, now: Instant) -> Self {
        let (asked, reading, next, told, last, failing_since, due) = Default::default();
        let (next_read, retry, tell, failures, lags, drops) = (now, now, now, 0, 0, 0);
        Self {
            place,
            asked,
            reading,
            next,
            told,
            last,
            next_read,
            retry,
            tell,
            failures,
            failing_since,
            lags,
            drops,
            due,
        }
    }

    /// When something can be done about it. If nothing is left to do, it is forgotten when it may be read again.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let read = (self.asked.is_some() && self.reading.is_none()).then(|| self.next_read.max(self.retry));
        let tell = (self.next.is_some() && self.told.is_none()).then_some(self.tell);
        let is_idle = self.asked.is_none() && self.reading.is_none() && self.next.is_none() && self.told.is_none();
        let forget = is_idle.then_some(self.next_read);
        [read, tell, forget].into_iter().flatten().min()
    }

    /// The entries that wait for something to be done.
    pub(super) fn entries(&self) -> impl Iterator<Item = EntryId> {
        let Self { asked, reading, next, told, .. } = self;
        let asks = asked.iter().chain(reading).flat_map(|ask| &ask.entries);
        let next = next.iter().flat_map(|next| &next.entries);
        asks.chain(next).copied().chain(told.iter().flat_map(|told| told.all_entries()))
    }

    /// The last state that is to be handed on or is handed on now.
    pub(super) fn version(&self) -> Option<Version> {
        let next = self.next.as_ref().and_then(|next| next.seen.version);
        next.or_else(|| self.told.as_ref()?.version)
    }

    pub(super) fn ask_again(&mut self, ask: Ask) {
        let mut ask = ask.again();
        if let Some(later) = self.asked.take() {
            ask.join(later);
        }
        self.asked = Some(ask);
    }
}

impl Version {
    pub(super) fn of(mark: &Mark) -> Self {
        Self { updated: mark.updated, digest: mark.digest }
    }
}

/// The pause before something is tried again that has failed so often.
pub(super) fn pause(times: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << times.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
}
