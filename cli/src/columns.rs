//! What a command writes to standard output, and with which columns.

use super::arguments::{OutputFormat, OutputOptions};
use super::exit::Failure;

/// What a command writes to standard output. Its JSON is described by `schema.json`.
pub(super) enum Results {
    /// Records with these columns: a table, CSV, or a list in JSON, however many they are.
    Records(Vec<&'static str>),
    /// Records with these columns that come while the command runs: lines for people, CSV, or JSON lines.
    Changes(Vec<&'static str>),
    /// What has no columns: text for people, or JSON.
    Value,
    /// Text that does not depend on `--output`.
    Text,
}

/// How results are written.
#[derive(Clone)]
pub(super) struct View {
    pub(super) format: OutputFormat,
    /// The columns of CSV, in their order.
    pub(super) columns: Vec<&'static str>,
    /// Whether the columns were chosen: then a table has exactly these.
    pub(super) is_chosen: bool,
    pub(super) has_header: bool,
}

impl Results {
    /// How the results are written; `preferred` is the format of the options or of a profile. A format that the results cannot have,
    /// and a column that they do not have, are refused before anything is sent. A profile is for all commands: where its format does
    /// not fit, the nearest one is used.
    pub(super) fn view(&self, options: &OutputOptions, preferred: OutputFormat) -> Result<View, Failure> {
        let format = match (self, preferred) {
            (Self::Changes(_), OutputFormat::Json) if options.output.is_none() => OutputFormat::Jsonl,
            (Self::Value, OutputFormat::Csv) if options.output.is_none() => OutputFormat::Table,
            (_, preferred) => preferred,
        };
        let columns = match (self, format) {
            (Self::Changes(_), OutputFormat::Json) => {
                return Err(Failure::usage("changes are written one by one: use --output jsonl"));
            }
            (Self::Value, OutputFormat::Csv) => {
                return Err(Failure::usage("csv is for records, and this command writes none: use --output json"));
            }
            (Self::Records(columns) | Self::Changes(columns), _) => Some(columns),
            (Self::Value | Self::Text, _) => None,
        };
        // Where a format has no columns, as JSON, or a command writes no records, options about columns do nothing.
        let names = options.columns.as_ref().filter(|_| columns.is_some());
        let all = columns.cloned().unwrap_or_default();
        let chosen = names.map(|names| chosen(names, &all)).transpose()?;
        let (is_chosen, has_header) = (chosen.is_some(), !options.no_header);
        Ok(View { format, columns: chosen.unwrap_or(all), is_chosen, has_header })
    }
}

fn chosen(names: &[String], all: &[&'static str]) -> Result<Vec<&'static str>, Failure> {
    let known = |name: &String| {
        let column = all.iter().find(|column| *column == name).copied();
        column.ok_or_else(|| {
            let hint = format!("the columns here are {}", all.join(", "));
            Failure::usage(format!("--columns: there is no column `{name}`")).with_hint(hint)
        })
    };
    names.iter().map(known).collect()
}
