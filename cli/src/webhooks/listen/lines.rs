//! One line for each call, for each answer of bunq's, and for what is counted.

use std::io;

use bunq_partner::webhook::{ChangedObject, Hint, HintedObject};
use bunq_partner::{ProvisionId, Timestamp, jiff};
use console::Term;

use super::super::super::arguments::OutputFormat;
use super::super::super::invocation::Invocation;
use super::super::super::line_clock::LineClock;
use super::super::super::output::{DIM, Field, GREEN, Printer, Record, YELLOW, names, write_text};

/// A call, or what bunq says.
#[derive(Default)]
pub(super) struct Line {
    time: Option<Timestamp>,
    said_by: &'static str,
    outcome: &'static str,
    /// How many of them.
    count: u64,
    category: Option<String>,
    event_type: Option<String>,
    object_kind: Option<String>,
    object_id: Option<u64>,
    id: Option<ProvisionId>,
    object_status: Option<String>,
}

pub(crate) fn columns() -> Vec<&'static str> {
    names(&Line::default().fields())
}

impl Line {
    /// A call that is kept.
    pub(super) fn call(hint: &Hint) -> Self {
        Self { time: Some(hint.arrived), said_by: "call", outcome: "kept", ..Self::about(hint) }
    }

    /// What bunq says, or that it was not asked.
    pub(super) fn change(object: &ChangedObject) -> Self {
        let confirmed = |kind: &str, id: u64, provision_id: ProvisionId, status: Option<&str>| Self {
            object_kind: Some(kind.to_owned()),
            object_id: Some(id),
            id: Some(provision_id),
            object_status: status.map(str::to_owned),
            ..Self::now("bunq", "confirmed", 1)
        };
        match object {
            ChangedObject::Provision(provision) => {
                confirmed("provision", provision.id.get(), provision.id, Some(provision.status.as_str()))
            }
            ChangedObject::Onboarding { provision_id, onboarding } => {
                let status = onboarding.status.as_ref().map(|status| status.as_str());
                confirmed("onboarding", onboarding.id.get(), *provision_id, status)
            }
            ChangedObject::Inquiry { provision_id, inquiry } => {
                let status = inquiry.status.as_ref().map(|status| status.as_str());
                confirmed("inquiry", inquiry.id.get(), *provision_id, status)
            }
            ChangedObject::Unconfirmed { provision_id, hint } => {
                let Self { time, said_by, outcome, count, .. } = Self::now("bunq", "unconfirmed", 1);
                Self { time, said_by, outcome, count, id: *provision_id, ..Self::about(hint) }
            }
            // This version knows no other one.
            _ => Self::now("bunq", "unconfirmed", 1),
        }
    }

    pub(super) fn now(said_by: &'static str, outcome: &'static str, count: u64) -> Self {
        Self { time: Some(jiff::Timestamp::now().into()), said_by, outcome, count, ..Self::default() }
    }

    fn about(hint: &Hint) -> Self {
        let (kind, object_id, id) = match &hint.object {
            Some(HintedObject::Provision(id)) => (Some("provision"), Some(id.get()), Some(*id)),
            Some(HintedObject::Onboarding(id)) => (Some("onboarding"), Some(id.get()), None),
            Some(HintedObject::Inquiry(id)) => (Some("inquiry"), Some(id.get()), None),
            Some(HintedObject::Other { kind, id }) => (kind.as_deref(), Some(*id), None),
            Some(_) | None => (None, None, None),
        };
        Self {
            count: 1,
            category: hint.category.as_ref().map(|category| category.as_str().to_owned()),
            event_type: hint.event_type.as_ref().map(|event| event.as_str().to_owned()),
            object_kind: kind.map(str::to_owned),
            object_id,
            id,
            ..Self::default()
        }
    }

    fn fields(&self) -> Vec<Field> {
        let style = match (self.said_by, self.outcome) {
            ("call", "kept") => None,
            (_, "confirmed") => Some(GREEN),
            _ => Some(YELLOW),
        };
        let count = if self.count == 1 { String::new() } else { format!("{} times", self.count) };
        // Of a provision both ids are the same.
        let id = self.id.filter(|id| self.object_id != Some(id.get()));
        let id = id.map(|id| format!("of provision {id}")).unwrap_or_default();
        vec![
            Field::new("time", 0, self.time.map(Timestamp::as_jiff)),
            Field::new("said_by", 0, self.said_by),
            Field::new("outcome", 0, self.outcome).styled(style),
            Field::new("count", 0, self.count).shown_as(count),
            Field::text("category", 0, self.category.as_ref()),
            Field::text("event_type", 0, self.event_type.as_ref()),
            Field::text("object_kind", 0, self.object_kind.as_ref()),
            Field::new("object_id", 0, self.object_id),
            Field::new("id", 0, self.id).shown_as(id),
            Field::text("object_status", 0, self.object_status.as_ref()),
        ]
    }
}

/// The lines as they are written.
pub(super) struct Lines<'a> {
    invocation: &'a Invocation,
    printer: Printer,
    clock: LineClock,
}

impl<'a> Lines<'a> {
    pub(super) fn new(invocation: &'a Invocation) -> Self {
        Self { invocation, printer: invocation.printer(), clock: LineClock::new(Term::stdout().is_term()) }
    }

    pub(super) fn add(&mut self, line: &Line) -> io::Result<()> {
        let fields = line.fields();
        if self.invocation.format() != OutputFormat::Table {
            return self.printer.add(Record::of(fields));
        }
        let (date, time) = self.clock.now();
        let date = date.map(|date| format!("{date}\n")).unwrap_or_default();
        let cells: Vec<_> = fields[1..].iter().map(Field::cell).filter(|cell| !cell.is_empty()).collect();
        write_text(&format!("{date}\x1b[{DIM}m{time}\x1b[0m  {}\n", cells.join("  ")))
    }

    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.invocation.format() == OutputFormat::Table { Ok(()) } else { self.printer.finish() }
    }
}
