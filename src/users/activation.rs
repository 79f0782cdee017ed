//! A credential is stored, and then used: at first, after a crash, and when it was replaced by another.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::user_client::UserShared;
use super::{UserClient, UserEvent, Users, warn};
use crate::custody::{NewToken, UserRecord};
use crate::error::{Error, ErrorKind, Remedy, Sent};
use crate::types::{Credential, CredentialStatus, Phase, Provision, ProvisionId};

impl Users {
    /// Activates the credential of a user: waits until bunq has made the user and shows it, stores its token, and opens its first
    /// session in its turn.
    ///
    /// It can be called again at any time, after a crash too. A credential that bunq shows is stored in place of an older one; one that
    /// is in use is used with the token in custody; and for a user whose session this client knows to be open, nothing is sent: what
    /// others have done since is not asked. Dropping the future leaves what is stored, and a session that is being opened goes on: the
    /// next call for the user waits for it.
    ///
    /// # Errors
    ///
    /// [`CredentialSpent`](ErrorKind::CredentialSpent) if the credential has expired unused, or is in use and its token is not in
    /// custody: [`reset`](Self::reset) gets another. [`RateLimited`](ErrorKind::RateLimited) at once if its session cannot be opened
    /// before it expires, or if that of another could not then. [`Unattainable`](ErrorKind::Unattainable) if the provision is closing,
    /// closed or has failed. [`WaitTimeout`](ErrorKind::WaitTimeout) if bunq has not made the user within 15 minutes: call it again.
    /// [`Context`](ErrorKind::Context) if what is in custody cannot be used, and
    /// [`InvalidInput`](ErrorKind::InvalidInput) if there is no [custody](crate::ClientBuilder::custody).
    pub async fn activate(&self, id: ProvisionId) -> Result<UserClient, Error> {
        self.told(id, self.activate_in_turn(id).await)
    }

    async fn activate_in_turn(&self, id: ProvisionId) -> Result<UserClient, Error> {
        let client = self.of(id);
        let user = client.shared();
        let kept = self.0.room.kept(id)?;
        let _working = user.work.lock().await;
        if user.known_session().is_some_and(|session| session.is_open()) {
            return Ok(client.clone());
        }
        // What cannot be used is known before anything is sent.
        if self.is_reset_begun(&kept).await? {
            self.seen_after_reset(&kept).await?;
        }
        match self.0.room.provisions.wait_until_ready(id).wait().await {
            Ok(seen) => self.take(user, &seen).await?,
            Err(error) => {
                let Some(seen) = error.last_seen::<Provision>() else { return Err(error) };
                if seen.status.phase() == Phase::Closed {
                    warn(id, self.remove_kept(id).await);
                }
                if !is_used_or_expired(seen) {
                    return Err(error);
                }
                let record = kept.record().await?;
                check_in_use(seen, record.as_ref())?;
                if record.is_some_and(|record| !record.is_activated) {
                    // A session was opened with it, and a crash came before that was kept. So it does not expire unused.
                    user.forget();
                    let is_used = |record: &mut UserRecord| {
                        record.is_activated = true;
                        Ok(())
                    };
                    kept.update(is_used).await?;
                }
            }
        }
        self.open(user).await?;
        Ok(client.clone())
    }

    /// Gets another credential for a user, stores it, and activates it. What was done with the one before ends, its session among
    /// it.
    ///
    /// It can be called again after a crash, after a doubtful failure, or when its future was dropped: a credential that bunq shows, and
    /// that nobody has used, is activated, and no other is requested. The custody keeps that a reset is about to be requested. While
    /// nobody knows what came of it, another is requested only when the first cannot
    /// [arrive any more](crate::ClientBuilder::late_arrival), and bunq shows the same credential as before: it would discard the new one.
    /// Of a user who is not in custody nobody knows whether one was begun, so its reset begins with that wait.
    ///
    /// # Errors
    ///
    /// Those of [`reset_token`](crate::Provisions::reset_token) and of [`activate`](Self::activate).
    pub async fn reset(&self, id: ProvisionId) -> Result<UserClient, Error> {
        self.told(id, self.reset_in_turn(id).await)
    }

    /// Tells a failure to subscribers too, unless it is the caller's own.
    fn told(&self, id: ProvisionId, outcome: Result<UserClient, Error>) -> Result<UserClient, Error> {
        outcome.map_err(|error| {
            let error = match error.kind() {
                ErrorKind::NotFound => error.with_advice(&format!(
                    "no provision of this API key has the id {id}: check the id, and of which key and environment it is"
                )),
                _ => error,
            };
            if error.kind() != ErrorKind::InvalidInput {
                self.0.room.events.tell(UserEvent::Failed(id, error.clone()));
            }
            error
        })
    }

