//! Texts for people: made safe to show; times and lists of numbers in words.

use std::fmt::Write as _;

use bunq_partner::jiff::Timestamp;
use bunq_partner::text::{forges_lines, is_invisible};

/// How many numbers of lines or rows a message names.
const MAX_NUMBERS: usize = 20;

/// A text from outside on one line, without what could move the cursor or reverse the writing.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if forges_lines(c) { '\u{fffd}' } else { c }).collect()
}

/// A text in which everything can be seen, for a question: what [`clean`] replaces, and what cannot be seen, is an escape.
pub(super) fn revealed(text: &str) -> String {
    let end = text.trim_end_matches(' ').len();
    let begin = text.len() - text.trim_start_matches(' ').len();
    let is_plain = |place: usize, c: char| !is_invisible(c) && (c != ' ' || (begin..end).contains(&place));
    text.char_indices().fold(String::with_capacity(text.len()), |mut shown, (place, c)| {
        if is_plain(place, c) {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
        shown
    })
}

/// The same JSON in which no character is one that a terminal obeys.
pub(super) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if forges_lines(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// How long ago a time was, or how far it is.
pub(super) fn relative(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second());
    let (count, unit) = match seconds.unsigned_abs() {
        0..60 => return "just now".into(),
        seconds @ 60..3600 => (seconds / 60, "min"),
        seconds @ 3600..86_400 => (seconds / 3600, "h"),
        seconds if seconds < 60 * 86_400 => (seconds / 86_400, "d"),
        _ => return time.strftime("%Y-%m-%d").to_string(),
    };
    if seconds > 0 { format!("{count} {unit} ago") } else { format!("in {count} {unit}") }
}

/// The numbers of lines or rows, of which only the first are named: `lines 1, 3 and 5 more`.
pub(super) fn numbered(noun: &str, numbers: &[u64]) -> String {
    let plural = if numbers.len() == 1 { "" } else { "s" };
    let named: Vec<_> = numbers.iter().take(MAX_NUMBERS).map(u64::to_string).collect();
    let more = numbers.len() - named.len();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{noun}{plural} {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        test_timeout::start();
        assert_eq!(clean("Ada\u{1b}[2J\u{202e}\nBob\u{9b}"), "Ada\u{fffd}[2J\u{fffd}\u{fffd}Bob\u{fffd}");
        assert_eq!(escaped("{\n \"a\": \"é\u{9b}\u{202e}\"}"), "{\n \"a\": \"é\\u009b\\u202e\"}");
        let name = "🏴\u{e0067}\u{e007f} می\u{200c}خواهم ❤\u{fe0f}";
        assert_eq!((clean(name).as_str(), escaped(name).as_str()), (name, name));
    }

    #[test]
    fn a_question_shows_everything() {
        test_timeout::start();
        assert_eq!(revealed("Ada L. Müller 花子"), "Ada L. Müller 花子");
        assert_eq!(revealed(" Ada\u{200b}\u{a0}❤\u{fe0f} "), "\\u{20}Ada\\u{200b}\\u{a0}❤\\u{fe0f}\\u{20}");
        assert_eq!(revealed("a\n\u{202e}\u{3164}\u{e0041}"), "a\\u{a}\\u{202e}\\u{3164}\\u{e0041}");
        assert_eq!(revealed("  "), "\\u{20}\\u{20}");
    }

    #[test]
    fn the_first_numbers_are_named() {
        test_timeout::start();
        assert_eq!(numbered("row", &[7]), "row 7");
        assert_eq!(numbered("line", &[1, 3]), "lines 1, 3");
        let numbers: Vec<_> = (1..=25).collect();
        assert!(numbered("line", &numbers).ends_with(", 19, 20 and 5 more"));
    }

    #[test]
    fn times_are_said_in_words() {
        test_timeout::start();
        let now = Timestamp::from_second(2_000_000_000).unwrap();
        for (seconds, words) in [
            (0, "just now"),
            (-4, "just now"),
            (59, "just now"),
            (61, "1 min ago"),
            (-3599, "in 59 min"),
            (7200, "2 h ago"),
            (3 * 86_400, "3 d ago"),
            (60 * 86_400, "2033-03-19"),
        ] {
            assert_eq!(relative(Timestamp::from_second(2_000_000_000 - seconds).unwrap(), now), words);
        }
    }
}
