//! `onboard`: brings a user to the statuses in which it can be served. It can be repeated at any time, and goes on where it was.

mod answers;
mod asking;
mod shown;

use std::io;
use std::path::Path;
use std::time::Duration;

use bunq_partner::types::{
    CreateUserOnboardingRequest, Fulfillment, FulfillmentType, IdentityVerificationSessionId,
    RequestedUserOnboardingType, RequestedUserStatus, RequestedUserVerificationStatus, UpdateUserOnboardingRequest,
    UserOnboarding,
};
use bunq_partner::{
    Error, ErrorKind, FulfillmentAnswer, IdentityOutcome, OnboardingOutcome, Operation, RequestedStatuses, UserClient,
    WaitingFor, files,
};
use tokio::time::{Instant, sleep};

use self::answers::Answers;
use self::shown::{Progress, change, is_requested};
use super::arguments::{OnboardOptions, OutputFormat};
use super::columns::View;
use super::download;
use super::exit::{Failure, after_output};
use super::interrupt::blocking;
use super::invocation::Invocation;
use super::output::Printer;
use super::progress;
use super::provisions::show_previews;
use super::questions;

/// How long to wait before bunq is asked again, while it checks what it was given.
const PAUSE: Duration = Duration::from_secs(5);

/// Where answers come from.
enum Source {
    File(Answers),
    Person,
    Nobody,
}

impl Source {
    async fn answer(&mut self, fulfillment: &Fulfillment) -> Result<Option<FulfillmentAnswer>, Failure> {
        match self {
            Self::File(answers) => Ok(answers.take(&fulfillment.type_)),
            Self::Person => asking::ask(fulfillment).await,
            Self::Nobody => Ok(None),
        }
    }
}

/// The onboarding of one user, and what has come of it.
struct Onboard<'a> {
    invocation: &'a Invocation,
    options: &'a OnboardOptions,
    user: UserClient,
    source: Source,
    progress: Progress,
    /// What has no answer is not asked for again.
    left_out: Vec<FulfillmentType>,
    deadline: Instant,
}

pub(super) fn columns() -> Vec<&'static str> {
    Progress::columns()
}

pub(super) async fn run(invocation: &Invocation, options: &OnboardOptions) -> Result<(), Failure> {
    let source = match &options.from {
        Some(path) => Source::File(Answers::read(path).await?),
        None if questions::is_attended() => Source::Person,
        None => Source::Nobody,
    };
    if options.dry_run.dry_run {
        return rehearse(invocation, options, &source);
    }
    if let Some(path) = &options.identity_token_file {
        download::check_file(path).map_err(|error| token_file(path, &error, Failure::usage))?;
    }
    let user = invocation.user(options.id)?;
    let progress = Progress { id: Some(options.id), ..Progress::default() };
    let (left_out, deadline) = (Vec::new(), Instant::now() + options.waiting.timeout);
    let mut onboard = Onboard { invocation, options, user, source, progress, left_out, deadline };
    let outcome = onboard.bring().await;
    let written =
        if onboard.progress.seen.is_some() || onboard.progress.identity.is_some() { onboard.write() } else { Ok(()) };
    after_output(outcome, written)
}

/// Shows the requests with which a file would be answered.
fn rehearse(invocation: &Invocation, options: &OnboardOptions, source: &Source) -> Result<(), Failure> {
    let user = invocation.user(options.id)?;
    let start = serde_json::to_value(CreateUserOnboardingRequest::new(RequestedUserOnboardingType::PartnerUser));
    let start = start.map_err(|error| Failure::local("the request", &error.into()))?;
    let mut previews = vec![user.api().preview(&Operation::CREATE_USER_ONBOARDING, &[], &start)?];
    if let Source::File(answers) = source {
        for answer in &answers.given {
            previews.push(user.onboarding().preview_answer(answer)?);
        }
        if let Some(document) = &answers.document {
            previews.push(user.documents().preview_link(document)?);
        }
    }
    show_previews(invocation.format(), &previews)
}

fn token_file(path: &Path, error: &io::Error, failure: impl Fn(String) -> Failure) -> Failure {
    failure(format!("--identity-token-file {}: {error}", path.display()))
}

