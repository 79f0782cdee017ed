//! How results are written: tables for people, JSON and CSV for scripts. It knows no provisions.

use std::io::{self, Write};

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::arguments::OutputFormat;
use super::columns::View;
use super::screen;
use super::spreadsheet::protected;
use super::words::{clean, escaped};

/// One value of a record, for both readers.
pub(super) struct Field {
    /// The name of the column, and of the member in JSON.
    pub(super) name: &'static str,
    /// What a script reads, in CSV and in JSON: null if it is not known.
    value: Value,
    /// What a person reads.
    pub(super) shown: String,
    /// A narrow terminal loses the columns with the highest rank first.
    rank: u8,
    style: Option<&'static str>,
    /// Whether somebody else has chosen it, so that it may look like a formula to a spreadsheet.
    is_text: bool,
}

/// The rank of a column that a table has only if it is asked for. The lines of a single record have it.
pub(super) const HIDDEN: u8 = u8::MAX;

/// Styles of fields.
pub(super) const GREEN: &str = "32";
pub(super) const YELLOW: &str = "33";
pub(super) const RED: &str = "31";
pub(super) const DIM: &str = "2";

impl Field {
    /// A value with a form of its own: a number, a UUID, a time, or a word of this program.
    pub(super) fn new(name: &'static str, rank: u8, value: impl Serialize) -> Self {
        // These are texts, numbers and truth values, of which each can be serialized.
        let value = serde_json::to_value(value).unwrap_or_default();
        Self { name, shown: clean(&text(&value)), value, rank, style: None, is_text: false }
    }

    /// A text that somebody else has chosen: a name, or bunq's words, such as a status that is not known yet, or an id in a header.
    pub(super) fn text(name: &'static str, rank: u8, value: impl Serialize) -> Self {
        Self { is_text: true, ..Self::new(name, rank, value) }
    }

    /// Shows something else to people.
    pub(super) fn shown_as(self, shown: impl Into<String>) -> Self {
        Self { shown: clean(&shown.into()), ..self }
    }

    pub(super) fn styled(self, style: Option<&'static str>) -> Self {
        Self { style, ..self }
    }

    /// What a person sees, in its colour.
    pub(super) fn cell(&self) -> String {
        match self.style {
            Some(style) if !self.shown.is_empty() => format!("\x1b[{style}m{}\x1b[0m", self.shown),
            _ => self.shown.clone(),
        }
    }

    /// The cell in CSV.
    fn csv(&self) -> String {
        let text = text(&self.value);
        if self.is_text { protected(text) } else { text }
    }
}

/// A value in CSV.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

pub(super) struct Record {
    pub(super) fields: Vec<Field>,
    /// Members that only JSON has, because they do not fit a column.
    pub(super) more: Map<String, Value>,
}

impl Record {
    /// A record without members of JSON alone.
    pub(super) fn of(fields: Vec<Field>) -> Self {
        Self { fields, more: Map::new() }
    }

    pub(super) fn json(&self) -> Value {
        let mut json = self.more.clone();
        json.extend(self.fields.iter().map(|field| (field.name.to_owned(), field.value.clone())));
        Value::Object(json)
    }

    fn field(&self, column: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == column)
    }
}

/// The names of the columns of a record.
pub(super) fn names(fields: &[Field]) -> Vec<&'static str> {
    fields.iter().map(|field| field.name).collect()
}

/// Writes results to standard output, as soon as their format allows. What is written together at the end is written too when
/// a command is interrupted.
pub(super) struct Printer {
    view: View,
    /// The width of the terminal, if standard output is one.
    width: Option<usize>,
    /// What is written together at the end, with its place in the list.
    kept: Vec<(usize, Record)>,
    is_begun: bool,
    is_finished: bool,
    /// The first write error of [`Printer::add_anyway`], if any.
    failure: Option<io::Error>,
}

