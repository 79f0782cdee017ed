//! The order in which the sessions of users are opened, and which of them can still be opened in time.
//!
//! Who expires first goes first. One that fails lets others go first, so that it does not delay them. Each session that is opened
//! shows that bunq works. If all that wait have failed since, or several in a row, a call of the partner's own decides: if it fails
//! too, it is an outage, and what has failed since does not count. Then each failure is followed by such a call, until one succeeds or
//! a session is opened. What has failed last before that does not count either, as the outage may have ended after it: nobody is
//! overtaken for an outage.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::sync::lock;
use crate::types::ProvisionId;

/// So often a session may fail, not counting outages, before its user is given up: once, and five times more.
const MAX_FAILURES: u32 = 6;

/// If so many in a row have failed, it is found out whether bunq works before others are tried.
const MAX_IN_A_ROW: usize = 4;

/// So many sessions are prepared at once. Each takes a key, which is a tenth of a second of CPU time, and two calls.
pub(super) const MAX_PREPARED_AT_ONCE: usize = 8;

/// A session of a user that is to be opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) id: ProvisionId,
    /// From [`SessionQueue::ticket`].
    pub(super) ticket: u64,
    pub(super) deadline: Instant,
    /// The credential was used before, so that it does not expire.
    pub(super) is_renewal: bool,
    /// Nothing has to be made before it can be opened.
    pub(super) is_prepared: bool,
    /// The credential was replaced by another.
    pub(super) is_withdrawn: &'a AtomicBool,
    /// Read and changed by whoever holds the lock of the order: its entry has the same.
    pub(super) stands: &'a Mutex<Stands>,
}

/// Where a session stands in the order, also while it has no entry there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// By its own deadline.
    Usual,
    /// Behind all that are not last: nobody waits for it but whoever waits behind all others.
    Last,
    /// It was last, and is opened by then for whoever waits for it as usual.
    MovedUp(Instant),
}

/// Where a session stands among those that wait: the least is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    pub(super) is_last: bool,
    /// When the session must have been requested.
    pub(super) deadline: Instant,
    pub(super) id: ProvisionId,
}

impl Wanted<'_> {
    pub(super) fn standing(&self) -> Standing {
        let (is_last, deadline) = match *lock(self.stands) {
            Stands::Usual => (false, self.deadline),
            Stands::Last => (true, self.deadline),
            Stands::MovedUp(by) => (false, self.deadline.min(by)),
        };
        Standing { is_last, deadline, id: self.id }
    }
}

/// A session that waits for its turn, or has it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) standing: Standing,
    pub(super) ticket: u64,
    pub(super) state: EntryState,
    pub(super) preparation: Preparation,
    /// Its last attempt found no permit, and there is none for it before this. Others that go before it may have one.
    pub(super) no_permit_before: Option<Instant>,
    /// Told when `state` has changed, or when the entry may be next.
    pub(super) wake: Arc<Notify>,
    /// How often it has failed, not counting outages.
    failures: u32,
    /// The number of findings when it failed last.
    failed_at: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryState {
    Waits,
    /// Its future was not polled when its turn came.
    IsPassedOver,
    /// It was refused for its rate alone: others go until then.
    Pauses(Instant),
    /// It has its turn, since then.
    Goes(Instant),
    /// It cannot be in time any more: its turn would come after this time.
    IsLate(Duration),
    /// Its credential was replaced by another.
    IsWithdrawn,
}

/// Whether what a session needs was made: its installation, with a key and a device. It is made before the turn, so that it holds
/// nobody up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preparation {
    Needed,
    /// Since then.
    IsGoing(Instant),
    /// It was made, or that has failed or does not end: then it is made in the turn.
    IsOver,
}

/// Whose turn is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The session with this ticket.
    Session(u64),
    /// A call of the partner's own, which the one with this ticket makes.
    Look(u64),
    Nobody,
}

/// The sessions of users that wait for their turns, or have them.
#[derive(Debug, Default)]
pub(super) struct SessionQueue {
    entries: Vec<Entry>,
    tickets: u64,
    /// How often it was found out whether bunq works.
    findings: u64,
    /// What was found out last: that it does not.
    is_outage: bool,
}

impl SessionQueue {
    /// A ticket that no other session has.
    pub(super) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    pub(super) fn add(&mut self, wanted: &Wanted<'_>) -> Arc<Notify> {
        let (standing, &Wanted { ticket, is_prepared, .. }) = (wanted.standing(), wanted);
        let (state, wake) = (EntryState::Waits, Arc::<Notify>::default());
        let preparation = if is_prepared { Preparation::IsOver } else { Preparation::Needed };
        self.entries.push(Entry {
            standing,
            ticket,
            state,
            preparation,
            no_permit_before: None,
            wake: Arc::clone(&wake),
            failures: 0,
            failed_at: None,
        });
        wake
    }

