//! Under which installation the session of a user is opened: one of its own, or that of its partner.
//!
//! bunq may bind a token to the installation that it was used with first. So if the setting has changed, the next session is tried in
//! the new way, and opened in the way of before if bunq refuses that; until then the installation of before is kept.

use std::sync::Arc;

use super::context::{Context, Stored};
use super::handshake::UserInstallation;
use super::{Session, Shared};
use crate::api::Api;
use crate::error::Error;
use crate::transport::credentials::{BoxFuture, Credentials, Installation, ProvideCredentials as _};
use crate::transport::trouble::Trouble;

impl Session {
    /// Returns the installation with its device, which are made if there are none. A stored one is enough, whether its session has
    /// ended or not.
    fn installation<'a>(&'a self, trouble: &'a Trouble) -> BoxFuture<'a, Result<Arc<Installation>, Error>> {
        Box::pin(async move {
            if let Some(installation) = self.known_installation(trouble).await? {
                return Ok(installation);
            }
            let opened = self.credentials(false, trouble).await?;
            opened.installation.ok_or_else(|| Error::internal("a session is open that has no installation"))
        })
    }

    /// Returns the installation with its device, if there are any.
    async fn known_installation(&self, trouble: &Trouble) -> Result<Option<Arc<Installation>>, Error> {
        let known = || {
            let state = self.0.state();
            let context = state.context.as_ref().filter(|context| context.device_registered);
            context.map(|context| Arc::clone(&context.installation))
        };
        if let Some(installation) = known() {
            return Ok(Some(installation));
        }
        self.0.reload(trouble).await?;
        Ok(known())
    }
}

impl Shared {
    /// Reads the store. `None` if there is no store or if it is empty.
    pub(super) async fn load(&self, trouble: &Trouble) -> Result<Option<Context>, Error> {
        match (self.keeper.load(trouble).await?, &self.partner) {
            (None, _) => Ok(None),
            (Some(Stored::Whole(context)), _) => Ok(Some(context)),
            (Some(Stored::UnderPartners(stored)), Some(partner)) => {
                Ok(Some(stored.with(partner.installation(trouble).await?)))
            }
            (Some(Stored::UnderPartners(_)), None) => {
                Err(self.keeper.error("the stored context is that of a user, and was not replaced: use another store"))
            }
        }
    }

    /// The same, but the installation of the partner is not made. Without it, a session under it cannot be used.
    pub(super) async fn load_known(&self, trouble: &Trouble) -> Result<Option<Context>, Error> {
        if let Some(partner) = &self.partner
            && partner.known_installation(trouble).await?.is_none()
        {
            return Ok(match self.keeper.load(trouble).await? {
                Some(Stored::Whole(context)) => Some(context),
                Some(Stored::UnderPartners(_)) | None => None,
            });
        }
        self.load(trouble).await
    }

    /// Returns what the next session is opened with if this is stored, and what the token was used with before, if that is something else.
    pub(super) async fn ways(
        &self,
        known: Option<Context>,
        trouble: &Trouble,
    ) -> Result<(Option<Context>, Option<Context>), Error> {
        let Some(partner) = &self.partner else { return Ok((known, None)) };
        Ok(match self.device.user_installation.unwrap_or_default() {
            UserInstallation::Own => match known {
                Some(known) if known.is_partners => (None, Some(known)),
                known => (known, None),
            },
            UserInstallation::Partner => {
                let before = known.filter(|known| !known.is_partners && known.device_registered);
                (Some(under(partner.installation(trouble).await?)), before)
            }
        })
    }

    /// Asks bunq whether the partner's installation, which has just been refused, is still accepted. Returns the one that the partner
    /// has in its place.
    pub(super) async fn partners_other(
        &self,
        used: &Arc<Installation>,
        trouble: &Trouble,
    ) -> Result<Option<Context>, Error> {
        let Some(partner) = &self.partner else { return Ok(None) };
        let api = Api::new(Arc::clone(&partner.0.transport), Arc::new(partner.clone()));
        api.telling(trouble).get_installation().await?;
        let installation = partner.installation(trouble).await?;
        Ok((*installation != **used).then(|| under(installation)))
    }

    /// Has the partner read its store too, if the installation is the partner's.
    pub(super) async fn reread_partners(&self, used: &Credentials) {
        let is_partners = self.state().context.as_ref().is_some_and(|context| context.is_partners);
        if let Some(partner) = self.partner.as_ref().filter(|_| is_partners) {
            // What it has by then is what is loaded next.
            partner.reread(used).await;
        }
    }
}

/// The context of a user under this installation of the partner's.
fn under(installation: Arc<Installation>) -> Context {
    Context { installation, is_partners: true, device_registered: true, session: None }
}
