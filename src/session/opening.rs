//! Opens a session: what is missing before it is made, and what bunq has forgotten is made anew, where that is safe.

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::context::{Context, ContextLock, OpenSession};
use super::refusal::Refusal;
use super::users_turn::Work;
use super::{Opened, Shared, handshake, left_of};
use crate::error::{Error, ErrorKind, Remedy};
use crate::operation::Operation;
use crate::sync::lock;
use crate::transport::call_budget::CallBudget;
use crate::transport::credentials::{Credentials, Installation};
use crate::transport::metrics;
use crate::transport::signature::SigningKey;
use crate::transport::trouble::Trouble;

/// What may have happened if bunq refuses a stored installation.
const FORGOTTEN: &str = "bunq may have forgotten the stored installation, as after its sandbox is emptied";

/// What an opening has made so far. What fails is tried again with it.
#[derive(Clone, Default)]
struct Made {
    key: Option<SigningKey>,
    context: Option<Context>,
    seen: Seen,
}

/// The installation that was stored when it was last looked at, and whether its device was registered.
type Seen = Option<(Arc<Installation>, bool)>;

/// How an attempt to open a session has ended.
enum Attempt {
    /// It is to be kept under the lock.
    Opened { context: Context, session: OpenSession, held: ContextLock },
    /// Others have opened one meanwhile.
    TakenOver(Opened),
    /// Others have made an installation meanwhile, or have registered its device: it is gone on with that.
    Outdated,
}

impl Made {
    fn of(known: Option<Context>) -> Self {
        Self { context: known.map(|context| Context { session: None, ..context }), ..Self::default() }
    }
}

fn seen(context: &Context) -> (Arc<Installation>, bool) {
    (Arc::clone(&context.installation), context.device_registered)
}

impl Shared {
    /// Takes over a stored session that is still valid, or opens one.
    pub(super) async fn open(&self, trouble: &Trouble, deadline: Option<Instant>) -> Result<Opened, Error> {
        if let Some(opened) = self.save_again(trouble).await {
            return Ok(opened);
        }
        // Taking over a valid session needs no lock.
        if let Some(opened) = self.reload(trouble).await? {
            return Ok(opened);
        }
        self.owner.stand_last(&self.transport, trouble, deadline).await?;
        loop {
            if let Some(opened) = self.open_with_stored(trouble, deadline).await? {
                return Ok(opened);
            }
        }
    }

    /// Opens a session with what is stored. `None` if others have meanwhile stored something else to open it with.
    async fn open_with_stored(&self, trouble: &Trouble, deadline: Option<Instant>) -> Result<Option<Opened>, Error> {
        let stored = self.state().context.clone();
        let seen = stored.as_ref().map(seen);
        let (known, before) = self.ways(stored, trouble).await?;
        let installation = known.as_ref().map(|known| Arc::clone(&known.installation));
        if let Some(error) = self.state().refusal.as_ref().and_then(|refusal| refusal.still(installation.as_ref())) {
            return Err(error);
        }
        let opened = self.open_with(seen, known, before, trouble, deadline).await;
        if let Err(error) = &opened
            && error.is_from_bunq()
            && error.kind() == ErrorKind::Unauthorized
            && error.operation() == Some(&Operation::CREATE_SESSION)
            && error.remedy().is_some_and(Remedy::is_reset)
        {
            self.state().refusal = Some(Refusal::new(error.clone(), installation));
        }
        opened
    }

