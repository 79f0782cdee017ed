//! Why a command takes so long: a live line at a terminal, and one line elsewhere.
//!
//! A command is held up while it waits, or while bunq has not responded, and for some time no call has ended, except with a failure
//! that may pass. Of several waits, the one that is expected to end first is told.

use std::collections::HashMap;
use std::io::IsTerminal as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::super::arguments::OutputFormat;
use super::super::exit::kind_named;
use super::super::output::note;
use super::super::screen;
use super::fields::Fields;

/// How long a command is held up before a person at a terminal is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a hold-up must last, or be expected to last, to be told where there is no terminal.
const LONG: Duration = Duration::from_secs(10);

/// How often the line is written again.
const TICK: Duration = Duration::from_millis(100);

/// What holds a call up.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    Response,
    Permit,
    Retry { failure: Option<String> },
    Check { failure: Option<String> },
    Session,
}

/// A wait, or a call without a response yet.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    reason: Reason,
    operation: String,
    /// When it ends, if that is known.
    until: Option<Instant>,
}

impl Activity {
    /// A call whose response is awaited.
    pub(super) fn response(operation: String) -> Self {
        Self { reason: Reason::Response, operation, until: None }
    }

    /// A wait with these fields.
    pub(super) fn wait(fields: &Fields) -> Self {
        let failure = fields.error.clone();
        let reason = match fields.reason.as_str() {
            "permit" => Reason::Permit,
            "retry" => Reason::Retry { failure },
            "check" => Reason::Check { failure },
            _ => Reason::Session,
        };
        let time = fields.seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let until = time.and_then(|time| Instant::now().checked_add(time));
        Self { reason, operation: fields.operation.clone(), until }
    }

    fn left(&self, now: Instant) -> Option<Duration> {
        self.until.map(|until| until.saturating_duration_since(now))
    }

    /// The wait that ends first comes first, and one without a known end after those that have one. A session comes last: it is open
    /// once the calls that open it are done.
    fn order(&self) -> impl Ord {
        let is_session = self.reason == Reason::Session;
        let is_response = self.reason == Reason::Response;
        (is_session, !is_response, self.until.is_none(), self.until)
    }

