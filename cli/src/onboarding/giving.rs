//! What a run gives bunq, and how it ends when it is interrupted.

use std::cell::RefCell;
use std::fmt;

use bunq_partner::Error;
use bunq_partner::types::FulfillmentType;
use tokio::time::timeout;

use super::super::exit::Failure;
use super::super::interrupt::{LAST_RESPONSES, listen};
use super::super::invocation::Invocation;

/// How to go on.
pub(super) const GOES_ON: &str = "the same command looks, and goes on";

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
            Self::IdentitySession => "the start of an identity verification session",
            Self::Submission => "the submission of the identity verification session",
            Self::Document => "the document",
            Self::Statuses => "the request for the statuses",
        })
    }
}

/// What a run has given bunq. It is known while the run goes on.
#[derive(Default)]
pub(super) struct Giving {
    taken: RefCell<Vec<Given>>,
    /// What is on the wire, or was when the run ended.
    in_doubt: RefCell<Option<Given>>,
}

impl Giving {
    /// Makes a call that gives bunq something.
    pub(super) async fn give<T>(&self, given: Given, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.in_doubt.replace(Some(given.clone()));
        let done = call.await;
        self.in_doubt.take();
        if done.is_ok() {
            self.taken.borrow_mut().push(given);
        }
        done
    }

    /// Ends a run after the first signal: at once if nothing is on the wire, and otherwise when the run has not ended by itself in the time
    /// that the last response has, or at the second signal.
    pub(super) async fn interrupted(
        &self,
        invocation: &Invocation,
        first: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        first.await;
        // Listens before the note is printed.
        let second = listen()?;
        invocation.connection.shutdown.begin();
        if self.in_doubt.borrow().is_some() {
            let rule = "no request begins any more; the one on the wire has 5 s to be answered, and a second Ctrl-C stops at once";
            invocation.note(rule);
            // The second signal, or the end of the time.
            let _ = timeout(LAST_RESPONSES, second).await;
        }
        Err(Failure::interrupted(None))
    }

    /// The last one was not taken.
    pub(super) fn refused(&self) {
        self.taken.borrow_mut().pop();
    }

    /// What bunq has of a run that was interrupted.
    pub(super) fn outcome(&self) -> String {
        let all: Vec<_> = self.taken.borrow().iter().map(ToString::to_string).collect();
        let taken = match all.is_empty() {
            true => "bunq has taken nothing of this run".to_owned(),
            false => format!("bunq has taken {}", all.join(", ")),
        };
        match &*self.in_doubt.borrow() {
            Some(given) => format!("{taken}; no response has come to {given}, which it may have"),
            None => taken,
        }
    }
}