impl Printer {
    pub(super) fn new(view: View) -> Self {
        let width = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns).max(20));
        Self { view, width, kept: Vec::new(), is_begun: false, is_finished: false, failure: None }
    }

    /// Adds the next result of a list.
    pub(super) fn add(&mut self, record: Record) -> io::Result<()> {
        self.add_at(self.kept.len(), record)
    }

    /// Adds a result of work that continues even if the result cannot be written. [`finish`](Self::finish) fails then.
    pub(super) fn add_anyway(&mut self, record: Record) {
        self.add_anyway_at(self.kept.len(), record);
    }

    /// The same for a result that has this place where the format is written together.
    pub(super) fn add_anyway_at(&mut self, place: usize, record: Record) {
        if self.failure.is_none() {
            self.failure = self.add_at(place, record).err();
        }
    }

    fn add_at(&mut self, place: usize, record: Record) -> io::Result<()> {
        match self.view.format {
            OutputFormat::Table | OutputFormat::Json => {
                self.kept.push((place, record));
                Ok(())
            }
            OutputFormat::Jsonl => write_line(&record.json().to_string()),
            OutputFormat::Csv => {
                self.begin_csv()?;
                let cell = |column: &&str| record.field(column).map(Field::csv).unwrap_or_default();
                write_csv(self.view.columns.iter().map(cell))
            }
        }
    }

    /// Whether [`finish`](Self::finish) has neither results nor a failure.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.failure.is_none()
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some(failure) = self.failure.take() {
            self.is_finished = true;
            return Err(failure);
        }
        if std::mem::replace(&mut self.is_finished, true) {
            return Ok(());
        }
        self.kept.sort_by_key(|(place, _)| *place);
        let kept: Vec<_> = self.kept.drain(..).map(|(_, record)| record).collect();
        match self.view.format {
            OutputFormat::Json => write_json(&Value::Array(kept.iter().map(Record::json).collect())),
            OutputFormat::Table => {
                let (text, left_out) = table(&kept, &self.view, self.width);
                write_text(&text)?;
                if !left_out.is_empty() && Term::stderr().is_term() {
                    let problem = format!("the terminal is too narrow for {}", left_out.join(", "));
                    note(self.view.format, &format!("{problem}: choose with --columns, or see all with --output csv"));
                }
                Ok(())
            }
            OutputFormat::Jsonl => Ok(()),
            OutputFormat::Csv => self.begin_csv(),
        }
    }

    /// Writes the only result: for people as lines, unless they have chosen columns or no header.
    pub(super) fn single(mut self, record: Record) -> io::Result<()> {
        if self.view.format == OutputFormat::Table && !self.view.is_chosen && self.view.has_header {
            self.is_finished = true;
            return write_text(&lines(&record));
        }
        self.add(record)?;
        self.finish()
    }

    /// Writes the names of the columns, once.
    fn begin_csv(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_begun, true) || !self.view.has_header {
            return Ok(());
        }
        write_csv(self.view.columns.iter().copied())
    }
}

/// Writes a line of CSV.
pub(super) fn write_csv<T: AsRef<[u8]>>(cells: impl Iterator<Item = T>) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    let text = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    write_out(io::stdout(), &text)
}

impl Drop for Printer {
    fn drop(&mut self) {
        if !self.kept.is_empty() {
            // Standard output may be closed after an interruption.
            let _ = self.finish();
        }
    }
}

/// Tells a person something on standard error. Scripts find the same in the results.
pub(super) fn note(format: OutputFormat, text: &str) {
    if !format.is_json() {
        screen::say(&(clean(text) + "\n"));
    }
}

/// Warns on standard error, as JSON for scripts.
pub(super) fn warn(format: OutputFormat, text: &str) {
    match format.is_json() {
        true => screen::say_json(&json!({ "warning": text })),
        false => screen::say(&format!("\x1b[1;33mwarning:\x1b[0m {}\n", clean(text))),
    }
}

