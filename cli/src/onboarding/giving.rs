//! What a run gives bunq, and how it ends when it is interrupted.

use std::fmt;
use std::pin::pin;

use bunq_partner::Error;
use bunq_partner::types::FulfillmentType;
use tokio::time::sleep;

use super::super::bulk::interrupted;
use super::super::exit::Failure;
use super::super::interrupt::{LAST_RESPONSES, listen};
use super::super::invocation::Invocation;

/// Something that bunq is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    Onboarding,
    Answer(FulfillmentType),
    IdentitySession,
    Submission,
    Document,
    Statuses,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Onboarding => "the start of the onboarding",
            Self::Answer(kind) => kind.as_str(),
            Self::IdentitySession => "the start of an identity session",
            Self::Submission => "the submission of the identity session",
            Self::Document => "the document",
            Self::Statuses => "the request for the statuses",
        })
    }
}

/// What a run has given bunq.
pub(super) struct Giving<'a> {
    invocation: &'a Invocation,
    taken: Vec<Given>,
    /// What is on the wire, or was when the run ended.
    in_doubt: Option<Given>,
}

impl<'a> Giving<'a> {
    pub(super) fn new(invocation: &'a Invocation) -> Self {
        Self { invocation, taken: Vec::new(), in_doubt: None }
    }

    /// Makes a call that gives bunq something. When the command is interrupted, no request begins any more, and the one on the wire
    /// has its time to be answered.
    pub(super) async fn give<T>(
        &mut self,
        given: Given,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, Failure> {
        let shutdown = &self.invocation.connection.shutdown;
        self.in_doubt = Some(given.clone());
        let first = listen()?;
        let end = pin!(async {
            shutdown.begun().await;
            sleep(LAST_RESPONSES).await;
        });
        let done = tokio::select! {
            biased;
            done = call => done,
            () = end => return Err(Failure::interrupted(None)),
            failure = interrupted(self.invocation, shutdown, first) => return Err(failure),
        };
        self.in_doubt = None;
        if done.is_ok() {
            self.taken.push(given);
        }
        Ok(done)
    }

    /// The last one was not taken.
    pub(super) fn refused(&mut self) {
        self.taken.pop();
    }

    /// Ends a run that was interrupted while nothing was on the wire, or whose last request was answered since.
    pub(super) fn go_on(&self) -> Result<(), Failure> {
        match self.invocation.connection.shutdown.has_begun() {
            true => Err(Failure::interrupted(None)),
            false => Ok(()),
        }
    }

    /// What bunq has of a run that was interrupted.
    pub(super) fn outcome(&self) -> String {
        let all: Vec<_> = self.taken.iter().map(ToString::to_string).collect();
        let taken = match all.is_empty() {
            true => "bunq has taken nothing of this run".to_owned(),
            false => format!("bunq has taken {}", all.join(", ")),
        };
        match &self.in_doubt {
            Some(given) => format!("{taken}; no response has come to {given}, which it may have"),
            None => taken,
        }
    }
}