    /// Opens a session with what is known, or with what it was opened with before.
    async fn open_with(
        &self,
        seen: Seen,
        known: Option<Context>,
        before: Option<Context>,
        trouble: &Trouble,
        deadline: Option<Instant>,
    ) -> Result<Option<Opened>, Error> {
        let tried = known.as_ref().map(|known| (Arc::clone(&known.installation), known.is_partners));
        let is_known = known.is_some();
        let error = match self.advance(seen.clone(), known, trouble, deadline).await {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        if let Some(before) = before.filter(|_| error.is_from_bunq() && error.kind() == ErrorKind::Unauthorized) {
            tracing::info!("bunq takes the token with the installation of before alone");
            return self.advance(seen, Some(before), trouble, deadline).await;
        }
        // bunq may have forgotten the installation.
        if !is_known || !error.refuses_token() || error.operation() != Some(&Operation::CREATE_SESSION) {
            return Err(error);
        }
        if let Some((used, true)) = tried {
            // If the partner has another one by now, the user goes on with it.
            return match self.partners_other(&used, trouble).await? {
                Some(other) => self.advance(seen, Some(other), trouble, deadline).await,
                None => Err(error),
            };
        }
        if self.keeper.has_store() {
            // The next opening reads the store again: an operator may have replaced the context by then.
            let mut state = self.state();
            state.forgotten = state.context.take().map(|context| context.installation);
            drop(state);
            let remedy = if self.partner.is_some() { Remedy::ResetToken } else { Remedy::Reinstall };
            return Err(error.with_advice(FORGOTTEN).with_remedy(remedy));
        }
        let is_first = {
            let window = self.window();
            let mut state = self.state();
            let is_first = left_of(window, state.reinstalled_at).is_none();
            state.reinstalled_at = Some(Instant::now());
            is_first
        };
        if is_first {
            tracing::warn!("bunq does not accept the installation any more: another is made");
            return self.advance(seen, None, trouble, deadline).await;
        }
        Err(error)
    }

    /// Saves an open session that could not be saved, unless others have stored one meanwhile. It is used in any case.
    async fn save_again(&self, trouble: &Trouble) -> Option<Opened> {
        let (context, opened) = {
            let state = self.state();
            let unsaved = state.context.clone().filter(|_| state.is_unsaved);
            unsaved.zip(state.opened())?
        };
        let saved = async {
            let held = self.keeper.lock(trouble).await?;
            match self.load(trouble).await?.and_then(|stored| stored.session) {
                Some(session) if self.state().is_usable(&session) => {
                    self.state().is_unsaved = false;
                    Ok(())
                }
                _ => self.keep(&held, &context, trouble).await,
            }
        };
        if let Err(error) = saved.await {
            tracing::debug!(%error, "the open session is still not kept");
        }
        Some(opened)
    }

    /// Makes a new installation in place of the one in use, unless others have made one meanwhile.
    pub(super) async fn reinstall(&self, used: Option<Arc<Installation>>, trouble: &Trouble) -> Result<Opened, Error> {
        let used = match used {
            Some(used) => Some(used),
            None => {
                let stored = self.load(trouble).await?.map(|context| context.installation);
                // One that this client itself has made since is the new installation already.
                let made = self.state().installation().filter(|made| made.received.is_some());
                stored.filter(|stored| made.as_ref() != Some(stored))
            }
        };
        let held = self.keeper.lock(trouble).await?;
        // Fails here if the stored context belongs to another client, so that it is not replaced.
        let opened = self.reload(trouble).await?;
        let made = self.state().context.clone().filter(|made| Some(&made.installation) != used.as_ref());
        if let Some(made) = made {
            let taken = match opened {
                Some(opened) => Ok(opened),
                None => self.open_at_once(&held, Some(made), trouble).await,
            };
            // bunq may have forgotten that installation too.
            if let Ok(taken) = taken
                && handshake::accepts(&self.transport, taken.credentials.clone()).await == Some(true)
            {
                return Ok(taken);
            }
        }
        self.open_at_once(&held, None, trouble).await
    }

    /// Makes those of the three calls that have not been made yet, in the turn of the session. Each result is saved at once. The lock is
    /// held for each attempt alone: the wait for a turn may be long, and others change what is stored of a user. `None` if what is stored
    /// is not what was `seen` any more.
    async fn advance(
        &self,
        seen: Seen,
        known: Option<Context>,
        trouble: &Trouble,
        deadline: Option<Instant>,
    ) -> Result<Option<Opened>, Error> {
        let _turn = self.owner.begin();
        let is_prepared = known.as_ref().is_some_and(|context| context.device_registered);
        let made = &Mutex::new(Made { seen, ..Made::of(known) });
        let prepare = || async move {
            match self.hold(made, trouble).await? {
                Continue(held) => self.prepare(&held, made, trouble).await.map(|_| Continue(())),
                Break(by_others) => Ok(Break(by_others)),
            }
        };
        let attempt = |time, due| async move {
            let held = match self.hold(made, trouble).await? {
                Continue(held) => held,
                Break(by_others) => return Ok(Break(by_others)),
            };
            let (context, session) = self.attempt(&held, made, trouble, self.budget(time, due)).await?;
            Ok(Continue(Attempt::Opened { context, session, held }))
        };
        let work = Work { is_prepared, prepare, attempt };
        match self.owner.open(&self.transport, work, trouble, deadline).await? {
            Attempt::Opened { context, session, held } => {
                self.keep_opened(&held, context, session, trouble).await.map(Some)
            }
            Attempt::TakenOver(opened) => Ok(Some(opened)),
            Attempt::Outdated => Ok(None),
        }
    }

    /// Opens the session of the partner, which waits for no turn, under a lock that is held.
    async fn open_at_once(
        &self,
        held: &ContextLock,
        known: Option<Context>,
        trouble: &Trouble,
    ) -> Result<Opened, Error> {
        let _turn = self.owner.begin();
        let (made, time) = (Mutex::new(Made::of(known)), self.transport.config().operation_timeout);
        let (context, session) = self.attempt(held, &made, trouble, self.budget(time, None)).await?;
        self.keep_opened(held, context, session, trouble).await
    }

    /// Takes the lock for an attempt, unless others have meanwhile done what makes it superfluous.
    async fn hold(&self, made: &Mutex<Made>, trouble: &Trouble) -> Result<ControlFlow<Attempt, ContextLock>, Error> {
        let held = match self.owner.longest_wait() {
            Some(time) => self.keeper.lock_within(time, trouble).await?,
            None => self.keeper.lock(trouble).await?,
        };
        if let Some(opened) = self.reload(trouble).await? {
            return Ok(Break(Attempt::TakenOver(opened)));
        }
        let stored = self.state().context.as_ref().map(seen);
        Ok(if stored == lock(made).seen { Continue(held) } else { Break(Attempt::Outdated) })
    }

    /// Makes what is missing in `made`, and opens a session with it.
    async fn attempt(
        &self,
        held: &ContextLock,
        made: &Mutex<Made>,
        trouble: &Trouble,
        budget: CallBudget,
    ) -> Result<(Context, OpenSession), Error> {
        let context = self.prepare(held, made, trouble).await?;
        let credentials = self.credentials_of(&context);
        let budget = self.owner.longest_wait().map_or(budget, |longest| budget.sent_within(longest));
        let session = handshake::open(&self.transport, &self.device, credentials, trouble, budget).await?;
        Ok((context, session))
    }

    /// The time of an attempt. `due` orders it among the users of other clients.
    fn budget(&self, time: Duration, due: Option<Instant>) -> CallBudget {
        CallBudget::after(time, self.transport.limits().next_rank().due(due))
    }

    /// Keeps a session that was just opened.
    async fn keep_opened(
        &self,
        held: &ContextLock,
        mut context: Context,
        session: OpenSession,
        trouble: &Trouble,
    ) -> Result<Opened, Error> {
        let activation = self.owner.activated();
        tracing::info!(renew_at = session.renew_at.map(display), "a session is open");
        metrics::session_opened();
        let opened = context.opened(&session);
        {
            let mut state = self.state();
            state.own = Some(session.token.clone());
            state.has_given_up_unnamed &= session.user.is_none();
        }
        context.session = Some(session);
        let kept = self.keep(held, &context, trouble).await;
        // It is used in any case.
        self.owner.tell(activation);
        kept.map(|()| opened)
    }

    /// Makes the installation and the device, as far as they are missing in `made`.
    async fn prepare(&self, held: &ContextLock, made: &Mutex<Made>, trouble: &Trouble) -> Result<Context, Error> {
        let Made { key, context, .. } = lock(made).clone();
        let mut context = match context {
            Some(context) => context,
            None => {
                let key = match key {
                    Some(key) => key,
                    None => handshake::make_key(&self.device).await?,
                };
                lock(made).key = Some(key.clone());
                let installation = handshake::install(&self.transport, &self.device, key, trouble).await?;
                let installation = Arc::new(installation);
                let context = Context { installation, is_partners: false, device_registered: false, session: None };
                lock(made).context = Some(context.clone());
                // What a token was used with stays until bunq takes it with another.
                if !self.state().context.as_ref().is_some_and(|context| context.is_partners) {
                    lock(made).seen = Some(seen(&context));
                    self.keep(held, &context, trouble).await?;
                }
                context
            }
        };
        if !context.device_registered {
            let credentials = self.credentials_of(&context);
            handshake::register(&self.transport, &self.device, credentials, trouble).await?;
            context.device_registered = true;
            *lock(made) = Made { key: None, seen: Some(seen(&context)), context: Some(context.clone()) };
            self.keep(held, &context, trouble).await?;
        }
        Ok(context)
    }

    fn credentials_of(&self, context: &Context) -> Credentials {
        Credentials::of_installation(&context.installation).hiding(&self.device.api_key)
    }
}
