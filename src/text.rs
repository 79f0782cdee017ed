//! Texts for terminals and shells, for programs that show what bunq or a user has written.

/// The text with each character that could forge a line replaced by a space, cut to `max_chars` characters.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    // Most are ids.
    if text.len() <= max_chars && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    text.chars().map(|c| if forges_lines(c) { ' ' } else { c }).take(max_chars).collect()
}

/// Returns whether a character ends a line, changes the direction of a text or is invisible, so that a reader cannot tell what
/// the text says. These are Unicode's controls (`Cc`), its line and paragraph separators (`Zl`, `Zp`), and those of its
/// format characters (`Cf`) that texts in European languages do not need.
pub fn forges_lines(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// Quotes a word for a POSIX shell if it needs quotes.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_forges_a_line() {
        test_timeout::start();
        for forger in
            ["\n", "\r", "\u{1b}", "\u{85}", "\u{2028}", "\u{2029}", "\u{202e}", "\u{2066}", "\u{200b}", "\u{feff}"]
        {
            assert_eq!(one_line(&format!("a{forger}b"), 10), "a b", "{}", forger.escape_unicode());
        }
        assert_eq!(one_line("Zürich — 5 € 🥑", 100), "Zürich — 5 € 🥑");
        assert_eq!(one_line("abc", 2), "ab");
    }
}
