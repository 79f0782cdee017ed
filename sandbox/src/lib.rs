//! bunq on loopback: a server that behaves like bunq's Partner API, for tests without a network.
//!
//! It is not a mock: provisions exist until they are closed, sessions expire, a request id can be used once, and a wrong
//! order of calls, a wrong token or a wrong signature gets bunq's own kind of refusal. Where bunq's public documentation
//! says nothing, the documentation of this crate says what the sandbox does. bunq's rate limits are
//! [optional](SandboxBuilder::rate_limits).
//!
//! ```
//! use bunq_partner::{NewProvision, Provision, ProvisionStatus, Uuid};
//! use bunq_partner_sandbox::Sandbox;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start().await?;
//! let client = sandbox.client().build()?;
//!
//! let new = NewProvision::person(Uuid::new_v4(), "user@example.com".parse()?, "+31600000000".parse()?);
//! let creating = client.provisions().create(new).await?;
//!
//! // What does your integration do when bunq fails to make the user?
//! sandbox.fail(creating.id());
//! let error = creating.wait().await.expect_err("it has failed");
//! assert_eq!(error.last_seen::<Provision>().map(|seen| &seen.status), Some(&ProvisionStatus::Failed));
//! # Ok(())
//! # }
//! ```
//!
//! The sandbox has the time of the runtime that it runs in. In a test with paused time a wait of minutes is over at once,
//! bunq's rate limits included. Clients decide by the time of day whether a session or a credential has expired.
//! [`Sandbox::advance_clock`] moves the bank's own clock alone, so that a session or a credential expires there at once.
//!
//! Paused time skips pauses, but not calls: each poll is one, with the RSA of its signatures. The clients of [`Sandbox::client`] poll
//! each 20 ms, so a wait of two minutes has 6,000 calls, and takes seconds. Give a client of long waits an interval in proportion, as
//! to this one, whose wait of 15 minutes has less than 200 calls:
//!
//! ```
//! use std::time::Duration;
//! use bunq_partner_sandbox::{Pace, Sandbox};
//!
//! // In a test: `#[tokio::test(start_paused = true)]`, with Tokio's feature `test-util`.
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let quarter_of_an_hour = Duration::from_secs(15 * 60);
//! let sandbox = Sandbox::builder().pace(Pace::Every(quarter_of_an_hour)).start().await?;
//! let client = sandbox.client().poll_interval(Duration::from_secs(10)).build()?;
//! let closing = client.provisions().close(sandbox.populate(1)[0]).await?;
//! let closed = closing.timeout(2 * quarter_of_an_hour).await?;
//! assert!(closed.is_closed());
//! assert!(sandbox.call_log().len() < 200);
//! # Ok(())
//! # }
//! ```
//!
//! Faults of the network and of bunq can be injected at any point of an exchange: [`Fault`] lists them, and [`Injection`]
//! selects the calls.
//!
//! ```
//! use bunq_partner::Operation;
//! use bunq_partner_sandbox::{Fault, Injection, Sandbox};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start().await?;
//! let client = sandbox.client().build()?;
//! let provision = sandbox.populate(1)[0];
//!
//! // bunq closes the provision, but its response is lost.
//! sandbox.inject(Injection::new(Fault::Drop).on(&Operation::UPDATE_PROVISION));
//! let _ = client.provisions().close(provision).await;
//!
//! let calls = sandbox.take_call_log();
//! let closing = calls.iter().find(|call| call.fault == Some(Fault::Drop)).ok_or("no fault was played")?;
//! assert!(closing.carried_out);
//! # Ok(())
//! # }
//! ```

