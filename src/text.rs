//! Texts from outside, made safe to show.

/// The text without control characters, and no longer than `max_chars` characters.
pub(crate) fn one_line(text: &str, max_chars: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(max_chars).collect()
}
