//! The calls that were made by the sandbox.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;

use super::fault::DeliveryFault;

/// How many tries the log keeps, and how many bytes of their bodies.
const LONGEST: usize = 10_000;
const LARGEST: usize = 64 * 1024 * 1024;

/// One try of a call to the target of a notification filter, or why there was none.
///
/// The body **holds API keys, authorization codes and personal data**, and the path of the target may hold a secret. `Debug` leaves them
/// out, the fields do not.
#[derive(Clone)]
#[non_exhaustive]
pub struct SentNotification {
    /// The category, such as `PARTNER_USER_PROVISION`.
    pub category: String,
    /// The event, such as `PARTNER_USER_PROVISION_PROCESS_UPDATED`.
    pub event_type: String,
    /// The id of the object.
    pub object_id: u64,
    /// The user that it is about, as paths have it.
    pub user: u64,
    /// The URL of the filter.
    pub target: String,
    /// The body, byte for byte.
    pub body: Bytes,
    /// Which try it was, from 1 on; 0 if none was made.
    pub attempt: u32,
    /// The fault that was played on it.
    pub fault: Option<DeliveryFault>,
    /// What came of it.
    pub outcome: NotificationOutcome,
}

/// What came of a try to make a call to the target of a notification filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotificationOutcome {
    /// The target responded with this status. It has taken the call if that is 200.
    Responded(u16),
    /// The target could not be called, or did not respond.
    Failed(String),
    /// The target does not show the certificate that its user has pinned. It was not called, and neither a further try nor a failure
    /// follows.
    PinMismatch,
    /// The target is not on loopback. The sandbox never calls it.
    NotLoopback,
    /// The filter asks for a client certificate, and the sandbox has [none](crate::SandboxBuilder::client_certificate) or the target is
    /// called without TLS. It was not called.
    NoClientCertificate,
    /// [`DeliveryFault::Lost`] was played.
    Lost,
}

impl NotificationOutcome {
    /// Whether the target has taken the call.
    pub fn is_taken(&self) -> bool {
        *self == Self::Responded(200)
    }
}

impl fmt::Debug for SentNotification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentNotification")
            .field("category", &self.category)
            .field("event_type", &self.event_type)
            .field("object_id", &self.object_id)
            .field("user", &self.user)
            .field("attempt", &self.attempt)
            .field("fault", &self.fault)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// The last tries, oldest first.
#[derive(Debug, Default)]
pub(crate) struct SentLog {
    entries: VecDeque<SentNotification>,
    size: usize,
}

impl SentLog {
    pub(crate) fn push(&mut self, entry: SentNotification) {
        self.size += entry.body.len();
        self.entries.push_back(entry);
        while self.entries.len() > LONGEST || self.size > LARGEST {
            self.size -= self.entries.pop_front().map_or(self.size, |oldest| oldest.body.len());
        }
    }

    pub(crate) fn entries(&self) -> Vec<SentNotification> {
        self.entries.iter().cloned().collect()
    }

    pub(crate) fn take(&mut self) -> Vec<SentNotification> {
        std::mem::take(self).entries.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secrets_and_the_oldest_give_way() {
        test_timeout::start();
        let entry = |object_id| SentNotification {
            category: "SUPPORT".to_owned(),
            event_type: "SUPPORT_UPDATED".to_owned(),
            object_id,
            user: 7,
            target: "https://127.0.0.1/secret-segment".to_owned(),
            body: Bytes::from_static(b"secret-body"),
            attempt: 1,
            fault: None,
            outcome: NotificationOutcome::Responded(200),
        };
        let shown = format!("{:?}", entry(1));
        assert!(!shown.contains("secret") && shown.contains("Responded(200)"), "{shown}");
        let mut log = SentLog::default();
        (0..10_005).for_each(|id| log.push(entry(id)));
        assert_eq!((log.entries().len(), log.entries()[0].object_id), (LONGEST, 5));
        let large = |id| SentNotification { body: vec![b'x'; LARGEST / 4].into(), ..entry(id) };
        (0..10).for_each(|id| log.push(large(id)));
        assert_eq!(log.take().iter().map(|entry| entry.object_id).collect::<Vec<_>>(), [6, 7, 8, 9]);
        assert!(log.entries().is_empty());
    }
}
