//! Plays every fault of the sandbox at every operation, once and at every call, and checks that the outcome is right,
//! that nothing is created twice, that nothing is unsigned, and that no error or log line contains a secret. It plays
//! them twice: with a bunq that does not sign its refusals and refuses a dead token with 401, and with one that signs
//! them and refuses it with 403.
//!
//! `cargo test --all-features --test fault_matrix -- --nocapture` prints the outcomes: what the caller gets, and how
//! many times the operation was called. Where a fault at every call has another outcome than a fault that is played
//! once, it prints both. More calls than a policy has attempts are "many". A question mark means that
//! `Error::is_doubtful` is true.
//!
//! Operations that are called alike (same token, same rule for repeating, with or without a body) share a block, which
//! has the outcomes that most of them have. The operations with another outcome follow below a line. A new operation is
//! called with the document's examples, without a line here, and shows up where it deviates.
//!
//! The verbs of users are played too. One whose outcome is in doubt is called again, also by another process with the same
//! custody: what must not run twice has not run twice. A user that is activated or reset is served at the end, by a credential that
//! is the one in custody.

#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use bunq_partner::types;
use bunq_partner::wire::SigningKey;
use bunq_partner::{
    Acceptance, Api, Auth, Client, ClientBuilder, ContextLock, ContextStore as _, Custody as _, Error,
    FulfillmentAnswer, MemoryCustody, NewAttachment, NewProvision, Operation, ProvisionId, RequestedStatuses, Response,
    RetryPolicy, SessionOf, UserClient, Uuid,
};
use bunq_partner_sandbox::{
    CallLogEntry, DeadToken, Fault, Injection, ReceivedSignature, Sandbox, SandboxBuilder, SeedInquiry,
};
use common::{Log, MemoryStore, resealed, unsealed};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use tokio::time::timeout;

include!(concat!(env!("OUT_DIR"), "/calls.rs"));

async fn shown<T: Debug>(call: impl Future<Output = Result<Response<T>, Error>>) -> Result<String, Error> {
    call.await.map(|response| format!("{response:?}"))
}

const EMAIL: &str = "somebody.in.particular@example.com";

/// The attempt timeout, far shorter than the delay of a fault, and the timeout of a call, which has room for all attempts and for the
/// wait after each.
const TRY: Duration = Duration::from_secs(1);
const CALL: Duration = Duration::from_secs(10);
/// How late a request arrives: when an attempt is over, and within the time for which the client expects it.
const LATE: Duration = Duration::from_millis(1500);
const LATE_ARRIVAL: Duration = Duration::from_secs(2);
const ATTEMPTS: u32 = 3;
const LIMIT: u32 = 10_000;
const WINDOW: Duration = Duration::from_secs(1);
const AGES: Duration = Duration::from_secs(3600);
const MAX_ANSWER: usize = 64 * 1024;

/// What goes wrong.
#[derive(Clone)]
enum Trouble {
    Fault(Injection),
    /// Another client at the same address has used up the rate limit.
    Neighbour,
    /// bunq has forgotten the client's stored installation.
    Forgotten,
    /// There is no session, and bunq's rate limit lets none be opened until the call's time is over.
    Throttled,
    /// There is no session, and the store hangs until the call's time is over.
    Hanging,
}

/// The troubles in the order of a block.
fn troubles() -> Vec<(String, Trouble)> {
    let others = [
        ("session throttled", Trouble::Throttled),
        ("store hangs", Trouble::Hanging),
        ("neighbour", Trouble::Neighbour),
        ("forgotten", Trouble::Forgotten),
    ];
    let faults = faults().into_iter().map(|(name, injection)| (name, Trouble::Fault(injection)));
    faults.chain(others.map(|(name, trouble)| (name.to_owned(), trouble))).collect()
}

/// Each fault of the sandbox, in its notation: with the values that matter to a client, and some also where the call is
/// carried out that usually is not, or the other way round.
fn faults() -> Vec<(String, Injection)> {
    let values = |fault| match fault {
        Fault::Status(_) => [304, 400, 403, 404, 405, 466, 490, 491, 500].map(Fault::Status).to_vec(),
        Fault::UnsignedStatus(_) => [401, 403, 429, 502].map(Fault::UnsignedStatus).to_vec(),
        Fault::Relabelled(_) => [401, 403, 404, 429, 491, 500].map(Fault::Relabelled).to_vec(),
        Fault::RetryAfter(_) => vec![Fault::RetryAfter(Duration::ZERO)],
        Fault::LateArrival(_) => [Duration::from_millis(50), LATE].map(Fault::LateArrival).to_vec(),
        Fault::SlowDrip(_) => vec![Fault::SlowDrip(TRY / 4)],
        Fault::Late(_) => vec![Fault::Late(AGES)],
        Fault::Oversized(_) => vec![Fault::Oversized(2 * MAX_ANSWER)],
        // `UnknownValues` has both.
        Fault::UnknownStatus | Fault::UnknownSubStatus => vec![],
        // Of one caller it is `SessionLost`.
        Fault::OwnSessionLost => vec![],
        other => vec![other],
    };
    let mut faults = Vec::new();
    for fault in Fault::examples().into_iter().flat_map(values) {
        let injection = Injection::new(fault);
        faults.push((fault.to_string(), injection.clone()));
        match fault {
            Fault::Status(500) | Fault::UnsignedStatus(401 | 403 | 502) => {
                faults.push((format!("{fault}, done"), injection.carried_out(true)));
            }
            Fault::Drop => faults.push((format!("{fault}, not done"), injection.carried_out(false))),
            _ => {}
        }
    }
    faults
}