    pub(super) fn remove(&mut self, ticket: u64) {
        self.entries.retain(|entry| entry.ticket != ticket);
    }

    pub(super) fn get(&mut self, ticket: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.ticket == ticket)
    }

    /// Has each look at what it does next.
    pub(super) fn wake_all(&self) {
        for entry in &self.entries {
            entry.wake.notify_one();
        }
    }

    /// How many have their turn.
    pub(super) fn going(&self) -> usize {
        self.entries.iter().filter(|entry| matches!(entry.state, EntryState::Goes(_))).count()
    }

    /// Gives the turn of those back that have had it since before a time, or are prepared since then: their futures are not polled.
    pub(super) fn take_back(&mut self, before: Instant) {
        for entry in &mut self.entries {
            if matches!(entry.preparation, Preparation::IsGoing(since) if since < before) {
                entry.preparation = Preparation::IsOver;
            }
            if matches!(entry.state, EntryState::Goes(since) if since < before) {
                entry.state = EntryState::IsPassedOver;
            }
        }
    }

    /// Whose turn is next, if another may have its turn.
    pub(super) fn next(&self) -> Next {
        let waiting = || self.entries.iter().filter(|entry| entry.state == EntryState::Waits);
        let has_failed = |entry: &&Entry| entry.failed_at == Some(self.findings);
        let most = if self.is_outage { 1 } else { MAX_IN_A_ROW };
        let is_doubtful = self.entries.iter().filter(has_failed).count() >= most;
        let untried = waiting().filter(|entry| !is_doubtful && !has_failed(entry));
        let next = untried.min_by_key(|entry| (entry.standing.is_last, self.others_first(entry), entry.standing));
        match next {
            Some(next) => Next::Session(next.ticket),
            // One that is being opened tells whether bunq works.
            None if self.going() > 0 => Next::Nobody,
            None => waiting()
                .filter(|entry| !entry.is_prepared_now())
                .min_by_key(|entry| entry.standing)
                .map_or(Next::Nobody, |entry| Next::Look(entry.ticket)),
        }
    }

    /// The session that is prepared next, if another may be. The order is that of the turns.
    pub(super) fn next_to_prepare(&self) -> Option<u64> {
        if self.entries.iter().filter(|entry| entry.is_prepared_now()).count() >= MAX_PREPARED_AT_ONCE {
            return None;
        }
        let needs = |entry: &&Entry| (entry.preparation, entry.state) == (Preparation::Needed, EntryState::Waits);
        let next = self.entries.iter().filter(needs).min_by_key(|entry| entry.standing);
        next.map(|entry| entry.ticket)
    }

    /// How many others have their turn before this one, if there are as many: the number doubles with each failure.
    fn others_first(&self, entry: &Entry) -> u64 {
        entry.failed_at.map_or(0, |failed_at| (failed_at + (1 << entry.failures)).saturating_sub(self.findings))
    }

    /// A session has failed. Returns whether it is to be given up.
    pub(super) fn failed(&mut self, ticket: u64) -> bool {
        let findings = self.findings;
        self.get(ticket).is_none_or(|entry| {
            entry.failures += 1;
            entry.failed_at = Some(findings);
            // It may have been withdrawn meanwhile.
            if matches!(entry.state, EntryState::Goes(_)) {
                entry.state = EntryState::Waits;
            }
            entry.failures >= MAX_FAILURES
        })
    }

    /// bunq works: a session was opened, or a call of the partner's own has succeeded.
    pub(super) fn works(&mut self) {
        if self.is_outage {
            self.forgive();
        }
        self.is_outage = false;
        self.findings += 1;
    }

    /// A call of the partner's own has failed too: an outage, which counts against nobody.
    pub(super) fn outage(&mut self) {
        self.forgive();
        self.is_outage = true;
        self.findings += 1;
    }

    /// Takes back what has failed since the last finding: it does not count, and lets nobody go first.
    fn forgive(&mut self) {
        for entry in self.entries.iter_mut().filter(|entry| entry.failed_at == Some(self.findings)) {
            entry.failures -= 1;
            entry.failed_at = None;
        }
    }

    /// Marks those as late that cannot be in time, where `turn` is when the session after so many others can be opened. Those that
    /// expire first are kept. `others` are the deadlines of those of other clients, of which those are removed that cannot be in time.
    pub(super) fn mark_late(&mut self, now: Instant, others: &mut Vec<Instant>, turn: impl Fn(usize) -> Instant) {
        let waiting = self.entries.iter_mut().filter(|entry| entry.state.is_in_line());
        let waiting = waiting.map(|entry| (entry.standing.is_last, entry.standing.deadline, Some(entry)));
        let mut waiting: Vec<_> = waiting.chain(others.drain(..).map(|deadline| (false, deadline, None))).collect();
        waiting.sort_unstable_by_key(|(is_last, deadline, entry)| {
            (*is_last, *deadline, entry.is_none(), entry.as_ref().map(|entry| entry.standing.id))
        });
        let mut ahead = 0;
        for (_, deadline, entry) in waiting {
            let turn = turn(ahead);
            match entry {
                _ if turn <= deadline => {
                    ahead += 1;
                    others.extend(entry.is_none().then_some(deadline));
                }
                Some(entry) => {
                    entry.state = EntryState::IsLate(turn.saturating_duration_since(now));
                    entry.wake.notify_one();
                }
                // Its own client tells it.
                None => {}
            }
        }
    }

    /// Whether a session can be in time where it would stand, and makes no other late: of those here, and those of other clients, of
    /// which `others` are the deadlines. Those that stand last give way to one that does not.
    pub(super) fn admits(
        &self,
        another: Standing,
        others: impl Iterator<Item = Instant>,
        turn: impl Fn(usize) -> Instant,
    ) -> bool {
        let waiting = self.entries.iter().filter(|entry| entry.state.is_in_line()).map(|entry| entry.standing);
        let here = waiting.filter(|one| another.is_last || !one.is_last).map(|one| (one.is_last, one.deadline));
        let mut all: Vec<_> = here.chain(others.map(|deadline| (false, deadline))).collect();
        all.sort_unstable();
        let before = all.partition_point(|one| *one <= (another.is_last, another.deadline));
        let makes_late = |ahead, deadline| turn(ahead) <= deadline && turn(ahead + 1) > deadline;
        turn(before) <= another.deadline
            && !all.iter().enumerate().skip(before).any(|(ahead, (_, deadline))| makes_late(ahead, *deadline))
    }

    /// The deadlines of those that do not stand last and wait for their turn or have it.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let counts = |entry: &&Entry| entry.state.is_in_line() || matches!(entry.state, EntryState::Goes(_));
        let usual = self.entries.iter().filter(|entry| !entry.standing.is_last);
        usual.filter(counts).map(|entry| entry.standing.deadline)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.entries.iter().filter(|entry| entry.state.is_in_line()).count()
    }
}

