//! How results are written: tables for people, JSON and CSV for scripts. It knows no provisions.

use std::io::{self, Write};

use console::{Alignment, Term, measure_text_width, pad_str, truncate_str};
use serde_json::{Value, json};

use super::arguments::OutputFormat;
use super::screen;
use super::words::{clean, escaped};

/// One value of a record, for both readers.
pub(super) struct Field {
    pub(super) name: &'static str,
    /// What a script reads.
    pub(super) value: String,
    /// What a person reads.
    pub(super) shown: String,
    /// Which columns a narrow terminal loses first: those with the highest. A table never has those with `HIDDEN`.
    pub(super) rank: u8,
    pub(super) style: Option<&'static str>,
}

/// The rank of what is not in tables, only among the lines of a single record.
pub(super) const HIDDEN: u8 = u8::MAX;

impl Field {
    pub(super) fn new(name: &'static str, rank: u8, value: impl Into<String>) -> Self {
        let value = value.into();
        Self { name, shown: clean(&value), value, rank, style: None }
    }

    /// A value that may be missing: then it is empty.
    pub(super) fn optional(name: &'static str, rank: u8, value: Option<impl ToString>) -> Self {
        Self::new(name, rank, value.map(|value| value.to_string()).unwrap_or_default())
    }

    /// Shows something else to people.
    pub(super) fn shown_as(self, shown: impl Into<String>) -> Self {
        Self { shown: clean(&shown.into()), ..self }
    }

    pub(super) fn styled(self, style: Option<&'static str>) -> Self {
        Self { style, ..self }
    }

    fn cell(&self) -> String {
        match self.style {
            Some(style) if !self.shown.is_empty() => format!("\x1b[{style}m{}\x1b[0m", self.shown),
            _ => self.shown.clone(),
        }
    }

    fn title(&self) -> String {
        self.name.replace('_', " ").to_uppercase()
    }
}

pub(super) struct Record {
    pub(super) fields: Vec<Field>,
    pub(super) json: Value,
}

/// Writes results to standard output, as soon as their format allows. What is written together at the end is written too when
/// a command is interrupted.
pub(super) struct Printer {
    format: OutputFormat,
    /// The width of the terminal, if standard output is one.
    width: Option<usize>,
    /// What is written together at the end, with its place in the list.
    kept: Vec<(usize, Record)>,
    has_header: bool,
    is_finished: bool,
    /// The first write error of [`Printer::add_anyway`], if any.
    failure: Option<io::Error>,
}

impl Printer {
    pub(super) fn new(format: OutputFormat) -> Self {
        let width = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns).max(20));
        Self { format, width, kept: Vec::new(), has_header: false, is_finished: false, failure: None }
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
        match self.format {
            OutputFormat::Table | OutputFormat::Json => {
                self.kept.push((place, record));
                Ok(())
            }
            OutputFormat::Jsonl => write_line(&record.json.to_string()),
            OutputFormat::Csv => self.write_csv(&record),
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
        match self.format {
            OutputFormat::Json => write_json(&Value::Array(kept.into_iter().map(|record| record.json).collect())),
            OutputFormat::Table => write_text(&table(&kept, self.width)),
            OutputFormat::Jsonl | OutputFormat::Csv => Ok(()),
        }
    }

    /// Writes the only result.
    pub(super) fn single(mut self, record: Record) -> io::Result<()> {
        self.is_finished = true;
        match self.format {
            OutputFormat::Json => write_json(&record.json),
            OutputFormat::Table => write_text(&lines(&record)),
            OutputFormat::Jsonl | OutputFormat::Csv => self.add(record),
        }
    }

    fn write_csv(&mut self, record: &Record) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        if !std::mem::replace(&mut self.has_header, true) {
            writer.write_record(record.fields.iter().map(|field| field.name))?;
        }
        writer.write_record(record.fields.iter().map(|field| clean(&field.value)))?;
        let text = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        screen::above(|| {
            let mut out = io::stdout().lock();
            out.write_all(&text)?;
            out.flush()
        })
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        if !self.kept.is_empty() {
            // Standard output may be closed after an interruption.
            let _ = self.finish();
        }
    }
}

/// Says something to a person on standard error, beside the results. Scripts are told the same in the results.
pub(super) fn note(format: OutputFormat, text: &str) {
    if !format.is_json() {
        // If standard error is closed, the message is lost.
        let _ = screen::above(|| writeln!(io::stderr(), "{}", clean(text)));
    }
}

/// Warns on standard error, scripts too.
pub(super) fn warn(format: OutputFormat, text: &str) {
    // If standard error is closed, the message is lost.
    let _ = screen::above(|| match format.is_json() {
        true => writeln!(io::stderr(), "{}", escaped(&json!({ "warning": text }).to_string())),
        false => writeln!(anstream::stderr(), "\x1b[1;33mwarning:\x1b[0m {}", clean(text)),
    });
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
    screen::above(|| {
        let mut out = io::stdout().lock();
        writeln!(out, "{}", escaped(json))?;
        out.flush()
    })
}

/// Writes a text for people, with its colours where they are wanted.
pub(super) fn write_text(text: &str) -> io::Result<()> {
    screen::above(|| {
        let mut out = anstream::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    })
}

const GAP: usize = 2;

/// The records as a table, without the columns for which the terminal is too narrow.
fn table(records: &[Record], width: Option<usize>) -> String {
    let Some(first) = records.first() else { return String::new() };
    let mut columns: Vec<_> = (0..first.fields.len()).filter(|column| first.fields[*column].rank != HIDDEN).collect();
    let widest = |column: usize| {
        let cells = records.iter().filter_map(|record| record.fields.get(column));
        cells.map(|field| measure_text_width(&field.shown)).chain([first.fields[column].name.len()]).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..first.fields.len()).map(widest).collect();
    let fits = |columns: &[usize]| {
        let total: usize = columns.iter().map(|column| widths[*column] + GAP).sum();
        width.is_none_or(|width| total <= width + GAP)
    };
    while !fits(&columns)
        && let Some(last) = columns.iter().map(|column| first.fields[*column].rank).filter(|rank| *rank > 0).max()
    {
        columns.retain(|column| first.fields[*column].rank != last);
    }
    let line = |cell: &dyn Fn(usize) -> String| {
        let cells = columns
            .iter()
            .map(|column| pad_str(&cell(*column), widths[*column] + GAP, Alignment::Left, None).into_owned());
        let line = cells.collect::<String>();
        let line = line.trim_end();
        width.map_or(line.to_owned(), |width| truncate_str(line, width, "…").into_owned()) + "\n"
    };
    let head = line(&|column| format!("\x1b[1m{}\x1b[0m", first.fields[column].title()));
    records.iter().fold(head, |text, record| {
        text + &line(&|column| record.fields.get(column).map(Field::cell).unwrap_or_default())
    })
}

/// A record as lines of names and values.
fn lines(record: &Record) -> String {
    let named: Vec<_> = record.fields.iter().filter(|field| !field.shown.is_empty()).collect();
    let widest = named.iter().map(|field| field.name.len()).max().unwrap_or_default();
    named.iter().fold(String::new(), |text, field| {
        format!("{text}\x1b[1m{:widest$}\x1b[0m  {}\n", field.name.replace('_', " "), field.cell())
    })
}
