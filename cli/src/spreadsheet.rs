//! What keeps a spreadsheet from computing a text of CSV: one `'` in front of it, which the reader takes off again.

/// Whether a spreadsheet may take a text for a formula, or for a number; or whether a `'` in front of it could be taken for the one
/// that is put there.
fn is_formula(text: &str) -> bool {
    text.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// The text of a cell, for a text that somebody else has chosen.
pub(super) fn protected(text: String) -> String {
    if is_formula(&text) { format!("'{text}") } else { text }
}

/// The text that a cell was written for.
pub(super) fn unprotected(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|text| is_formula(text)).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_spreadsheet_would_compute_gets_one_sign() {
        test_timeout::start();
        for text in ["=1+1", "+31", "-1", "@SUM(A1)", "\t=1", "\r=1", "'=1", "''=1"] {
            assert_eq!(protected(text.to_owned()), format!("'{text}"));
        }
        for text in ["", "Ada", "'", "''", "'Ada", "Ada=1", " =1", "1-1", "ada@example.com"] {
            assert_eq!(protected(text.to_owned()), text);
            assert_eq!(unprotected(text), text);
        }
    }

    /// Any text, and often one that begins as a formula does.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "['=+@\t\r\n\" ,;-]{0,6}\\PC{0,3}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]

        #[test]
        fn what_is_written_is_what_is_read(texts in proptest::collection::vec(text(), 2..5)) {
            test_timeout::start();
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(texts.iter().map(|text| protected(text.clone()))).unwrap();
            let written = writer.into_inner().unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&*written);
            let record = reader.records().next().unwrap().unwrap();
            for (cell, text) in record.iter().zip(&texts) {
                prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
                prop_assert_eq!(unprotected(cell), text);
            }
        }
    }
}
