//! CSV as people have it: the records of a text, each with the number of its line.

use std::collections::VecDeque;
use std::io::Cursor;

use bytes::Bytes;
use csv::{ByteRecord, StringRecord};

use super::super::lines::{LineCounter, lines, split};

/// What is wrong with a record.
pub(super) type Reason = String;

/// The records of a text, with the numbers of the lines in which they begin. The positions of [`csv`] count neither CR nor what is
/// skipped between two records; but the byte after the record before is right.
pub(super) struct CsvRecords {
    text: Bytes,
    reader: csv::Reader<Cursor<Bytes>>,
    /// Where the reader's text begins.
    begin: usize,
    counter: LineCounter,
    separator: u8,
    /// Records without any text. At the end of the file they are nothing; before another record they are a mistake.
    blank: VecDeque<u64>,
    /// The record after them.
    held: Option<(u64, Result<StringRecord, Reason>)>,
}

impl CsvRecords {
    /// Finds out how fields are separated: by what a first line such as `sep=;` says, or else by what separates those of the header.
    pub(super) fn new(text: Bytes) -> Result<Self, Reason> {
        let (first, rest) = split(&text);
        let (declared, rest) = match declared(first) {
            Some(separator) => (Some(separator?), rest),
            None => (None, &*text),
        };
        // Windows PowerShell begins with the type of what it has written.
        let (type_line, after) = split(rest);
        let rest = if type_line.starts_with(b"#TYPE ") { after } else { rest };
        let header = || lines(rest).find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
        let separator = declared.unwrap_or_else(|| most_frequent(header()));
        let reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .from_reader(Cursor::new(text.slice_ref(rest)));
        let begin = text.len() - rest.len();
        let (blank, held) = (VecDeque::new(), None);
        Ok(Self { text, reader, begin, counter: LineCounter::new(), separator, blank, held })
    }

    /// How `cut` is told to separate fields in the same way.
    pub(super) fn cut_option(&self) -> &'static str {
        match self.separator {
            b';' => "-d';' ",
            b'\t' => "",
            _ => "-d, ",
        }
    }

    fn read(&mut self) -> Option<(u64, Result<StringRecord, Reason>)> {
        let mut record = ByteRecord::new();
        let read = self.reader.read_byte_record(&mut record);
        if let Ok(false) = read {
            return None;
        }
        let place = |position: &csv::Position| self.begin + usize::try_from(position.byte()).unwrap_or_default();
        let (after_last, end) = (record.position().map_or(self.begin, place), place(self.reader.position()));
        let skipped = self.text[after_last..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        let begin = after_last + skipped;
        let line = self.counter.line_at(&self.text, begin);
        let record = read.map_err(|error| error.to_string()).and_then(|_| {
            if !is_well_quoted(self.text.get(begin..end).unwrap_or_default(), self.separator) {
                return Err(MISQUOTED.to_owned());
            }
            let record = StringRecord::from_byte_record(record);
            record.map_err(|error| {
                format!("field {}: it is not UTF-8: save the file as UTF-8", error.utf8_error().field() + 1)
            })
        });
        Some((line, record))
    }
}

impl Iterator for CsvRecords {
    type Item = (u64, Result<StringRecord, Reason>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.held.is_none() {
            let (line, record) = self.read()?;
            match &record {
                Ok(record) if record.iter().all(|cell| cell.trim().is_empty()) => self.blank.push_back(line),
                _ => self.held = Some((line, record)),
            }
        }
        match self.blank.pop_front() {
            Some(line) => Some((line, Err("the row is empty: remove it".to_owned()))),
            None => self.held.take(),
        }
    }
}

/// What is wrong with a record that is not well quoted.
const MISQUOTED: &str =
    "a field that begins with a quote does not end with one, or has one within it that is not written twice";

/// Whether each field that begins with a quote ends with one, and has others twice. [`csv`] complains of none: a field then goes on
/// up to a quote in some other row, and has the rows between.
fn is_well_quoted(record: &[u8], separator: u8) -> bool {
    let is_end = |byte: &u8| *byte == separator || matches!(byte, b'\n' | b'\r');
    let mut rest = record;
    loop {
        let is_quoted = rest.starts_with(b"\"");
        if is_quoted {
            rest = &rest[1..];
            loop {
                let Some(quote) = rest.iter().position(|byte| *byte == b'"') else { return false };
                rest = &rest[quote + 1..];
                match rest.strip_prefix(b"\"") {
                    Some(after) => rest = after,
                    None => break,
                }
            }
        }
        let (field, after) = rest.split_at(rest.iter().position(is_end).unwrap_or(rest.len()));
        if is_quoted && !field.trim_ascii().is_empty() {
            return false;
        }
        match after.strip_prefix(&[separator]) {
            Some(after) => rest = after,
            None => return true,
        }
    }
}

/// The separator that the first line of a file declares, if it is such a line.
fn declared(line: &[u8]) -> Option<Result<u8, Reason>> {
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    let (name, separator) = line.split_at_checked(4)?;
    name.eq_ignore_ascii_case(b"sep=").then(|| match separator {
        [separator @ (b',' | b';' | b'\t')] => Ok(*separator),
        _ => Err("line 1: `sep=` is followed by a comma, a semicolon or a tab".to_owned()),
    })
}

