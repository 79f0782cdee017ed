//! The rows of an input file: CSV, JSON lines, or a list of ids.

use std::collections::HashSet;
use std::path::Path;
use std::str::FromStr;

use bunq_partner::types::CreateProvisionRequest;
use bunq_partner::{BulkOperation, BulkRequest, InvalidValue, NewProvision, ProvisionId, Uuid};
use bytes::Bytes;
use serde_json::Value;

use super::super::exit::Failure;
use super::super::lines::{BYTE_ORDER_MARK, lines, split};
use super::super::schema;
use super::super::spreadsheet::unprotected;
use super::csv_records::CsvRecords;
use super::json_objects::{JsonObjects, Members};
use super::mistakes::Mistake;

/// No line is longer. What `list` writes of the names in a response, which has at most 4 MiB, is shorter.
const MAX_LINE: usize = 32 << 20;

/// A column of an input.
pub(super) struct Column {
    pub(super) name: &'static str,
    /// Whether its values have no form of their own: somebody has chosen them.
    pub(super) is_text: bool,
}

const fn column(name: &'static str) -> Column {
    Column { name, is_text: false }
}

static CLOSE: [Column; 2] = [column("id"), column("external_uuid")];

static CREATE: [Column; 6] = [
    column("external_uuid"),
    Column { name: "email", is_text: true },
    column("phone_number"),
    column("director"),
    column("date_of_birth"),
    column("country"),
];

/// What the program's own lists have, which a closing is read from.
const LISTS: [&str; 4] = ["provision", "outcome", "row", "receipt"];

/// What is requested in a row.
#[derive(Debug)]
pub(super) enum Row {
    Close(Target),
    Create(Box<CreateProvisionRequest>),
}

/// The provision that a row closes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Id(ProvisionId),
    /// The only one with this key that is not closed.
    ExternalUuid(Uuid),
    /// It has both.
    Both(ProvisionId, Uuid),
}

/// What no two rows have in common.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Key {
    Id(ProvisionId),
    ExternalUuid(Uuid),
}

impl Target {
    pub(super) fn id(self) -> Option<ProvisionId> {
        match self {
            Self::Id(id) | Self::Both(id, _) => Some(id),
            Self::ExternalUuid(_) => None,
        }
    }

    pub(super) fn external_uuid(self) -> Option<Uuid> {
        match self {
            Self::ExternalUuid(key) | Self::Both(_, key) => Some(key),
            Self::Id(_) => None,
        }
    }
}

impl Row {
    /// The id of a closing, if it is given.
    pub(super) fn id(&self) -> Option<ProvisionId> {
        match self {
            Self::Close(target) => target.id(),
            Self::Create(_) => None,
        }
    }

    pub(super) fn external_uuid(&self) -> Option<Uuid> {
        match self {
            Self::Close(target) => target.external_uuid(),
            Self::Create(new) => Some(*new.external_uuid()),
        }
    }

    /// The key, and its column.
    pub(super) fn key(&self) -> (Key, &'static str) {
        match self {
            Self::Close(Target::Id(id) | Target::Both(id, _)) => (Key::Id(*id), "id"),
            Self::Close(Target::ExternalUuid(key)) => (Key::ExternalUuid(*key), "external_uuid"),
            Self::Create(new) => (Key::ExternalUuid(*new.external_uuid()), "external_uuid"),
        }
    }

    /// The request; `found` is the id of a closing that has none of its own.
    pub(super) fn request(self, found: Option<ProvisionId>) -> Option<BulkRequest> {
        match self {
            Self::Close(target) => target.id().or(found).map(BulkRequest::Close),
            Self::Create(new) => Some(BulkRequest::Create(new)),
        }
    }
}

/// The rows of an input, with the numbers of their lines.
pub(super) struct Rows {
    operation: BulkOperation,
    source: Source,
}

enum Source {
    Csv {
        records: Box<CsvRecords>,
        /// The column of each field; `None` if it is not read.
        columns: Vec<Option<&'static Column>>,
        /// The first record, if it is a row.
        first: Option<(u64, csv::StringRecord)>,
    },
    Json {
        objects: JsonObjects,
        ignored: HashSet<String>,
    },
}

/// The fields of a row that are read, by their columns.
pub(super) type Fields = Vec<(&'static Column, String)>;

fn columns(operation: BulkOperation) -> &'static [Column] {
    match operation {
        BulkOperation::Close => &CLOSE,
        BulkOperation::Create => &CREATE,
    }
}

