//! What bunq shows of the credential of a user, held against what is in custody.

use jiff::Timestamp;

use crate::custody::{CLOCK_TOLERANCE, UserRecord};
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::text::duration;
use crate::types::{CredentialStatus, Phase, Provision, ProvisionId};

/// Whether what was read may be older than what is kept: from before a reset, or before the first session.
pub(super) fn may_be_older(seen: &Provision, record: &UserRecord) -> bool {
    let Some(shown) = seen.fresh_credential().filter(|_| record.is_activated) else { return false };
    match (shown.id, record.credential_id) {
        (Some(id), Some(kept)) if id == kept => shown.token_value.as_ref() == Some(&record.token),
        // A credential that replaces another has a higher id.
        (Some(id), Some(kept)) => id < kept,
        _ => true,
    }
}

/// Whether the provision is closed, by what was seen of it last.
pub(super) fn closed(error: &Error) -> bool {
    error.last_seen::<Provision>().is_some_and(|seen| seen.status.phase() == Phase::Closed)
}

/// Whether bunq shows a credential that is not to be waited for any more.
pub(super) fn is_used_or_expired(seen: &Provision) -> bool {
    let status = seen.credential.as_ref().and_then(|credential| credential.status.as_ref());
    !seen.status.is_over() && matches!(status, Some(CredentialStatus::Active | CredentialStatus::Expired))
}

/// Whether the credential of a record is unused at bunq, or else in use.
///
/// # Errors
///
/// It has expired, or is not the one that bunq shows.
pub(super) fn is_unused(seen: &Provision, record: &UserRecord) -> Result<bool, Error> {
    let fresh = seen.fresh_credential().and_then(|fresh| fresh.token_value.as_ref());
    if fresh == Some(&record.token) {
        return Ok(true);
    }
    check_in_use(seen, Some(record)).map(|()| false)
}

/// Checks that the credential that is in use at bunq is the one in custody.
pub(super) fn check_in_use(seen: &Provision, record: Option<&UserRecord>) -> Result<(), Error> {
    let id = seen.id;
    let Some(credential) = &seen.credential else { return Err(spent(id, "is not shown any more")) };
    if credential.status == Some(CredentialStatus::Expired) {
        let error = spent(id, "has expired unused");
        let ahead = credential.expiry_time.map(|expiry| expiry.as_jiff().duration_since(Timestamp::now()));
        return Err(match ahead.filter(|ahead| *ahead > CLOCK_TOLERANCE) {
            Some(ahead) => error.with_advice(&format!(
                "this machine's clock is behind, by which it expires in {}: set it right",
                duration(ahead.unsigned_abs())
            )),
            None => error,
        });
    }
    match record {
        None => Err(spent(id, "is in use, and its token is not in custody")),
        Some(record) if record.credential_id != credential.id => {
            Err(spent(id, "was replaced, and what is in custody is the token of one before it"))
        }
        Some(_) => Ok(()),
    }
}

pub(super) fn spent(id: ProvisionId, problem: &str) -> Error {
    let error = Error::new(
        ErrorKind::CredentialSpent,
        Sent::Responded,
        format_args!("the credential of provision {id} {problem}"),
    );
    error.with_remedy(Remedy::ResetToken)
}