/// What separates the fields of a header. The names in it have none of these characters.
fn most_frequent(header: &[u8]) -> u8 {
    let header = header.trim_ascii();
    let count = |separator: &u8| header.iter().filter(|byte| *byte == separator).count();
    // Of several, `max_by_key` takes the last.
    [b'\t', b';', b','].into_iter().max_by_key(count).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn read(text: impl Into<Bytes>) -> Vec<(u64, Vec<String>)> {
        let records = CsvRecords::new(text.into()).unwrap();
        records
            .map(|(line, record)| (line, record.unwrap().iter().map(|cell| cell.trim().to_owned()).collect()))
            .collect()
    }

    #[test]
    fn fields_are_separated_as_the_file_says() {
        test_timeout::start();
        let rows = [(1, vec!["id".to_owned(), "name".into()]), (2, vec!["7".into(), "a".into()])];
        for text in ["id,name\n7,a\n", "id;name\n7;a\n", "id\tname\n7\ta\n", "\"id\" ; name\n7;a", "id\t,name\n7,a"] {
            assert_eq!(read(text), rows, "{text:?}");
        }
        for text in ["sep=;\nid;name\n7;a\n", "SEP=;\r\nid;name\r\n7;a", "\"sep=\t\"\nid\tname\n7\ta\n"] {
            assert_eq!(read(text), rows.clone().map(|(line, row)| (line + 1, row)), "{text:?}");
        }
        let text = "#TYPE System.Management.Automation.PSCustomObject\r\n\"id\",\"name\"\r\n\"7\",\"a\"\r\n";
        assert_eq!(read(text), rows.clone().map(|(line, row)| (line + 1, row)));
        // What is declared counts, and so does the line.
        assert_eq!(read("sep=,\na;b,c\n"), [(2, vec!["a;b".to_owned(), "c".into()])]);
        assert!(CsvRecords::new("sep=|\nid\n".into()).is_err());
        assert_eq!(read("id\t\n7\t\n"), [(1, vec!["id".to_owned()]), (2, vec!["7".to_owned()])]);
    }

    /// A quote that is not closed would take the rows up to the next one into its field.
    #[test]
    fn no_quote_takes_rows_away() {
        test_timeout::start();
        for text in [
            "id,name\n7,\"a\n8,b\n9,\"c\n",
            "id;name\n7;\"a\n8;b\n",
            "id\tname\r7\t\"\"\"a\"b\r8\tb\r",
            "id,name\n7,\"a\" \"b\"\n8,b\n",
        ] {
            let records: Vec<_> = CsvRecords::new(text.into()).unwrap().take(2).collect();
            assert_eq!(records[1], (2, Err(MISQUOTED.to_owned())), "{text:?}");
        }
        let well = "id,name\n7,\"a \"\"b\"\" \n,\" \t\n8,b \"c\" d\"\n9, \"e\n\"\",\"f\"\r\n";
        assert_eq!(read(well).into_iter().map(|(line, _)| line).collect::<Vec<_>>(), [1, 2, 4, 5, 6]);
    }

    #[test]
    fn rows_without_a_text_are_nothing_at_the_end_alone() {
        test_timeout::start();
        let records = CsvRecords::new("id,b\n,,,\n7,\n,\n\n \n\t,\"\"\n".into()).unwrap();
        let records: Vec<_> = records.map(|(line, record)| (line, record.is_ok())).collect();
        assert_eq!(records, [(1, true), (2, false), (3, true)]);
    }

    /// A cell as it is written: plain, or in quotes with line ends, quotes and separators in it.
    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z][a-z\"']{0,4}",
            vec(select(vec!["\r", "\n", "\r\n", "\"\"", ",", ";", "\t", "a", "é"]), 1..8)
                .prop_map(|parts| format!("\"x{}\"", parts.concat()))
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// The number of a record is that of the line in which it begins, by an oracle that replaces each end of a line with a letter.
        #[test]
        fn the_number_is_that_of_the_line_where_a_record_begins(
            separator in select(vec![',', ';', '\t']),
            has_declaration in any::<bool>(),
            before in vec(select(vec!["\r", "\n", "\r\n"]), 0..4),
            records in vec((vec(cell(), 1..4), vec(select(vec!["\r", "\n", "\r\n"]), 1..5)), 1..12),
            is_ended in any::<bool>(),
        ) {
            test_timeout::start();
            let mut text = String::new();
            if has_declaration {
                text.push_str(&format!("sep={separator}\r"));
            }
            text.extend(before);
            let mut expected = Vec::new();
            let header = (vec!["id".to_owned(), "name".into()], vec!["\n"]);
            for (cells, ends) in [&header].into_iter().chain(&records) {
                let line = text.replace("\r\n", "\n").replace('\r', "\n").matches('\n').count() as u64 + 1;
                expected.push((line, cells.len()));
                text.push_str(&cells.join(&separator.to_string()));
                text.extend(ends.iter().copied());
            }
            if !is_ended {
                text.truncate(text.trim_end_matches(['\r', '\n']).len());
            }
            let read: Vec<_> = read(text.clone()).into_iter().map(|(line, record)| (line, record.len())).collect();
            prop_assert_eq!(read, expected, "{:?}", text);
        }
    }
}