fn statuses() -> UpdateUserOnboardingRequest {
    UpdateUserOnboardingRequest::new(RequestedUserStatus::Active, RequestedUserVerificationStatus::Verified)
}

impl Onboard<'_> {
    async fn bring(&mut self) -> Result<(), Failure> {
        let onboarding = self.user.onboarding();
        let id = match onboarding.find().await? {
            Some(seen) => seen.id,
            None => onboarding.start().await.map_err(|error| self.goes_on(error))?.id,
        };
        let seen = onboarding.get(id).await?;
        self.progress.seen = Some(seen.clone());
        let is_over = seen.outcome().is_some();
        if !is_over {
            self.prove_identity().await?;
        } else if self.options.identity_token_file.is_some() || self.options.submit_identity.is_some() {
            self.invocation.note("the onboarding is over: nothing was done about the identity");
        }
        if let Source::File(Answers { document: Some(document), .. }) = &self.source {
            let hint = "bunq cannot be asked for it: leave identity_document out, or upload the files again and give the new ids";
            self.user.documents().link(document).await.map_err(|error| doubted(error, hint))?;
        }
        if is_over {
            return self.end(&seen);
        }
        let waiter =
            if is_requested(Some(&seen)) { onboarding.wait_until_over(id) } else { self.request(&seen).await? };
        let seen = match self.options.waiting.wait {
            true => {
                let seen = progress::wait(waiter.timeout(self.time_left()), change).await;
                seen.map_err(|error| self.goes_on(error))?
            }
            false => onboarding.get(id).await?,
        };
        self.progress.seen = Some(seen.clone());
        self.end(&seen)
    }

    /// Requests the statuses, and answers what is missing, until bunq takes the request or nothing more can be answered.
    async fn request(&mut self, seen: &UserOnboarding) -> Result<bunq_partner::Waiter<UserOnboarding>, Failure> {
        let onboarding = self.user.onboarding();
        loop {
            match onboarding.request(seen.id, &statuses()).await.map_err(|error| self.goes_on(error))? {
                RequestedStatuses::Accepted(waiter) => {
                    self.progress.missing.clear();
                    return Ok(waiter);
                }
                RequestedStatuses::Missing(missing) => self.progress.missing = missing,
            }
            if self.answer().await? {
                continue;
            }
            let is_bunqs_turn = self.progress.turn() == Some(WaitingFor::Bunq);
            if !(is_bunqs_turn && self.options.waiting.wait) {
                return Err(self.missing());
            }
            let pause = PAUSE / self.invocation.connection.rehearse;
            if self.time_left() < pause {
                return Err(self.missing());
            }
            sleep(pause).await;
        }
    }

    /// Answers what the user has to answer; returns whether anything was.
    async fn answer(&mut self) -> Result<bool, Failure> {
        let mut has_answered = false;
        for fulfillment in self.progress.missing.clone() {
            let kind = &fulfillment.type_;
            let is_settled = self.progress.answered.contains(kind) || self.left_out.contains(kind);
            if is_settled || fulfillment.waiting_for() == WaitingFor::Bunq {
                continue;
            }
            match self.source.answer(&fulfillment).await? {
                Some(answer) => {
                    let answered = self.user.onboarding().answer(&fulfillment, &answer).await;
                    answered.map_err(|error| self.goes_on(error))?;
                    self.progress.answered.push(kind.clone());
                    has_answered = true;
                }
                None => self.left_out.push(kind.clone()),
            }
        }
        Ok(has_answered)
    }

    /// Starts or submits the session in which the user proves who it is, if that is wanted.
    async fn prove_identity(&mut self) -> Result<(), Failure> {
        let identity = self.user.identity();
        if let Some(path) = &self.options.identity_token_file {
            let hint = "bunq cannot be asked for it: --another starts a session all the same";
            let mut started = match self.options.another {
                true => identity.start_another().await,
                false => identity.start().await,
            };
            if let Ok(first) = &started
                && let Some(IdentityOutcome::NotApproved { .. }) = first.session().outcome()
            {
                started = identity.start_another().await;
            }
            let mut started = started.map_err(|error| doubted(error, hint))?;
            self.progress.identity = Some(started.id());
            let Some(token) = started.take_token() else {
                self.progress.identity_session = Some(started.session().clone());
                self.invocation
                    .note("bunq shows no token of the identity session: it was submitted, or has its result");
                return Ok(());
            };
            let file = path.clone();
            let written = blocking(move || files::create_whole(&file, token.expose().as_bytes())).await;
            written.map_err(|error| {
                token_file(path, &error, |problem| Failure::of_kind(ErrorKind::Internal, problem))
                    .with_hint("the session is there: run this again with another file")
            })?;
            self.progress.identity_session = Some(started.session().clone());
        }
        if let Some(id) = self.options.submit_identity {
            self.submit(id).await?;
        }
        Ok(())
    }

    async fn submit(&mut self, id: IdentityVerificationSessionId) -> Result<(), Failure> {
        self.progress.identity = Some(id);
        let waiter = self.user.identity().submit(id).await.map_err(|error| self.goes_on(error))?;
        if !self.options.waiting.wait {
            return Ok(());
        }
        let shown = |time: &str, session: &bunq_partner::types::IdentityVerificationSession| {
            format!("{time}  identity session {}  {}", session.id, session.status)
        };
        let session = progress::wait(waiter.timeout(self.time_left()), shown).await;
        let session = session.map_err(|error| self.goes_on(error))?;
        let outcome = session.outcome();
        self.progress.identity_session = Some(session);
        match outcome {
            Some(IdentityOutcome::NotApproved { result, reasons }) => {
                let reasons = if reasons.is_empty() { "bunq gives no reason".to_owned() } else { reasons.join(", ") };
                let problem = format!("bunq does not know who the user is: {result} ({reasons})");
                let hint = "--identity-token-file FILE starts another session";
                Err(Failure::of_kind(ErrorKind::Unattainable, problem).with_hint(hint))
            }
            _ => Ok(()),
        }
    }

    fn end(&self, seen: &UserOnboarding) -> Result<(), Failure> {
        match seen.outcome() {
            Some(OnboardingOutcome::Denied(status)) => {
                let problem = format!("bunq does not take the user: the onboarding has ended with {status}");
                Err(Failure::of_kind(ErrorKind::Unattainable, problem).with_hint("bunq says no more: ask its support"))
            }
            _ => Ok(()),
        }
    }

    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The failure of a user of whom something is missing.
    fn missing(&self) -> Failure {
        let kinds: Vec<_> = self.progress.missing.iter().map(|one| one.type_.as_str()).collect();
        match self.progress.turn() {
            Some(WaitingFor::Bunq) => Failure::missing(format!("bunq still checks {}", kinds.join(", ")))
                .with_hint("run this again later, or with --wait"),
            _ => Failure::missing(format!("bunq wants to know more of the user: {}", kinds.join(", ")))
                .with_hint("`answered_with` names the member of --from FILE that answers; the rest is for the user"),
        }
    }

    /// The failure of a call that may be made again, by the same command.
    fn goes_on(&self, error: Error) -> Failure {
        let passes = error.is_doubtful() || error.kind() == ErrorKind::WaitTimeout;
        let failure = Failure::from(error);
        match passes {
            true => failure.with_hint(format!("`bunq-partner onboard {}` looks, and goes on", self.options.id)),
            false => failure,
        }
    }

    fn write(&self) -> Result<(), Failure> {
        self.invocation.printer().single(self.progress.record())?;
        if let Source::File(Answers { given, .. }) = &self.source
            && !given.is_empty()
        {
            let members: Vec<_> = given.iter().filter_map(|answer| answers::member(&answer.kind())).collect();
            self.invocation.note(&format!("bunq does not ask for {}: not sent", members.join(", ")));
        }
        if self.invocation.format() != OutputFormat::Table || self.progress.missing.is_empty() {
            return Ok(());
        }
        let columns = Progress::fulfillment_columns();
        let view = View { columns, is_chosen: false, ..self.invocation.view.clone() };
        let mut printer = Printer::new(view);
        for record in self.progress.fulfillments() {
            printer.add(record)?;
        }
        Ok(printer.finish()?)
    }
}

/// The failure of a request that is not sent again while its outcome is not known.
fn doubted(error: Error, hint: &str) -> Failure {
    let is_doubtful = error.is_doubtful();
    let failure = Failure::from(error);
    if is_doubtful { failure.with_hint(hint) } else { failure }
}
