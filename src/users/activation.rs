//! A credential is stored, and then used: at first, and after a crash.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::credential::{check_in_use, closed, is_used_or_expired, may_be_older, spent};
use super::user_shared::UserShared;
use super::{UserClient, UserEvent, Users, warn};
use crate::custody::{NewToken, UserRecord};
use crate::error::{Error, ErrorKind};
use crate::operation::Operation;
use crate::types::{Credential, Provision, ProvisionId};

impl Users {
    /// Activates the credential of a user: waits until bunq has made the user and shows it, stores its token, and opens its first
    /// session in its turn.
    ///
    /// It can be called again at any time, after a crash too. A credential that bunq shows is stored in place of an older one, if nobody
    /// has used that, or bunq does not take it any more; one that is in use is used with the token in custody; and for a user whose
    /// session this client knows to be open, nothing is sent: what others have done since is not asked. Dropping the future leaves what is
    /// stored, and a session that is being opened goes on: the next call for the user waits for it.
    ///
    /// # Errors
    ///
    /// [`CredentialSpent`](ErrorKind::CredentialSpent) if the credential has expired unused, or is in use and its token is not in
    /// custody: [`reset`](Self::reset) gets another; also if a reset replaces it meanwhile. [`RateLimited`](ErrorKind::RateLimited) at
    /// once if its session cannot be opened before it expires, or if that of another could not then.
    /// [`Unattainable`](ErrorKind::Unattainable) if the provision is closing, closed or has failed.
    /// [`WaitTimeout`](ErrorKind::WaitTimeout) if bunq has not made the user within 15 minutes: call it again.
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
            // It is saved now if it could not be before.
            self.open(user).await?;
            return Ok(client.clone());
        }
        // What cannot be used is known before anything is sent.
        if self.is_reset_begun(&kept).await? {
            self.seen_after_reset(&kept).await?;
        }
        let before = kept.record().await?;
        match self.0.room.provisions.wait_until_ready(id).wait().await {
            Ok(seen) => {
                let is_doubtful = kept.record().await?.is_some_and(|record| may_be_older(&seen, &record));
                if !is_doubtful || !self.is_taken(&client).await? {
                    self.take(user, &seen, before.as_ref()).await?;
                }
            }
            Err(error) => {
                if closed(&error) {
                    warn(id, self.remove_kept(id).await);
                }
                let Some(seen) = error.last_seen::<Provision>() else { return Err(error) };
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

    /// Whether bunq takes the token in custody of an activated user: its session, or the token for another one.
    async fn is_taken(&self, client: &UserClient) -> Result<bool, Error> {
        let asked = async {
            self.open(client.shared()).await?;
            client.api().get_installation().await.map(drop)
        };
        // That a session is refused does not tell that no other is opened with the token.
        let is_refusal = |error: &Error| {
            let is_unauthorized = error.is_from_bunq() && error.kind() == ErrorKind::Unauthorized;
            is_unauthorized && error.operation() != Some(&Operation::GET_INSTALLATION)
        };
        match asked.await {
            Ok(()) => Ok(true),
            Err(error) if is_refusal(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells a failure to subscribers too, unless it is the caller's own.
    pub(super) fn told(&self, id: ProvisionId, outcome: Result<UserClient, Error>) -> Result<UserClient, Error> {
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

    /// Stores the token that bunq shows, in the place of an older one. `before`: the record before bunq was asked.
    pub(super) async fn take(
        &self,
        user: &UserShared,
        seen: &Provision,
        before: Option<&UserRecord>,
    ) -> Result<(), Error> {
        let (id, kept) = (seen.id, self.0.room.kept(seen.id)?);
        let shown = seen.fresh_credential().and_then(|credential| Some((credential, credential.token_value.clone()?)));
        let (credential, token) = shown.ok_or_else(|| spent(id, "shows no token"))?;
        let Credential { id: credential_id, expiry_time: expiry, .. } = credential;
        match kept.record().await?.filter(|record| record.token == token) {
            Some(record) if !record.is_activated => return Ok(()),
            // Others have used it since.
            Some(_) if !before.is_some_and(|before| before.token == token && before.is_activated) => return Ok(()),
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
    pub(super) async fn open(&self, user: &Arc<UserShared>) -> Result<(), Error> {
        let deadline = Instant::now() + self.0.room.lifetime();
        let opened = user.with_session(|session| async move { session.open_by(deadline).await });
        opened.await.map_err(|error| user.doubting_the_clock(error))
    }
}
