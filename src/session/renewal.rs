//! What a session does when bunq refuses its token, or signs with a key that the client does not know.

use tokio::time::Instant;

use super::context::Context;
use super::handshake::{self, ACCEPTED, JUST_OPENED};
use super::{SessionState, Shared, left_of};
use crate::error::Error;
use crate::operation::Operation;
use crate::transport::credentials::{Credentials, Renewal};
use crate::transport::trouble::Trouble;

impl Shared {
    /// Gives up the session if bunq does not accept its token any more.
    pub(super) async fn refuse(&self, refused: &Credentials, refusal: &Error, is_again: bool) -> Renewal {
        let is_current =
            |state: &SessionState| state.not_given_up().is_some_and(|last| last.credentials.token == refused.token);
        let is_403 = refusal.status() == Some(403);
        let (is_first_403, is_just_opened) = {
            let mut state = self.state();
            if !is_current(&state) {
                // Another call has given it up already.
                return Renewal::Renewed;
            }
            let is_first_403 = is_403 && !std::mem::replace(&mut state.has_renewed_after_403, true);
            (is_first_403, is_again && state.own == refused.token)
        };
        // A user's session that is given up waits for its turn among all others.
        if is_403 && (!is_first_403 || self.partner.is_some()) {
            let is_accepted = if refusal.operation() == Some(&Operation::GET_INSTALLATION) {
                // The refused call is the one that would be made to ask bunq.
                (!is_just_opened).then_some(false)
            } else {
                handshake::accepts(&self.transport, refused.clone()).await
            };
            match is_accepted {
                Some(true) | None if is_just_opened => return Renewal::Forbidden(JUST_OPENED),
                Some(true) => return Renewal::Forbidden(ACCEPTED),
                Some(false) => {}
                None => return Renewal::No,
            }
        }
        let window = self.window();
        let mut state = self.state();
        if !is_current(&state) {
            return Renewal::Renewed;
        }
        // One that another client has opened may have ended with the one that was given up before.
        if state.own == refused.token
            && let Some(left) = left_of(window, state.refused_at)
        {
            return Renewal::After(left);
        }
        tracing::info!("bunq does not accept the session any more: it is renewed");
        state.refused_at = Some(Instant::now());
        state.given_up.clone_from(&refused.token);
        Renewal::Renewed
    }

    /// Takes over a stored context if its installation is not the one that was used.
    pub(super) async fn reread(&self, used: &Credentials) -> bool {
        let differs = |context: &Context| used.installation.as_deref() != Some(&*context.installation);
        if self.state().context.as_ref().is_some_and(differs) {
            return true;
        }
        self.reread_partners(used).await;
        match self.load(&Trouble::default()).await {
            Ok(Some(stored)) if differs(&stored) => {
                tracing::info!("the store has another installation by now: it is used");
                self.state().context = Some(stored);
                true
            }
            Ok(_) => false,
            Err(error) => {
                tracing::warn!(%error, "whether the store has another installation by now is not known");
                false
            }
        }
    }
}
