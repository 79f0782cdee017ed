//! The report: each row of the input once, with what the journal says of it.

use std::collections::BTreeMap;

use bunq_partner::{BulkOperation, FileJournal, Journal as _, JournalHeader, JournalStart, RowRecord, RowState};

use super::super::arguments::{OutputFormat, ReportOptions};
use super::super::columns::View;
use super::super::exit::{Failure, after_output};
use super::super::output::{Field, HIDDEN, Printer, Record, names, note, write_text};
use super::super::records::{self, NOT_BEGUN};
use super::input::Input;
use super::rows::Row;
use super::{earlier_journal, new_input, open_input};

/// What is said of rows that have failed.
const FINALITY: &str = "failed rows are final, and --resume skips them: correct what their errors name in the new input that \
                        `bunq-partner report --from FILE --failed --output csv` writes";

/// The report of a run, finished or not.
pub(in super::super) async fn run(options: &ReportOptions, view: View) -> Result<(), Failure> {
    if options.failed && view.format != OutputFormat::Csv {
        return Err(Failure::usage("--failed writes a new input: add --output csv"));
    }
    let from = &options.from;
    let path = earlier_journal(from, options.journal.as_deref(), "--journal names the journal of the run")?;
    let journal = FileJournal::read(&path).await?;
    let begun = match journal.start().await? {
        JournalStart::Begun(header) => Some(header),
        _ => None,
    };
    // Without a header nothing says which operation the rows are of.
    let (first, other) = match begun.as_ref().map(JournalHeader::bulk_operation).transpose()? {
        Some(BulkOperation::Create) => (BulkOperation::Create, BulkOperation::Close),
        Some(BulkOperation::Close) | None => (BulkOperation::Close, BulkOperation::Create),
    };
    let open = |operation| open_input(from, &path, operation);
    let input = open(first).or_else(|failure| open(other).map_err(|_| failure))?;
    if let Some(header) = begun {
        input.check_journal(header.input.as_deref())?;
    }
    if options.failed {
        return new_input::write(&input, &journal, options).await;
    }
    write(view, &input, &journal, true, None).await
}

/// Writes what became of each row; for people, and unless all are wanted, of those that are not done.
///
/// It fails as the first row has that is not done; `resumption` says how to go on if something is left to do.
pub(super) async fn write(
    view: View,
    input: &Input,
    journal: &FileJournal,
    wants_all: bool,
    resumption: Option<String>,
) -> Result<(), Failure> {
    let format = view.format;
    let mut printer = Printer::new(view);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut first, mut in_doubt) = (None, 0_u64);
    let mut is_open = false;
    for (row, place) in input.rows()?.zip(1..) {
        let last = input.last(journal, place, &row).await?;
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
            printer.add_anyway(Record::of(fields(place, input.line(place), Some(&row), last.as_ref())));
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

pub(in super::super) fn columns() -> Vec<&'static str> {
    names(&fields(0, 0, None, None))
}

fn fields(place: u64, line: u64, row: Option<&Row>, last: Option<&RowRecord>) -> Vec<Field> {
    let own_id = row.and_then(Row::id);
    let is_in_doubt = last.is_some_and(RowRecord::is_in_doubt);
    // A row that has an id needs no other name.
    let of_others = |rank| if row.is_some() && own_id.is_none() { rank } else { HIDDEN };
    vec![
        Field::new("row", HIDDEN, place),
        Field::new("line", 0, line),
        Field::new("id", 0, own_id.or_else(|| last.and_then(|last| last.id))),
        Field::new("external_uuid", of_others(0), row.and_then(Row::external_uuid)),
        records::outcome(last.map(|last| last.state), is_in_doubt),
        Field::new("error_kind", 0, last.and_then(|last| last.error_kind.as_deref())),
        Field::new("http_status", 1, last.and_then(|last| last.status)),
        Field::text("response_id", 2, last.and_then(|last| last.response_id.as_deref())),
        Field::new("at", 3, last.map(|last| last.at)),
        records::in_doubt(is_in_doubt),
        Field::new("created", of_others(4), last.and_then(|last| last.created)),
    ]
}
