//! How many calls came, and what became of each.

use std::sync::Mutex;

use http::StatusCode;

use crate::sync::lock;
use crate::transport::metrics;

/// How many calls a receiver has answered, by what became of them. [`Receiver::numbers`](crate::webhook::Receiver::numbers) returns it.
///
/// A call whose connection ends before its answer may be in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReceiverNumbers {
    /// Their hints are kept.
    pub kept: u64,
    /// The path is another one.
    pub wrong_path: u64,
    /// The path is right, and who calls is not bunq: by the address, or by the certificate. Somebody knows the path, or a setting is wrong.
    pub wrong_peer: u64,
    /// It is no `POST`.
    pub wrong_method: u64,
    /// The content type is not JSON.
    pub wrong_type: u64,
    /// The body is too large.
    pub too_large: u64,
    /// The body has taken too long.
    pub too_slow: u64,
    /// The body has broken off.
    pub broken: u64,
    /// The body is no notification.
    pub not_notification: u64,
    /// Too many calls were in progress.
    pub busy: u64,
    /// The journal was full.
    pub full: u64,
    /// The journal could not be written.
    pub failed: u64,
}

/// What became of a call.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Kept,
    WrongPath,
    WrongPeer,
    WrongMethod,
    WrongType,
    TooLarge,
    TooSlow,
    Broken,
    NotNotification,
    Busy,
    Full,
    Failed,
}

impl Outcome {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Kept => StatusCode::OK,
            // Nobody is told that the path is right.
            Self::WrongPath | Self::WrongPeer => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::WrongType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken | Self::NotNotification => StatusCode::BAD_REQUEST,
            Self::Busy | Self::Full | Self::Failed => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<ReceiverNumbers>);

impl Counters {
    pub(super) fn count(&self, outcome: Outcome) {
        let mut numbers = lock(&self.0);
        let (number, name) = match outcome {
            Outcome::Kept => (&mut numbers.kept, "kept"),
            Outcome::WrongPath => (&mut numbers.wrong_path, "wrong_path"),
            Outcome::WrongPeer => (&mut numbers.wrong_peer, "wrong_peer"),
            Outcome::WrongMethod => (&mut numbers.wrong_method, "wrong_method"),
            Outcome::WrongType => (&mut numbers.wrong_type, "wrong_type"),
            Outcome::TooLarge => (&mut numbers.too_large, "too_large"),
            Outcome::TooSlow => (&mut numbers.too_slow, "too_slow"),
            Outcome::Broken => (&mut numbers.broken, "broken"),
            Outcome::NotNotification => (&mut numbers.not_notification, "not_notification"),
            Outcome::Busy => (&mut numbers.busy, "busy"),
            Outcome::Full => (&mut numbers.full, "full"),
            Outcome::Failed => (&mut numbers.failed, "failed"),
        };
        *number += 1;
        drop(numbers);
        metrics::called(name);
    }

    pub(super) fn get(&self) -> ReceiverNumbers {
        *lock(&self.0)
    }
}
