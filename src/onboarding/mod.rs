//! The onboarding of a user: started or adopted, asked for the wished statuses, answered what is missing, and waited for.
//!
//! bunq lists onboardings, so a creation in doubt is looked for. It shows what was asked for last, so a request in doubt is looked up.
//! It shows nothing of what was answered: an answer in doubt is sent again when the first one cannot arrive any more, and no other answer
//! is sent before.

mod answer;
mod resource;

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::TryStreamExt as _;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

pub use self::answer::FulfillmentAnswer;
pub use self::resource::OnboardingOutcome;
use crate::api::{Api, RequestPreview};
use crate::custody::{Step, Steps};
use crate::error::{Error, ErrorKind};
use crate::feed::{Acceptance, Feed, Waiter};
use crate::onboarding::resource::OnboardingCondition;
use crate::operation::Operation;
use crate::reconcile::{InDoubt, InFlight, Looked, Reconcile, Reconciled, Requests, VerbConfig};
use crate::transport::call_budget::CallBudget;
use crate::types::{
    ActionRequired, CreateAddressMainRequest, CreateAddressPostalRequest, CreateNationalityRequest,
    CreateTaxResidentRequest, CreateUserOnboardingRequest, Fulfillment, ListUserOnboardingsQuery, PageSize,
    RequestedUserOnboardingType, UpdateUserOnboardingRequest, UserOnboarding, UserOnboardingId, UserOnboardingRefusal,
};

/// Brings a user to the statuses in which it can be served: see [`UserClient::onboarding`](crate::UserClient::onboarding). Cheap to clone.
///
/// ```no_run
/// # async fn example(
/// #     user: bunq_partner::UserClient,
/// #     answer: impl Fn(&bunq_partner::types::Fulfillment) -> Option<bunq_partner::FulfillmentAnswer>,
/// # ) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::types::{RequestedUserStatus, RequestedUserVerificationStatus, UpdateUserOnboardingRequest};
/// use bunq_partner::{OnboardingOutcome, RequestedStatuses, WaitingFor};
///
/// let onboarding = user.onboarding();
/// let id = onboarding.start().await?.id;
/// let statuses = UpdateUserOnboardingRequest::new(RequestedUserStatus::Active, RequestedUserVerificationStatus::Verified);
/// match onboarding.request(id, &statuses).await? {
///     RequestedStatuses::Missing(missing) => {
///         // bunq checks the others.
///         for one in missing.iter().filter(|one| one.waiting_for() == WaitingFor::User) {
///             match answer(one) {
///                 Some(answer) => onboarding.answer(one, &answer).await?,
///                 None => println!("{} is for the user, the identity or a document", one.type_),
///             }
///         }
///         // Then request the statuses again.
///     }
///     RequestedStatuses::Accepted(waiter) => match waiter.await?.outcome() {
///         Some(OnboardingOutcome::Reached) => println!("the user is verified"),
///         other => println!("the user is not verified: {other:?}"),
///     },
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Onboarding {
    api: Api,
    feed: Feed<UserOnboarding>,
    config: VerbConfig,
    steps: Steps,
    in_doubt: InDoubtOnboarding,
}

/// The requests to start and to answer of one user that may still arrive. It is held by the call that starts, asks or answers. Clones
/// share it.
pub(crate) type InDoubtOnboarding = Arc<Mutex<InFlight>>;

/// The onboarding that [`Onboarding::start`] returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnboardingStart {
    /// bunq's id of the onboarding.
    pub id: UserOnboardingId,
    /// Whether it was there [`Already`](Acceptance::Already), or was created.
    pub acceptance: Acceptance,
}

/// What bunq says to the [wished statuses](Onboarding::request).
#[derive(Debug, Clone)]
#[must_use = "bunq may want to know more, or takes its time: answer what is missing, or wait"]
pub enum RequestedStatuses {
    /// bunq wants to know this first: at least one thing.
    ///
    /// Those whose `time_mandatory` is in the future may wait. bunq refuses the request because of the others.
    Missing(Vec<Fulfillment>),
    /// bunq has taken the request, and checks the user.
    Accepted(Waiter<UserOnboarding>),
}

/// What came of the request for the statuses.
enum Answered {
    Taken { response_id: Option<String> },
    Missing(Vec<Fulfillment>),
}

impl Onboarding {
    pub(crate) fn new(
        api: Api,
        feed: Feed<UserOnboarding>,
        config: VerbConfig,
        steps: Steps,
        in_doubt: InDoubtOnboarding,
    ) -> Self {
        Self { api, feed, config, steps, in_doubt }
    }

    /// Sets the longest time of each operation, in place of [`ClientBuilder::operation_timeout`]. A [`Waiter`] has a timeout of its own.
    ///
    /// [`ClientBuilder::operation_timeout`]: crate::ClientBuilder::operation_timeout
    #[must_use]
    pub fn operation_timeout(self, timeout: Duration) -> Self {
        Self { api: self.api.operation_timeout(timeout), ..self }
    }

