//! The order in which new users get their sessions.

use bunq_partner::jiff::Timestamp;
use bunq_partner::{ProvisionId, Uuid};

/// So often a session may fail, not counting outages, before its user is given up: once, and five times more.
const MAX_FAILURES: u32 = 6;

/// A user whose token is stored, and who has no session yet.
#[derive(Debug)]
pub(super) struct Unused {
    pub(super) external_uuid: Uuid,
    pub(super) id: ProvisionId,
    expiry: Option<Timestamp>,
    /// How often it has failed, not counting outages.
    failures: u32,
    /// The number of findings when it failed last.
    failed_at: Option<u64>,
}

/// The users that wait for their sessions. The one goes first whose credential expires first; one that fails lets others go
/// first, so that it does not delay the others.
///
/// Each session that is opened shows that bunq works. If all users have failed since, a call of the partner's own decides: if
/// it fails too, it is an outage, and what has failed since does not count.
#[derive(Debug, Default)]
pub(super) struct SessionQueue {
    users: Vec<Unused>,
    /// How often it was found out whether bunq works.
    findings: u64,
}

impl SessionQueue {
    pub(super) fn add(&mut self, external_uuid: Uuid, id: ProvisionId, expiry: Option<Timestamp>) {
        self.users.push(Unused { external_uuid, id, expiry, failures: 0, failed_at: None });
    }

    pub(super) fn len(&self) -> usize {
        self.users.len()
    }

    /// Takes the next user out. `None`: a call of the partner's own comes first, or no user waits.
    pub(super) fn next(&mut self) -> Option<Unused> {
        let waiting = self.users.iter().enumerate().filter(|(_, user)| user.failed_at != Some(self.findings));
        let next = waiting.min_by_key(|(_, user)| (self.others_first(user), user.expiry, user.id))?.0;
        Some(self.users.swap_remove(next))
    }

    /// How many others have their turn before this user, if there are as many: the number doubles with each failure.
    fn others_first(&self, user: &Unused) -> u64 {
        user.failed_at.map_or(0, |failed_at| (failed_at + (1 << user.failures)).saturating_sub(self.findings))
    }

    /// Puts a user back that was not tried.
    pub(super) fn put_back(&mut self, user: Unused) {
        self.users.push(user);
    }

    /// Puts a user back whose session has failed, unless it is to be given up.
    pub(super) fn failed(&mut self, mut user: Unused) -> Result<(), Unused> {
        user.failures += 1;
        user.failed_at = Some(self.findings);
        if user.failures >= MAX_FAILURES {
            return Err(user);
        }
        self.users.push(user);
        Ok(())
    }

    /// bunq works: a session was opened, or a call of the partner's own has succeeded.
    pub(super) fn works(&mut self) {
        self.findings += 1;
    }

    /// A call of the partner's own has failed too: an outage, which counts against no user.
    pub(super) fn outage(&mut self) {
        for user in self.users.iter_mut().filter(|user| user.failed_at == Some(self.findings)) {
            user.failures -= 1;
        }
        self.findings += 1;
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

    /// What happens at that many turns, or until no user is left, where these users fail: `4` has its session, `4-`
    /// fails, `4x` fails and is given up, `+` and `-` are calls of the partner's own.
    fn turns(queue: &mut SessionQueue, failing: &[u64], works: bool, turns: usize) -> String {
        let mut shown = Vec::new();
        while shown.len() < turns && queue.len() > 0 {
            shown.push(match queue.next().map(|user| (user.id.get(), user)) {
                Some((id, user)) if failing.contains(&id) => {
                    format!("{id}{}", if queue.failed(user).is_ok() { "-" } else { "x" })
                }
                Some((id, _)) => {
                    queue.works();
                    id.to_string()
                }
                None if works => {
                    queue.works();
                    "+".to_owned()
                }
                None => {
                    queue.outage();
                    "-".to_owned()
                }
            });
        }
        shown.join(" ")
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
            let mut queue = SessionQueue::default();
            add(&mut queue, 1..=users);
            assert_eq!(turns(&mut queue, failing, true, 99), expected);
        }
    }

    /// One that is made while only failing users are left goes first.
    #[test]
    fn nobody_waits_for_a_call() {
        test_timeout::start();
        let mut queue = SessionQueue::default();
        add(&mut queue, [1, 2]);
        assert_eq!(turns(&mut queue, &[1, 2], true, 2), "1- 2-");
        add(&mut queue, [3]);
        assert_eq!(turns(&mut queue, &[1, 2], true, 4), "3 1- 2- +");
        // Made during a call: its outcome says nothing of the new one.
        assert!(queue.next().is_some_and(|user| queue.failed(user).is_ok()));
        assert!(queue.next().is_some_and(|user| queue.failed(user).is_ok()));
        add(&mut queue, [4]);
        queue.outage();
        assert_eq!(turns(&mut queue, &[1, 2], true, 3), "4 1- 2-");
    }

    #[test]
    fn an_outage_counts_against_nobody() {
        test_timeout::start();
        let mut queue = SessionQueue::default();
        add(&mut queue, 1..=3);
        let tried = turns(&mut queue, &[1, 2, 3], false, 400);
        assert!(tried.starts_with("1- 2- 3- - 1- 2- 3- - 1- 2- 3- -"), "{tried}");
        assert_eq!(queue.len(), 3);
        add(&mut queue, [4, 5]);
        // What comes after it counts.
        assert_eq!(turns(&mut queue, &[1], true, 99), "1- 2 3 1- 4 5 1- + 1- + 1- + 1x");
    }
}
