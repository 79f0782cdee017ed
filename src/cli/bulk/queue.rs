//! The order in which new users get their sessions.

use bunq_partner::jiff::Timestamp;
use bunq_partner::{ProvisionId, Uuid};

/// How often a session may fail to be opened again while others are opened.
const MAX_STRIKES: u32 = 2;

/// A user lets no more than 2 to the power of this go first.
const MAX_FAILURES: u32 = 7;

/// A user whose token is stored, and who has no session yet.
#[derive(Debug)]
pub(super) struct Unused {
    pub(super) external_uuid: Uuid,
    pub(super) id: ProvisionId,
    expiry: Option<Timestamp>,
    /// How often it has failed since others were opened.
    failures: u32,
    /// How often it has failed again while others were opened.
    strikes: u32,
    /// How many had been opened when it failed last.
    failed_at: Option<u64>,
    /// After so many turns of all users it has its own.
    turn: u64,
}

/// The users that wait for their sessions. The one goes first whose credential expires first; one that fails lets others go
/// first, so that it holds up nobody.
#[derive(Debug, Default)]
pub(super) struct SessionQueue {
    users: Vec<Unused>,
    turns: u64,
    opened: u64,
}

impl SessionQueue {
    pub(super) fn add(&mut self, external_uuid: Uuid, id: ProvisionId, expiry: Option<Timestamp>) {
        self.users.push(Unused { external_uuid, id, expiry, failures: 0, strikes: 0, failed_at: None, turn: 0 });
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Takes the next user out.
    pub(super) fn next(&mut self) -> Option<Unused> {
        let users = self.users.iter().enumerate();
        let next = users.min_by_key(|(_, user)| (user.turn.saturating_sub(self.turns), user.expiry, user.id))?.0;
        self.turns += 1;
        Some(self.users.swap_remove(next))
    }

    /// Puts a user back that was not tried.
    pub(super) fn put_back(&mut self, user: Unused) {
        self.users.push(user);
    }

    /// A session was opened. An outage, in which nobody succeeds, counts against nobody.
    pub(super) fn opened(&mut self) {
        self.opened += 1;
        for user in self.users.iter_mut().filter(|user| user.strikes == 0) {
            (user.failures, user.turn) = (0, 0);
        }
    }

    /// Puts a user back whose session has failed, unless it is to be given up.
    pub(super) fn failed(&mut self, mut user: Unused) -> Result<(), Unused> {
        user.strikes += u32::from(user.failed_at.is_some_and(|before| self.opened > before));
        if user.strikes >= MAX_STRIKES {
            return Err(user);
        }
        user.failures += 1;
        user.failed_at = Some(self.opened);
        user.turn = self.turns + (1 << user.failures.min(MAX_FAILURES));
        self.users.push(user);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds users with these ids, whose credentials expire in the order of their ids.
    fn add(queue: &mut SessionQueue, ids: impl IntoIterator<Item = u64>) {
        for id in ids {
            let expiry = Timestamp::from_second(i64::try_from(id).unwrap()).unwrap();
            queue.add(Uuid::nil(), ProvisionId::try_from(id).unwrap(), Some(expiry));
        }
    }

    /// The users that have their turns, of which these fail, until so many have had one or nobody is left; and those that are
    /// given up.
    fn order(queue: &mut SessionQueue, failing: &[u64], turns: usize) -> (Vec<u64>, Vec<u64>) {
        let (mut order, mut given_up) = (Vec::new(), Vec::new());
        while let Some(user) = queue.next().filter(|_| order.len() < turns) {
            let id = user.id.get();
            order.push(id);
            if !failing.contains(&id) {
                queue.opened();
            } else if queue.failed(user).is_err() {
                given_up.push(id);
            }
        }
        (order, given_up)
    }

    #[test]
    fn the_credential_that_expires_first_goes_first() {
        let mut queue = SessionQueue::default();
        add(&mut queue, [3, 1, 2]);
        assert_eq!(order(&mut queue, &[], 9), (vec![1, 2, 3], vec![]));
    }

    #[test]
    fn users_that_fail_hold_up_nobody_and_are_given_up() {
        let mut queue = SessionQueue::default();
        add(&mut queue, 1..=9);
        let (order, given_up) = order(&mut queue, &[1, 2, 3], 30);
        assert_eq!(order, [1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 1, 2, 3, 5, 6, 1, 2, 3, 7, 8, 9]);
        assert_eq!(given_up, [1, 2, 3]);
    }

    #[test]
    fn an_outage_counts_against_nobody() {
        let mut queue = SessionQueue::default();
        add(&mut queue, 1..=3);
        let (tried, given_up) = order(&mut queue, &[1, 2, 3], 300);
        assert_eq!((tried.len(), given_up.len(), queue.len()), (300, 0, 2));
        add(&mut queue, [4, 5]);
        let (order, _) = order(&mut queue, &[], 9);
        assert_eq!(order.len(), 4);
        // As soon as one has succeeded.
        assert!(order[1..].is_sorted(), "{order:?}");
    }
}