impl Entry {
    fn is_prepared_now(&self) -> bool {
        matches!(self.preparation, Preparation::IsGoing(_))
    }
}

impl EntryState {
    pub(super) fn is_in_line(self) -> bool {
        matches!(self, Self::Waits | Self::IsPassedOver | Self::Pauses(_))
    }
}

#[cfg(test)]
mod tests {
    use std::iter::empty;

    use super::*;

    fn id(id: u64) -> ProvisionId {
        ProvisionId::try_from(id).unwrap()
    }

    fn add(queue: &mut SessionQueue, number: u64, deadline: Instant) {
        add_standing(queue, number, deadline, false);
    }

    fn add_standing(queue: &mut SessionQueue, number: u64, deadline: Instant, is_last: bool) {
        let stands = &Mutex::new(if is_last { Stands::Last } else { Stands::Usual });
        let (id, ticket, is_withdrawn) = (id(number), queue.ticket(), &false.into());
        queue.add(&Wanted { id, ticket, deadline, is_renewal: false, is_prepared: true, is_withdrawn, stands });
    }

    fn usual(deadline: Instant, number: u64) -> Standing {
        Standing { is_last: false, deadline, id: id(number) }
    }

    /// A queue, and the time at which it begins.
    struct Case {
        queue: SessionQueue,
        began: Instant,
    }

    impl Case {
        fn new(ids: impl IntoIterator<Item = u64>) -> Self {
            let mut case = Self { queue: SessionQueue::default(), began: Instant::now() };
            case.add(ids);
            case
        }

        /// Adds users with these ids, whose credentials expire in the order of their ids.
        fn add(&mut self, ids: impl IntoIterator<Item = u64>) {
            for number in ids {
                add(&mut self.queue, number, self.began + Duration::from_secs(number));
            }
        }