    /// Returns the onboarding of the user, if there is one: of several the newest that goes on, or else the newest.
    ///
    /// # Errors
    ///
    /// See [`ErrorKind`].
    pub async fn find(&self) -> Result<Option<UserOnboarding>, Error> {
        self.listed(self.api.budget()).await
    }

    /// Reads an onboarding.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) if the user has no such onboarding.
    pub async fn get(&self, id: UserOnboardingId) -> Result<UserOnboarding, Error> {
        self.feed.over(self.api.clone()).read(id).await
    }

    /// Returns the onboarding that there is, or starts one.
    ///
    /// It lists the onboardings first, and adopts the [one found](Self::find), also one that is over. If a request fails, it lists them again
    /// before it sends another, [for a while](crate::ClientBuilder::late_arrival) if the first may still arrive. What is in doubt is
    /// remembered in the [custody](crate::Custody): a call after a crash waits and looks before it sends anything, and so does a call of
    /// another process with the same custody. Concurrent calls of one client start one. If bunq neither lists nor knows the one that was
    /// started before, another is started after the same wait.
    ///
    /// # Errors
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown. To call this again does no harm.
    pub async fn start(&self) -> Result<OnboardingStart, Error> {
        let budget = self.api.budget();
        let mut in_flight = self.lock(budget).await?;
        let found = self.listed(budget).await.map_err(Error::before_sending)?;
        if let Some(UserOnboarding { id, .. }) = found {
            return Ok(OnboardingStart { id, acceptance: Acceptance::Already });
        }
        let (operation, new) = (&Operation::CREATE_USER_ONBOARDING, new_onboarding());
        match self.steps.begin(operation, &new).await? {
            Step::New => {}
            // Nobody knows when it was sent: clocks can be set. So it gets its whole time.
            Step::InDoubt { .. } => {
                *in_flight = in_flight.and(InFlight::until(Instant::now() + self.config.late_arrival));
            }
            Step::Done { id } => {
                if let Some(id) = self.created_before(id, budget).await? {
                    return Ok(OnboardingStart { id, acceptance: Acceptance::Already });
                }
                self.steps.begin_again(operation, &new).await?;
                // bunq may not show it yet.
                *in_flight = in_flight.and(InFlight::until(Instant::now() + self.config.late_arrival));
            }
        }
        if in_flight.is_any() {
            in_flight.over_within(budget).await?;
            let found = self.listed(budget).await.map_err(Error::before_sending)?;
            if let Some(UserOnboarding { id, .. }) = found {
                self.steps.settled(operation, &new, Some(id.get())).await;
                return Ok(OnboardingStart { id, acceptance: Acceptance::Found });
            }
            *in_flight = InFlight::NONE;
        }
        let mut requests = Requests::new(&mut in_flight, self.config.late_arrival);
        let api = self.api.until(budget);
        let send = |reuse| {
            let (api, new) = (api.over(reuse), &new);
            async move { Ok(api.create_user_onboarding(new).await?.into_inner()) }
        };
        let check = || async { Ok(self.listed(self.api.check_by(budget)).await?.map(|found| found.id)) };
        let reconcile = self.reconcile(operation, budget, InDoubt::RepeatAfterLateArrival, requests.in_flight());
        let outcome = reconcile.until_known(send, check).await;
        requests.are_known();
        match outcome {
            Ok(Reconciled { done: id, acceptance, .. }) => {
                self.steps.settled(operation, &new, Some(id.get())).await;
                Ok(OnboardingStart { id, acceptance })
            }
            Err(error) if error.is_doubtful() => Err(error),
            Err(error) => Err(self.steps.refused(operation, &new, Step::New, error).await),
        }
    }

