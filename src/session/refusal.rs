//! What bunq has said of the credential of a user, for a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Error;
use crate::text::duration;
use crate::transport::credentials::Installation;

/// For so long the credential of a user that bunq has refused is not tried again. Each attempt takes a turn from those whose
/// credentials expire.
const REFUSED_FOR: Duration = Duration::from_secs(600);

/// bunq has refused the credential of a user.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    /// What it was to be used with, if that was there already.
    installation: Option<Arc<Installation>>,
    at: Instant,
}

impl Refusal {
    pub(super) fn new(error: Error, installation: Option<Arc<Installation>>) -> Self {
        Self { error, installation, at: Instant::now() }
    }

    /// The error, while the credential is not tried again with this installation.
    pub(super) fn still(&self, installation: Option<&Arc<Installation>>) -> Option<Error> {
        let ago = self.at.elapsed();
        let left = REFUSED_FOR.checked_sub(ago).filter(|left| !left.is_zero())?;
        if self.installation.as_ref() != installation {
            return None;
        }
        let seconds = |time: Duration| duration(Duration::from_secs(time.as_secs()));
        let (ago, left) = (seconds(ago), seconds(left + Duration::from_secs(1)));
        Some(self.error.clone().with_advice(&format!("bunq has said so {ago} ago, and is asked again after {left}")))
    }
}
