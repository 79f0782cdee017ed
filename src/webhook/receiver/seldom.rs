//! What anybody can bring about is logged seldom, so that no stranger fills the log.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::sync::lock;

/// The same is not logged again before.
const PAUSE: Duration = Duration::from_secs(3600);

/// What was logged last and how often it has happened since, by what it is.
#[derive(Debug, Default)]
pub(super) struct Seldom(Mutex<BTreeMap<&'static str, (Instant, u64)>>);

impl Seldom {
    /// Counts an event. Returns how often it has happened since it was logged last, this time included, if it is to be logged now.
    pub(super) fn count(&self, what: &'static str) -> Option<u64> {
        let (now, mut events) = (Instant::now(), lock(&self.0));
        match events.get_mut(what) {
            Some((logged, since)) if now.duration_since(*logged) < PAUSE => {
                *since += 1;
                None
            }
            Some(event) => Some(std::mem::replace(event, (now, 0)).1 + 1),
            None => {
                events.insert(what, (now, 0));
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_is_logged_once_an_hour_with_its_number() {
        test_timeout::start();
        let seldom = Seldom::default();
        assert_eq!([(); 3].map(|()| seldom.count("full")), [Some(1), None, None]);
        assert_eq!(seldom.count("busy"), Some(1));
        advance(PAUSE).await;
        assert_eq!([(); 2].map(|()| seldom.count("full")), [Some(3), None]);
        advance(PAUSE).await;
        assert_eq!(seldom.count("full"), Some(2));
    }
}