    /// Asks bunq for statuses of the user. While something is missing, bunq refuses, and lists it: the list is the result. Otherwise the
    /// result is a waiter for the end of the onboarding.
    ///
    /// Only a refusal of bunq's own in which each message has a list that can be read, and that is not empty, is a list of what is missing;
    /// kinds that this version does not know are on it. Every other refusal is an error, also one that has another message beside the
    /// list. If the request fails, it reads the onboarding before it sends the request again or fails: if the statuses were asked for and
    /// it is not the user's turn, bunq has taken them. After a failure in doubt it does so when the request cannot
    /// [arrive any more](crate::ClientBuilder::late_arrival).
    ///
    /// The custody keeps that the request is about to be sent, and that bunq has taken it: a later call, also after a crash, begins with
    /// that look, and sends nothing if bunq has taken the same statuses.
    ///
    /// # Errors
    ///
    /// If the error [is doubtful](Error::is_doubtful), the outcome of the request is unknown. To ask again does no harm.
    pub async fn request(
        &self,
        id: UserOnboardingId,
        statuses: &UpdateUserOnboardingRequest,
    ) -> Result<RequestedStatuses, Error> {
        let budget = self.api.budget();
        let _alone = self.lock(budget).await?;
        let send = |api: Api| async move {
            match api.update_user_onboarding(id, statuses).await {
                Ok(response) => Ok(Answered::Taken { response_id: response.response_id().map(str::to_owned) }),
                Err(refusal) => missing(&refusal).map(Answered::Missing).ok_or(refusal),
            }
        };
        let look = |api: Api| async move {
            let seen = self.feed.over(api).read(id).await?;
            Ok(has_taken(&seen, statuses).then_some(Answered::Taken { response_id: None }))
        };
        let looked = Looked {
            api: &self.api,
            steps: &self.steps,
            config: self.config,
            budget,
            operation: &Operation::UPDATE_USER_ONBOARDING,
            request: &(id, statuses),
            id: id.get(),
            // What the onboarding shows may be of a request that bunq has refused.
            looks_first: false,
        };
        let has_changed = |answered: &Answered| matches!(answered, Answered::Taken { .. });
        let Reconciled { done, acceptance, .. } = looked.send(send, look, has_changed).await?;
        Ok(match done {
            Answered::Missing(missing) => RequestedStatuses::Missing(missing),
            Answered::Taken { response_id } => {
                RequestedStatuses::Accepted(self.waiter(id, acceptance).accepted_in(response_id))
            }
        })
    }

    /// Answers something that is missing. The answer replaces the one before, and bunq takes its time to check it: whether it is still
    /// missing, another [request](Self::request) tells.
    ///
    /// bunq shows nothing of what was answered. If the outcome is in doubt, the answer is sent again when the first one cannot arrive any
    /// more, which sets the same again. Until then no other answer of the user is sent with this client or its clones: it could be undone by
    /// the first one. After a crash, wait for some seconds before you give another answer of the same kind.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput), before anything is sent, if no call answers the fulfilment, if the answer is not one to it,
    /// or says what cannot be, such as a date of birth in the future. If the error [is doubtful](Error::is_doubtful), the outcome is
    /// unknown: the same answer again does no harm.
    pub async fn answer(&self, fulfillment: &Fulfillment, answer: &FulfillmentAnswer) -> Result<(), Error> {
        answer.check(fulfillment)?;
        let budget = self.api.budget();
        let mut in_flight = self.lock(budget).await?;
        in_flight.over_within(budget).await?;
        *in_flight = InFlight::NONE;
        let mut requests = Requests::new(&mut in_flight, self.config.late_arrival);
        let api = self.api.until(budget);
        let send = |reuse| give(api.over(reuse), answer);
        let reconcile =
            self.reconcile(answer.operation(), budget, InDoubt::RepeatAfterLateArrival, requests.in_flight());
        let outcome = reconcile.until_known(send, || ready(Ok(None))).await;
        requests.are_known();
        outcome.map(|given| given.done)
    }

    /// Returns the request with which [`start`](Self::start) starts an onboarding, to be looked at. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`Internal`](ErrorKind::Internal) if it cannot be built.
    pub fn preview_start(&self) -> Result<RequestPreview, Error> {
        self.api.preview_of(|api| async move { api.create_user_onboarding(&new_onboarding()).await })
    }

    /// Returns the request that [`request`](Self::request) sends, to be looked at. Nothing is sent. `{user_onboarding_id}` in its
    /// URL stands for the onboarding.
    ///
    /// # Errors
    ///
    /// [`Internal`](ErrorKind::Internal) if it cannot be built.
    pub fn preview_request(&self, statuses: &UpdateUserOnboardingRequest) -> Result<RequestPreview, Error> {
        let any = UserOnboardingId::try_from(1_u64)?;
        let mut preview = self.api.preview_of(|api| async move { api.update_user_onboarding(any, statuses).await })?;
        let end = preview.url.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        preview.url.replace_range(end.., "{user_onboarding_id}");
        Ok(preview)
    }

    /// Returns the request that [`answer`](Self::answer) sends, to be looked at. Nothing is sent.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the answer says what cannot be.
    pub fn preview_answer(&self, answer: &FulfillmentAnswer) -> Result<RequestPreview, Error> {
        answer.validate()?;
        self.api.preview_of(|api| give(api, answer))
    }

    /// Waits for the end of an onboarding, without asking for anything. The wait ends with any
    /// [outcome](UserOnboarding::outcome), also if bunq denies the user; [`waiting_for`](UserOnboarding::waiting_for) of what its
    /// [changes](Waiter::changes) show says whose turn it is.
    pub fn wait_until_over(&self, id: UserOnboardingId) -> Waiter<UserOnboarding> {
        self.waiter(id, Acceptance::NotRequested)
    }

