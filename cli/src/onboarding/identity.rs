//! What the user proves beside the answers: who it is, and a document.

use std::io;
use std::path::Path;

use bunq_partner::types::{IdentityVerificationSession, IdentityVerificationSessionId};
use bunq_partner::{Acceptance, Error, ErrorKind, IdentityOutcome, files};

use super::super::exit::Failure;
use super::super::interrupt::blocking;
use super::super::progress;
use super::answers::Answers;
use super::giving::Given;
use super::run::{Onboard, Source};

impl Onboard<'_> {
    /// Starts or submits the session in which the user proves who it is, if that is wanted. Returns whether bunq was told that the user
    /// is done.
    pub(super) async fn prove_identity(&mut self) -> Result<bool, Failure> {
        let identity = self.user.identity();
        if let Some(path) = &self.options.identity_token_file {
            let hint = "bunq cannot be asked for it: --another starts a session all the same";
            let is_another_wanted = self.options.another;
            let start = async {
                let started = match is_another_wanted {
                    true => return identity.start_another().await,
                    false => identity.start().await?,
                };
                match started.session().outcome() {
                    Some(IdentityOutcome::NotApproved { .. }) => identity.start_another().await,
                    _ => Ok(started),
                }
            };
            let mut started =
                self.giving.give(Given::IdentitySession, start).await.map_err(|error| doubted(error, hint))?;
            self.progress.identity = Some(started.id());
            let Some(token) = started.take_token() else {
                self.progress.identity_session = Some(started.session().clone());
                self.invocation.note(
                    "bunq shows no token of the identity verification session: it may have been submitted, or have its \
                     result",
                );
                return Ok(false);
            };
            let file = path.clone();
            let written = blocking(move || files::create_whole(&file, token.expose().as_bytes())).await;
            written.map_err(|error| {
                token_file(path, &error, |problem| Failure::of_kind(ErrorKind::Internal, problem))
                    .with_hint("the session is there: run this again with another file")
            })?;
            self.progress.identity_session = Some(started.session().clone());
        }
        match self.options.submit_identity {
            Some(id) => self.submit(id).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Gives bunq the document of the file; returns whether it had none before.
    pub(super) async fn link_document(&self) -> Result<bool, Failure> {
        let Source::File(Answers { document: Some(document), .. }) = &self.source else { return Ok(false) };
        let hint = "bunq lists no documents: leave identity_document out and see whether DOCUMENT_IDENTIFICATION is still missing; \
                    if so, upload the files with another --description, and give the new ids";
        let documents = self.user.documents();
        let linked = self.giving.give(Given::Document, documents.link(document)).await;
        let linked = linked.map_err(|error| match is_refusal(&error) {
            true => {
                let hint =
                    format!("`bunq-partner attachment put {} FILE` uploads a file, and prints its id", self.options.id);
                Failure::from(error).of("identity_document").with_hint(hint)
            }
            false => doubted(error, hint),
        })?;
        Ok(linked.acceptance != Acceptance::Already)
    }

    /// Whether there is something to give that is no answer.
    pub(super) fn has_more_to_give(&self) -> bool {
        let has_document = matches!(&self.source, Source::File(Answers { document: Some(_), .. }));
        has_document || self.options.identity_token_file.is_some() || self.options.submit_identity.is_some()
    }

    async fn submit(&mut self, id: IdentityVerificationSessionId) -> Result<(), Failure> {
        self.progress.identity = Some(id);
        let identity = self.user.identity();
        let submitted = self.giving.give(Given::Submission, identity.submit(id)).await;
        let waiter = submitted.map_err(|error| match is_refusal(&error) {
            true => {
                Failure::from(error).with_hint("--identity-token-file FILE shows the id of the session that there is")
            }
            false => self.goes_on(error),
        })?;
        if !self.options.waiting.wait {
            return Ok(());
        }
        let shown = |time: &str, session: &IdentityVerificationSession| {
            format!("{time}  identity verification session {}  {}", session.id, session.status)
        };
        let session = progress::wait(waiter.timeout(self.time_left()), shown).await;
        let session = session.map_err(|error| self.goes_on(error))?;
        let outcome = session.outcome();
        self.progress.identity_session = Some(session);
        match outcome {
            Some(IdentityOutcome::NotApproved { result, reasons }) => {
                let (why, shows) = match &reasons[..] {
                    [] => ("bunq gives no reason".to_owned(), String::new()),
                    reasons if self.options.personal.show_personal => (reasons.join(", "), String::new()),
                    _ => {
                        ("[redacted]".to_owned(), format!("--submit-identity {id} --wait --show-personal shows why; "))
                    }
                };
                let problem = format!("bunq does not know who the user is: {result} ({why})");
                let hint = format!("{shows}--identity-token-file FILE starts another session");
                Err(Failure::of_kind(ErrorKind::Unattainable, problem).with_hint(hint))
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn token_file(path: &Path, error: &io::Error, failure: impl Fn(String) -> Failure) -> Failure {
    let failure = failure(format!("--identity-token-file {}: {error}", path.display()));
    match error.kind() {
        io::ErrorKind::AlreadyExists => failure.with_hint("if it has the token of the session, leave out the option"),
        _ => failure,
    }
}

/// Whether bunq does not know what it was told, or does not take it.
fn is_refusal(error: &Error) -> bool {
    [ErrorKind::NotFound, ErrorKind::Rejected].contains(&error.kind())
}

/// The failure of a request that is not sent again while its outcome is not known.
fn doubted(error: Error, hint: &str) -> Failure {
    let is_doubtful = error.is_doubtful();
    let failure = Failure::from(error);
    if is_doubtful { failure.with_hint(hint) } else { failure }
}