/// Writes a value that is no record.
pub(super) fn write_value(format: OutputFormat, value: &Value) -> io::Result<()> {
    if format == OutputFormat::Jsonl { write_line(&value.to_string()) } else { write_json(value) }
}

fn write_json(json: &Value) -> io::Result<()> {
    write_line(&serde_json::to_string_pretty(json)?)
}

/// Writes JSON that is one line, or ends with one.
fn write_line(json: &str) -> io::Result<()> {
    write_out(io::stdout(), (escaped(json) + "\n").as_bytes())
}

/// Writes a text for people, with its colours where they are wanted.
pub(super) fn write_text(text: &str) -> io::Result<()> {
    write_out(anstream::stdout(), text.as_bytes())
}

/// Writes all of it at once.
pub(super) fn write_out(mut out: impl Write, bytes: &[u8]) -> io::Result<()> {
    screen::above(|| {
        out.write_all(bytes)?;
        out.flush()
    })
}

const GAP: usize = 2;

/// Where there is no terminal whose width bounds a table, cells are not padded to more than this: one long cell would make as much
/// of each line.
const MAX_PADDED: usize = 40;

/// The records as a table, and the columns that were left out because the terminal is too narrow. Chosen columns are never left out.
fn table(records: &[Record], view: &View, width: Option<usize>) -> (String, Vec<&'static str>) {
    let Some(first) = records.first() else { return (String::new(), Vec::new()) };
    let width = width.filter(|_| !view.is_chosen);
    let title = |column: &str| if view.has_header { column.replace('_', " ").to_uppercase() } else { String::new() };
    let measured = |column: &&'static str| {
        let cells = records.iter().filter_map(|record| record.field(column));
        let widths = cells.map(|field| measure_text_width(&field.shown)).chain([title(column).len()]);
        let rank = first.field(column).map_or(HIDDEN, |field| field.rank);
        let widest = widths.max().unwrap_or_default();
        (*column, rank, if width.is_some() { widest } else { widest.min(MAX_PADDED) })
    };
    let mut columns: Vec<_> = view.columns.iter().map(measured).collect();
    columns.retain(|(_, rank, _)| view.is_chosen || *rank != HIDDEN);
    let wanted: Vec<_> = columns.iter().map(|(column, ..)| *column).collect();
    while width.is_some_and(|width| columns.iter().map(|(.., width)| width + GAP).sum::<usize>() > width + GAP)
        && let Some(last) = columns.iter().map(|(_, rank, _)| *rank).filter(|rank| *rank > 0).max()
    {
        columns.retain(|(_, rank, _)| *rank != last);
    }
    let line = |cell: &dyn Fn(&str) -> String| {
        let cells = columns.iter();
        let cells = cells.map(|(column, _, width)| pad_str(&cell(column), *width, Alignment::Left, None).into_owned());
        let line = cells.collect::<Vec<_>>().join(&" ".repeat(GAP));
        let line = line.trim_end();
        width.map_or(line.to_owned(), |width| truncate_str(line, width, "…").into_owned()) + "\n"
    };
    let head = if view.has_header { line(&|column| format!("\x1b[1m{}\x1b[0m", title(column))) } else { String::new() };
    let text = records
        .iter()
        .fold(head, |text, record| text + &line(&|column| record.field(column).map(Field::cell).unwrap_or_default()));
    let is_left_out = |wanted: &&'static str| !columns.iter().any(|(column, ..)| column == wanted);
    (text, wanted.into_iter().filter(is_left_out).collect())
}

/// A record as lines of names and values.
pub(super) fn lines(record: &Record) -> String {
    let named: Vec<_> = record.fields.iter().filter(|field| !field.shown.is_empty()).collect();
    let widest = named.iter().map(|field| field.name.len()).max().unwrap_or_default();
    named.iter().fold(String::new(), |text, field| {
        format!("{text}\x1b[1m{:widest$}\x1b[0m  {}\n", field.name.replace('_', " "), field.cell())
    })
}
