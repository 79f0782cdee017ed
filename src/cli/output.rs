//! How results are written: tables for people, JSON and CSV for scripts. It knows no provisions.

use std::io::{self, Write};

use serde_json::Value;
use tabled::builder::Builder;
use tabled::settings::style::Style;
use tabled::settings::{Padding, Width};

use super::arguments::{Format, OutputOptions};
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

/// One result.
pub(super) struct Record {
    pub(super) fields: Vec<Field>,
    pub(super) json: Value,
}

/// Writes results to standard output, as soon as their format allows.
pub(super) struct Printer {
    format: Format,
    /// The width of the terminal, if standard output is one.
    width: Option<usize>,
    /// What is written together at the end.
    kept: Vec<Record>,
    has_header: bool,
}

impl Printer {
    pub(super) fn new(options: &OutputOptions) -> Self {
        let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0).max(20));
        Self { format: options.output, width, kept: Vec::new(), has_header: false }
    }

    /// Adds a result to a list of them.
    pub(super) fn add(&mut self, record: Record) -> io::Result<()> {
        match self.format {
            Format::Table | Format::Json => {
                self.kept.push(record);
                Ok(())
            }
            Format::Jsonl => write_line(&record.json.to_string()),
            Format::Csv => self.write_csv(&record),
        }
    }

    /// Writes what was kept of the list.
    pub(super) fn finish(self) -> io::Result<()> {
        match self.format {
            Format::Json => write_json(&Value::Array(self.kept.into_iter().map(|record| record.json).collect())),
            Format::Table => write_text(&table(&self.kept, self.width)),
            Format::Jsonl | Format::Csv => Ok(()),
        }
    }

    /// Writes the only result.
    pub(super) fn single(mut self, record: Record) -> io::Result<()> {
        match self.format {
            Format::Json => write_json(&record.json),
            Format::Table => write_text(&lines(&record)),
            Format::Jsonl | Format::Csv => self.add(record),
        }
    }

    fn write_csv(&mut self, record: &Record) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        if !std::mem::replace(&mut self.has_header, true) {
            writer.write_record(record.fields.iter().map(|field| field.name))?;
        }
        writer.write_record(record.fields.iter().map(|field| field.value.as_str()))?;
        let text = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
        let mut out = io::stdout().lock();
        out.write_all(&text)?;
        out.flush()
    }
}

/// Writes JSON over several lines.
pub(super) fn write_json(json: &Value) -> io::Result<()> {
    write_line(&serde_json::to_string_pretty(json)?)
}

/// Writes JSON that is one line, or ends with one.
pub(super) fn write_line(json: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", escaped(json))?;
    out.flush()
}

/// Writes a text for people, with its colours where they are wanted.
pub(super) fn write_text(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The records as a table, without the columns for which the terminal is too narrow.
fn table(records: &[Record], width: Option<usize>) -> String {
    let Some(first) = records.first() else { return String::new() };
    let mut ranks: Vec<_> = first.fields.iter().map(|field| field.rank).filter(|rank| *rank != HIDDEN).collect();
    ranks.sort_unstable();
    loop {
        let lowest_lost = ranks.pop();
        let is_shown = |field: &&Field| field.rank != HIDDEN && lowest_lost.is_some_and(|lost| field.rank <= lost);
        let mut builder = Builder::default();
        builder
            .push_record(first.fields.iter().filter(is_shown).map(|field| format!("\x1b[1m{}\x1b[0m", field.title())));
        for record in records {
            builder.push_record(record.fields.iter().filter(is_shown).map(Field::cell));
        }
        let mut table = builder.build();
        table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
        let is_last = ranks.is_empty();
        if let (Some(width), true) = (width, is_last) {
            table.with(Width::truncate(width));
        }
        if is_last || width.is_none_or(|width| table.total_width() <= width + 2) {
            let lines = table.to_string();
            return lines.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n");
        }
    }
}

/// A record as lines of names and values.
fn lines(record: &Record) -> String {
    let named: Vec<_> = record.fields.iter().filter(|field| !field.shown.is_empty()).collect();
    let widest = named.iter().map(|field| field.name.len()).max().unwrap_or_default();
    named.iter().fold(String::new(), |text, field| {
        format!("{text}\x1b[1m{:widest$}\x1b[0m  {}\n", field.name.replace('_', " "), field.cell())
    })
}