    fn waiter(&self, id: UserOnboardingId, acceptance: Acceptance) -> Waiter<UserOnboarding> {
        Waiter::new(self.feed.clone(), id, OnboardingCondition, acceptance, self.config.poll_interval)
    }

    fn reconcile<'a>(
        &self,
        operation: &Operation,
        budget: CallBudget,
        in_doubt: InDoubt,
        in_flight: &'a mut InFlight,
    ) -> Reconcile<'a> {
        let VerbConfig { poll_interval, late_arrival } = self.config;
        let policy = self.api.transport().policy(operation);
        Reconcile { policy, budget, poll_interval, late_arrival, in_doubt, in_flight }
    }

    async fn lock(&self, budget: CallBudget) -> Result<MutexGuard<'_, InFlight>, Error> {
        let problem = "another call works at the onboarding of this user, and takes longer than this one may";
        budget.lock(&self.in_doubt, problem).await
    }

    /// The newest onboarding that goes on, or else the newest.
    async fn listed(&self, budget: CallBudget) -> Result<Option<UserOnboarding>, Error> {
        let query = ListUserOnboardingsQuery::default().count(PageSize::MAX);
        let api = self.api.until(budget);
        let (mut all, mut newest) = (pin!(api.list_user_onboardings_stream(query)), None);
        while let Some(onboarding) = all.try_next().await? {
            if onboarding.outcome().is_none() {
                return Ok(Some(onboarding));
            }
            newest.get_or_insert(onboarding);
        }
        Ok(newest)
    }

    /// The onboarding that was created before, which bunq does not list; `None` if bunq does not know it.
    async fn created_before(&self, id: u64, budget: CallBudget) -> Result<Option<UserOnboardingId>, Error> {
        let kept = UserOnboardingId::try_from(id)
            .map_err(|error| Error::context(format_args!("the onboarding in the custody of this user: {error}")))?;
        match self.feed.over(self.api.until(budget)).read(kept).await {
            Ok(UserOnboarding { id, .. }) => Ok(Some(id)),
            Err(error) if error.is_gone() => Ok(None),
            Err(error) => Err(error.before_sending()),
        }
    }
}

fn new_onboarding() -> CreateUserOnboardingRequest {
    CreateUserOnboardingRequest::new(RequestedUserOnboardingType::PartnerUser)
}

/// What a refusal says is missing; `None`: it has another reason, also beside a list, or its list cannot be read.
fn missing(refusal: &Error) -> Option<Vec<Fulfillment>> {
    // bunq does not say which status such a refusal has. The other kinds mean something else.
    if !refusal.is_from_bunq() || !matches!(refusal.kind(), ErrorKind::Rejected | ErrorKind::Forbidden) {
        return None;
    }
    let mut missing = Vec::new();
    for message in refusal.details_by_message::<UserOnboardingRefusal>().ok()? {
        let listed = missing.len();
        missing.extend(message.into_iter().flat_map(|detail| match detail {
            UserOnboardingRefusal::AdditionalFulfillmentParameter(list) => list.all_fulfillment,
            UserOnboardingRefusal::Unknown(_) => Vec::new(),
        }));
        if missing.len() == listed {
            return None;
        }
    }
    (!missing.is_empty()).then_some(missing)
}

/// Whether these statuses were asked for, and nothing more is asked of the user.
fn has_taken(seen: &UserOnboarding, statuses: &UpdateUserOnboardingRequest) -> bool {
    let (status, verification) = (&seen.user_status_desired, &seen.user_verification_status_desired);
    status.as_ref().is_some_and(|status| status.as_str() == statuses.user_status_desired.as_str())
        && verification
            .as_ref()
            .is_some_and(|verification| verification.as_str() == statuses.user_verification_status_desired.as_str())
        && seen.action_required != Some(ActionRequired::User)
}

/// Makes the call of an answer.
async fn give(api: Api, answer: &FulfillmentAnswer) -> Result<(), Error> {
    match answer {
        FulfillmentAnswer::AddressMain(address) => {
            api.create_address_main(&CreateAddressMainRequest::new(address.clone())).await.map(drop)
        }
        FulfillmentAnswer::AddressPostal(address) => {
            api.create_address_postal(&CreateAddressPostalRequest::new(address.clone())).await.map(drop)
        }
        FulfillmentAnswer::Person(person) => api.update_user_person(person).await.map(drop),
        FulfillmentAnswer::TaxResident(residences) => {
            api.create_tax_resident(&CreateTaxResidentRequest::new(residences.clone())).await.map(drop)
        }
        FulfillmentAnswer::Nationality(countries) => {
            api.create_nationality(&CreateNationalityRequest::new(countries.clone())).await.map(drop)
        }
    }
}