mod access_control;
mod bank;
mod builder;
mod clock;
mod deliveries;
mod input;
mod keys;
mod objects;
mod profile;
mod resources;
mod saved_state;
mod settings;
mod state_file;
mod wire;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bunq_partner::types::{NotificationCategory, UserInformationInquiryEntryId, UserInformationInquiryId};
use bunq_partner::{Client, ClientBuilder, Environment, Operation, ProvisionId, Secret, UserInstallation};
use serde_json::Value;
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use self::builder::SandboxBuilder;
pub use self::deliveries::fault::{DeliveryFault, DeliveryInjection};
pub use self::deliveries::sent_log::{NotificationOutcome, SentNotification};
pub use self::objects::inquiry::{SeedInquiry, SeedInquiryEntry};
pub use self::profile::Profile;
pub use self::resources::attachments::SeedAttachment;
pub use self::resources::identity::{SeedDocument, SeedIdentitySession};
pub use self::resources::onboarding::SeedOnboarding;
pub use self::resources::provisions::seed::SeedProvision;
pub use self::resources::seed::SeedUser;
pub use self::settings::{
    AcceptedInstallation, CreationResponse, DeadToken, FailureRetryResponse, FilterResponse, NotificationBody, Pace,
    RejectedEntry, Review,
};
pub use self::wire::call_log::{CallLogEntry, ReceivedSignature};
pub use self::wire::fault::Fault;
pub use self::wire::injection::Injection;
pub use self::wire::notation::InvalidInjection;
pub use self::wire::response::RawResponse;
pub use bunq_partner::{LimitScope, SignatureForm};

use self::bank::Bank;
use self::keys::LeasedKey;
use self::resources::provisions::life_cycle::LifeCycleEvent;
use self::saved_state::SavedState;
use self::wire::exchange::{BankState, Edits, SharedState};
use self::wire::limits::Counted;

/// The waiting times of a sandbox's clients: short, because there is no bank to spare.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const LATE_ARRIVAL: Duration = Duration::from_millis(200);

/// A running sandbox.
///
/// It serves as long as a handle exists and the Tokio runtime runs in which it was started. Clones are handles of the same
/// sandbox. When the last handle is dropped, the server and its connections end, and its state, which is in memory, is
/// lost. An exchange whose request has been read is finished even if the caller closes the connection.
///
/// Sandboxes that run at the same time have different keys. One that starts later may have the key of one that has ended.
///
/// Where bunq's documentation says nothing, the sandbox behaves so:
/// - creating a second provision with the same `external_uuid` is refused with 400, and nothing is created, unless
///   [`SandboxBuilder::deduplicate`] is `false`;
/// - a token reset is refused with 400 while one is in progress, and so is closing a provision that is closing or closed;
/// - a credential that expired unused still shows its token, which opens no session; a failed provision has no credential;
/// - an API key is bound to the address that its first device is registered from, and to the `permitted_ips` of its devices, of
///   which `*` is every address: from elsewhere no device is registered and no session opened. A list without the caller's own
///   address is refused;
/// - the partner sees the credential of its own key, and a user that of its provision, with the device that was registered last. An
///   address that is added again is the one that there is, with the new status. Sessions go on whose address becomes `INACTIVE`;
/// - a provisioned user has one `UserApiKey.id`, whatever its credential and session; in paths, another's id is refused with 403;
/// - the first session of a credential binds it: to the installation, if that is the user's own, or to the partner's. Elsewhere it is
///   refused as a wrong key, and so is one that is no user's any more. `user_installation` of the [`Profile`] says which of the two is taken;
/// - the sessions of a user end when the credential is replaced that they were opened with, and when the provision is closed or has failed;
/// - a file of at most 16 MiB is taken if it begins as its `Content-Type` says; only its user can read it;
/// - an OAuth client is refused with 400 while another one is active, unless [`SandboxBuilder::one_oauth_client`] is `false`; a callback
///   URL can be registered twice, with an active client alone;
/// - the first identity verification session of a user is `REJECTED` and the others are `APPROVED`, five seconds after they are submitted
///   (`identity_results` and `identity_check` of the [`Profile`]). A session is submitted once, and its token is shown until then. Another is
///   refused with 400 while one has no result, unless [`SandboxBuilder::one_identity_session`] is `false`; a document takes attachments
///   of its user alone, and can be linked twice;
/// - an answer to an entry of an inquiry is refused with 400 unless the entry is `PENDING`, also after the inquiry has expired, and so is
///   one with a file that the user has not uploaded;
/// - a second onboarding is another one. Until a user has given everything that is mandatory, its statuses are refused with 400 and the
///   list of what is missing, and once they are taken, with 490. A date of birth, nationalities and tax residences are missing until bunq
///   has checked them; nationalities and tax residences become mandatory after 90 days. Each check takes five seconds
///   (`fulfillments`, `onboarding_check` and `onboarding_result` of the [`Profile`]). When the user has been checked, an inquiry opens by
///   itself (`inquiry_after_onboarding`);
/// - the targets of notification filters are called on loopback alone, with any certificate unless one is pinned, and have taken a call only
///   with 200 within ten seconds. Steps that an object takes at one moment are one call, and calls about one object reach a target one after
///   the other. The creation of a provision or an onboarding is not told. A pinned chain fits that begins as the one that is shown, or the
///   other way round; without one that fits nothing is sent, tried again or stored. Calls that are not made yet are no part of a saved state;
/// - a listing refuses unknown and repeated parameters.
#[derive(Clone)]
pub struct Sandbox {
    running: Arc<Running>,
}

