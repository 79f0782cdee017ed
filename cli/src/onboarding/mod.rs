//! `onboard`: brings a user to the statuses in which it can be served. It can be repeated at any time, and goes on where it was.

mod answers;
mod asking;
mod giving;
mod identity;
mod rehearsal;
mod run;
mod shown;

use std::time::Duration;

use bunq_partner::types::{UserOnboarding, UserOnboardingId};
use bunq_partner::{ErrorKind, FulfillmentAnswer, OnboardingOutcome, RequestedStatuses, Waiter, WaitingFor};
use tokio::time::{Instant, sleep};

use self::answers::Answers;
use self::giving::{GOES_ON, Given, Giving};
use self::identity::token_file;
use self::rehearsal::rehearse;
use self::run::{Onboard, Source, statuses};
use self::shown::{Progress, change, is_requested};
use super::arguments::{OnboardOptions, OutputFormat};
use super::columns::View;
use super::download;
use super::exit::{Failure, after_output};
use super::interrupt::{listen, until_interrupted};
use super::invocation::Invocation;
use super::output::Printer;
use super::progress;
use super::questions;

/// How long to wait before bunq is asked again, while it checks what it was given.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) fn columns() -> Vec<&'static str> {
    Progress::columns()
}

pub(super) async fn run(invocation: &Invocation, options: &OnboardOptions) -> Result<(), Failure> {
    let source = match &options.from {
        Some(path) => Source::File(until_interrupted(None, Answers::read(path)).await?),
        None if questions::is_attended() => Source::Person,
        None => Source::Nobody,
    };
    if let Some(path) = &options.identity_token_file {
        download::check_file(path).map_err(|error| token_file(path, &error, Failure::usage))?;
    }
    if options.dry_run.dry_run {
        return rehearse(invocation, options, &source);
    }
    let user = invocation.user(options.id)?;
    let progress =
        Progress { id: Some(options.id), shows_personal: options.personal.show_personal, ..Progress::default() };
    let (left_out, deadline) = (Vec::new(), Instant::now() + options.waiting.timeout);
    let giving = &Giving::default();
    let mut onboard = Onboard { invocation, options, user, source, progress, giving, left_out, deadline };
    let first = listen()?;
    let outcome = tokio::select! {
        biased;
        done = onboard.bring() => done,
        interrupted = giving.interrupted(invocation, first) => interrupted,
    };
    let outcome = outcome.map_err(|failure| match failure.is_interruption() {
        true => Failure::interrupted(Some(format!("{}; {GOES_ON}", giving.outcome()))),
        false => failure,
    });
    let written =
        if onboard.progress.seen.is_some() || onboard.progress.identity.is_some() { onboard.write() } else { Ok(()) };
    after_output(outcome, written)
}

