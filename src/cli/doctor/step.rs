//! One step of an examination, and what it saw.

use serde::Serialize;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Ok,
    /// It goes on, but something is not as it should be.
    Warning,
    Failed,
    /// It was not tried, or says nothing here.
    Skipped,
}

/// One step of an examination.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) state: State,
    /// What it saw.
    pub(super) saw: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

impl Step {
    pub(super) fn ok(name: &'static str, saw: impl Into<String>) -> Self {
        Self { name, state: State::Ok, saw: saw.into(), remedy: None }
    }

    pub(super) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, state: State::Skipped, saw: why.into(), remedy: None }
    }

    pub(super) fn warning(name: &'static str, saw: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Warning, saw: saw.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn failed(name: &'static str, saw: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: State::Failed, saw: saw.into(), remedy: Some(remedy.into()) }
    }
}
