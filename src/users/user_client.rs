//! A client that acts for one user.

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::time::Instant;

use super::room::Acting;
use super::source::{Opens, SourceUser};
use super::user_shared::{UserShared, not_open};
use crate::api::Api;
use crate::error::Error;
use crate::feed::{Feed, Resource};
use crate::identity::Identity;
use crate::notifications::Notifications;
use crate::onboarding::Onboarding;
use crate::papers::{Attachments, Documents, Inquiries};
use crate::session::{ContextSummary, SessionUser};
use crate::types::{ProvisionId, UserInformationInquiry, UserOnboarding};

/// Acts for one user of a partner, whose credential is in [custody](crate::ClientBuilder::custody). Made by [`Users`](crate::Users). Cheap to clone;
/// all clients of one user share its session, which the first call opens, and which is opened again with the stored token when it has
/// ended.
///
/// It has the settings, the connections and the rate limits of its partner's client. bunq's paths for the user begin with an id that it
/// knows from the session: no method takes it.
#[derive(Clone)]
pub struct UserClient(Arc<UserShared>, Arc<Acting>, Opens);

impl UserClient {
    pub(super) fn new(shared: Arc<UserShared>, acting: Arc<Acting>) -> Self {
        Self(shared, acting, Opens::IfNeeded)
    }

    pub(super) fn shared(&self) -> &Arc<UserShared> {
        &self.0
    }

    /// Returns the id of the provision that has made the user.
    pub fn provision_id(&self) -> ProvisionId {
        self.0.id
    }

    /// Returns the typed methods of all operations of the OpenAPI document. Those that take [the session of a
    /// partner](crate::SessionOf::Partner) are refused before anything is sent.
    pub fn api(&self) -> Api {
        let source = self.2.source(SourceUser::Held(Arc::clone(&self.0), Arc::clone(&self.1)));
        Api::new(Arc::clone(&self.0.transport), source)
    }

    /// Returns what brings the user to the statuses in which it can be served.
    pub fn onboarding(&self) -> Onboarding {
        let (config, steps) = self.0.verbs();
        Onboarding::new(self.api(), self.onboardings_feed(), config, steps, self.0.onboarding.clone())
    }

    /// Returns what proves who the user is.
    pub fn identity(&self) -> Identity {
        let (config, steps) = self.0.verbs();
        Identity::new(self.api(), config, steps, self.0.submitting.clone())
    }

    /// Returns the files of the user.
    pub fn attachments(&self) -> Attachments {
        let (_, steps) = self.0.verbs();
        Attachments::new(self.api(), steps)
    }

    /// Returns the documents of the user.
    pub fn documents(&self) -> Documents {
        let (_, steps) = self.0.verbs();
        Documents::new(self.api(), steps)
    }

    /// Returns what bunq asks of the user, and answers it.
    pub fn inquiries(&self) -> Inquiries {
        let (config, steps) = self.0.verbs();
        Inquiries::new(self.api(), self.inquiries_feed(), config, steps, self.0.answers.clone())
    }

    /// Returns the notification filters of the user: bunq calls their URLs when its onboarding or an inquiry waits for somebody. Provisions are
    /// told by the filters of [the partner](crate::Client::notifications).
    pub fn notifications(&self) -> Notifications {
        let (config, _) = self.0.verbs();
        Notifications::new(self.api(), config, self.0.room.environment, self.0.notifications.clone())
    }

    /// The feed of the user's onboardings: what it reads, all who wait for one are told.
    pub(crate) fn onboardings_feed(&self) -> Feed<UserOnboarding> {
        feed(&self.0, &self.0.onboardings).over(self.api())
    }

    /// The feed of the user's inquiries.
    pub(crate) fn inquiries_feed(&self) -> Feed<UserInformationInquiry> {
        feed(&self.0, &self.0.inquiries).over(self.api())
    }

