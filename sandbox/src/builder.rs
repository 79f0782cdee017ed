//! The settings of a sandbox, and how it starts.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner::types::Secret;
use bunq_partner::wire::SignatureForm;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::bank::{Bank, Settings};
use crate::clock::random_token;
use crate::deliveries::fault::{DeliveryInjection, DeliveryInjections};
use crate::deliveries::queue::Deliveries;
use crate::deliveries::sending::Tls;
use crate::deliveries::worker;
use crate::keys::LeasedKey;
use crate::profile::{Profile, REFUSALS};
use crate::resources::provisions::seed::SeedProvision;
use crate::saved_state::{self, SavedState};
use crate::settings::{CreationResponse, DeadToken, Pace};
use crate::state_file::StateFile;
use crate::wire::call_log::CallLog;
use crate::wire::exchange::{BankState, Edits, SharedState};
use crate::wire::injection::{Injection, Injections};
use crate::wire::limits::ServerRateLimits;
use crate::wire::server;
use crate::{Running, Sandbox};

impl Sandbox {
    /// Starts a sandbox with the settings that the [builder](Self::builder) begins with.
    ///
    /// # Errors
    ///
    /// As [`SandboxBuilder::start`].
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Returns a builder for the settings of a sandbox.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }
}

/// The settings of a sandbox that is about to start.
#[derive(Debug, Default, Clone)]
#[must_use = "a sandbox does nothing until it is started"]
pub struct SandboxBuilder {
    pace: Pace,
    api_key: Option<Secret>,
    profile: Profile,
    allowed_addresses: Option<Vec<IpAddr>>,
    lacks_oauth_client: bool,
    rate_limits: ServerRateLimits,
    injections: Injections,
    delivery_injections: DeliveryInjections,
    client_certificate: Option<Secret>,
    seed: Vec<SeedProvision>,
    saved_state: Option<Secret>,
    state_file: Option<PathBuf>,
    /// `None`: 127.0.0.1.
    address: Option<IpAddr>,
    port: u16,
}

impl SandboxBuilder {
    /// Sets what moves provisions on. The default is [`Pace::EachRead`].
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// Sets the partner's API key. The default is a random one that starts with `sandbox_`.
    pub fn api_key(mut self, api_key: Secret) -> Self {
        self.api_key = Some(api_key);
        self
    }

