//! Holds the tables of the checked texts against regress, which reads the document's patterns themselves.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::collection::vec;
use proptest::sample::{Index, select};
use regress::Regex;

use super::*;
use crate::types::Pattern;

/// A checked text of the document.
struct Text {
    name: &'static str,
    table: &'static Pattern,
    regress: Regex,
    /// The characters at both sides of each edge of its classes.
    edges: Vec<char>,
}

/// The checked texts, without those that have the pattern of another.
static CHECKED: LazyLock<Vec<Text>> = LazyLock::new(|| {
    let mut texts = Vec::new();
    let mut seen = Vec::new();
    for (name, pattern, _, rule) in TEXTS {
        if let Some(table) = &rule.pattern
            && !seen.contains(pattern)
        {
            seen.push(pattern);
            let firsts = table.ranges.iter().map(|(first, _)| *first);
            let edges = firsts.flat_map(|first| ('\0'..first).next_back().into_iter().chain([first])).collect();
            let regress = Regex::with_flags(pattern, "u").unwrap();
            texts.push(Text { name, table, regress, edges });
        }
    }
    assert!(texts.len() >= 5, "only {} patterns were found", texts.len());
    texts
});

/// The document's examples of texts.
fn examples() -> impl Iterator<Item = &'static str> {
    TEXTS.iter().map(|(_, _, example, _)| *example).filter(|example| !example.is_empty())
}

impl Text {
    /// Whether table and regress match. They must agree.
    fn is_matched(&self, text: &str) -> bool {
        let (by_table, by_regress) = (self.table.matches(text), self.regress.find(text).is_some());
        assert_eq!(by_table, by_regress, "{}: table and regress of {text:.99?}", self.name);
        by_table
    }
}

/// Those between two edges are of one class; codegen's tests hold the classes against regress, for all characters.
#[test]
fn tables_and_regress_agree_about_all_edges_at_all_places() {
    test_timeout::start();
    let edges: BTreeSet<_> = CHECKED.iter().flat_map(|text| &text.edges).collect();
    for (example, edge) in examples().flat_map(|example| edges.iter().map(move |edge| (example, edge))) {
        for (place, character) in example.char_indices() {
            let (before, after) = (&example[..place], &example[place + character.len_utf8()..]);
            let edited = [format!("{before}{edge}{after}"), format!("{before}{edge}{character}{after}")];
            for (text, edited) in CHECKED.iter().flat_map(|text| edited.iter().map(move |edited| (text, edited))) {
                text.is_matched(edited);
            }
        }
    }
}

/// The texts whose patterns do not match `a@a`.
const WITH_A_FORM: [&str; 7] = [
    "CallbackUrl",
    "CertificatePem",
    "CountryCode",
    "DocumentType",
    "NotificationFilterFailedIds",
    "NotificationTarget",
    "PhoneNumber",
];

/// The texts that may have several lines.
const OF_LINES: [&str; 1] = ["InquiryAnswer"];

#[test]
fn tables_and_regress_agree_about_long_texts() {
    test_timeout::start();
    let filling = "a".repeat(1_000_000);
    for text in CHECKED.iter() {
        let takes_words = !WITH_A_FORM.contains(&text.name);
        assert_eq!(text.is_matched(&format!("a@{filling}")), takes_words, "{}", text.name);
        let takes_lines = OF_LINES.contains(&text.name);
        assert_eq!(text.is_matched(&format!("a@{filling}\n")), takes_lines, "{}", text.name);
    }
}

#[test]
fn tables_are_small() {
    test_timeout::start();
    let sizes = TEXTS.iter().filter_map(|(.., rule)| rule.pattern.as_ref()).map(|table| {
        let rows: usize = table.states.iter().map(|(_, row)| row.len()).sum();
        size_of_val(table) + size_of_val(table.ranges) + size_of_val(table.states) + rows
    });
    let size: usize = sizes.sum();
    assert!(size < 20 * 1024, "the tables have {size} bytes");
}

/// Characters at the edges of the classes of any pattern, and others.
fn any_characters(most: usize) -> impl Strategy<Value = Vec<char>> {
    let edges = CHECKED.iter().flat_map(|text| text.edges.clone()).collect::<Vec<_>>();
    vec(prop_oneof![4 => select(edges), 1 => any::<char>()], 0..=most)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Also of examples of which a part is replaced.
    #[test]
    fn tables_and_regress_agree_about_random_texts(
        characters in any_characters(24), part in any_characters(2), from in any::<Index>(), len in 0..3_usize,
        example in select(examples().collect::<Vec<_>>()),
    ) {
        test_timeout::start();
        let random: String = characters.iter().collect();
        for text in CHECKED.iter() {
            text.is_matched(&random);
            let mut edited: Vec<char> = example.chars().collect();
            let from = from.index(edited.len() + 1);
            let to = (from + len).min(edited.len());
            edited.splice(from..to, part.iter().copied());
            text.is_matched(&edited.iter().collect::<String>());
        }
    }
}