fn new_provision() -> NewProvision {
    NewProvision::person(Uuid::new_v4(), EMAIL.parse().unwrap(), "+31600000000".parse().unwrap())
}

/// The target of the faults: a call of an operation, or a verb.
#[derive(Clone, Copy)]
enum Subject {
    Operation(&'static Operation),
    Create,
    Close,
    /// An activation, with faults at one of its calls.
    Activate(&'static Operation),
    /// A reset, the same.
    Reset(&'static Operation),
    OfUser(UserVerb),
}

/// A verb of a user.
#[derive(Clone, Copy, PartialEq)]
enum UserVerb {
    StartOnboarding,
    RequestStatuses,
    AnswerFulfillment,
    StartIdentity,
    StartAnotherIdentity,
    SubmitIdentity,
    UploadAttachment,
    DownloadAttachment,
    LinkDocument,
    LinkDocumentAgain,
    AnswerInquiry,
}

impl UserVerb {
    const ALL: [Self; 11] = [
        Self::StartOnboarding,
        Self::RequestStatuses,
        Self::AnswerFulfillment,
        Self::StartIdentity,
        Self::StartAnotherIdentity,
        Self::SubmitIdentity,
        Self::UploadAttachment,
        Self::DownloadAttachment,
        Self::LinkDocument,
        Self::LinkDocumentAgain,
        Self::AnswerInquiry,
    ];

    fn operation(self) -> &'static Operation {
        match self {
            Self::StartOnboarding => &Operation::CREATE_USER_ONBOARDING,
            Self::RequestStatuses => &Operation::UPDATE_USER_ONBOARDING,
            Self::AnswerFulfillment => &Operation::CREATE_NATIONALITY,
            Self::StartIdentity | Self::StartAnotherIdentity => &Operation::CREATE_IDENTITY_VERIFICATION_SESSION,
            Self::SubmitIdentity => &Operation::UPDATE_IDENTITY_VERIFICATION_SESSION,
            Self::UploadAttachment => &Operation::CREATE_ATTACHMENT,
            Self::DownloadAttachment => &Operation::GET_ATTACHMENT_CONTENT,
            Self::LinkDocument | Self::LinkDocumentAgain => &Operation::CREATE_DOCUMENT_IDENTIFICATION,
            Self::AnswerInquiry => &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::StartOnboarding => "onboarding().start",
            Self::RequestStatuses => "onboarding().request",
            Self::AnswerFulfillment => "onboarding().answer",
            Self::StartIdentity => "identity().start",
            Self::StartAnotherIdentity => "identity().start_another",
            Self::SubmitIdentity => "identity().submit",
            Self::UploadAttachment => "attachments().upload",
            Self::DownloadAttachment => "attachments().download",
            Self::LinkDocument => "documents().link",
            Self::LinkDocumentAgain => "documents().link_again",
            Self::AnswerInquiry => "inquiries().answer",
        }
    }

    /// Whether a request that is carried out a second time sets the same again, or changes nothing.
    fn may_run_twice(self) -> bool {
        matches!(self, Self::AnswerFulfillment | Self::UploadAttachment | Self::DownloadAttachment)
    }

    /// The verb that follows when the outcome is in doubt: it sends nothing a second time.
    fn again(self) -> Self {
        match self {
            Self::StartAnotherIdentity => Self::StartIdentity,
            Self::LinkDocumentAgain => Self::LinkDocument,
            other => other,
        }
    }

    /// Calls the verb, about the objects with these ids.
    async fn call(self, user: &UserClient, ids: &BTreeMap<&'static str, String>) -> Result<&'static str, Error> {
        match self {
            Self::StartOnboarding => Ok(accepted(user.onboarding().start().await?.acceptance)),
            Self::RequestStatuses => {
                let statuses = types::UpdateUserOnboardingRequest::new(
                    types::RequestedUserStatus::Active,
                    types::RequestedUserVerificationStatus::Verified,
                );
                let id = ids["user_onboarding_id"].parse().unwrap();
                match user.onboarding().request(id, &statuses).await? {
                    RequestedStatuses::Accepted(waiter) => Ok(accepted(waiter.acceptance())),
                    RequestedStatuses::Missing(missing) => panic!("{missing:?}"),
                }
            }
            Self::AnswerFulfillment => {
                let fulfillment = serde_json::from_str(r#"{"type": "NATIONALITY"}"#).unwrap();
                let answer = FulfillmentAnswer::Nationality(vec!["NL".parse().unwrap()]);
                user.onboarding().answer(&fulfillment, &answer).await.map(|()| "ok")
            }
            Self::StartIdentity => Ok(accepted(user.identity().start().await?.acceptance())),
            Self::StartAnotherIdentity => Ok(accepted(user.identity().start_another().await?.acceptance())),
            Self::UploadAttachment => {
                let file = NewAttachment::new([b"GIF89a", ids["body"].as_bytes()].concat());
                user.attachments().upload(file).await.map(|_| "ok")
            }
            Self::DownloadAttachment => {
                let id = ids["attachment_id"].parse().unwrap();
                user.attachments().download(id).await.map(|_| "ok")
            }
            Self::SubmitIdentity => {
                let id = ids["identity_verification_session_id"].parse().unwrap();
                Ok(accepted(user.identity().submit(id).await?.acceptance()))
            }
            Self::LinkDocument => {
                let document = serde_json::from_str(&ids["body"]).unwrap();
                Ok(accepted(user.documents().link(&document).await?.acceptance))
            }
            Self::LinkDocumentAgain => {
                let document = serde_json::from_str(&ids["body"]).unwrap();
                Ok(accepted(user.documents().link_again(&document).await?.acceptance))
            }
            Self::AnswerInquiry => {
                let inquiry = ids["user_information_inquiry_id"].parse().unwrap();
                let entry = ids["user_information_inquiry_entry_id"].parse().unwrap();
                let answer = serde_json::from_str(&ids["body"]).unwrap();
                Ok(accepted(user.inquiries().answer(inquiry, entry, &answer).await?.acceptance()))
            }
        }
    }
}

impl Subject {
    fn of_users() -> impl Iterator<Item = Self> {
        let opening = [&Operation::CREATE_INSTALLATION, &Operation::CREATE_DEVICE_SERVER, &Operation::CREATE_SESSION];
        let resetting = [&Operation::UPDATE_PROVISION, &Operation::CREATE_SESSION];
        let activated = opening.map(Self::Activate).into_iter().chain(resetting.map(Self::Reset));
        activated.chain(UserVerb::ALL.map(Self::OfUser))
    }

    fn below_users() -> impl Iterator<Item = Self> {
        Operation::ALL.iter().map(Self::Operation).chain([Self::Create, Self::Close])
    }

    fn operation(self) -> &'static Operation {
        match self {
            Self::Operation(operation) | Self::Activate(operation) | Self::Reset(operation) => operation,
            Self::Create => &Operation::CREATE_PROVISION,
            Self::Close => &Operation::UPDATE_PROVISION,
            Self::OfUser(verb) => verb.operation(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Operation(operation) | Self::Activate(operation) | Self::Reset(operation) => operation.id,
            Self::Create => "provisions().create",
            Self::Close => "provisions().close",
            Self::OfUser(verb) => verb.name(),
        }
    }

    /// The properties that determine how it is called.
    fn class(self) -> String {
        let operation = match self {
            Self::Operation(operation) => operation,
            Self::OfUser(verb) if verb.may_run_twice() => return "verbs of a user that may send the same twice".into(),
            Self::OfUser(_) => return "verbs of a user that send nothing twice".into(),
            Self::Create | Self::Close => return self.name().into(),
            Self::Activate(_) => return "users().activate".into(),
            Self::Reset(_) => return "users().reset".into(),
        };
        let token = match operation.auth {
            Auth::None => "no token",
            Auth::Installation => "token of the installation",
            Auth::Session => "token of the session",
            _ => panic!("a token without a name: {:?}", operation.auth),
        };
        let repeats = if operation.idempotent { "idempotent" } else { "not idempotent" };
        let body = if operation.has_body { "with a body" } else { "without a body" };
        format!("{token}, {repeats}, {body}")
    }
}

/// One sandbox, for all faults at one subject.
struct Block {
    subject: Subject,
    operation: &'static Operation,
    sandbox: Sandbox,
    client: Client,
    store: MemoryStore,
    /// The user whose session the operation takes, if it takes that of one.
    user: Option<UserClient>,
    custody: MemoryCustody,
    /// Everything that a user might print or log.
    shown: String,
    secrets: BTreeSet<String>,
    /// How many provisions there were before the exchange.
    before: usize,
    /// The ids of the objects in the path of the operation, by the names of its parameters, and its `body` if the document's example
    /// names objects that are not there.
    ids: BTreeMap<&'static str, String>,
    /// How often a verb has called the operation, before it was called again.
    called: Option<usize>,
    /// What keeps a store hanging. What waits for it goes on when its calls were counted.
    held: Option<ContextLock>,
    /// The number of calls that were refused because of the rate limit.
    refused: usize,
    /// The only invalid form of signature that is allowed, if any.
    allowed: Option<ReceivedSignature>,
}

impl Block {
    async fn new(subject: Subject, manner: fn(SandboxBuilder) -> SandboxBuilder) -> Self {
        // The limits refuse nothing, and their windows are short, so that a 429 with a limit in it pauses calls only
        // briefly.
        let wide = |builder: SandboxBuilder, operation| builder.rate_limit(operation, LIMIT, WINDOW);
        let builder = manner(Operation::ALL.iter().fold(Sandbox::builder(), wide));
        let builder = builder.deduplicate(false).one_oauth_client(false).one_identity_session(false);
        let sandbox = builder.fulfillments([]).start().await.unwrap();
        let operation = subject.operation();
        let (client, store, custody) = client(&sandbox);
        Self {
            subject,
            operation,
            sandbox,
            client,
            store,
            user: None,
            custody,
            shown: String::new(),
            secrets: BTreeSet::new(),
            before: 0,
            ids: BTreeMap::new(),
            called: None,
            held: None,
            refused: 0,
            allowed: None,
        }
    }

    async fn cell(&mut self, name: &str, trouble: &Trouble) -> String {
        // A replayed installation belongs to another client, and so does its key. A forgotten one leaves nothing to
        // verify with.
        self.allowed = match (name, self.operation.id) {
            ("replayed", "create_installation") => Some(ReceivedSignature::Invalid),
            ("forgotten", _) => Some(ReceivedSignature::Unchecked),
            _ => None,
        };
        // A client remembers what a refusal of its token led to.
        let is_about_the_session = ["session-lost", "forbidden", "forgotten"].contains(&name);
        let injection = match trouble {
            Trouble::Fault(injection) => injection,
            Trouble::Forgotten | Trouble::Throttled | Trouble::Hanging => {
                let refused = self.refused;
                let outcome = self.outcome(trouble.clone(), true).await;
                self.refused = refused;
                return outcome;
            }
            Trouble::Neighbour => {
                // How often it is refused is random, and so is whether it still delays the call on a busy machine.
                self.refused = 0;
                let outcome = self.outcome(Trouble::Neighbour, false).await;
                // What follows is not refused because of it.
                tokio::time::sleep(2 * WINDOW).await;
                return outcome.rsplit_once(' ').unwrap().0.to_owned();
            }
        };
        let injection = injection.clone().on(self.operation);
        let once = self.outcome(Trouble::Fault(injection.clone()), is_about_the_session).await;
        if name.starts_with("late-arrival") {
            tokio::time::sleep(LATE).await;
            // Which of two closings arrives first is random.
            return once.split([',', ' ']).next().unwrap().to_owned();
        }
        let always = self.outcome(Trouble::Fault(injection.always()), is_about_the_session).await;
        if once == always { once } else { format!("{once} / {always}") }
    }

    /// What the caller gets, and the number of calls of the operation.
    async fn outcome(&mut self, trouble: Trouble, is_about_the_session: bool) -> String {
        if is_about_the_session || self.operation.auth != Auth::Session || self.operation.id == "delete_session" {
            let is_kept = matches!(self.subject, Subject::Operation(_))
                && ["create_session", "delete_session"].contains(&self.operation.id);
            let kept = self.store.stored().filter(|_| is_kept);
            (self.client, self.store, self.custody) = client(&self.sandbox);
            self.user = None;
            if self.allowed == Some(ReceivedSignature::Invalid) {
                // No other client has its key.
                let builder =
                    builder_with(&self.sandbox, &self.store, &self.custody).signing_keys(SigningKey::generate);
                self.client = builder.build().unwrap();
            }
            if let Some(kept) = kept {
                self.store.replace(kept.expose());
                self.without_session().await;
            }
        }
        if let Subject::OfUser(UserVerb::StartOnboarding | UserVerb::StartIdentity) = self.subject {
            // A user has one of each.
            self.user = None;
        }
        let result = self.exchange(trouble).await;
        self.sandbox.clear_injections();
        let journal = self.sandbox.take_call_log();
        self.held = None;
        self.check(&journal).await;
        self.refused += journal.iter().filter(|call| call.status == 429).count();
        let calls = || journal.iter().filter(|call| call.operation == Some(self.operation)).count();
        let calls = self.called.take().unwrap_or_else(calls);
        let calls = if calls > ATTEMPTS as usize + 1 { "many".into() } else { calls.to_string() };
        let outcome = match result {
            Ok(outcome) => outcome.to_string(),
            Err(error) => {
                self.shown += &format!("{error}\n{error:?}\n{error:#?}\n");
                let doubt = if error.is_doubtful() && !self.operation.idempotent { "?" } else { "" };
                format!("{:?}{doubt}", error.kind())
            }
        };
        format!("{outcome} {calls}")
    }

    async fn exchange(&mut self, trouble: Trouble) -> Result<&'static str, Error> {
        // The objects that the operation needs exist before the fault is played.
        self.before = self.sandbox.provision_ids().len();
        let id = self.sandbox.populate(1)[0];
        let is_credential = matches!(self.subject, Subject::Activate(_) | Subject::Reset(_));
        if self.operation.auth == Auth::Session || is_credential {
            self.open_session().await;
            self.api().get_installation().await.unwrap();
            self.ids = self.objects(id).await;
            let journal = self.sandbox.take_call_log();
            self.check(&journal).await;
        }
        let is_to_be_ended = matches!(trouble, Trouble::Fault(_) | Trouble::Throttled);
        match trouble {
            Trouble::Fault(injection) => self.sandbox.inject(injection),
            Trouble::Neighbour => drop(self.sandbox.call_as_neighbour(self.operation, LIMIT)),
            Trouble::Forgotten => self.sandbox.forget_installations(),
            Trouble::Throttled => {
                self.without_session().await;
                let throttled = Fault::RetryAfter(Duration::ZERO);
                self.sandbox.inject(Injection::new(throttled).on(&Operation::CREATE_SESSION).always());
            }
            Trouble::Hanging => {
                self.without_session().await;
                self.held = Some(match (&self.user, self.subject) {
                    (Some(user), _) => self.custody.lock(user.provision_id()).await.unwrap(),
                    (None, Subject::Activate(_)) => self.custody.lock(id).await.unwrap(),
                    (None, _) => self.store.lock().await.unwrap(),
                });
            }
        }
        let provisions = self.client.provisions();
        match (self.subject, self.operation.id) {
            (Subject::Create, _) => {
                let new = new_provision();
                let external_uuid = new.external_uuid;
                let result = provisions.create(new).await;
                self.sandbox.clear_injections();
                let result = match result {
                    Ok(waiter) => Box::pin(waiter.clone().changes()).next().await.unwrap().map(|_| waiter),
                    Err(error) => Err(error),
                };
                let is_of = |id: &ProvisionId| {
                    self.sandbox.provision(*id).unwrap()["external_uuid"] == external_uuid.to_string()
                };
                let created: Vec<_> = self.sandbox.provision_ids().into_iter().filter(is_of).collect();
                assert!(created.len() <= 1, "created twice");
                if let Ok(waiter) = &result {
                    assert_eq!(created, [waiter.id()]);
                    self.shown += &format!("{waiter:?}");
                }
                result.map(|waiter| accepted(waiter.acceptance()))
            }
            (Subject::Close, _) => {
                let result = provisions.close(id).await;
                let status = self.sandbox.provision(id).unwrap()["status"].clone();
                match &result {
                    Ok(_) => assert_ne!(status, "ACTIVE", "said to be closing, but is not"),
                    Err(error) if !error.is_doubtful() => assert_eq!(status, "ACTIVE", "said to have failed: {error}"),
                    Err(_) => {}
                }
                result.map(|waiter| accepted(waiter.acceptance()))
            }
            (Subject::Activate(_), _) => self.bring_into_use(id, is_to_be_ended).await,
            (Subject::Reset(_), _) => {
                self.bring_into_use(self.user.as_ref().unwrap().provision_id(), is_to_be_ended).await
            }
            (Subject::OfUser(verb), _) => self.call_verb(verb).await,
            (Subject::Operation(_), "create_installation" | "create_device_server" | "create_session") => {
                self.client.open_session().await.map(|()| "ok")
            }
            (Subject::Operation(_), "delete_session") => self.client.end_session().await.map(|()| "ok"),
            (Subject::Operation(operation), _) => {
                let parameter = |name: &str| self.ids.get(name).cloned();
                let called = call_with_examples(&self.api(), operation, parameter).await;
                let called =
                    called.unwrap_or_else(|| panic!("say here how the client makes the call {}", operation.id));
                called.map(|shown| {
                    self.shown += &shown;
                    "ok"
                })
            }
        }
    }

    /// Calls a verb of the user. While its outcome is in doubt, it is called again, by the same client and by another process.
    async fn call_verb(&mut self, verb: UserVerb) -> Result<&'static str, Error> {
        let user = self.user.as_ref().unwrap();
        let name = verb.name();
        let result = verb.call(user, &self.ids).await;
        let called = self.calls_of(self.operation).count();
        let done = || self.calls_of(self.operation).filter(|call| call.carried_out).count();
        match &result {
            Ok(_) => assert!(done() > 0, "{name}: said to be done, but is not"),
            // Whether such a request was carried out does not matter.
            Err(error) if !error.is_doubtful() && self.operation.idempotent => {}
            Err(error) if !error.is_doubtful() => {
                tokio::time::sleep(LATE).await;
                assert_eq!(done(), 0, "{name}: said to have failed: {error}");
            }
            Err(error) => {
                self.sandbox.clear_injections();
                for user in [user, &self.restarted()] {
                    let again = verb.again().call(user, &self.ids).await;
                    assert!(again.is_err() || done() > 0, "{name}: {error}, then said to be done, but is not");
                }
                tokio::time::sleep(LATE).await;
            }
        }
        assert!(done() <= 1 || verb.may_run_twice(), "{name}: {result:?}, done {} times", done());
        self.called = Some(called);
        result
    }

    /// Activates or resets a user. One that is to be ended is brought to the end by the next call, or by that of another process with the
    /// same custody: a session that is being opened goes on, and its calls are none of the next cell.
    async fn bring_into_use(&mut self, id: ProvisionId, is_to_be_ended: bool) -> Result<&'static str, Error> {
        let is_reset = matches!(self.subject, Subject::Reset(_));
        let bring = async |client: &Client| match is_reset {
            true => client.users().reset(id).await,
            false => client.users().activate(id).await,
        };
        // A session that bunq does not open for its rate alone is waited for as long as the credential lives.
        let outcome = timeout(3 * CALL, bring(&self.client)).await;
        let is_waiting = outcome.is_err();
        let result = outcome.unwrap_or_else(|_| Err(Error::context("it waits for its session")));
        self.called = Some(self.calls_of(self.operation).count());
        if is_to_be_ended {
            self.sandbox.clear_injections();
            let mut user = result.clone();
            if user.is_err() {
                user = bring(&self.client).await;
            }
            if user.is_err() {
                user = bring(&builder_with(&self.sandbox, &self.store, &self.custody).build().unwrap()).await;
            }
            let name = self.subject.class();
            let user = user.unwrap_or_else(|error| panic!("{name} {result:?}: the user is lost: {error}"));
            // Whatever is late has arrived.
            tokio::time::sleep(LATE).await;
            let resets = self.calls_of(&Operation::UPDATE_PROVISION).filter(|call| call.carried_out).count();
            assert_eq!(resets, usize::from(is_reset), "{name} {result:?}: the number of resets");
            user.api().list_credentials().await.unwrap();
            self.user = Some(user);
            let (kept, shown) = (self.kept_of_user().await.unwrap(), self.sandbox.provision(id).unwrap());
            assert_eq!(kept["credential_id"], shown["credential"]["id"], "{name} {result:?}");
            assert_eq!(shown["credential"]["status"], "ACTIVE", "{name} {result:?}");
            self.secrets.insert(kept["token"].as_str().unwrap().to_owned());
        }
        if is_waiting { Ok("waits") } else { result.map(|_| "ok") }
    }

    /// The calls of an operation since the fault was played.
    fn calls_of(&self, operation: &'static Operation) -> impl Iterator<Item = CallLogEntry> + use<> {
        self.sandbox.call_log().into_iter().filter(move |call| call.operation == Some(operation))
    }

    fn api(&self) -> Api {
        self.user.as_ref().map_or_else(|| self.client.api(), UserClient::api)
    }

    /// Opens the session that the operation takes. A user is new if there is none.
    async fn open_session(&mut self) {
        let is_of_user = matches!(self.subject, Subject::OfUser(_) | Subject::Reset(_));
        if self.operation.session_of != Some(SessionOf::User) && !is_of_user {
            return self.client.open_session().await.unwrap();
        }
        if self.user.is_none() {
            let id = self.sandbox.populate(1)[0];
            let token = &self.sandbox.provision(id).unwrap()["credential"]["token_value"];
            self.secrets.insert(token.as_str().unwrap().to_owned());
            self.user = Some(self.client.users().activate(id).await.unwrap());
        }
        self.user.as_ref().unwrap().open_session().await.unwrap();
    }

    /// The user after a restart.
    fn restarted(&self) -> UserClient {
        let client = builder_with(&self.sandbox, &self.store, &self.custody).build().unwrap();
        client.users().of(self.user.as_ref().unwrap().provision_id())
    }

    /// The ids of the objects that the path of the operation names: each is made with the document's examples, or else is the first
    /// that there is.
    async fn objects(&self, provision: ProvisionId) -> BTreeMap<&'static str, String> {
        let mut ids = BTreeMap::from([("provision_id", provision.to_string())]);
        for name in self.operation.path_parameters() {
            let (collection, _) = self.operation.path.split_once(&format!("/{{{name}}}")).unwrap();
            let kind: String = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
            for method in ["POST", "GET"] {
                let is_source = |source: &&Operation| source.method == method && source.path == collection;
                let Some(source) = Operation::ALL.iter().find(is_source).filter(|_| !ids.contains_key(name)) else {
                    continue;
                };
                let parameter = |name: &str| ids.get(name).cloned();
                let Some(Ok(shown)) = call_with_examples(&self.api(), source, parameter).await else { continue };
                ids.extend(id_in(&shown, &kind).map(|id| (name, id)));
            }
        }
        if let Subject::OfUser(UserVerb::UploadAttachment) = self.subject {
            // Another file each time: the same one is uploaded once.
            ids.insert("body", Uuid::new_v4().to_string());
        }
        if *self.operation == Operation::CREATE_DOCUMENT_IDENTIFICATION {
            let uploaded = call_with_examples(&self.api(), &Operation::CREATE_ATTACHMENT, |_| None).await;
            let id: u64 = id_in(&uploaded.unwrap().unwrap(), "AttachmentId").unwrap().parse().unwrap();
            let document = serde_json::json!({
                "document_type": "CRYPTO_KYC_QUESTIONNAIRE",
                "document_country_of_issuance": "NL",
                "document_attachment_id": id,
            });
            ids.insert("body", document.to_string());
        }
        if self.operation.path_parameters().any(|name| name == "user_information_inquiry_id") {
            self.ask(&mut ids).await;
        }
        if *self.operation == Operation::RETRY_NOTIFICATION_FILTER_FAILURES {
            let api = self.api();
            let filter = r#"{"category": "PARTNER_USER_PROVISION", "notification_target": "https://a.example"}"#;
            let filters = |name: &str| (name == "body").then(|| format!("{{\"notification_filters\": [{filter}]}}"));
            call_with_examples(&api, &Operation::REPLACE_NOTIFICATION_FILTERS, filters).await.unwrap().unwrap();
            assert_eq!(self.sandbox.fail_notification(provision), 1);
            let failures = call_with_examples(&api, &Operation::LIST_NOTIFICATION_FILTER_FAILURES, |_| None).await;
            let failures = failures.unwrap().unwrap();
            let id = id_in(&failures, "NotificationFilterFailureId").unwrap();
            ids.insert("body", serde_json::json!({ "notification_filter_failed_ids": id }).to_string());
        }
        ids
    }