struct Running {
    base_url: String,
    /// The host of the base URL.
    host: IpAddr,
    api_key: Secret,
    shared: Arc<SharedState>,
    /// The key that it has started with; `None` if that was a saved one.
    _leased_key: Option<LeasedKey>,
    /// How many keys its clients have taken.
    client_keys: Arc<AtomicUsize>,
    server: AbortHandle,
    /// Calls the targets of notification filters.
    worker: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.server.abort();
        self.worker.abort();
    }
}

impl Sandbox {
    /// Returns its base URL on this machine: `http://127.0.0.1:PORT/v1`, if it [listens](SandboxBuilder::listen) nowhere else.
    pub fn base_url(&self) -> &str {
        &self.running.base_url
    }

    /// Returns the partner's API key.
    pub fn api_key(&self) -> Secret {
        self.running.api_key.clone()
    }

    /// Starts to build a client for this sandbox, with its base URL, its API key, its rate limits and the installation that it takes for
    /// [users](ClientBuilder::user_installation), which is their own if it takes both. It polls every 20 ms,
    /// and expects a request that is in doubt to [arrive](ClientBuilder::late_arrival) within 200 ms.
    ///
    /// Its installations take two [keys](ClientBuilder::signing_keys) in turn that all clients of the process's sandboxes
    /// share. To make a key takes a tenth of a second of CPU time, which tests would wait for.
    pub fn client(&self) -> ClientBuilder {
        let builder = Client::builder(Environment::Sandbox).base_url(self.base_url()).api_key(self.api_key());
        let builder = builder.poll_interval(POLL_INTERVAL).late_arrival(LATE_ARRIVAL);
        let host = self.running.host;
        let builder = if host.is_loopback() { builder } else { builder.allow_plain_http(host.to_string()) };
        let taken = Arc::clone(&self.running.client_keys);
        let builder = builder.signing_keys(move || keys::of_client(taken.fetch_add(1, Ordering::Relaxed)));
        let (limits, scope, accepted) = {
            let state = self.state();
            let profile = &state.bank.settings.profile;
            (state.rate_limits.enforced(), profile.limits_are_per, profile.user_installation)
        };
        let builder = builder.limits_are_per(scope).user_installation(match accepted {
            AcceptedInstallation::Partner => UserInstallation::Partner,
            AcceptedInstallation::Own | AcceptedInstallation::Both => UserInstallation::Own,
        });
        limits.into_iter().fold(builder.without_rate_limits(), |builder, (operation, limit)| {
            builder.rate_limit(operation, limit.calls, limit.per)
        })
    }