impl Onboard<'_> {
    async fn bring(&mut self) -> Result<(), Failure> {
        let onboarding = self.user.onboarding();
        let id = match onboarding.find().await? {
            Some(seen) => seen.id,
            None => {
                let started = self.giving.give(Given::Onboarding, onboarding.start()).await;
                started.map_err(|error| self.goes_on(error))?.id
            }
        };
        let seen = onboarding.get(id).await?;
        self.progress.seen = Some(seen.clone());
        if seen.outcome().is_some() {
            if self.has_more_to_give() {
                self.invocation.note("the onboarding is over: nothing was done about the identity and the document");
            }
            return self.end(&seen);
        }
        let taken = match is_requested(Some(&seen)) {
            true => Some(onboarding.wait_until_over(id)),
            false => self.request(id).await?,
        };
        // As soon as nothing mandatory is missing, bunq lists no more what it would like to know. So the answers come first.
        let has_answered = taken.is_none() && self.answer().await?;
        let has_proven = match self.prove_identity().await {
            // What is missing is known from before the result.
            Err(failure) if taken.is_none() && self.progress.identity_session.is_some() => {
                // The result is what the command ends with.
                let _ = self.request(id).await;
                return Err(failure);
            }
            proven => proven?,
        };
        let has_linked = self.link_document().await?;
        let waiter = match taken {
            Some(waiter) => waiter,
            None => self.until_taken(id, has_answered || has_proven || has_linked).await?,
        };
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

    /// Requests the statuses. While something is missing bunq does not take the request, and what is missing is known then.
    async fn request(&mut self, id: UserOnboardingId) -> Result<Option<Waiter<UserOnboarding>>, Failure> {
        let onboarding = self.user.onboarding();
        let requested = self.giving.give(Given::Statuses, onboarding.request(id, &statuses())).await;
        match requested.map_err(|error| self.goes_on(error))? {
            RequestedStatuses::Accepted(waiter) => {
                self.progress.is_asked = true;
                self.progress.missing.clear();
                Ok(Some(waiter))
            }
            RequestedStatuses::Missing(missing) => {
                self.giving.refused();
                self.progress.is_asked = true;
                self.progress.missing = missing;
                Ok(None)
            }
        }
    }

    /// Requests the statuses again, until bunq takes the request or nothing more can be given.
    async fn until_taken(
        &mut self,
        id: UserOnboardingId,
        mut has_given: bool,
    ) -> Result<Waiter<UserOnboarding>, Failure> {
        loop {
            if !has_given {
                let is_bunqs_turn = self.progress.turn() == Some(WaitingFor::Bunq);
                let pause = PAUSE / self.invocation.connection.rehearse;
                if !(is_bunqs_turn && self.options.waiting.wait) || self.time_left() < pause {
                    return Err(self.missing());
                }
                self.go_on()?;
                sleep(pause).await;
            }
            if let Some(waiter) = self.request(id).await? {
                return Ok(waiter);
            }
            has_given = self.answer().await?;
        }
    }

    /// Answers what the user has to answer; returns whether anything was.
    async fn answer(&mut self) -> Result<bool, Failure> {
        let mut has_answered = false;
        for fulfillment in self.progress.missing.clone() {
            let kind = &fulfillment.type_;
            let is_settled = self.progress.answered.contains(kind) || self.left_out.contains(kind);
            if is_settled || matches!(fulfillment.waiting_for(), WaitingFor::Bunq | WaitingFor::Nobody) {
                continue;
            }
            self.go_on()?;
            match self.source.answer(&fulfillment).await? {
                Some(answer) => {
                    let onboarding = self.user.onboarding();
                    let call = onboarding.answer(&fulfillment, &answer);
                    let answered = self.giving.give(Given::Answer(kind.clone()), call).await;
                    answered.map_err(|error| self.goes_on(error))?;
                    self.progress.answered.push(kind.clone());
                    has_answered = true;
                }
                None => self.left_out.push(kind.clone()),
            }
        }
        Ok(has_answered)
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

    /// The failure of a user of whom something is missing: only those things are named whose turn it is.
    fn missing(&self) -> Failure {
        let is_bunqs_turn = self.progress.turn() == Some(WaitingFor::Bunq);
        let all = self.progress.missing.iter();
        let of_turn = all.filter(|one| (self.progress.turn_of(one) == WaitingFor::Bunq) == is_bunqs_turn);
        let (answerable, others): (Vec<_>, Vec<_>) = of_turn.partition(|one| one.is_answerable());
        let kinds: Vec<_> = answerable.iter().chain(&others).map(|one| one.type_.as_str()).collect();
        let kinds = kinds.join(", ");
        if is_bunqs_turn {
            let hint = match self.options.waiting.wait {
                true => "run this again later, or with a longer --timeout",
                false => "run this again later, or with --wait",
            };
            return Failure::missing(format!("bunq still checks {kinds}")).with_hint(hint);
        }
        let answers = "`answered_with` names the member of --from FILE that answers";
        let rest = match self.progress.open_identity_session() {
            Some(session) => format!("--submit-identity {session} tells bunq that the user is done with the SDK"),
            None => {
                "the rest is for the user: --identity-token-file FILE starts an identity verification session, and \
                     `identity_document` of --from FILE is a document"
                    .to_owned()
            }
        };
        let hints = [(!answerable.is_empty()).then(|| answers.to_owned()), (!others.is_empty()).then_some(rest)];
        let failure = Failure::missing(format!("bunq wants to know more of the user: {kinds}"));
        hints.into_iter().fold(failure, Failure::or_hint)
    }

    /// The members of the file that bunq does not ask for.
    fn unasked(&self) -> Vec<&'static str> {
        let Source::File(Answers { given, .. }) = &self.source else { return Vec::new() };
        let is_known = self.progress.is_asked || is_requested(self.progress.seen.as_ref());
        let kinds = given.iter().map(FulfillmentAnswer::kind).filter(|_| is_known);
        let unasked = kinds.filter(|kind| self.progress.missing.iter().all(|one| one.type_ != *kind));
        unasked.filter_map(|kind| answers::member(&kind)).collect()
    }

    fn write(&self) -> Result<(), Failure> {
        self.invocation.printer().single(self.progress.record())?;
        let unasked = self.unasked();
        if !unasked.is_empty() {
            self.invocation.note(&format!("bunq does not ask for {}: not sent", unasked.join(", ")));
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