    /// Adds the ids of a new inquiry about the user, and an answer to it.
    async fn ask(&self, ids: &mut BTreeMap<&'static str, String>) {
        let asked = SeedInquiry::new([types::InquiryEntryType::UserPersonSourceOfFund]);
        let user = self.user.as_ref().unwrap();
        let inquiry = self.sandbox.inquire(user.provision_id(), asked).unwrap();
        let inquiry = user.inquiries().get(inquiry).await.unwrap();
        let entry = inquiry.all_entry[0].user_information_inquiry_entry.as_ref().unwrap();
        ids.insert("user_information_inquiry_id", inquiry.id.to_string());
        ids.insert("user_information_inquiry_entry_id", entry.id.to_string());
        ids.insert("body", r#"{"answer": "From my work."}"#.to_owned());
    }

    /// Replaces the client by one after a restart, whose context has no session.
    async fn without_session(&mut self) {
        if let Some(user) = &self.user {
            let id = user.provision_id();
            let entry = self.custody.entry(id).await.unwrap().unwrap();
            let mut kept = self.kept_of_user().await.unwrap();
            kept["context"]["session"] = serde_json::Value::Null;
            let sealed = self.custody.load(id).await.unwrap().unwrap();
            let kept = resealed(sealed.expose(), &kept, &self.sandbox.api_key());
            let lock = self.custody.lock(id).await.unwrap();
            self.custody.save(&lock, entry, kept.into()).await.unwrap();
        } else if let Some(kept) = self.store.stored() {
            let mut kept = unsealed(kept.expose(), &self.sandbox.api_key());
            kept["session"] = serde_json::Value::Null;
            self.store.replace(&kept.to_string());
        }
        self.client = builder_with(&self.sandbox, &self.store, &self.custody).build().unwrap();
        self.user = self.user.as_ref().map(|user| self.client.users().of(user.provision_id()));
    }

    /// What the custody keeps of the user.
    async fn kept_of_user(&self) -> Option<serde_json::Value> {
        let text = self.custody.load(self.user.as_ref()?.provision_id()).await.unwrap()?;
        Some(unsealed(text.expose(), &self.sandbox.api_key()))
    }

    /// Checks all requests, and collects the secrets in them and in their responses.
    async fn check(&mut self, journal: &[CallLogEntry]) {
        let mut request_ids = BTreeSet::new();
        for call in journal {
            let is_replayed =
                self.operation.id == "create_installation" && call.signature == ReceivedSignature::Invalid;
            // A request of a forgotten installation is signed too, but bunq cannot check its signature.
            let signed =
                matches!(call.signature, ReceivedSignature::Valid | ReceivedSignature::Unchecked) || is_replayed;
            assert!(signed || call.bytes.is_empty() || call.path.ends_with("/installation"), "unsigned: {call:?}");
            assert!(request_ids.insert(call.header("x-bunq-client-request-id").unwrap()), "a request id used twice");
            self.secrets.extend(call.header("x-bunq-client-authentication").map(str::to_owned));
        }
        self.secrets.insert(self.sandbox.api_key().expose().to_owned());
        let partners = self.store.stored().map(|kept| unsealed(kept.expose(), &self.sandbox.api_key()));
        let users = self.kept_of_user().await.map(|mut kept| kept["context"].take());
        for kept in [partners, users].into_iter().flatten().filter(|kept: &serde_json::Value| !kept.is_null()) {
            for secret in ["/api_key_fingerprint", "/installation/signing_key", "/installation/token"] {
                self.secrets.insert(kept.pointer(secret).unwrap().as_str().unwrap().to_owned());
            }
        }
        self.collect(self.before);
    }

    /// Collects the secrets of the provisions from this one on.
    fn collect(&mut self, from: usize) {
        for id in self.sandbox.provision_ids().split_off(from) {
            let shown = self.sandbox.provision(id).unwrap();
            let request = &shown["oauth_request"];
            let secrets =
                [&shown["credential"]["token_value"], &request["authorization_code"], &request["redirect_url"]];
            self.secrets.extend(secrets.into_iter().filter_map(|secret| secret.as_str()).map(str::to_owned));
        }
    }
}

/// The first id of a kind in what is shown of a result.
fn id_in(shown: &str, kind: &str) -> Option<String> {
    let (_, id) = shown.split_once(&format!("{kind}("))?;
    Some(id.split(')').next()?.to_owned())
}

fn client(sandbox: &Sandbox) -> (Client, MemoryStore, MemoryCustody) {
    let (store, custody) = (MemoryStore::default(), MemoryCustody::new());
    (builder_with(sandbox, &store, &custody).build().unwrap(), store, custody)
}

fn builder_with(sandbox: &Sandbox, store: &MemoryStore, custody: &MemoryCustody) -> ClientBuilder {
    let retry = RetryPolicy::default().max_attempts(ATTEMPTS).initial_backoff(Duration::ZERO);
    let builder = sandbox.client().retry(retry).attempt_timeout(TRY).operation_timeout(CALL);
    let builder = builder.max_response_size(MAX_ANSWER).max_download_size(MAX_ANSWER);
    let builder = builder.late_arrival(LATE_ARRIVAL);
    builder.context_store(store.clone()).custody(custody.clone())
}

fn accepted(acceptance: Acceptance) -> &'static str {
    match acceptance {
        Acceptance::Accepted => "ok",
        Acceptance::Found => "ok, found",
        Acceptance::Already => "ok, already",
        _ => panic!("{acceptance:?}"),
    }
}