    /// Returns a client whose calls use the session that is open, in memory or in custody, and never open one: a call whose session is
    /// refused fails. `None` if no session is open. bunq is asked nothing, and so the user is not remembered for longer.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if what is in custody cannot be used.
    #[cfg_attr(
        not(any(test, feature = "webhook")),
        expect(dead_code, reason = "objects that bunq's calls name are read so")
    )]
    pub(crate) async fn if_open(&self) -> Result<Option<Self>, Error> {
        let is_open = self.0.has_open_session().await?;
        Ok(is_open.then(|| Self(Arc::clone(&self.0), Arc::clone(&self.1), Opens::Never)))
    }

    /// Opens a session, unless one is open, behind all other users that wait for theirs. Once others ask for it too, it has its usual place.
    ///
    /// # Errors
    ///
    /// Those of [`open_session`](Self::open_session), and [`RateLimited`](crate::ErrorKind::RateLimited) if others take all turns for as long as a
    /// credential lives.
    #[cfg_attr(
        not(any(test, feature = "webhook")),
        expect(dead_code, reason = "sessions that only a call of bunq's asks for are opened so")
    )]
    pub(crate) async fn open_last(&self) -> Result<(), Error> {
        let deadline = Instant::now() + self.0.room.lifetime();
        let opened = self.0.with_session(|session| async move { session.open_last(deadline).await });
        opened.await.map_err(|error| self.0.doubting_the_clock(error))
    }

    /// Opens a session now if none is open, in its turn. Without it, the first call opens one.
    ///
    /// # Errors
    ///
    /// [`Context`](crate::ErrorKind::Context) if there is nothing of the user in custody, or nothing that can be used.
    /// [`CredentialSpent`](crate::ErrorKind::CredentialSpent) if the credential has expired unused: [reset](crate::Users::reset) it.
    pub async fn open_session(&self) -> Result<(), Error> {
        if self.2 == Opens::Never {
            return self.0.open_session().map(drop);
        }
        let opened = self.0.with_session(|session| async move { session.open().await });
        opened.await.map_err(|error| self.0.doubting_the_clock(error))
    }

    /// Returns the user that the session acts for. Opens a session if none is open.
    ///
    /// # Errors
    ///
    /// Those of [`open_session`](Self::open_session), and [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if bunq did not name the
    /// user when the session was opened, nor when it was opened again for that.
    pub async fn user(&self) -> Result<SessionUser, Error> {
        if self.2 == Opens::Never {
            return self.0.open_session()?.user.ok_or_else(|| not_open(self.0.id));
        }
        self.0.with_session(|session| async move { session.user().await }).await
    }

    /// Returns what is known of the session from earlier calls, without asking bunq; `None` if nothing is.
    ///
    /// # Errors
    ///
    /// As [`open_session`](Self::open_session).
    pub async fn context(&self) -> Result<Option<ContextSummary>, Error> {
        self.0.with_session(|session| async move { session.context().await }).await
    }

    /// Ends the session at bunq, if there is one, including one that the custody has from an earlier run. The next call opens a new
    /// one with the stored token.
    ///
    /// # Errors
    ///
    /// As [`Client::end_session`](crate::Client::end_session).
    pub async fn end_session(&self) -> Result<(), Error> {
        self.0.with_session(|session| async move { session.end().await }).await
    }
}

impl fmt::Debug for UserClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserClient").field("provision_id", &self.0.id).finish_non_exhaustive()
    }
}

/// A feed that lives with the user. What it reads because of a call of bunq's opens no session.
fn feed<'a, R: Resource>(user: &'a Arc<UserShared>, feed: &'a OnceLock<Feed<R>>) -> &'a Feed<R> {
    feed.get_or_init(|| {
        let source = |opens: Opens| opens.source(SourceUser::Within(Arc::downgrade(user), user.id));
        let api = |opens| Api::new(Arc::clone(&user.transport), source(opens));
        Feed::of_user(api(Opens::IfNeeded), api(Opens::Never), &user.room.provisions.feed())
    })
}
