//! What is known of users outlives the last handle for a time.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::lock;
use crate::types::ProvisionId;

/// For how long a user is remembered after a call for it has ended, at least. What must not be forgotten is over by then: a window of a
/// limit, such as the 30 seconds in which one refused session is replaced, and a request that may still arrive.
pub(super) const REMEMBERED_FOR: Duration = Duration::from_secs(600);

/// How many users are remembered at most. One takes up to 16 KiB, so all of them take up to 16 MiB. At bunq's limits for an address,
/// calls for more of them take longer than what must not be forgotten.
const MAX_REMEMBERED: usize = 1_000;

/// Keeps what is known of users between two handles for them. Those go first that were used longest ago.
pub(super) struct RecentUsers<T> {
    /// For how long one is kept after a call for it has begun.
    time: Duration,
    state: Mutex<State<T>>,
}

struct State<T> {
    uses: u64,
    /// The last use of each user.
    last: HashMap<ProvisionId, u64>,
    users: BTreeMap<u64, (Instant, ProvisionId, Arc<T>)>,
}

impl<T> RecentUsers<T> {
    pub(super) fn new(time: Duration) -> Self {
        let state = State { uses: 0, last: HashMap::new(), users: BTreeMap::new() };
        Self { time, state: Mutex::new(state) }
    }

    /// A call for a user begins.
    pub(super) fn used(&self, id: ProvisionId, user: Arc<T>) {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let State { uses, last, users } = &mut *state;
        *uses += 1;
        if let Some(before) = last.insert(id, *uses) {
            users.remove(&before);
        }
        users.insert(*uses, (now, id, user));
        while let Some(oldest) = users.first_entry() {
            let (used, id, _) = oldest.get();
            if last.len() <= MAX_REMEMBERED && now.saturating_duration_since(*used) < self.time {
                break;
            }
            last.remove(id);
            oldest.remove();
        }
    }
}

impl<T> fmt::Debug for RecentUsers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecentUsers(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use tokio::time::advance;

    use super::*;

    fn id(number: usize) -> ProvisionId {
        ProvisionId::try_from(u64::try_from(number).unwrap()).unwrap()
    }

    /// Uses a user to whom nobody has a handle.
    fn used(recent: &RecentUsers<()>, number: usize) -> Weak<()> {
        let user = Arc::new(());
        let weak = Arc::downgrade(&user);
        recent.used(id(number), user);
        weak
    }

    fn is_kept(user: &Weak<()>) -> bool {
        user.strong_count() > 0
    }

    #[tokio::test(start_paused = true)]
    async fn users_are_remembered_for_a_time() {
        test_timeout::start();
        let second = Duration::from_secs(1);
        let recent = RecentUsers::new(10 * second);
        let (first, second_user) = (used(&recent, 1), used(&recent, 2));
        advance(9 * second).await;
        // Another use of it counts.
        recent.used(id(1), first.upgrade().unwrap());
        assert!(is_kept(&first) && is_kept(&second_user));
        advance(second).await;
        let third = used(&recent, 3);
        assert!(is_kept(&first) && !is_kept(&second_user) && is_kept(&third));
    }

    #[tokio::test]
    async fn no_more_users_are_remembered_than_their_number() {
        test_timeout::start();
        let recent = RecentUsers::new(REMEMBERED_FOR);
        let users: Vec<_> = (1..=MAX_REMEMBERED).map(|number| used(&recent, number)).collect();
        recent.used(id(1), users[0].upgrade().unwrap());
        let _others = [used(&recent, MAX_REMEMBERED + 1), used(&recent, MAX_REMEMBERED + 2)];
        let forgotten: Vec<_> = (1..=MAX_REMEMBERED).filter(|number| !is_kept(&users[number - 1])).collect();
        assert_eq!(forgotten, [2, 3]);
        assert_eq!(lock(&recent.state).users.len(), MAX_REMEMBERED);
    }
}