        /// What happens at that many turns, or until no user is left, where these users fail: `4` has its session, `4-`
        /// fails, `4x` fails and is given up, `+` and `-` are calls of the partner's own.
        fn turns(&mut self, failing: &[u64], works: bool, turns: usize) -> String {
            let mut shown = Vec::new();
            while shown.len() < turns && self.queue.waiting() > 0 {
                shown.push(match self.queue.next() {
                    Next::Session(ticket) => {
                        let id = self.queue.get(ticket).unwrap().standing.id.get();
                        if !failing.contains(&id) {
                            self.queue.works();
                            self.queue.remove(ticket);
                            id.to_string()
                        } else if self.queue.failed(ticket) {
                            self.queue.remove(ticket);
                            format!("{id}x")
                        } else {
                            format!("{id}-")
                        }
                    }
                    Next::Look(_) if works => {
                        self.queue.works();
                        "+".into()
                    }
                    Next::Look(_) => {
                        self.queue.outage();
                        "-".into()
                    }
                    Next::Nobody => panic!("nobody goes, and some wait"),
                });
            }
            shown.join(" ")
        }
    }

    #[test]
    fn users_that_fail_hold_up_nobody_and_are_given_up() {
        test_timeout::start();
        for (users, failing, expected) in [
            (3, &[][..], "1 2 3"),
            // There is no other user.
            (1, &[1], "1- + 1- + 1- + 1- + 1- + 1x"),
            // The others are all opened between its first failure and its second.
            (3, &[1], "1- 2 3 1- + 1- + 1- + 1- + 1x"),
            (3, &[3], "1 2 3- + 3- + 3- + 3- + 3- + 3x"),
            // Only failing users are left: one call for all of them.
            (2, &[1, 2], "1- 2- + 1- 2- + 1- 2- + 1- 2- + 1- 2- + 1x 2x"),
            (10, &[1, 2, 3], "1- 2- 3- 4 5 1- 2- 3- 6 7 8 9 1- 2- 3- 10 1- 2- 3- + 1- 2- 3- + 1x 2x 3x"),
        ] {
            assert_eq!(Case::new(1..=users).turns(failing, true, 99), expected);
        }
    }

    /// One that is made while only failing users are left goes first.
    #[test]
    fn nobody_waits_for_a_call() {
        test_timeout::start();
        let mut case = Case::new([1, 2]);
        assert_eq!(case.turns(&[1, 2], true, 2), "1- 2-");
        case.add([3]);
        assert_eq!(case.turns(&[1, 2], true, 4), "3 1- 2- +");
        // Made during a call: its outcome says nothing of the new one, which goes in the order of the deadlines.
        assert_eq!(case.turns(&[1, 2], true, 2), "1- 2-");
        case.add([4]);
        case.queue.outage();
        assert_eq!(case.turns(&[1, 2], true, 5), "1- + 1- 2- 4");
    }

    #[test]
    fn an_outage_counts_against_nobody() {
        test_timeout::start();
        let mut case = Case::new(1..=3);
        let tried = case.turns(&[1, 2, 3], false, 400);
        assert!(tried.starts_with("1- 2- 3- - 1- - 1- - 1- -"), "{tried}");
        assert_eq!(case.queue.waiting(), 3);
        case.add([4, 5]);
        // What comes after it counts; what was the last before somebody was found to work does not.
        assert_eq!(case.turns(&[1], true, 99), "1- + 1- 2 3 1- 4 5 1- + 1- + 1- + 1x");
    }

    /// Whenever an outage ends, those that have failed last are overtaken by nobody.
    #[test]
    fn nobody_is_overtaken_for_an_outage() {
        test_timeout::start();
        let all: Vec<_> = (1..=9).collect();
        for lasts in 5..20 {
            let mut case = Case::new(1..=9);
            let during = case.turns(&all, false, lasts);
            assert!(during.starts_with("1- 2- 3- 4- -"), "{during}");
            let after = case.turns(&[], true, 99);
            assert_eq!(after.trim_start_matches("+ "), "1 2 3 4 5 6 7 8 9", "{during}");
        }
    }