/// Two manners of bunq: unsigned refusals with a 401 for a dead token, and signed refusals with a 403.
const MANNERS: [fn(SandboxBuilder) -> SandboxBuilder; 2] =
    [|builder| builder, |builder| builder.signed_refusals(true).dead_token(DeadToken::InsufficientAuthorisation)];

/// Plays all faults at one subject.
async fn played(subject: Subject, manner: fn(SandboxBuilder) -> SandboxBuilder) -> (Block, Vec<String>) {
    let mut block = Block::new(subject, manner).await;
    let mut cells = Vec::new();
    for (name, trouble) in troubles() {
        cells.push(block.cell(&name, &trouble).await);
    }
    // A provision may have been given a credential after the exchange that it was made for.
    block.collect(0);
    (block, cells)
}

/// Plays all faults at all subjects. Time advances only when every task is idle, so that no outcome depends on the load
/// of the machine.
fn all_played(
    subjects: impl Iterator<Item = Subject>,
    manner: fn(SandboxBuilder) -> SandboxBuilder,
) -> Vec<(Block, Vec<String>)> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(join_all(subjects.map(|subject| played(subject, manner))))
}

#[test]
fn every_fault_at_every_operation() {
    test_timeout::start();
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .init();

    let mut tables = MANNERS.map(|_| Table::new());
    let mut in_the_way = 0;
    let (mut shown, mut secrets) = (String::new(), BTreeSet::from([EMAIL.to_owned()]));
    // What a refusal leads to is decided below the verbs of users: they are played in one manner.
    let playing = [
        (0, std::thread::spawn(|| all_played(Subject::below_users(), MANNERS[0]))),
        (0, std::thread::spawn(|| all_played(Subject::of_users(), MANNERS[0]))),
        (1, std::thread::spawn(|| all_played(Subject::below_users(), MANNERS[1]))),
    ];
    for (manner, blocks) in playing {
        for (block, cells) in blocks.join().unwrap() {
            tables[manner].entry(block.subject.class()).or_default().push((block.subject.name(), cells));
            shown += &block.shown;
            in_the_way += usize::from(block.refused > 0);
            secrets.extend(block.secrets);
        }
    }
    assert!(in_the_way > MANNERS.len(), "the neighbours got in the way of {in_the_way} operations alone");
    let printed = printed(&tables[0]);
    insta::assert_snapshot!("fault_matrix", printed);
    insta::assert_snapshot!("fault_matrix_by_manner", differing(&tables[0], &tables[1]));

    let logged = log.take();
    assert!(logged.contains("bunq_call") && logged.contains("the call is retried"), "nothing was logged");
    assert!(secrets.len() > 100, "only {} secrets were planted", secrets.len());
    // One search for all secrets: there are thousands of them, and tens of megabytes of text.
    let secrets: Vec<_> = secrets.into_iter().collect();
    let any = aho_corasick::AhoCorasick::new(&secrets).unwrap();
    for (text, what) in [(shown, "shown"), (logged, "logged")] {
        let found = any.find(&text).map(|found| &secrets[found.pattern().as_usize()]);
        assert_eq!(found, None, "a secret is {what}");
    }
    println!("{printed}");
}

