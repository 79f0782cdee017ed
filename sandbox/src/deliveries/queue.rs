//! When each try of each call is due, and what follows from its outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::fault::{DeliveryFault, DeliveryInjections};
use super::message::{Call, Event};
use super::sent_log::{NotificationOutcome, SentLog, SentNotification};
use super::target::Target;
use super::watch::Watch;
use crate::bank::Bank;
use crate::clock::after;
use crate::objects::notifications::Failure;

/// How many tries are made at a time.
const MOST_AT_ONCE: usize = 64;

/// A target and an object: calls about one object reach a target one after the other.
type Line = (String, u64);

/// A call, and how far it is.
#[derive(Clone)]
pub(crate) struct Try {
    pub(crate) call: Arc<Call>,
    /// From 1 on.
    pub(crate) attempt: u32,
    /// When it was due.
    due: Timestamp,
    pub(crate) fault: Option<DeliveryFault>,
}

impl Try {
    fn line(&self) -> Line {
        (self.call.target.clone(), self.call.event.object_id)
    }
}

/// The calls that are still to be made, and those that were.
#[derive(Default)]
pub(crate) struct Deliveries {
    watch: Watch,
    /// In the order in which they are due.
    pending: BTreeMap<(Timestamp, u64), Try>,
    /// How many were ever pending.
    number: u64,
    /// The calls that are being made.
    busy: BTreeSet<Line>,
    pub(crate) injections: DeliveryInjections,
    pub(crate) log: SentLog,
}

impl Deliveries {
    pub(crate) fn new(injections: DeliveryInjections) -> Self {
        Self { injections, ..Self::default() }
    }

    /// Finds what has happened since the last look, and has it told; returns whether there is anything to do now or later.
    pub(crate) fn look(&mut self, bank: &mut Bank) -> bool {
        for event in self.watch.look(bank) {
            self.announce(bank, &event);
        }
        for failure in std::mem::take(&mut bank.retried) {
            if let Some(call) = Event::call_again(bank, failure) {
                self.add(bank, call);
            }
        }
        !self.pending.is_empty() || self.watch.next.is_some()
    }

    /// Has an event told to each target that has asked for it; returns how many there are.
    pub(crate) fn announce(&mut self, bank: &mut Bank, event: &Event) -> usize {
        let calls = event.calls(bank);
        let count = calls.len();
        calls.into_iter().for_each(|call| self.add(bank, call));
        count
    }

    fn add(&mut self, bank: &Bank, call: Call) {
        let (now, gap) = (bank.clock.now(), bank.settings.profile.notification_retry);
        let call = Arc::new(call);
        if Target::on_loopback(&call.target).is_none() {
            return self.log(&call, 0, None, NotificationOutcome::NotLoopback);
        }
        let fault = self.injections.strike(&call.event.category);
        let mut push = |call, delay| {
            let due = after(now, delay);
            self.push(Try { call, attempt: 1, due, fault });
        };
        match fault {
            Some(DeliveryFault::Lost) => self.log(&call, 0, fault, NotificationOutcome::Lost),
            Some(DeliveryFault::Late(delay)) => push(call, delay),
            Some(DeliveryFault::Reordered) => push(call, gap),
            Some(DeliveryFault::Doubled) => {
                push(Arc::clone(&call), Duration::ZERO);
                push(call, Duration::ZERO);
            }
            Some(DeliveryFault::Cut | DeliveryFault::Slow(_)) | None => push(call, Duration::ZERO),
        }
    }

    fn push(&mut self, one: Try) {
        self.number += 1;
        self.pending.insert((one.due, self.number), one);
    }

    /// The tries that are due by now and may begin. Each must be [finished](Self::finish).
    pub(crate) fn take_due(&mut self, now: Timestamp) -> Vec<Try> {
        let mut taken = Vec::new();
        for (key, one) in self.pending.range(..=(now, u64::MAX)) {
            if self.busy.len() == MOST_AT_ONCE {
                break;
            }
            if self.busy.insert(one.line()) {
                taken.push(*key);
            }
        }
        taken.iter().filter_map(|key| self.pending.remove(key)).collect()
    }

    /// When something is due next, later than now.
    pub(crate) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let pending = self.pending.range((now, u64::MAX)..).next().map(|((due, _), _)| *due);
        pending.into_iter().chain(self.watch.next).min()
    }

    /// Whether no try is being made or due.
    pub(crate) fn are_settled(&self, now: Timestamp) -> bool {
        self.busy.is_empty() && self.pending.range(..=(now, u64::MAX)).next().is_none()
    }

    /// Notes what came of a try, and what follows: another one, or a failure that is stored.
    pub(crate) fn finish(&mut self, bank: &mut Bank, one: Try, outcome: NotificationOutcome) {
        self.busy.remove(&one.line());
        self.log(&one.call, one.attempt, one.fault, outcome.clone());
        let (response_code, problem) = match outcome {
            NotificationOutcome::Responded(200) => return self.release_after(bank, &one),
            NotificationOutcome::Responded(status) => (Some(status), None),
            NotificationOutcome::Failed(problem) => (None, Some(problem)),
            NotificationOutcome::PinMismatch
            | NotificationOutcome::NotLoopback
            | NotificationOutcome::NoClientCertificate
            | NotificationOutcome::Lost => return,
        };
        self.release_after(bank, &one);
        let profile = &bank.settings.profile;
        if one.attempt < profile.notification_tries {
            let due = after(one.due, profile.notification_retry);
            self.push(Try { attempt: one.attempt + 1, due, fault: None, ..one });
            return;
        }
        let Event { category, event_type, user, object_id } = one.call.event.clone();
        let target = one.call.target.clone();
        let failure = Failure { user, category, event_type, object_id, target, response_code, problem };
        bank.objects.notification_failures.add(bank.partner, failure, bank.clock.now(), &mut bank.numbers);
    }

    /// Lets the calls go that wait for this one, because they are to come after it.
    fn release_after(&mut self, bank: &Bank, one: &Try) {
        let is_held = |other: &Try| {
            other.fault == Some(DeliveryFault::Reordered) && other.attempt == 1 && other.call.target == one.call.target
        };
        let held: Vec<_> = self.pending.iter().filter(|(_, other)| is_held(other)).map(|(key, _)| *key).collect();
        for other in held.iter().filter_map(|key| self.pending.remove(key)).collect::<Vec<_>>() {
            self.push(Try { due: bank.clock.now(), ..other });
        }
    }

    fn log(&mut self, call: &Call, attempt: u32, fault: Option<DeliveryFault>, outcome: NotificationOutcome) {
        let Event { category, event_type, user, object_id } = call.event.clone();
        let (target, body) = (call.target.clone(), call.body.clone());
        let entry = SentNotification { category, event_type, object_id, user, target, body, attempt, fault, outcome };
        self.log.push(entry);
    }
}
