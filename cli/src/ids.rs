//! The ids that a command is given: as arguments, or on standard input, one a line.

use std::collections::HashSet;

use bunq_partner::ProvisionId;

use super::arguments::IdArgument;
use super::exit::Failure;
use super::lines::lines;
use super::standard_input;
use super::words::numbered;

/// More belong into a file, with a journal.
const MAX_IDS: usize = 1000;
const MAX_LEN: usize = 1024 * 1024;

/// Returns each id once. It may wait for standard input.
pub(super) async fn resolve(arguments: &[IdArgument]) -> Result<Vec<ProvisionId>, Failure> {
    let typed = arguments.iter().map(|argument| match argument {
        IdArgument::Id(id) => Some(*id),
        IdArgument::StandardInput => None,
    });
    let ids = match typed.collect::<Option<Vec<_>>>() {
        Some(ids) => ids,
        None if arguments.len() > 1 => {
            return Err(Failure::usage("- cannot be combined with ids: give ids, or - alone"));
        }
        None => {
            let text = standard_input::read("ids of provisions, one a line,", MAX_LEN).await;
            let text = text.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
            parse(text.expose()).map_err(|problem| Failure::usage(format!("standard input: {problem}")))?
        }
    };
    let mut seen = HashSet::new();
    Ok(ids.into_iter().filter(|id| seen.insert(*id)).collect())
}

/// Reads one id a line. As in a file of rows, the first line may be a header, and messages do not quote the text.
fn parse(text: &str) -> Result<Vec<ProvisionId>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // What ends a line is no part of a character.
    let lines = lines(text.as_bytes()).map(|line| str::from_utf8(line).unwrap_or_default().trim()).zip(1_u64..);
    // A table has the header in upper case.
    let is_header = |line: &str, number| number == 1 && line.eq_ignore_ascii_case("id");
    let is_id = |(line, number): &(&str, u64)| !line.is_empty() && !is_header(line, *number);
    let (mut ids, mut wrong) = (Vec::new(), Vec::new());
    for (line, number) in lines.filter(is_id) {
        match line.parse() {
            Ok(id) => ids.push(id),
            Err(_) => wrong.push(number),
        }
    }
    if !wrong.is_empty() {
        let rule = "the id of a provision is a positive integer of at most 63 bits";
        let source = "one a line, as `bunq-partner list --output csv --columns id` writes them";
        return Err(format!("{}: {rule}, {source}", numbered("line", &wrong)));
    }
    match ids.len() {
        0 => Err("there is no id".into()),
        1..=MAX_IDS => Ok(ids),
        count => Err(format!(
            "there are {count} ids, and at most {MAX_IDS} are taken: give fewer; `close --from` closes more"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<u64>, String> {
        parse(text).map(|ids| ids.into_iter().map(ProvisionId::get).collect())
    }

    #[test]
    fn ids_are_one_a_line() {
        test_timeout::start();
        for text in ["7\n9\n", "7\r\n9", "\n  7\t\n \n\n9 \n", "\u{feff}7\n9", "id\n7\n9\n", "ID\n7\n9\n"] {
            assert_eq!(parsed(text), Ok(vec![7, 9]), "{text:?}");
        }
        let rule = "the id of a provision is a positive integer of at most 63 bits, one a line, as `bunq-partner list \
                    --output csv --columns id` writes them";
        for (text, lines) in [
            ("7\nAda\n9\n", "line 2"),
            ("7 9\n", "line 1"),
            ("7,9\n\n0\n-1\n", "lines 1, 3, 4"),
            ("7\nid\n", "line 2"),
            ("7\r\rAda\r\n9\rBob", "lines 3, 5"),
            ("9223372036854775808", "line 1"),
        ] {
            assert_eq!(parsed(text), Err(format!("{lines}: {rule}")));
        }
        for empty in ["", " \n\r\n", "id\n"] {
            assert_eq!(parsed(empty), Err("there is no id".into()));
        }
        let many = |count: usize| (1..=count).map(|id| format!("{id}\n")).collect::<String>();
        assert_eq!(parsed(&many(1000)).map(|ids| ids.len()), Ok(1000));
        assert!(parsed(&many(1001)).unwrap_err().contains("there are 1001 ids, and at most 1000"));
    }
}
