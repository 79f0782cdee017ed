//! What is seen while the rows go by: a bar at a terminal, a line now and then elsewhere, and the first failures.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use bunq_partner::jiff::Timestamp;
use bunq_partner::text::duration;
use bunq_partner::{Error, ErrorKind, RowRecord};
use indicatif::ProgressBar;

use super::super::exit::Failure;
use super::super::invocation::Invocation;
use super::super::screen;
use super::input::Input;

/// How many failures of rows, and how many standstills, are said as they come. All rows are in the report.
const MAX_SAID: u64 = 20;

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(60);

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

/// The bar, and what is shown while no row begins: the rest of the line says why.
const GOING: &str = "{bar:30} {pos}/{len}  {per_sec}  {eta} left  {msg}";
const HELD: &str = "{pos}/{len}  {msg}";

pub(super) struct Meter<'a> {
    invocation: &'a Invocation,
    input: &'a Input,
    bar: ProgressBar,
    begun_at: Timestamp,
    last_line: Instant,
    done: u64,
    said: u64,
    standstills: u64,
    used: u64,
    /// What the rows wait for, if none begins for now.
    held: Option<&'static str>,
    /// How many rows are done without a response to their request.
    pub(super) without_receipt: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(invocation: &'a Invocation, input: &'a Input) -> Self {
        let bar = screen::live_line(ProgressBar::new(input.rows), GOING);
        bar.enable_steady_tick(TICK);
        let (begun_at, last_line) = (Timestamp::now(), Instant::now());
        Self {
            invocation,
            input,
            bar,
            begun_at,
            last_line,
            done: 0,
            said: 0,
            standstills: 0,
            used: 0,
            held: None,
            without_receipt: 0,
        }
    }

    /// Counts a row.
    pub(super) fn add(&mut self, row: &RowRecord) {
        self.done += u64::from(row.state.is_done());
        self.without_receipt += u64::from(row.state.is_done() && row.response_id.is_none());
        self.bar.inc(1);
        if row.at < self.begun_at {
            // It was done by an earlier run, which says nothing of this one's pace.
            self.bar.reset_eta();
        }
        self.bar.set_message(self.counts());
        if let Some(error) = &row.error {
            self.failed(&format!("line {}", self.input.line(row.row)), error);
        }
        if self.last_line.elapsed() >= EVERY && !io::stderr().is_terminal() {
            self.last_line = Instant::now();
            let (seen, rows) = (self.bar.position(), self.bar.length().unwrap_or_default());
            self.invocation.note(&format!("{seen} of {rows} rows: {}", self.counts()));
        }
    }

    /// Says what has failed, unless enough was said.
    pub(super) fn failed(&mut self, what: &str, error: &Error) {
        self.said += 1;
        if self.said <= MAX_SAID {
            let failure = Failure::from(error.clone()).of(what);
            failure.report(self.invocation.format().is_json());
        }
    }

    /// Says why no row ends for now, unless enough was said. A refusal for the rate is no failure.
    pub(super) fn stands_still(&mut self, failure: &Error) {
        if failure.kind() == ErrorKind::RateLimited {
            return;
        }
        self.standstills += 1;
        if self.standstills <= MAX_SAID {
            self.note(&format!("{failure}; it is tried again"));
        }
    }

    pub(super) fn note(&self, text: &str) {
        self.invocation.note(text);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.bar.length() == Some(self.bar.position())
    }

    pub(super) fn used(&mut self, used: u64) {
        self.used = used;
        self.bar.set_message(self.counts());
    }

    /// Says in the bar what the rows wait for, or that they go on.
    pub(super) fn hold(&mut self, held: Option<&'static str>) {
        if std::mem::replace(&mut self.held, held) != held {
            screen::set_template(&self.bar, if held.is_some() { HELD } else { GOING });
            self.bar.set_message(self.counts());
        }
    }

    fn counts(&self) -> String {
        let (done, others) = (self.done, self.bar.position().saturating_sub(self.done));
        let others = if others > 0 { format!(", {others} not") } else { String::new() };
        let used = if self.used > 0 { format!(", {} in use", self.used) } else { String::new() };
        let held = self.held.map(|held| format!("{held}; ")).unwrap_or_default();
        format!("{held}{done} done{others}{used}")
    }
}

/// A time in words, from a minute on without seconds: `4 h 10 min`.
pub(super) fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    let unit = if seconds < 60 { 1 } else { 60 };
    duration(Duration::from_secs(seconds - seconds % unit))
}