    /// Of those that do not all fit, the first are kept, and another is admitted only beside all of them.
    #[test]
    fn what_cannot_be_in_time_is_known_at_once() {
        test_timeout::start();
        let mut case = Case::new([10, 25, 26, 60]);
        let began = case.began;
        // A session each 10 s.
        let turn = |ahead: usize| began + Duration::from_secs(10) * u32::try_from(ahead).unwrap();
        case.queue.mark_late(began, &mut Vec::new(), |ahead| turn(ahead) + Duration::from_secs(10));
        let states: Vec<_> = case.queue.entries.iter().map(|entry| entry.state).collect();
        let late = EntryState::IsLate(Duration::from_secs(30));
        assert_eq!(states, [EntryState::Waits, EntryState::Waits, late, EntryState::Waits]);
        // 10, 25 and 60 wait; their turns are at 0, 10 and 20 s, or with another that goes before at 10, 20 and 30 s.
        for (seconds, expected) in [(1, true), (30, true), (29, true), (100, true)] {
            let deadline = began + Duration::from_secs(seconds);
            assert_eq!(case.queue.admits(usual(deadline, 99), empty(), turn), expected, "{seconds}");
        }
        // Two with the deadline of the first do not fit, nor one that would make another late.
        case.add([5]);
        assert!(!case.queue.admits(usual(began + Duration::from_secs(5), 99), empty(), turn));
        assert!(
            !case.queue.admits(usual(began + Duration::from_secs(12), 99), empty(), |ahead| turn(ahead)
                + Duration::from_secs(1))
        );
    }

    /// They have places among those here, and only their own clients tell them.
    #[test]
    fn those_of_other_clients_count() {
        test_timeout::start();
        let mut case = Case::new([10, 30, 40]);
        let began = case.began;
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let turn = |ahead: usize| at(10) + Duration::from_secs(10) * u32::try_from(ahead).unwrap();
        let admits = |case: &Case, seconds, others: &[u64]| {
            case.queue.admits(usual(at(seconds), 99), others.iter().map(|seconds| at(*seconds)), turn)
        };
        // Theirs has the turn that is free, at 20 s, or none that is of use.
        assert!(admits(&case, 60, &[20]) && admits(&case, 60, &[15]) && !admits(&case, 25, &[20]));
        assert!(admits(&case, 25, &[]) && admits(&case, 25, &[60]) && !admits(&case, 25, &[45]));
        let mut others = [60, 15, 20].map(at).to_vec();
        case.queue.mark_late(began, &mut others, turn);
        assert_eq!((others, case.queue.waiting()), ([20, 60].map(at).to_vec(), 3));
        let mut others = [20, 25, 29].map(at).to_vec();
        case.queue.mark_late(began, &mut others, turn);
        assert_eq!((others, case.queue.waiting()), ([20].map(at).to_vec(), 3));
        let mut others = [20, 30].map(at).to_vec();
        case.queue.mark_late(began, &mut others, turn);
        assert_eq!((others, case.queue.waiting()), ([20].map(at).to_vec(), 3));
        let mut others = [20, 29, 39].map(at).to_vec();
        case.add([39]);
        case.queue.mark_late(began, &mut others, turn);
        assert_eq!((others, case.queue.waiting()), ([20].map(at).to_vec(), 3));
    }

    /// It goes when nobody else waits, also before those that have failed since the last finding, and makes nobody late.
    #[test]
    fn one_that_stands_last_gives_way_to_all_others() {
        test_timeout::start();
        let mut case = Case::new([]);
        let (began, second) = (case.began, Duration::from_secs(1));
        add_standing(&mut case.queue, 1, began + second, true);
        case.add(2..=4);
        assert_eq!(case.turns(&[2], true, 3), "2- 3 4");
        case.add([5]);
        // 2 has let as many others go as it must.
        assert_eq!(case.turns(&[], true, 9), "2 5 1");

        add_standing(&mut case.queue, 1, began + 5 * second, true);
        case.add([2]);
        assert_eq!(case.turns(&[2], true, 3), "2- 1 2-");

        let mut case = Case::new([]);
        add_standing(&mut case.queue, 1, began + 5 * second, true);
        // A session each 10 s: before it, there would be no turn for it.
        let turn = |ahead: usize| began + 10 * second * u32::try_from(ahead).unwrap();
        assert!(case.queue.admits(usual(began + 8 * second, 2), empty(), turn));
        for seconds in [12, 19] {
            add(&mut case.queue, u64::from(seconds), began + seconds * second);
        }
        // But it is not admitted where it would be late itself.
        let last = |seconds: u32| Standing { is_last: true, ..usual(began + seconds * second, 99) };
        assert!(!case.queue.admits(last(29), empty(), turn));
        case.queue.mark_late(began, &mut Vec::new(), turn);
        assert!(case.queue.admits(last(20), empty(), turn) && !case.queue.admits(last(19), empty(), turn));
    }
}