/// The names of the columns, in words.
fn named(operation: BulkOperation) -> String {
    let names: Vec<_> = columns(operation).iter().map(|column| column.name).collect();
    names.join(", ")
}

/// The columns that are there for other readers.
fn ignored(operation: BulkOperation) -> HashSet<String> {
    match operation {
        BulkOperation::Close => schema::members(&LISTS),
        BulkOperation::Create => HashSet::new(),
    }
}

/// The column with this name, or `None` if it is not read; fails if there is no such column.
fn known(name: &str, operation: BulkOperation, ignored: &HashSet<String>) -> Result<Option<&'static Column>, ()> {
    let column = columns(operation).iter().find(|column| column.name == name);
    if column.is_none() && !ignored.contains(name) { Err(()) } else { Ok(column) }
}

impl Rows {
    /// Begins to read an input, which has this name in messages.
    pub(super) fn new(name: &Path, text: Bytes, operation: BulkOperation) -> Result<Self, Failure> {
        let source = Source::new(text, operation);
        let source = source.map_err(|problem| Failure::usage(format!("{}: {problem}", name.display())))?;
        Ok(Self { operation, source })
    }

    /// The fields of the next row, by their columns, and its line.
    pub(super) fn fields(&mut self) -> Option<Result<(u64, Fields), Mistake>> {
        let (line, fields) = match &mut self.source {
            Source::Csv { records, columns, first } => {
                let first = first.take().map(|(line, record)| (line, Ok(record)));
                let (line, record) = first.or_else(|| records.next())?;
                (line, record.and_then(|record| csv_fields(&record, columns)))
            }
            Source::Json { objects, ignored } => {
                let (line, members) = objects.next()?;
                (line, members.and_then(|members| json_fields(members, self.operation, ignored)))
            }
        };
        Some(fields.map(|fields| (line, fields)).map_err(|reason| Mistake::new(line, "", reason)))
    }
}

impl Source {
    fn new(text: Bytes, operation: BulkOperation) -> Result<Self, String> {
        // A name further on may have the character U+0000.
        let (first_line, _) = split(text.trim_ascii_start());
        if text.starts_with(&[0xff, 0xfe]) || text.starts_with(&[0xfe, 0xff]) || first_line.contains(&0) {
            return Err("it is not UTF-8, but UTF-16 or no text: save it as UTF-8".into());
        }
        let text = text.slice_ref(text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text));
        let Some(first_byte) = text.trim_ascii_start().first().copied() else { return Err("it is empty".into()) };
        if let Some(line) = lines(&text).position(|line| line.len() > MAX_LINE) {
            return Err(format!("line {}: a line is longer than {MAX_LINE} bytes", line + 1));
        }
        let ignored = ignored(operation);
        if first_byte == b'{' {
            return Ok(Self::Json { objects: JsonObjects::new(text), ignored });
        }
        let mut records = Box::new(CsvRecords::new(text)?);
        let Some((line, first)) = records.next() else { return Err("it has no rows".into()) };
        let in_line = |problem: String| format!("line {line}: {problem}");
        let first = first.map_err(in_line)?;
        // A table has its header in upper case.
        let first: csv::StringRecord = first.iter().map(|name| name.trim().to_ascii_lowercase()).collect();
        // A spreadsheet writes as many cells as its widest row has.
        let width = first.iter().zip(1..).filter(|(name, _)| !name.is_empty()).last().map_or(0, |(_, width)| width);
        if operation == BulkOperation::Close && width == 1 && first[0].parse::<ProvisionId>().is_ok() {
            return Ok(Self::Csv { records, columns: vec![Some(&CLOSE[0])], first: Some((line, first)) });
        }
        let mut columns = Vec::new();
        for (name, place) in first.iter().take(width).zip(0..) {
            let Ok(column) = known(name, operation, &ignored) else {
                let advice = match (first_byte, operation) {
                    (b'[', _) => ": JSON is taken a line for each object, without an array around them, as `--output jsonl` writes it".into(),
                    (_, BulkOperation::Close) if line == 1 && &first[0] == "id" => {
                        format!(": `cut {}-f1` leaves only the ids", records.cut_option())
                    }
                    (_, BulkOperation::Close) => "; those of `list`, `report` and `receipts verify` may be beside them".into(),
                    (_, BulkOperation::Create) => String::new(),
                };
                let problem = format!(
                    "field {} is not the name of a column: the columns are {}{advice}",
                    place + 1,
                    named(operation)
                );
                return Err(in_line(problem));
            };
            if first.iter().take(place).any(|earlier| earlier == name) {
                return Err(in_line(format!("the column `{name}` is there twice")));
            }
            columns.push(column);
        }
        match missing(operation, &columns) {
            Some(missing) => Err(in_line(format!("the column {missing} is missing"))),
            None => Ok(Self::Csv { records, columns, first: None }),
        }
    }
}

