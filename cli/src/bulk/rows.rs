//! The lines of an input file as rows: CSV, JSON lines, or a list of ids.
//!
//! What is wrong with one is said by its place and a rule. No text of the file is repeated: it is about people, and a
//! wrong column, or a missing header, may hold anything.

use std::io::{BufRead as _, Cursor};
use std::path::Path;
use std::str::FromStr;

use bunq_partner::{BulkOperation, BulkRequest, InvalidValue, NewProvision, ProvisionId, Uuid};
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;

use super::super::exit::Failure;

/// No line is longer.
const MAX_LINE: usize = 64 * 1024;

/// What is wrong with a line.
#[derive(Debug)]
pub(super) struct Mistake {
    line: u64,
    /// The name of the column, if it is about one.
    column: String,
    reason: String,
}

fn columns(operation: BulkOperation) -> &'static [&'static str] {
    match operation {
        BulkOperation::Close => &["id"],
        BulkOperation::Create => &["external_uuid", "email", "phone_number", "director", "date_of_birth", "country"],
    }
}

/// The columns that every row must have.
pub(super) fn required(operation: BulkOperation) -> &'static [&'static str] {
    match operation {
        BulkOperation::Close => &["id"],
        BulkOperation::Create => &["external_uuid", "email", "phone_number"],
    }
}

impl Mistake {
    pub(super) fn new(line: u64, column: &str, reason: impl Into<String>) -> Self {
        Self { line, column: column.to_owned(), reason: reason.into() }
    }

    pub(super) fn said(&self) -> String {
        let Self { line, column, reason } = self;
        if column.is_empty() { format!("line {line}: {reason}") } else { format!("line {line}, {column}: {reason}") }
    }
}

/// The lines of an input, as rows.
pub(super) struct Lines {
    operation: BulkOperation,
    source: RowReader,
    pub(super) line: u64,
}

enum RowReader {
    Csv {
        reader: csv::Reader<Cursor<Bytes>>,
        /// The column of each field.
        columns: Vec<String>,
        /// The first line, if it is a row.
        first: Option<csv::StringRecord>,
    },
    Json(Cursor<Bytes>),
}

impl Lines {
    /// Begins to read an input, which has this name in messages.
    pub(super) fn new(name: &Path, text: Bytes, operation: BulkOperation) -> Result<Self, Failure> {
        let refused = |problem: &str| Failure::usage(format!("{}: {problem}", name.display()));
        let begin = &text[..text.len().min(512)];
        if begin.starts_with(&[0xff, 0xfe]) || begin.starts_with(&[0xfe, 0xff]) || begin.contains(&0) {
            return Err(refused("it is not UTF-8, but UTF-16 or no text: save it as UTF-8"));
        }
        let first_byte = begin.strip_prefix(BYTE_ORDER_MARK).unwrap_or(begin).trim_ascii_start().first().copied();
        if first_byte.is_none() {
            return Err(refused("it is empty"));
        }
        if let Some(line) = text.split(|byte| *byte == b'\n').position(|line| line.len() > MAX_LINE) {
            return Err(refused(&format!("line {}: a line is longer than {MAX_LINE} bytes", line + 1)));
        }
        if first_byte == Some(b'{') {
            return Ok(Self { operation, source: RowReader::Json(Cursor::new(text)), line: 0 });
        }
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(Cursor::new(text));
        let mut first = csv::StringRecord::new();
        reader.read_record(&mut first).map_err(|error| refused(&csv_problem(&error)))?;
        let known = columns(operation);
        let is_row = operation == BulkOperation::Close && first.len() == 1 && first[0].parse::<ProvisionId>().is_ok();
        let names: Vec<_> = if is_row { vec!["id".into()] } else { first.iter().map(str::to_owned).collect() };
        if let Some(place) = names.iter().position(|name| !known.contains(&name.as_str())) {
            let unknown = &names[place];
            let advice = match first_byte {
                Some(b'[') => ": JSON is taken a line for each object, without an array around them",
                _ if unknown.contains(';') => ": fields are separated by commas",
                _ if operation == BulkOperation::Close && names[0] == "id" => ": `cut -d, -f1` leaves only the ids",
                _ => "",
            };
            let (place, columns) = (place + 1, known.join(", "));
            let problem =
                format!("line 1: field {place} is not the name of a column: the columns are {columns}{advice}");
            return Err(refused(&problem));
        }
        if let Some(twice) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
            return Err(refused(&format!("line 1: the column `{}` is there twice", twice.1)));
        }
        if let Some(missing) = required(operation).iter().find(|column| !names.iter().any(|name| name == *column)) {
            return Err(refused(&format!("line 1: the column `{missing}` is missing")));
        }
        Ok(Self {
            operation,
            source: RowReader::Csv { reader, columns: names, first: is_row.then_some(first) },
            line: 0,
        })
    }

    /// The fields of the next line, by their columns.
    pub(super) fn fields(&mut self) -> Option<Result<Vec<(String, String)>, Mistake>> {
        let fields = match &mut self.source {
            RowReader::Csv { reader, columns, first } => {
                let mut record = csv::StringRecord::new();
                let read = match first.take() {
                    Some(first) => {
                        record = first;
                        Ok(true)
                    }
                    None => reader.read_record(&mut record),
                };
                self.line = record.position().map_or(self.line + 1, csv::Position::line);
                match read {
                    Ok(false) => return None,
                    Ok(true) if record.len() != columns.len() => {
                        Err(format!("it has {} fields, and the columns are {}", record.len(), columns.join(", ")))
                    }
                    Ok(true) => Ok(columns.iter().cloned().zip(record.iter().map(str::to_owned)).collect()),
                    Err(error) => Err(csv_problem(&error)),
                }
            }
            RowReader::Json(reader) => {
                let mut line = Vec::new();
                loop {
                    line.clear();
                    self.line += 1;
                    match reader.read_until(b'\n', &mut line) {
                        Ok(0) => return None,
                        Ok(_) if line.trim_ascii().is_empty() => {}
                        Ok(_) => break json_fields(&line, self.operation),
                        Err(error) => break Err(error.to_string()),
                    }
                }
            }
        };
        Some(fields.map_err(|reason| Mistake::new(self.line, "", reason)))
    }
}

