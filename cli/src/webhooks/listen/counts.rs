//! What has no line of its own: refused calls, and those that nothing is handed on for.

use std::io;

use bunq_partner::webhook::{ChangesNumbers, ReceiverNumbers};
use serde_json::{Map, Value, json};

use super::super::super::arguments::OutputFormat;
use super::super::super::output::note;
use super::super::super::screen;
use super::lines::{Line, Lines};

type Outcomes = Vec<(&'static str, u64)>;

/// What was counted so far.
#[derive(Default)]
pub(super) struct Counts {
    calls: ReceiverNumbers,
    changes: ChangesNumbers,
}

impl Counts {
    /// Adds a line for each outcome that has come since, with how often.
    pub(super) fn add(
        &mut self,
        lines: &mut Lines<'_>,
        calls: ReceiverNumbers,
        changes: ChangesNumbers,
    ) -> io::Result<()> {
        let before = [refused(self.calls), not_handed_on(self.changes)];
        (self.calls, self.changes) = (calls, changes);
        let now = [("call", refused(calls)), ("bunq", not_handed_on(changes))];
        for ((said_by, now), before) in now.into_iter().zip(before) {
            for ((outcome, count), (_, before)) in now.into_iter().zip(before) {
                if count > before {
                    lines.add(&Line::now(said_by, outcome, count - before))?;
                }
            }
        }
        Ok(())
    }

    /// Says the numbers at the end, on standard error: results are lines.
    pub(super) fn say(&self, format: OutputFormat) {
        let ChangesNumbers { handed_on, unconfirmed, .. } = self.changes;
        let mut calls = vec![("kept", self.calls.kept)];
        calls.extend(refused(self.calls));
        let mut bunq = vec![("confirmed", handed_on - unconfirmed), ("unconfirmed", unconfirmed)];
        bunq.extend(not_handed_on(self.changes));
        if format.is_json() {
            let members =
                |outcomes: Outcomes| outcomes.into_iter().map(|(name, count)| (name.to_owned(), count.into()));
            let object = |outcomes| Value::Object(members(outcomes).collect::<Map<_, _>>());
            return screen::say_json(&json!({ "numbers": { "calls": object(calls), "bunq": object(bunq) } }));
        }
        note(format, &format!("calls: {}; bunq: {}", words(&calls), words(&bunq)));
    }
}

/// The outcomes of calls that were not kept.
fn refused(numbers: ReceiverNumbers) -> Outcomes {
    vec![
        ("wrong_path", numbers.wrong_path),
        ("wrong_peer", numbers.wrong_peer),
        ("wrong_method", numbers.wrong_method),
        ("wrong_type", numbers.wrong_type),
        ("too_large", numbers.too_large),
        ("too_slow", numbers.too_slow),
        ("broken", numbers.broken),
        ("not_notification", numbers.not_notification),
        ("busy", numbers.busy),
        ("full", numbers.full),
        ("failed", numbers.failed),
    ]
}

/// The outcomes of calls and reads for which nothing was handed on.
fn not_handed_on(numbers: ChangesNumbers) -> Outcomes {
    vec![
        ("known", numbers.known),
        ("unchanged", numbers.unchanged),
        ("not_ours", numbers.not_ours),
        ("foreign", numbers.foreign),
        ("ignored", numbers.ignored),
        ("failed", numbers.failed),
        ("left_out", numbers.left_out),
    ]
}

fn words(outcomes: &[(&'static str, u64)]) -> String {
    let counted = outcomes.iter().filter(|(_, count)| *count > 0);
    let words: Vec<_> = counted.map(|(name, count)| format!("{count} {name}")).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