/// The requests that the test lets bunq refuse.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Create,
    Close,
    Reset,
}

impl Verb {
    async fn call(self, client: &Client, id: ProvisionId, new: NewProvision) -> Result<Acceptance, Error> {
        let provisions = client.provisions();
        let waiter = match self {
            Self::Create => provisions.create(new).await,
            Self::Close => provisions.close(id).await,
            Self::Reset => provisions.reset_token(id).await,
        };
        waiter.map(|waiter| waiter.acceptance())
    }

    fn operations(self) -> (&'static Operation, &'static Operation) {
        match self {
            Self::Create => (&Operation::CREATE_PROVISION, &Operation::LIST_PROVISIONS),
            Self::Close | Self::Reset => (&Operation::UPDATE_PROVISION, &Operation::GET_PROVISION),
        }
    }
}

/// bunq refuses in its envelope, without a signature, a request that it has carried out. Then the checks of the outcome
/// fail, once or always.
#[tokio::test(start_paused = true)]
async fn a_refusal_is_final_only_if_a_check_confirms_it() {
    test_timeout::start();
    const LOOKS: [Fault; 5] =
        [Fault::Status(503), Fault::UnsignedStatus(404), Fault::Truncated, Fault::NotJson, Fault::MissingSignature];
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let (client, ..) = client(&sandbox);
    for verb in [Verb::Create, Verb::Close, Verb::Reset] {
        let (request, look) = verb.operations();
        for status in [400, 401, 403, 404, 405, 429, 466, 490] {
            for fault in LOOKS {
                for is_once in [true, false] {
                    let cell = format!("{verb:?} {status}, {fault:?} {is_once}");
                    let id = sandbox.populate(1)[0];
                    let failing = Injection::new(fault).on(look);
                    let failing = if is_once { failing.times(1) } else { failing.always() };
                    // A reset begins with a read, which must succeed.
                    let failing = if let Verb::Reset = verb { failing.after(1) } else { failing };
                    sandbox.inject(Injection::new(Fault::Status(status)).carried_out(true).on(request));
                    sandbox.inject(failing);
                    let outcome = verb.call(&client, id, new_provision()).await;
                    sandbox.clear_injections();
                    if is_once {
                        assert!(outcome.is_ok(), "{cell}: {outcome:?}");
                        continue;
                    }
                    let error = outcome.unwrap_err();
                    assert!(error.is_doubtful() && error.is_retryable(), "{cell}: {error}");
                    assert_eq!((error.operation(), error.status()), (Some(request), Some(status)), "{cell}: {error}");
                    assert_eq!(error.bunq_messages(), ["The sandbox plays a fault."], "{cell}: {error}");
                }
            }
        }
    }
}