    /// Moves the bank's clock on.
    ///
    /// By it are the times of all objects, the expiry of credentials, the ends of sessions, the steps of [`Pace::Every`], and the tries of
    /// calls to the targets of notification filters. It never goes
    /// back, and a [saved state](Self::saved_state) has it. [Rate limits](SandboxBuilder::rate_limits) and the delays of faults are by the
    /// runtime's time, and clients by their own: bunq's limits are on what a client sends in its own time.
    pub fn advance_clock(&self, by: Duration) {
        self.intervene(|bank| bank.clock.advance(by));
    }

    /// Moves a provision one step on in its life cycle, whatever the [`Pace`].
    ///
    /// Returns `false` if it is at rest (`ACTIVE`, `CLOSED`, `FAILED`) or there is no such provision.
    pub fn advance(&self, id: ProvisionId) -> bool {
        self.intervene(|bank| bank.intervene(id.get(), LifeCycleEvent::Progress))
    }

    /// Makes bunq's processing of a provision fail: its status becomes `FAILED`, and it loses its credential.
    ///
    /// Returns `false` if it is `CLOSED` or `FAILED` or there is no such provision.
    pub fn fail(&self, id: ProvisionId) -> bool {
        self.intervene(|bank| bank.intervene(id.get(), LifeCycleEvent::Fail))
    }

    /// Makes a provision's credential expire, as if it had waited too long for its first use.
    ///
    /// Returns `false` if there is no credential in `PENDING_FIRST_USE` or no such provision.
    pub fn expire_credential(&self, id: ProvisionId) -> bool {
        self.state().bank.expire_credential(id.get())
    }

    /// Adds an active OAuth client without a callback URL, as another process may do, whether another one is active or not.
    pub fn add_oauth_client(&self) {
        self.state().bank.add_oauth_client();
    }

    /// Cancels the active OAuth clients, as another process may do.
    pub fn cancel_oauth_clients(&self) {
        self.state().bank.cancel_oauth_clients();
    }

    /// Returns the OAuth clients as bunq would show them now, oldest first, with their secrets.
    pub fn oauth_clients(&self) -> Vec<Value> {
        self.state().bank.oauth_clients()
    }

    /// Stores calls about a provision that could not be delivered, one for each target that the partner's notification filters have for
    /// provisions, and returns how many. It makes no call.
    pub fn fail_notification(&self, id: ProvisionId) -> usize {
        self.state().bank.fail_notification(id.get())
    }

    /// Opens an inquiry about the user of a provision, and returns its id. `None`: there is no such provision, or the inquiry has no
    /// entry or an unknown status.
    ///
    /// An answer is reviewed at the [`Pace`], or by [`review`](Self::review).
    pub fn inquire(&self, id: ProvisionId, inquiry: SeedInquiry) -> Option<UserInformationInquiryId> {
        self.intervene(|bank| bank.inquire(id.get(), inquiry)).and_then(|id| id.try_into().ok())
    }

    /// Reviews the answer to an entry of an inquiry, whatever the [`Pace`].
    ///
    /// Returns `false` if no answer waits for a review, or there is no such entry.
    pub fn review(&self, entry: UserInformationInquiryEntryId, review: Review) -> bool {
        self.intervene(|bank| bank.review(entry.get(), review))
    }

    /// Returns the bodies with which the user of a provision has answered fulfilments, by their kinds: the last of each kind.
    ///
    /// They **hold personal data**.
    pub fn given(&self, id: ProvisionId) -> Option<Value> {
        self.state().bank.given(id.get())
    }

    /// Ends all sessions: the next call with any token of theirs is refused as [`SandboxBuilder::dead_token`] says.
    pub fn end_sessions(&self) {
        self.state().bank.access.end_all_sessions();
    }

    /// Ends the sessions of a provision's user, as the user can in bunq's app, and returns how many were alive. The next call with a token of
    /// theirs is refused as [`SandboxBuilder::dead_token`] says, and others can be opened.
    pub fn end_sessions_of(&self, id: ProvisionId) -> usize {
        self.state().bank.end_sessions_of(id.get())
    }

