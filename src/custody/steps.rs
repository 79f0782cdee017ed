//! Requests that must not be sent twice unnoticed, and that bunq cannot be asked about: they are remembered over a crash.

use jiff::Timestamp;
use serde::Serialize;

use super::kept::Kept;
use super::record::UserRecord;
use super::step_list::{Step, StepKey};
use crate::error::Error;
use crate::operation::Operation;

/// The steps of one user. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Steps(Option<Kept>);

impl Steps {
    pub(crate) fn new(kept: Kept) -> Self {
        Self(Some(kept))
    }

    /// Remembers nothing: every step is new.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Begins a step, which is kept when this returns. Of all that begin the same one, also at once, one gets [`Step::New`]. It
    /// must then say with [`done`](Self::done) or [`not_sent`](Self::not_sent) what came of it, unless it does not know.
    pub(crate) async fn begin(&self, operation: &Operation, request: &impl Serialize) -> Result<Step, Error> {
        let Some(kept) = &self.0 else { return Ok(Step::New) };
        let key = StepKey::new(operation, request)?;
        kept.update(move |record| record.steps.begin(key, Timestamp::now().into())).await
    }

    /// What is known of a step. Nothing begins.
    pub(crate) async fn known(&self, operation: &Operation, request: &impl Serialize) -> Result<Step, Error> {
        let Some(kept) = &self.0 else { return Ok(Step::New) };
        let key = StepKey::new(operation, request)?;
        Ok(kept.record().await?.map_or(Step::New, |record| record.steps.of(&key)))
    }

    /// What a step has made, if it is done. Nothing is kept.
    pub(crate) async fn made(&self, operation: &Operation, request: &impl Serialize) -> Result<Option<u64>, Error> {
        let Some(kept) = &self.0 else { return Ok(None) };
        let key = StepKey::new(operation, request)?;
        Ok(kept.record().await?.and_then(|record| record.steps.made(&key)))
    }

    /// Begins a step anew, whatever came of it before, which this returns.
    pub(crate) async fn begin_again(&self, operation: &Operation, request: &impl Serialize) -> Result<Step, Error> {
        let Some(kept) = &self.0 else { return Ok(Step::New) };
        let key = StepKey::new(operation, request)?;
        kept.update(move |record| record.steps.begin_again(key, Timestamp::now().into())).await
    }

    /// Keeps what a step has made. It need not have been begun here.
    pub(crate) async fn done(&self, operation: &Operation, request: &impl Serialize, id: u64) -> Result<(), Error> {
        let Some(kept) = &self.0 else { return Ok(()) };
        let key = StepKey::new(operation, request)?;
        kept.update(move |record| record.steps.done(key, Timestamp::now().into(), id)).await
    }

    /// Keeps what came of a step that was begun, and that bunq shows. bunq's answer counts, also if that cannot be kept: the step stays in
    /// doubt, so that whoever begins it again looks first.
    pub(crate) async fn settled(&self, operation: &Operation, request: &impl Serialize, made: Option<u64>) {
        let kept = match made {
            Some(id) => self.done(operation, request, id).await,
            None => self.not_sent(operation, request).await,
        };
        if let Err(error) = kept {
            tracing::warn!(operation = operation.id, %error, "a request that bunq has answered is kept as begun");
        }
    }

    /// Keeps what a request that may run twice has made, unless something else that it has made is kept. Returns what is kept.
    pub(crate) async fn first(&self, operation: &Operation, request: &impl Serialize, id: u64) -> Result<u64, Error> {
        let Some(kept) = &self.0 else { return Ok(id) };
        let key = StepKey::new(operation, request)?;
        let first = move |record: &mut UserRecord| match record.steps.made(&key) {
            Some(first) => Ok(first),
            None => record.steps.done(key, Timestamp::now().into(), id).map(|()| id),
        };
        kept.update(first).await
    }

    /// Keeps again what was kept `before` a step was begun that bunq has refused, and returns the refusal. It says more than a failure of
    /// the custody, which is added to it.
    pub(crate) async fn refused(
        &self,
        operation: &Operation,
        request: &impl Serialize,
        before: Step,
        refusal: Error,
    ) -> Error {
        let kept = match before {
            Step::New => self.not_sent(operation, request).await,
            Step::Done { id } => self.done(operation, request, id).await,
            Step::InDoubt { .. } => Ok(()),
        };
        match kept {
            Ok(()) => refusal,
            Err(kept) => refusal.with_advice(&format!("it is kept as begun, because {kept}")),
        }
    }

    /// Forgets a step that was surely not carried out.
    pub(crate) async fn not_sent(&self, operation: &Operation, request: &impl Serialize) -> Result<(), Error> {
        let Some(kept) = &self.0 else { return Ok(()) };
        let key = StepKey::new(operation, request)?;
        kept.update(move |record| {
            record.steps.forget(&key);
            Ok(())
        })
        .await
    }
}
