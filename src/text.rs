//! Texts for terminals and shells, for programs that show what bunq or a user has written.

use std::time::Duration;

use reqwest::Url;

/// A time in words, exact to the millisecond: `2 min`, `1 h 30 min`, `1.5 s`, `500 ms`.
pub fn duration(time: Duration) -> String {
    let (minutes, seconds) = (time.as_secs() / 60, time.as_secs() % 60);
    let parts = [(minutes / 60, "h"), (minutes % 60, "min")]
        .map(|(count, unit)| (count > 0).then(|| format!("{count} {unit}")));
    let rest = match (time.as_secs(), time.subsec_millis()) {
        (0, millis @ 1..) => Some(format!("{millis} ms")),
        (60.., 0) if seconds == 0 => None,
        (_, 0) => Some(format!("{seconds} s")),
        (_, millis) => Some(format!("{} s", f64::from(millis) / 1000.0 + seconds as f64)),
    };
    parts.into_iter().chain([rest]).flatten().collect::<Vec<_>>().join(" ")
}

/// The text with each character that could forge a line replaced by a space, cut to `max_chars` characters.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    // Most are ids.
    if text.len() <= max_chars && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return text.to_owned();
    }
    text.chars().map(|c| if forges_lines(c) { ' ' } else { c }).take(max_chars).collect()
}

/// Returns whether a character changes more of what is shown than itself, so that a text from outside can forge a line of a
/// terminal or a log. These are, by Unicode's properties:
///
/// - `Cc`, the controls: line ends, tabs and backspaces, and what begins the sequences that a terminal obeys;
/// - `Zl` and `Zp`, the separators of lines and paragraphs, at which viewers of logs break a line;
/// - `Bidi_Control`: what turns the direction of the text around it.
///
/// All others are parts of people's names, in some script, and are not to be replaced, though some cannot be seen: joiners,
/// variation selectors and tags, which make emoji too. For those, see [`is_invisible`].
pub fn forges_lines(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns whether a reader cannot see a character, or takes it for a plain space. Where somebody must tell two texts apart before
/// they agree to something, show these characters as escapes. They are, by Unicode's properties:
///
/// - those that [forge lines](forges_lines);
/// - `White_Space`, without the plain space U+0020;
/// - `Default_Ignorable_Code_Point`: joiners, variation selectors, tags, Hangul fillers, the soft hyphen;
/// - the other format characters (`Cf`), without those that are signs of their own, as the Arabic ones before a number;
/// - three characters of other kinds that are blank: in Braille, in music and in the Khitan script.
pub fn is_invisible(c: char) -> bool {
    forges_lines(c)
        || c.is_whitespace() && c != ' '
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200d}'
                | '\u{2060}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{16fe4}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d159}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
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

/// A URL without its path and its query, which may hold a secret, as the path of a receiver of notifications does:
/// `https://partner.example.com/…`. Of a text that is no URL nothing is left.
pub fn url_without_path(url: &str) -> String {
    let Ok(url) = Url::parse(url) else { return "something that is no URL".to_owned() };
    let rest = if url.path() == "/" && url.query().is_none() { "" } else { "/\u{2026}" };
    format!("{}{rest}", url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use regress::Regex;

    use super::*;
    use crate::types::EmailAddress;

    /// Holds a function about all characters against a class of Unicode's properties, as regress has them.
    fn is_about(function: impl Fn(char) -> bool, class: &str) {
        let class = Regex::with_flags(&format!("^{class}$"), "u").unwrap();
        let differs = |c: &char| function(*c) != class.find(c.encode_utf8(&mut [0; 4])).is_some();
        let different: String = ('\0'..=char::MAX).filter(differs).map(|c| c.escape_unicode().to_string()).collect();
        assert_eq!(different, "");
    }

    #[test]
    fn what_forges_lines_is_what_unicode_says() {
        test_timeout::start();
        is_about(forges_lines, r"[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]");
    }

    /// The format characters that can be seen are those of `Prepended_Concatenation_Mark`, and one that begins Syriac abbreviations.
    const SEEN: &str = r"(?![\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\u{110bd}\u{110cd}])";

    #[test]
    fn what_is_invisible_is_what_unicode_says() {
        test_timeout::start();
        let ignorable = r"\p{Cc}\p{White_Space}\p{Default_Ignorable_Code_Point}\p{Cf}";
        is_about(is_invisible, &format!(r"{SEEN}(?! )[{ignorable}\u2800\u{{16fe4}}\u{{1d159}}]"));
    }

    /// The pattern of addresses has them one by one, up to U+FFFF.
    #[test]
    fn no_address_has_what_is_invisible() {
        test_timeout::start();
        let is_taken = |text: String| text.parse::<EmailAddress>().is_ok();
        let in_name = |c: char| !is_taken(format!("a{c}b@example.com"));
        let in_host = |c: char| !is_taken(format!("ab@exam{c}ple.com"));
        for c in '\0'..=char::MAX {
            let is_refused = c == ' ' || is_invisible(c);
            assert_eq!(in_name(c), is_refused || "@:<>".contains(c), "{}", c.escape_unicode());
            let is_joiner = ['\u{200c}', '\u{200d}'].contains(&c);
            assert_eq!(in_host(c), is_refused && !is_joiner || "@<>".contains(c), "{}", c.escape_unicode());
        }
    }

    #[test]
    fn names_are_not_changed() {
        test_timeout::start();
        for name in [
            "می\u{200c}خواهم",
            "ශ්\u{200d}රී",
            "👩\u{200d}💻 ❤\u{fe0f}",
            "🏴\u{e0067}\u{e0062}\u{e007f}",
            "Zo\u{ad}ë",
            "عبد\u{640}الله",
        ] {
            assert_eq!(one_line(name, 100), name);
        }
    }

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        test_timeout::start();
        for (url, shown) in [
            ("https://partner.example.com/bunq/secret", "https://partner.example.com/…"),
            ("https://user:secret@partner.example.com:8443/?secret#secret", "https://partner.example.com:8443/…"),
            ("https://partner.example.com/", "https://partner.example.com"),
            ("https://partner.example.com", "https://partner.example.com"),
            ("http://[::1]:80/secret", "http://[::1]/…"),
            ("secret", "something that is no URL"),
        ] {
            assert_eq!(url_without_path(url), shown);
        }
    }

    #[test]
    fn a_time_is_said_in_words() {
        test_timeout::start();
        for (millis, words) in [
            (0, "0 s"),
            (20, "20 ms"),
            (1000, "1 s"),
            (1500, "1.5 s"),
            (59_999, "59.999 s"),
            (60_000, "1 min"),
            (90_500, "1 min 30.5 s"),
            (900_000, "15 min"),
            (3_600_000, "1 h"),
            (5_405_000, "1 h 30 min 5 s"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), words);
        }
        assert_eq!(duration(Duration::from_micros(10)), "0 s");
    }

    #[test]
    fn nothing_forges_a_line() {
        test_timeout::start();
        for forger in ["\n", "\r", "\u{1b}", "\u{85}", "\u{2028}", "\u{2029}", "\u{202e}", "\u{2066}", "\u{200f}"] {
            assert_eq!(one_line(&format!("a{forger}b"), 10), "a b", "{}", forger.escape_unicode());
        }
        assert_eq!(one_line("Zürich — 5 € 🥑", 100), "Zürich — 5 € 🥑");
        assert_eq!(one_line("abc", 2), "ab");
    }
}