/// A column that every row needs, and that is not there.
fn missing(operation: BulkOperation, columns: &[Option<&Column>]) -> Option<&'static str> {
    let is_there = |name: &str| columns.iter().flatten().any(|column| column.name == name);
    let needed: &[(&[&str], &str)] = match operation {
        BulkOperation::Close => &[(&["id", "external_uuid"], "`id` or `external_uuid`")],
        BulkOperation::Create => {
            &[(&["external_uuid"], "`external_uuid`"), (&["email"], "`email`"), (&["phone_number"], "`phone_number`")]
        }
    };
    needed.iter().find(|(any, _)| !any.iter().any(|name| is_there(name))).map(|(_, said)| *said)
}

impl Iterator for Rows {
    type Item = Result<(u64, Row), Mistake>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, fields) = match self.fields()? {
            Ok(fields) => fields,
            Err(mistake) => return Some(Err(mistake)),
        };
        let field = |column: &str| {
            let value = fields.iter().find(|(known, _)| known.name == column).map(|(_, value)| value.as_str());
            value.filter(|value| !value.is_empty())
        };
        let row = row(self.operation, field);
        Some(row.map(|row| (line, row)).map_err(|(column, reason)| Mistake::new(line, column, reason)))
    }
}

/// Makes a row of its fields; says what is wrong with which column.
fn row<'a>(operation: BulkOperation, field: impl Fn(&str) -> Option<&'a str>) -> Result<Row, (&'static str, String)> {
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
        let id = field("id").map(|id| parsed("id", id, ID)).transpose()?;
        let external_uuid = field("external_uuid").map(|key| parsed("external_uuid", key, UUID)).transpose()?;
        let target = match (id, external_uuid) {
            (Some(id), None) => Target::Id(id),
            (None, Some(key)) => Target::ExternalUuid(key),
            (Some(id), Some(key)) => Target::Both(id, key),
            (None, None) => return Err(("id", "it is missing, and so is the external_uuid".into())),
        };
        return Ok(Row::Close(target));
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
    Ok(Row::Create(Box::new(new.into())))
}

/// The fields of a record that are read.
fn csv_fields(record: &csv::StringRecord, columns: &[Option<&'static Column>]) -> Result<Fields, String> {
    let mut beyond = record.iter().skip(columns.len());
    if record.len() < columns.len() || !beyond.all(|cell| cell.trim().is_empty()) {
        return Err(format!("it has {} fields instead of {}", record.len(), columns.len()));
    }
    let fields = columns.iter().zip(record);
    Ok(fields.filter_map(|(column, cell)| Some(((*column)?, unprotected(cell).trim().to_owned()))).collect())
}

/// The members of an object that are read.
fn json_fields(members: Members, operation: BulkOperation, ignored: &HashSet<String>) -> Result<Fields, String> {
    let mut names: Vec<String> = Vec::new();
    let mut fields = Vec::new();
    for ((name, value), place) in members.0.into_iter().zip(1..) {
        let Ok(column) = known(&name, operation, ignored) else {
            return Err(format!("member {place} is not one of {}", named(operation)));
        };
        if names.contains(&name) {
            return Err(format!("the member `{name}` is there twice"));
        }
        names.push(name);
        let Some(column) = column else { continue };
        let text = match value {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            Value::Null => String::new(),
            _ => return Err(format!("{}: it is neither a text nor a number", column.name)),
        };
        fields.push((column, text));
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::spreadsheet::protected;
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Only what is around a text is not part of it.
        #[test]
        fn a_text_that_was_written_is_read(
            text in prop_oneof![any::<String>(), "['=+@\\t\r\n\" ,;-]{0,6}\\PC{0,3}"].prop_filter("no NUL", |text| !text.contains('\0')),
        ) {
            test_timeout::start();
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["external_uuid", "email", "phone_number"]).unwrap();
            writer.write_record(["a", &protected(text.clone()), "+31"]).unwrap();
            let written = writer.into_inner().unwrap();
            let mut rows = Rows::new(Path::new("users"), written.into(), BulkOperation::Create).unwrap();
            let (_, fields) = rows.fields().unwrap().unwrap();
            let read: Vec<_> = fields.iter().map(|(_, value)| value.as_str()).collect();
            prop_assert_eq!(read, ["a", text.trim(), "+31"]);
        }
    }
}
