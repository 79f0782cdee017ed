//! `report --failed`: the rows of a run that certainly were not done, as the input of another run.
//!
//! A row that is not done is in the new input, or is left to `--resume`, or is named because bunq has a user with its
//! `external_uuid`. So no row is done by both runs.

use bunq_partner::text::quoted;
use bunq_partner::{BulkOperation, ErrorKind, FileJournal, RowRecord, RowState};

use super::super::arguments::{OutputFormat, ReportOptions};
use super::super::exit::{Failure, after_output};
use super::super::output::{note, write_csv};
use super::super::spreadsheet::protected;
use super::super::words::numbered;
use super::input::Input;
use super::rows::Column;

/// What became of a row.
enum Fate {
    Done,
    /// It was refused, and nothing was done.
    Refused,
    /// It has failed, because there is a user with its `external_uuid` already.
    Exists,
    /// `--resume` finds out what became of it.
    InDoubt,
    /// `--resume` goes on with it.
    Open,
}

impl Fate {
    fn of(last: Option<&RowRecord>) -> Self {
        let Some(last) = last else { return Self::Open };
        let kinds = [ErrorKind::Duplicate, ErrorKind::Unattainable].map(ErrorKind::as_str);
        match last.state {
            state if state.is_done() => Self::Done,
            RowState::Failed if last.external_uuid().is_none() => Self::Refused,
            RowState::Failed if last.id.is_some() => Self::Exists,
            RowState::Failed if last.error_kind.as_deref().is_some_and(|kind| kinds.contains(&kind)) => Self::Exists,
            RowState::Failed => Self::Refused,
            _ if last.is_in_doubt() => Self::InDoubt,
            _ => Self::Open,
        }
    }
}

/// Writes the new input to standard output, and names on standard error the rows that are not in it. Fails if there are any.
pub(super) async fn write(input: &Input, journal: &FileJournal, options: &ReportOptions) -> Result<(), Failure> {
    let mut columns: Vec<&'static Column> = Vec::new();
    for (column, _) in input.fields()?.flatten() {
        if !columns.iter().any(|known| known.name == column.name) {
            columns.push(column);
        }
    }
    let mut written = write_csv(columns.iter().map(|column| column.name));
    let (mut count, mut first_kind) = (0_u64, None);
    let (mut exist, mut in_doubt, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for ((row, fields), place) in input.rows()?.zip(input.fields()?).zip(1..) {
        let last = input.last(journal, place, &row).await?;
        let fate = Fate::of(last.as_ref());
        let rest = match fate {
            Fate::Done => continue,
            Fate::Refused => {
                count += 1;
                let cell = |column: &&Column| {
                    let value = fields.iter().find(|(known, _)| known.name == column.name);
                    let value = value.map(|(_, value)| value.clone()).unwrap_or_default();
                    if column.is_text { protected(value) } else { value }
                };
                written = written.and_then(|()| write_csv(columns.iter().map(cell)));
                continue;
            }
            Fate::Exists => &mut exist,
            Fate::InDoubt => &mut in_doubt,
            Fate::Open => &mut open,
        };
        rest.push(input.line(place));
        first_kind = first_kind.or(Some(last.and_then(|last| last.error_kind)));
    }
    note(OutputFormat::Csv, &format!("{count} of {} rows are in the new input", input.rows));
    let Some(first_kind) = first_kind else { return Ok(written?) };
    let said = [
        (&in_doubt, "in doubt"),
        (&open, "not done yet"),
        (&exist, "failed because bunq has a user with their external_uuid"),
    ];
    let said = said.iter().filter(|(lines, _)| !lines.is_empty());
    let said: Vec<_> =
        said.map(|(lines, what)| format!("{} {what} ({})", lines.len(), numbered("line", lines))).collect();
    let problem = format!("rows that are not in the new input: {}", said.join("; "));
    let failure = if in_doubt.is_empty() {
        Failure::of_kind_named(first_kind.as_deref(), problem)
    } else {
        Failure::doubt(problem)
    };
    let is_open = !in_doubt.is_empty() || !open.is_empty();
    let outcome = Err(failure.or_hint(is_open.then(|| resumption(input.operation, options))));
    after_output(outcome, written)
}

/// How to continue with the rows that are left.
fn resumption(operation: BulkOperation, options: &ReportOptions) -> String {
    let command = match operation {
        BulkOperation::Close => "close",
        BulkOperation::Create => "create",
    };
    let from = quoted(&options.from.to_string_lossy());
    let journal = options.journal.as_ref().map(|journal| format!(" --journal {}", quoted(&journal.to_string_lossy())));
    let journal = journal.unwrap_or_default();
    format!(
        "`bunq-partner {command} --from {from}{journal} --resume`, with the other options of the run, goes on with what is left"
    )
}