    /// Sets everything at once that a [`Profile`] has. Methods that are called later change single things of it.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Allows API keys only from these addresses, as [`Sandbox::allow_addresses`] does later. The default is every address.
    pub fn allowed_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.allowed_addresses = Some(addresses.into_iter().collect());
        self
    }

    /// Begins without an OAuth client, as an account at bunq does. Until there is an active one with a callback URL, the creation of a
    /// provision is refused with 400. Without this, the sandbox begins with both.
    pub fn without_oauth_client(mut self) -> Self {
        self.lacks_oauth_client = true;
        self
    }

    /// Begins with these provisions and what their users have, the first of which is the oldest.
    pub fn seed(mut self, provisions: impl IntoIterator<Item = SeedProvision>) -> Self {
        self.seed.extend(provisions);
        self
    }

    /// Begins with what [`Sandbox::saved_state`] has returned: with the keys, the API key, the installations, the sessions and
    /// the provisions of that sandbox. Clients with a stored context go on as after a restart of their own. Provisions of a
    /// [seed](Self::seed) are not made again.
    pub fn saved_state(mut self, state: Secret) -> Self {
        self.saved_state = Some(state);
        self
    }

    /// Keeps the state in this file, and begins with what is in it if it is there, as with [`saved_state`](Self::saved_state).
    ///
    /// What a call changes is in the file before its response leaves, however the process ends afterwards. After a power failure
    /// the last changes may be missing. What a test changes itself is written with the next call, or by
    /// [`Sandbox::save_state`]. If something cannot be written, that call and all later ones get 500.
    ///
    /// Only its owner can use the file, which **holds API keys, tokens and personal data**. It is locked:
    /// another sandbox with it does not start, except on a file system without locks.
    pub fn state_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_file = Some(path.into());
        self
    }

    /// Sets how long a session lasts from its opening. The default is 604,800 s, a week.
    ///
    /// Responses tell it in whole seconds, rounded down.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.profile.session_timeout = timeout;
        self
    }

    /// Sets what the signatures of responses cover. The default is [`SignatureForm::Body`].
    pub fn signature_form(mut self, form: SignatureForm) -> Self {
        self.profile.signature_form = form;
        self
    }

    /// Sets the response to the creation of a provision. The default is [`CreationResponse::Id`].
    pub fn creation_response(mut self, response: CreationResponse) -> Self {
        self.profile.creation_response = response;
        self
    }

    /// Sets whether the creation of a provision is refused if its `external_uuid` was used before. The default is `true`.
    ///
    /// `false` makes a second provision: the strictest test of a client that must not create twice.
    pub fn deduplicate(mut self, deduplicate: bool) -> Self {
        self.profile.duplicate = deduplicate.then_some(400);
        self
    }

    /// Sets whether an OAuth client is refused while another one is active. The default is `true`.
    ///
    /// `false` makes a second one: the strictest test of a client that must not create twice.
    pub fn one_oauth_client(mut self, is_one: bool) -> Self {
        self.profile.second_oauth_client = is_one.then_some(400);
        self
    }

    /// Sets whether an identity verification session is refused while the user has one that is submitted and has no result. The default
    /// is `true`.
    pub fn one_identity_session(mut self, is_one: bool) -> Self {
        self.profile.second_identity_session = is_one.then_some(400);
        self
    }

    /// Sets the kinds of fulfilments that are asked of each user, such as `ADDRESS_MAIN`. Those that no call answers are answered by the
    /// user. The default are all that the document knows, and two more.
    pub fn fulfillments<'a>(mut self, kinds: impl IntoIterator<Item = &'a str>) -> Self {
        self.profile.fulfillments = kinds.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets whether refusals are signed too. The default is `false`: bunq signs few of them.
    pub fn signed_refusals(mut self, are_signed: bool) -> Self {
        self.profile.signed_refusals = REFUSALS.filter(|_| are_signed).collect();
        self
    }

    /// Sets how a token is refused that is dead or unknown. One that is missing, or of the wrong kind, gets 401. The default is [`DeadToken::Unauthorized`].
    pub fn dead_token(mut self, manner: DeadToken) -> Self {
        self.profile.dead_token = manner;
        self
    }

    /// Sets the status of the refusal of a wrong API key. The default is 400. Its message is always bunq's, which names a
    /// wrong address too.
    pub fn wrong_key_status(mut self, status: u16) -> Self {
        self.profile.wrong_key = status;
        self
    }

    /// Sets whether every body must be signed, except that of the installation: one that is not is refused with 466. The
    /// default is `false`: only the opening of a session must be signed.
    pub fn require_signatures(mut self, are_required: bool) -> Self {
        self.profile.require_signatures = are_required;
        self
    }

    /// Sets whether bunq's rate limits are enforced, as each [`Operation`] has them. The default is `false`.
    ///
    /// A limit is that of one operation, and of all callers at an address or of one session ([`Profile::limits_are_per`]). Its window rolls. A call beyond it
    /// gets 429, in bunq's words and without a `Retry-After`, and is not carried out.
    pub fn rate_limits(mut self, are_enforced: bool) -> Self {
        self.rate_limits.are_enforced = are_enforced;
        self
    }

    /// Sets whether a call that is refused with 429 counts towards the limit too. The default is `false`. bunq does not say
    /// whether it does.
    pub fn refused_calls_count(mut self, count: bool) -> Self {
        self.rate_limits.refused_count = count;
        self
    }

    /// Sets the limit of one operation. It is enforced whatever [`rate_limits`](Self::rate_limits) is.
    pub fn rate_limit(mut self, operation: &Operation, calls: u32, per: Duration) -> Self {
        self.rate_limits.set(operation, calls, per);
        self
    }

    /// Injects a fault from the start, as [`Sandbox::inject`] does later.
    pub fn inject(mut self, injection: impl Into<Injection>) -> Self {
        self.injections.push(injection.into());
        self
    }

    /// Injects a fault of deliveries from the start, as [`Sandbox::inject_delivery`] does later.
    pub fn inject_delivery(mut self, injection: impl Into<DeliveryInjection>) -> Self {
        self.delivery_injections.push(injection.into());
        self
    }

    /// Sets the client certificate that targets of notification filters see whose filter asks for one, with `all_verification_type`: in PEM
    /// form, with those that it is signed with and its private key. bunq hands its own to the partner. Without this, such targets are not
    /// called.
    pub fn client_certificate(mut self, pem: Secret) -> Self {
        self.client_certificate = Some(pem);
        self
    }

    /// Sets the address that it listens on. The default is 127.0.0.1. 0.0.0.0 and `::` are all addresses of this machine; the
    /// [base URL](Sandbox::base_url) has loopback then.
    ///
    /// On another address than loopback, other machines can reach the sandbox without TLS, and its API key is all that they need. Its
    /// clients need [`allow_plain_http`](bunq_partner::ClientBuilder::allow_plain_http).
    ///
    /// Calls of web pages get 403, in no envelope of bunq's: those with an `Origin`, and those with a `Sec-Fetch-Site` other than
    /// `none`. A sandbox that listens on loopback also refuses a `Host` that is neither `localhost` nor an address of loopback. One that
    /// listens on another address takes any `Host`, from this machine too: it does not know by which names it is called.
    pub fn listen(mut self, address: impl Into<IpAddr>) -> Self {
        // An address of IPv4 in the form of IPv6 is what it is.
        self.address = Some(address.into().to_canonical());
        self
    }

    /// Sets the port. The default is 0: any free port.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the sandbox in the current Tokio runtime, which must have its I/O and its time driver enabled.
    ///
    /// # Errors
    ///
    /// If the address and the port cannot be listened on, no key can be made, or the state file cannot be written;
    /// [`InvalidData`](io::ErrorKind::InvalidData) if the profile, the seed, the saved state or its file cannot be used.
    pub async fn start(self) -> io::Result<Sandbox> {
        let outside =
            |_| io::Error::other("there is no Tokio runtime here: start the sandbox within one that has `enable_all`");
        Handle::try_current().map_err(outside)?;
        if let Some(problem) = self.profile.problem() {
            return Err(invalid(format!("the profile cannot be used: {problem}")));
        }
        let tls = Tls::new(self.client_certificate.as_ref())
            .map_err(|problem| invalid(format!("the client certificate cannot be used: {problem}")))?;
        let (saved, _lock) = self.state().await?;
        let address = self.address.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let listener = TcpListener::bind((address, self.port)).await?;
        let reached = reached_at(listener.local_addr()?);
        let base_url = format!("http://{reached}/v1");
        let (key, leased_key) = match &saved {
            Some(saved) => (saved.signing_key().map_err(invalid)?, None),
            None => {
                let leased = LeasedKey::take().await?;
                (leased.key(), Some(leased))
            }
        };
        let saved_key = saved.as_ref().map(|saved| saved.api_key.clone());
        let api_key = match (self.api_key, saved_key) {
            (Some(given), Some(saved)) if given != saved => {
                return Err(invalid("the saved state has another API key: leave it out".to_owned()));
            }
            (given, saved) => given.or(saved).unwrap_or_else(|| Secret::new(format!("sandbox_{}", random_token()))),
        };
        let mut bank = Bank::new(Settings {
            pace: self.pace,
            api_key: api_key.clone(),
            profile: self.profile.clone(),
            allowed_addresses: self.allowed_addresses,
            public_key_pem: key.public_key_pem().map_err(io::Error::other)?,
        });
        match saved {
            Some(saved) => saved.restore(&mut bank),
            None => {
                if !self.lacks_oauth_client {
                    bank.begin_with_oauth_client();
                }
                bank.seed(&self.seed).map_err(invalid)?;
            }
        }
        let mut deliveries = Deliveries::new(self.delivery_injections);
        // What is so at the start is no news.
        deliveries.look(&mut bank);
        let state_file = match self.state_file {
            Some(path) => {
                let state = SavedState::encode(&bank, &key).map_err(io::Error::other)?;
                saved_state::take_changes(&mut bank).map_err(io::Error::other)?;
                Some(StateFile::create(path, &state)?)
            }
            None => None,
        };
        let shared = Arc::new(SharedState {
            profile: self.profile,
            is_on_loopback: address.is_loopback(),
            state: Mutex::new(BankState {
                bank,
                key,
                rate_limits: self.rate_limits,
                injections: self.injections,
                call_log: CallLog::default(),
                deliveries,
                last_responses: HashMap::new(),
                state_file,
            }),
            edits: Mutex::new(Edits::default()),
            tls,
            wake: Notify::new(),
            settled: Notify::new(),
        });
        let server = server::start(listener, Arc::clone(&shared));
        let worker = worker::start(Arc::clone(&shared));
        let client_keys = Arc::new(AtomicUsize::new(0));
        Ok(Sandbox {
            running: Arc::new(Running {
                base_url,
                host: reached.ip(),
                api_key,
                shared,
                _leased_key: leased_key,
                client_keys,
                server,
                worker,
            }),
        })
    }

    /// The state that it begins with, if that was saved, and the lock of its file.
    async fn state(&self) -> io::Result<(Option<SavedState>, Option<File>)> {
        let Some(path) = &self.state_file else {
            let saved = self.saved_state.as_ref().map(SavedState::decode).transpose();
            return Ok((saved.map_err(invalid)?, None));
        };
        if self.saved_state.is_some() {
            return Err(invalid("a saved state and a state file were given: leave one of them out".to_owned()));
        }
        let lock = StateFile::lock(path).await.map_err(|error| invalid(error.to_string()))?;
        let text = StateFile::read(path).map_err(|error| invalid(error.to_string()))?;
        let damaged = |problem| invalid(format!("the state file {}: {problem}", path.display()));
        Ok((text.as_ref().map(SavedState::decode).transpose().map_err(damaged)?, lock))
    }
}

/// Where a client on this machine reaches a server that listens here.
fn reached_at(listening: SocketAddr) -> SocketAddr {
    let address: IpAddr = match listening.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listening.port())
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}
