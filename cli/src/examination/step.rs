//! One step of an examination, and what it saw.

use serde::Serialize;

use super::super::output::write_text;
use super::super::words::clean;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckState {
    Ok,
    /// The next steps are made, but something is not as it should be.
    Warning,
    Failed,
    /// It was not tried, or says nothing here.
    Skipped,
}

/// One step of an examination.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) state: CheckState,
    pub(crate) saw: String,
    pub(crate) remedy: Option<String>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, saw: impl Into<String>) -> Self {
        Self { name, state: CheckState::Ok, saw: saw.into(), remedy: None }
    }

    pub(crate) fn skipped(name: &'static str, why: impl Into<String>) -> Self {
        Self { name, state: CheckState::Skipped, saw: why.into(), remedy: None }
    }

    pub(crate) fn warning(name: &'static str, saw: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: CheckState::Warning, saw: saw.into(), remedy: Some(remedy.into()) }
    }

    pub(crate) fn failed(name: &'static str, saw: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, state: CheckState::Failed, saw: saw.into(), remedy: Some(remedy.into()) }
    }
}

impl Check {
    /// The step for people, and what to do about it on a line of its own.
    fn lines(&self) -> String {
        let mark = match self.state {
            CheckState::Ok => "\x1b[32m ok \x1b[0m",
            CheckState::Warning => "\x1b[33mwarn\x1b[0m",
            CheckState::Failed => "\x1b[31mFAIL\x1b[0m",
            CheckState::Skipped => "\x1b[2m -  \x1b[0m",
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!("{:20}{}\n", "", clean(remedy)));
        format!("{mark}  {:<12}  {}\n{}", self.name, clean(&self.saw), remedy.unwrap_or_default())
    }
}

/// The steps so far.
#[derive(Default)]
pub(crate) struct Checks {
    pub(crate) all: Vec<Check>,
    /// Whether each is shown when it is made: one may take its time.
    is_live: bool,
}

impl Checks {
    pub(crate) fn new(is_live: bool) -> Self {
        Self { all: Vec::new(), is_live }
    }

    pub(crate) fn push(&mut self, step: Check) {
        if self.is_live {
            // If standard output is closed, writing the verdict fails.
            let _ = write_text(&step.lines());
        }
        self.all.push(step);
    }
}
