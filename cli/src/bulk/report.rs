//! The report: each row of the input once, with what the journal says of it.

use std::collections::BTreeMap;

use bunq_partner::{BulkOperation, BulkRequest, FileJournal, Journal as _, JournalStart, RowRecord, RowState};
use serde_json::json;

use super::super::arguments::{OutputFormat, OutputOptions, ReportOptions};
use super::super::exit::{Failure, after_output};
use super::super::output::{Field, HIDDEN, Printer, Record, note, write_text};
use super::super::records;
use super::input::Input;
use super::{check_is_there, journal_path, open_input};

/// The name of what is said of a row that was not begun.
const NOT_BEGUN: &str = "not_begun";

/// What is said of rows that have failed.
const FINALITY: &str = "failed rows are final, and --resume skips them: correct what their errors name, and give them in a file of their own";

/// The report of a run, finished or not.
pub(in super::super) async fn run(options: &ReportOptions, output: &OutputOptions) -> Result<(), Failure> {
    let path = journal_path(&options.from, options.journal.as_deref())?;
    check_is_there(&path)?;
    let journal = FileJournal::read(&path).await?;
    let check = |operation| open_input(&options.from, &path, operation);
    let input = match journal.start().await? {
        JournalStart::Begun(header) => check(header.bulk_operation()?)?,
        // Nothing says what was to be done with the rows.
        _ => check(BulkOperation::Close).or_else(|failure| check(BulkOperation::Create).map_err(|_| failure))?,
    };
    write(output.output, &input, &journal, true, None).await
}

/// Writes what became of each row; for people, and unless all are wanted, of those that are not done.
///
/// It fails as the first row has that is not done; `resumption` says how to go on if something is left to do.
pub(super) async fn write(
    format: OutputFormat,
    input: &Input,
    journal: &FileJournal,
    wants_all: bool,
    resumption: Option<String>,
) -> Result<(), Failure> {
    if let JournalStart::Begun(header) = journal.start().await? {
        input.check_journal(header.input.as_deref())?;
    }
    let mut printer = Printer::new(format);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut first, mut in_doubt) = (None, 0_u64);
    let mut is_open = false;
    for (row, place) in input.rows()?.zip(1..) {
        let last = journal.last(place).await?;
        let state = last.as_ref().map_or(NOT_BEGUN, |last| last.state.as_str());
        *counts.entry(state).or_default() += 1;
        let is_done = last.as_ref().is_some_and(|last| last.state.is_done());
        let is_in_doubt = last.as_ref().is_some_and(RowRecord::is_in_doubt);
        in_doubt += u64::from(is_in_doubt);
        if !is_done && first.is_none() {
            first = Some((last.as_ref().and_then(|last| last.error_kind.clone()), is_in_doubt));
        }
        is_open |= !last.as_ref().is_some_and(|last| last.state.is_final());
        if wants_all || !is_done || format != OutputFormat::Table {
            // The outcome of the rows decides the exit code, even if the output fails.
            printer.add_anyway(record(place, &row, last.as_ref()));
        }
    }
    let written = if printer.is_empty() { Ok(()) } else { printer.finish() };
    if let (BulkOperation::Create, Some(count)) = (input.operation, counts.get(RowState::Already.as_str())) {
        note(format, &format!("{count} users were there already: {}", records::UNUSED));
    }
    let said: Vec<_> = counts.iter().map(|(state, count)| format!("{count} {}", state.replace('_', " "))).collect();
    let said = said.join(", ");
    let Some((kind, is_in_doubt)) = first else {
        written?;
        if format == OutputFormat::Table {
            write_text(&format!("{} rows: {said}\n", input.rows))?;
        }
        return Ok(());
    };
    let in_doubt = if in_doubt > 0 { format!("; of {in_doubt} the outcome is in doubt") } else { String::new() };
    let problem = format!("not all of the {} rows are done: {said}{in_doubt}", input.rows);
    let failure = if is_in_doubt { Failure::doubt(problem) } else { Failure::of_kind_named(kind.as_deref(), problem) };
    let finality = counts.contains_key(RowState::Failed.as_str()).then(|| FINALITY.to_owned());
    let outcome = Err(failure.or_hint(finality).or_hint(resumption.filter(|_| is_open)));
    after_output(outcome, written)
}

fn record(place: u64, row: &BulkRequest, last: Option<&RowRecord>) -> Record {
    let (own_id, external_uuid) = match row {
        BulkRequest::Close(id) => (Some(*id), None),
        BulkRequest::Create(new) => (None, Some(*new.external_uuid())),
    };
    let id = own_id.or_else(|| last.and_then(|last| last.id));
    let state = last.map_or(NOT_BEGUN, |last| last.state.as_str());
    let response_id = last.and_then(|last| last.response_id.as_deref());
    let error = last.and_then(|last| last.error_kind.as_deref());
    let status = last.and_then(|last| last.status);
    let created = last.and_then(|last| last.created).map(|created| created.to_string());
    let at = last.map(|last| last.at.to_string());
    let is_in_doubt = last.is_some_and(RowRecord::is_in_doubt);
    let json = json!({
        "row": place,
        "id": id,
        "external_uuid": external_uuid,
        "outcome": state,
        "in_doubt": is_in_doubt,
        "created": created,
        "response_id": response_id,
        "error": error,
        "status": status,
        "at": at,
    });
    let style = match last.map(|last| last.state) {
        Some(RowState::Failed | RowState::Unfinished) => Some("31"),
        Some(state) if state.is_done() => Some("32"),
        _ => Some("33"),
    };
    let shown = if is_in_doubt { format!("{state}, in doubt") } else { state.to_owned() };
    let of_creations = |rank| if external_uuid.is_some() { rank } else { HIDDEN };
    let fields = vec![
        Field::new("row", 0, place.to_string()),
        Field::optional("id", 0, id),
        Field::optional("external_uuid", of_creations(0), external_uuid),
        Field::new("outcome", 0, state).shown_as(shown).styled(style),
        Field::optional("error", 0, error),
        Field::optional("status", 1, status),
        Field::optional("response_id", 2, response_id),
        Field::optional("at", 3, at),
        Field::new("in_doubt", HIDDEN, is_in_doubt.to_string()),
        Field::optional("created", of_creations(4), created),
    ];
    Record { fields, json }
}
