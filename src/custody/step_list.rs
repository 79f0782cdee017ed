//! The steps in the record of a user.

use aws_lc_rs::digest::{Context as Digest, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{Error, ErrorKind, Sent};
use crate::operation::Operation;
use crate::types::Timestamp;

/// How many steps the record of a user has at most.
const MAX_STEPS: usize = 200;

/// The operations whose outcome bunq shows: a repetition looks there first, and needs no step for it.
const SHOWN_BY_BUNQ: [&Operation; 2] =
    [&Operation::CREATE_USER_ONBOARDING, &Operation::UPDATE_USER_INFORMATION_INQUIRY_ENTRY];

/// Precedes the request in the hash, so that the digest differs from another program's hash of the same request.
const DIGEST_DOMAIN: &[u8] = b"bunq-partner step\n";

/// What is known of a step when it is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It was not begun before. That it begins now is kept, and survives a crash: send the request.
    New,
    /// It was begun then, and nobody has said what came of it.
    InDoubt {
        /// When it was begun.
        since: Timestamp,
    },
    /// It was carried out.
    Done {
        /// What it has made.
        id: u64,
    },
}

/// The kept steps, in the order in which they were begun.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct StepList(Vec<KeptStep>);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct KeptStep {
    operation: String,
    /// SHA-256 of the request, in Base64. The request itself is not kept.
    request: String,
    at: Timestamp,
    id: Option<u64>,
}

/// Identifies a step, without the content of its request.
pub(super) struct StepKey {
    operation: &'static str,
    request: String,
}

impl StepKey {
    pub(super) fn new(operation: &Operation, request: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(request).map(Zeroizing::new);
        let json = json.map_err(|error| Error::new(ErrorKind::InvalidInput, Sent::No, error))?;
        let mut digest = Digest::new(&SHA256);
        digest.update(DIGEST_DOMAIN);
        digest.update(&json);
        Ok(Self { operation: operation.id, request: BASE64.encode(digest.finish()) })
    }
}

impl KeptStep {
    fn new(key: StepKey, at: Timestamp, id: Option<u64>) -> Self {
        Self { operation: key.operation.to_owned(), request: key.request, at, id }
    }

    fn is(&self, key: &StepKey) -> bool {
        self.operation == key.operation && self.request == key.request
    }
}

impl StepList {
    pub(super) fn made(&self, key: &StepKey) -> Option<u64> {
        self.0.iter().find(|step| step.is(key))?.id
    }

    pub(super) fn begin(&mut self, key: StepKey, at: Timestamp) -> Result<Step, String> {
        let before = self.of(&key);
        if before == Step::New {
            self.add(KeptStep::new(key, at, None))?;
        }
        Ok(before)
    }

    /// Returns what came of it before.
    pub(super) fn begin_again(&mut self, key: StepKey, at: Timestamp) -> Result<Step, String> {
        let before = self.of(&key);
        self.0.retain(|step| !step.is(&key));
        self.add(KeptStep::new(key, at, None))?;
        Ok(before)
    }

    pub(super) fn of(&self, key: &StepKey) -> Step {
        match self.0.iter().find(|step| step.is(key)) {
            None => Step::New,
            Some(step) => step.id.map_or(Step::InDoubt { since: step.at }, |id| Step::Done { id }),
        }
    }

    pub(super) fn done(&mut self, key: StepKey, at: Timestamp, id: u64) -> Result<(), String> {
        if let Some(step) = self.0.iter_mut().find(|step| step.is(&key)) {
            step.id = Some(id);
            return Ok(());
        }
        self.add(KeptStep::new(key, at, Some(id)))
    }

    /// Forgets a step that is not done.
    pub(super) fn forget(&mut self, key: &StepKey) {
        self.0.retain(|step| step.id.is_some() || !step.is(key));
    }

    /// Adds a step. If there are too many, the oldest goes that is done and that can be forgotten: first one of which bunq shows what
    /// came, then one that may run twice. What only this record knows stays.
    fn add(&mut self, step: KeptStep) -> Result<(), String> {
        if self.0.len() >= MAX_STEPS {
            let is_shown = |step: &KeptStep| SHOWN_BY_BUNQ.iter().any(|shown| shown.id == step.operation);
            let may_run_twice =
                |step: &KeptStep| Operation::by_id(&step.operation).is_some_and(|known| known.idempotent);
            let oldest =
                |which: &dyn Fn(&KeptStep) -> bool| self.0.iter().position(|step| step.id.is_some() && which(step));
            let oldest = oldest(&is_shown).or_else(|| oldest(&may_run_twice)).ok_or_else(|| {
                format!(
                    "has {MAX_STEPS} requests of which nothing else tells what came, and no more are begun: look at bunq what came of \
                     them, then take the record out of the custody, keep it elsewhere, and reset the user"
                )
            })?;
            self.0.remove(oldest);
        }
        self.0.push(step);
        Ok(())
    }
}