/// The outcomes of each subject, by class.
type Table = BTreeMap<String, Vec<(&'static str, Vec<String>)>>;

/// The differences of a second table from the first.
fn differing(one: &Table, other: &Table) -> String {
    let mut lines = Vec::new();
    for ((name, cells), (_, other)) in one.values().flatten().zip(other.values().flatten()) {
        for (((trouble, _), cell), other) in troubles().into_iter().zip(cells).zip(other) {
            if cell != other {
                lines.push(format!("{name}, {trouble}: {other}"));
            }
        }
    }
    lines.join("\n")
}

/// A block for each class, with a line for each fault. Below it, the subjects that deviate.
fn printed(table: &Table) -> String {
    let block = |(class, subjects): (&String, &Vec<(&'static str, Vec<String>)>)| {
        let names: Vec<_> = subjects.iter().map(|(name, _)| *name).collect();
        let mut lines = vec![if names == [class] { class.clone() } else { format!("{class}: {}", names.join(", ")) }];
        for (index, (trouble, _)) in troubles().into_iter().enumerate() {
            let cells = subjects.iter().map(|(_, cells)| &cells[index]);
            let votes = |cell: &String| cells.clone().filter(|other| *other == cell).count();
            // If several are equally frequent, the first of them.
            let usual = cells.clone().rev().max_by_key(|cell| votes(cell)).unwrap();
            lines.push(format!("  {trouble:<26}{usual}"));
            let deviating = subjects.iter().filter(|(_, cells)| cells[index] != *usual);
            lines.extend(deviating.map(|(name, cells)| format!("    {name:<23} {}", cells[index])));
        }
        lines.join("\n")
    };
    table.iter().map(block).collect::<Vec<_>>().join("\n\n")
}