    async fn reset_in_turn(&self, id: ProvisionId) -> Result<UserClient, Error> {
        let client = self.of(id);
        let user = client.shared();
        let kept = self.0.room.kept(id)?;
        let _working = user.work.lock().await;
        let seen = self.seen_after_reset(&kept).await?;
        if seen.status.is_over() {
            if seen.status.phase() == Phase::Closed {
                warn(id, self.remove_kept(id).await);
            }
            let problem = format_args!("provision {id} is {}: its credential is not replaced any more", seen.status);
            return Err(Error::new(ErrorKind::Unattainable, Sent::Responded, problem));
        }
        let ready = match seen.fresh_credential() {
            Some(fresh) if seen.status.phase() != Phase::Reset && !is_over(fresh) => seen,
            _ if seen.status.phase() == Phase::Reset => self.0.room.provisions.wait_until_ready(id).wait().await?,
            _ => self.reset_token(user, &kept).await?,
        };
        self.take(user, &ready).await?;
        self.open(user).await?;
        Ok(client.clone())
    }

    /// Stores the token that bunq shows, in the place of an older one.
    async fn take(&self, user: &UserShared, seen: &Provision) -> Result<(), Error> {
        let (id, kept) = (seen.id, self.0.room.kept(seen.id)?);
        let shown = seen.fresh_credential().and_then(|credential| Some((credential, credential.token_value.clone()?)));
        let (credential, token) = shown.ok_or_else(|| spent(id, "shows no token"))?;
        let Credential { id: credential_id, expiry_time: expiry, .. } = credential;
        match kept.record().await?.filter(|record| record.token == token) {
            Some(record) if !record.is_activated => return Ok(()),
            // bunq was put back to where nobody had used it.
            Some(_) => {
                user.forget();
                let begin_again = |record: &mut UserRecord| {
                    record.begin_again();
                    Ok(())
                };
                kept.update(begin_again).await?;
            }
            None => {
                // Whoever waits with the credential before it holds the lock.
                user.forget();
                let (external_uuid, credential_id) = (seen.external_uuid, *credential_id);
                // bunq may not say when it expires. It is told then as if it lived as long as others.
                let latest = || Some(Timestamp::now().checked_add(self.0.room.lifetime()).ok()?.into());
                let expiry = expiry.or_else(latest);
                kept.store(NewToken { external_uuid, credential_id, token, expiry }).await?;
            }
        }
        // A call may have read the record before it was changed.
        user.forget();
        tracing::info!(provision = %id, "the token of a user is stored");
        self.0.room.events.tell(UserEvent::Stored(id));
        Ok(())
    }

    /// Opens the session of a user. One that is opened again may wait for as long as a credential lives.
    async fn open(&self, user: &Arc<UserShared>) -> Result<(), Error> {
        let session = user.session().await?;
        session.open_by(Instant::now() + self.0.room.lifetime()).await
    }
}

/// Whether the time of an unused credential is over, whatever bunq calls it.
pub(super) fn is_over(fresh: &Credential) -> bool {
    fresh.expiry_time.is_some_and(|expiry| expiry.as_jiff() <= Timestamp::now())
}

/// Whether bunq shows a credential that is not to be waited for any more.
fn is_used_or_expired(seen: &Provision) -> bool {
    let status = seen.credential.as_ref().and_then(|credential| credential.status.as_ref());
    !seen.status.is_over() && matches!(status, Some(CredentialStatus::Active | CredentialStatus::Expired))
}

/// Checks that the credential that is in use at bunq is the one in custody.
fn check_in_use(seen: &Provision, record: Option<&UserRecord>) -> Result<(), Error> {
    let id = seen.id;
    let Some(credential) = &seen.credential else { return Err(spent(id, "is not shown any more")) };
    if credential.status == Some(CredentialStatus::Expired) {
        return Err(spent(id, "has expired unused"));
    }
    match record {
        None => Err(spent(id, "is in use, and its token is not in custody")),
        Some(record) if record.credential_id != credential.id => {
            Err(spent(id, "is in use, and what is in custody is the token of one before it"))
        }
        Some(_) => Ok(()),
    }
}

fn spent(id: ProvisionId, problem: &str) -> Error {
    let error = Error::new(
        ErrorKind::CredentialSpent,
        Sent::Responded,
        format_args!("the credential of provision {id} {problem}"),
    );
    error.with_remedy(Remedy::ResetToken)
}