    /// Forgets all installations, devices and sessions, as bunq does when it empties its sandbox. Provisions stay.
    pub fn forget_installations(&self) {
        self.state().bank.access.forget();
    }

    /// Signs with another key from now on, which the next installation is told. The installations that there are stay.
    ///
    /// # Errors
    ///
    /// If no key can be made, or it cannot be written to the [state file](SandboxBuilder::state_file).
    pub async fn change_key(&self) -> io::Result<()> {
        let key = keys::new().await?;
        let public_key_pem = key.public_key_pem().map_err(io::Error::other)?;
        let mut state = self.state();
        state.bank.settings.public_key_pem = public_key_pem;
        state.key = key;
        state.save_all()
    }

    /// Allows API keys only from these addresses, as their owner can in bunq's app: sessions are opened and devices
    /// registered from nowhere else. Sessions that are open go on.
    pub fn allow_addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.state().bank.settings.allowed_addresses = Some(addresses.into_iter().collect());
    }

    /// Returns the state as text, for [`SandboxBuilder::saved_state`]: keys, installations, sessions and provisions. What is
    /// left out: the log of calls, injections, edits, and which request ids were used.
    ///
    /// It **holds API keys, tokens and personal data**.
    ///
    /// # Errors
    ///
    /// If it cannot be encoded.
    pub fn saved_state(&self) -> io::Result<Secret> {
        let state = self.state();
        SavedState::encode(&state.bank, &state.key).map_err(io::Error::other)
    }

    /// Writes to the [state file](SandboxBuilder::state_file) what a test has changed itself. Without such a file it does nothing.
    ///
    /// # Errors
    ///
    /// If it cannot be written, or something could not be written before.
    pub fn save_state(&self) -> io::Result<()> {
        self.state().save()
    }

    /// Makes up to `calls` calls of an operation as another client at the sandbox's address, and returns how many were
    /// admitted. They count towards the [rate limits](SandboxBuilder::rate_limits) and do nothing else.
    pub fn call_as_neighbour(&self, operation: &Operation, calls: u32) -> u32 {
        let mut state = self.state();
        let by = Counted::Address(self.running.host);
        let admitted = (0..calls).filter(|_| state.rate_limits.admit(operation, by, Instant::now()).is_ok());
        u32::try_from(admitted.count()).unwrap_or(u32::MAX)
    }

    /// Returns a provision as bunq would show it now, its token included. It does not count as a read.
    pub fn provision(&self, id: ProvisionId) -> Option<Value> {
        self.state().bank.peek(id.get())
    }

    /// Returns the ids of all provisions, oldest first.
    pub fn provision_ids(&self) -> Vec<ProvisionId> {
        self.state().bank.provisions.by_id.iter().filter_map(|provision| provision.id.try_into().ok()).collect()
    }

    /// Makes `count` provisions, `ACTIVE` and with an unused credential, and returns their ids, oldest first.
    ///
    /// 100,000 provisions take a fraction of a second and some tens of megabytes.
    pub fn populate(&self, count: usize) -> Vec<ProvisionId> {
        self.state().bank.populate(count).into_iter().filter_map(|id| id.try_into().ok()).collect()
    }

    /// Returns the last calls, oldest first, complete: at most 10,000, and at most 64 MiB of them.
    ///
    /// Headers and bodies **hold API keys, tokens and personal data**.
    pub fn call_log(&self) -> Vec<CallLogEntry> {
        self.state().call_log.entries()
    }

    /// Returns the calls of the [log](Self::call_log), and empties it.
    pub fn take_call_log(&self) -> Vec<CallLogEntry> {
        self.state().call_log.take()
    }

    /// Injects a [`Fault`] into the next call, or an [`Injection`] into the calls that it selects.
    ///
    /// At most one fault is played at a call: that of the injection that was added first.
    pub fn inject(&self, injection: impl Into<Injection>) {
        self.state().injections.push(injection.into());
    }

    /// Injects a [`DeliveryFault`] into the next call to the target of a notification filter, or a [`DeliveryInjection`] into the calls that
    /// it selects. At most one fault is played at a call: that of the injection that was added first.
    pub fn inject_delivery(&self, injection: impl Into<DeliveryInjection>) {
        self.state().deliveries.injections.push(injection.into());
    }

    /// Removes all injections, those into deliveries too.
    pub fn clear_injections(&self) {
        let mut state = self.state();
        state.injections.clear();
        state.deliveries.injections.clear();
    }

    /// Sends a notification now about a provision, or about the newest onboarding or inquiry of its user, to each target that has asked for
    /// the category, and returns how many there are. What it says is what is so now: nothing need have changed. Of another category, such as
    /// `SUPPORT`, it is told to the user's targets with an empty object.
    ///
    /// Another process asks for the same with `POST /sandbox/notification`, beside `/v1`, with `Authorization: Bearer` and the API key, and
    /// with `{"category": "PARTNER_USER_PROVISION", "provision_id": 1015}`; the response has the number of targets, as
    /// `{"Response": [{"Notification": {"targets": 1}}]}`.
    pub fn trigger_notification(&self, category: &NotificationCategory, id: ProvisionId) -> usize {
        let count = self.state().announce(category.as_str(), id.get());
        self.running.shared.wake.notify_one();
        count
    }

    /// Waits until no notification is on its way or due by the bank's clock. Tries that are due later stay.
    pub async fn notifications_settled(&self) {
        self.intervene(|_| ());
        loop {
            let mut settled = pin!(self.running.shared.settled.notified());
            settled.as_mut().enable();
            if self.state().are_deliveries_settled() {
                return;
            }
            settled.await;
        }
    }

    /// Returns the last tries to call targets of notification filters, oldest first, and calls that were not made: at most 10,000, and at
    /// most 64 MiB of bodies.
    ///
    /// Bodies **hold API keys, authorization codes and personal data**.
    pub fn sent_notifications(&self) -> Vec<SentNotification> {
        self.state().deliveries.log.entries()
    }

    /// Returns the tries of the [log](Self::sent_notifications), and empties it.
    pub fn take_sent_notifications(&self) -> Vec<SentNotification> {
        self.state().deliveries.log.take()
    }

    /// Sets a function that edits every response, error responses included, before it is signed. The edited response is
    /// validly signed.
    ///
    /// Use it for drift that no [`Fault`] has. Faults are played before, except those of the signature and of the
    /// connection. `edit` replaces the function set before. It runs on the server's thread, one call at a time, so it
    /// should be quick. It must not set or clear edits. If it owns a handle of this sandbox, the sandbox runs until the
    /// function is cleared.
    pub fn before_signing(&self, edit: impl FnMut(&CallLogEntry, &mut RawResponse) + Send + 'static) {
        lock(&self.running.shared.edits).before_signing = Some(Box::new(edit));
    }

    /// Sets a function that edits every response, error responses included, after it is signed.
    ///
    /// Use it for faults that [`Fault`] does not have. Otherwise it is like [`before_signing`](Self::before_signing).
    pub fn after_signing(&self, edit: impl FnMut(&CallLogEntry, &mut RawResponse) + Send + 'static) {
        lock(&self.running.shared.edits).after_signing = Some(Box::new(edit));
    }

    /// Removes the functions that edit responses.
    pub fn clear_edits(&self) {
        *lock(&self.running.shared.edits) = Edits::default();
    }

    /// Does something at the bank by itself, which may be news for targets of notification filters.
    fn intervene<T>(&self, change: impl FnOnce(&mut Bank) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state.bank);
        if state.look() {
            self.running.shared.wake.notify_one();
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, BankState> {
        lock(&self.running.shared.state)
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("base_url", &self.running.base_url).finish()
    }
}

/// Locks also what a panic has left locked: each critical section leaves its data consistent.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