    fn words(&self, now: Instant) -> String {
        let seconds = self.left(now).map(|left| left.as_secs_f64().ceil()).filter(|seconds| *seconds > 0.0);
        let time = seconds.map(|seconds| format!(" {seconds} s")).unwrap_or_default();
        let cause = |failure: &Option<String>| {
            let meaning = failure.as_deref().and_then(kind_named);
            meaning.map(|(_, meaning)| format!(": {meaning}"))
        };
        let operation = &self.operation;
        match &self.reason {
            Reason::Response => format!("waiting for bunq's response to {operation}"),
            Reason::Permit => format!("waiting{time} for the rate limit of {operation}"),
            Reason::Retry { failure } => {
                format!("waiting{time} to repeat {operation}{}", cause(failure).unwrap_or_default())
            }
            Reason::Check { failure } => {
                format!("waiting{time} to check what became of {operation}{}", cause(failure).unwrap_or_default())
            }
            Reason::Session => "waiting for the session".into(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// What is in progress, by the ids of its spans.
    activities: HashMap<u64, Activity>,
    /// Since when no call has ended with an answer; `None` while nothing is in progress.
    since: Option<Instant>,
    is_told: bool,
}

impl State {
    fn first(&self) -> Option<&Activity> {
        self.activities.values().min_by_key(|activity| activity.order())
    }

    /// The live line at a terminal.
    fn line(&self, now: Instant) -> Option<String> {
        let is_long = self.since.is_some_and(|since| now.duration_since(since) >= PATIENCE);
        self.first().filter(|_| is_long).map(|activity| activity.words(now))
    }

    /// The line where there is no terminal: one for each hold-up.
    fn note(&mut self, now: Instant) -> Option<String> {
        let (since, activity) = (self.since?, self.first()?);
        let time = now.duration_since(since) + activity.left(now).unwrap_or_default();
        let text = (time >= LONG && !self.is_told).then(|| activity.words(now))?;
        self.is_told = true;
        Some(text)
    }
}

/// What holds up a command.
pub(crate) struct HoldUp {
    format: OutputFormat,
    state: Mutex<State>,
    begun: Notify,
}

impl HoldUp {
    pub(super) fn new(format: OutputFormat) -> Self {
        Self { format, state: Mutex::default(), begun: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn begins(&self, id: u64, activity: Activity) {
        let mut state = self.state();
        state.activities.insert(id, activity);
        state.since.get_or_insert_with(Instant::now);
        self.begun.notify_one();
    }

    pub(super) fn ends(&self, id: u64) {
        self.state().activities.remove(&id);
    }

    /// An attempt has ended, with a failure of this kind.
    pub(super) fn attempted(&self, id: u64, failure: Option<&str>) {
        let mut state = self.state();
        state.activities.remove(&id);
        // A failure that does not pass is an answer.
        if !failure.and_then(kind_named).is_some_and(|(kind, _)| kind.is_transient()) {
            state.since = (!state.activities.is_empty()).then(Instant::now);
            state.is_told = false;
        }
    }

    /// Tells what holds the command up, as long as it is polled.
    pub(crate) async fn watch(&self) -> ! {
        let is_at_a_terminal = std::io::stderr().is_terminal();
        let mut live = None;
        loop {
            let is_idle = self.state().activities.is_empty();
            let now = Instant::now();
            if is_at_a_terminal {
                match self.state().line(now) {
                    Some(text) => {
                        let line = live
                            .get_or_insert_with(|| screen::live_line(ProgressBar::new_spinner(), "{spinner} {msg}"));
                        line.set_message(text);
                        line.tick();
                    }
                    None => clear(&mut live),
                }
            } else if let Some(text) = self.state().note(now) {
                note(self.format, &text);
            }
            if is_idle {
                self.begun.notified().await;
            }
            sleep(TICK).await;
        }
    }
}

fn clear(line: &mut Option<ProgressBar>) {
    if let Some(line) = line.take() {
        line.finish_and_clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn wait(reason: &str, operation: &str, seconds: Option<f64>, error: Option<&str>) -> Activity {
        let (reason, operation, error) = (reason.to_owned(), operation.to_owned(), error.map(str::to_owned));
        Activity::wait(&Fields { reason, operation, seconds, error, ..Fields::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_first_is_told_with_its_time() {
        test_timeout::start();
        let hold_up = HoldUp::new(OutputFormat::Table);
        let line = |after: Duration| {
            let state = hold_up.state();
            state.line(state.since.unwrap() + after)
        };
        hold_up.begins(1, wait("session", "", None, None));
        assert_eq!(line(SECOND - Duration::from_millis(1)), None);
        assert_eq!(line(SECOND).as_deref(), Some("waiting for the session"));
        hold_up.begins(2, wait("retry", "create_session", Some(60.0), Some("Server")));
        let repeated = "waiting 59 s to repeat create_session: bunq, or a proxy in front of it, has failed";
        assert_eq!(line(SECOND).as_deref(), Some(repeated));
        hold_up.begins(7, wait("permit", "get_provision", None, None));
        assert_eq!(line(SECOND).as_deref(), Some(repeated));
        hold_up.begins(3, wait("permit", "list_provisions", Some(40.0), None));
        assert_eq!(line(SECOND).as_deref(), Some("waiting 39 s for the rate limit of list_provisions"));
        assert_eq!(line(50 * SECOND).as_deref(), Some("waiting for the rate limit of list_provisions"));
        hold_up.begins(4, Activity::response("get_provision".into()));
        assert_eq!(line(SECOND).as_deref(), Some("waiting for bunq's response to get_provision"));
        // Another attempt follows a failure that may pass: the command is still held up.
        let since = hold_up.state().since;
        tokio::time::advance(SECOND).await;
        hold_up.attempted(4, Some("RateLimited"));
        assert_eq!(hold_up.state().since, since);
        hold_up.ends(3);
        hold_up.ends(2);
        hold_up.ends(7);
        assert_eq!(line(SECOND).as_deref(), Some("waiting for the session"));
        // bunq has answered.
        for answer in [None, Some("NotFound")] {
            hold_up.begins(5, Activity::response("get_provision".into()));
            hold_up.attempted(5, answer);
            assert!(hold_up.state().since > since, "{answer:?}");
        }
        hold_up.ends(1);
        hold_up.begins(6, Activity::response("get_provision".into()));
        hold_up.attempted(6, None);
        assert_eq!(hold_up.state().since, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_is_told_once_when_a_wait_is_going_to_be_long() {
        test_timeout::start();
        let hold_up = HoldUp::new(OutputFormat::Table);
        let note = |after: Duration| {
            let mut state = hold_up.state();
            let since = state.since.unwrap();
            state.note(since + after)
        };
        hold_up.begins(1, wait("permit", "list_provisions", Some(5.0), None));
        assert_eq!(note(SECOND), None);
        hold_up.ends(1);
        hold_up.begins(2, wait("permit", "list_provisions", Some(30.0), None));
        assert_eq!(note(SECOND).as_deref(), Some("waiting 29 s for the rate limit of list_provisions"));
        assert_eq!(note(20 * SECOND), None);
        // After an answer it is another hold-up.
        hold_up.attempted(3, None);
        assert!(note(Duration::ZERO).is_some());
        hold_up.attempted(3, None);
        hold_up.ends(2);
        // Where no time is known, it is told when it has become long.
        hold_up.begins(4, Activity::response("get_provision".into()));
        assert_eq!(note(9 * SECOND), None);
        assert_eq!(note(10 * SECOND).as_deref(), Some("waiting for bunq's response to get_provision"));
    }
}