impl Iterator for Lines {
    type Item = Result<(u64, BulkRequest), Mistake>;

    fn next(&mut self) -> Option<Self::Item> {
        let fields = match self.fields()? {
            Ok(fields) => fields,
            Err(mistake) => return Some(Err(mistake)),
        };
        let (operation, line) = (self.operation, self.line);
        let field = |column: &str| {
            let value = fields.iter().find(|(name, _)| name == column).map(|(_, value)| value.as_str());
            value.filter(|value| !value.is_empty())
        };
        Some(
            row(operation, field).map(|row| (line, row)).map_err(|(column, reason)| Mistake::new(line, column, reason)),
        )
    }
}

/// Makes a row of its fields; says what is wrong with which column.
fn row<'a>(
    operation: BulkOperation,
    field: impl Fn(&str) -> Option<&'a str>,
) -> Result<BulkRequest, (&'static str, String)> {
    const ID: &str = "the id of a provision is a positive integer of at most 63 bits";
    const UUID: &str = "it is not a UUID, as in 550e8400-e29b-41d4-a716-446655440000";
    const DATE: &str = "it is not a date, as in 1990-12-31";
    fn parsed<T: FromStr>(column: &'static str, text: &str, rule: &'static str) -> Result<T, (&'static str, String)> {
        text.parse().map_err(|_| (column, rule.to_owned()))
    }
    // These rules are the document's own words.
    fn checked<T: FromStr<Err = InvalidValue>>(column: &'static str, text: &str) -> Result<T, (&'static str, String)> {
        text.parse().map_err(|error: InvalidValue| (column, error.rule().to_owned()))
    }
    let required = |column: &'static str| field(column).ok_or_else(|| (column, "it is missing".to_owned()));
    if operation == BulkOperation::Close {
        return Ok(BulkRequest::Close(parsed("id", required("id")?, ID)?));
    }
    let external_uuid: Uuid = parsed("external_uuid", required("external_uuid")?, UUID)?;
    let email = checked("email", required("email")?)?;
    let phone_number = checked("phone_number", required("phone_number")?)?;
    let new = match (field("director"), field("date_of_birth"), field("country")) {
        (Some(director), None, None) => {
            NewProvision::company(external_uuid, email, phone_number, parsed("director", director, ID)?)
        }
        (Some(_), ..) => return Err(("director", "a company has no date_of_birth and no country".into())),
        (None, Some(born), Some(country)) => NewProvision::person(external_uuid, email, phone_number)
            .with_transaction_audit(parsed("date_of_birth", born, DATE)?, checked("country", country)?),
        (None, None, None) => NewProvision::person(external_uuid, email, phone_number),
        (None, Some(_), None) => return Err(("country", "it is missing beside the date_of_birth".into())),
        (None, None, Some(_)) => return Err(("date_of_birth", "it is missing beside the country".into())),
    };
    Ok(BulkRequest::Create(Box::new(new.into())))
}

/// The members of an object in their order, each as often as it is there.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;

        impl<'de> Visitor<'de> for All {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All)
    }
}

/// The members of an object, as the fields of a row.
fn json_fields(line: &[u8], operation: BulkOperation) -> Result<Vec<(String, String)>, String> {
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii_end();
    let Members(members) = serde_json::from_slice(line).map_err(|error| {
        let reason = match error.classify() {
            Category::Eof => "the line breaks off",
            Category::Data => "it is not an object",
            _ => "it is not JSON",
        };
        format!("character {}: {reason}", error.column())
    })?;
    let known = columns(operation);
    let mut fields: Vec<(String, String)> = Vec::new();
    for ((name, value), place) in members.into_iter().zip(1..) {
        if fields.iter().any(|(known, _)| *known == name) {
            return Err(format!("the member `{name}` is there twice"));
        }
        if !known.contains(&name.as_str()) {
            return Err(format!("member {place} is not one of {}", known.join(", ")));
        }
        fields.push(match value {
            Value::String(text) => (name, text),
            Value::Number(number) => (name, number.to_string()),
            Value::Null => (name, String::new()),
            _ => return Err(format!("{name}: it is neither a text nor a number")),
        });
    }
    Ok(fields)
}

/// What is wrong with a line of CSV, without the place, which is said in front.
fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Utf8 { err, .. } => {
            format!("field {}: it is not UTF-8: save the file as UTF-8", err.field() + 1)
        }
        _ => error.to_string(),
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
