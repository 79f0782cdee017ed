//! The lines of a text as an editor counts them: LF, CRLF and CR each end one.

/// What may stand before a text in UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The first line of a text without its end, and what follows it.
pub(super) fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let Some(end) = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else { return (text, &[]) };
    let after = if text[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
    (&text[..end], &text[after..])
}

/// The lines of a text without their ends.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, after) = split(rest);
        rest = after;
        Some(line)
    })
}

/// Counts the lines of a text up to places in it, each of which is behind the one before.
pub(super) struct LineCounter {
    place: usize,
    line: u64,
}

impl LineCounter {
    pub(super) fn new() -> Self {
        Self { place: 0, line: 1 }
    }

    /// The number of the line in which a place of the text is.
    pub(super) fn line_at(&mut self, text: &[u8], place: usize) -> u64 {
        let is_end = |at: &usize| match text[*at] {
            b'\n' => true,
            b'\r' => text.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        self.line += (self.place..place).filter(is_end).count() as u64;
        self.place = place;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_an_editor() {
        test_timeout::start();
        let text = b"a\r\nb\n\n\rc\r\r\nd\ne";
        let found: Vec<_> = lines(text).map(|line| str::from_utf8(line).unwrap()).collect();
        assert_eq!(found, ["a", "b", "", "", "c", "", "d", "e"]);
        let mut counter = LineCounter::new();
        let places = "abcde".bytes().map(|letter| text.iter().position(|byte| *byte == letter).unwrap());
        let numbers: Vec<_> = places.map(|place| counter.line_at(text, place)).collect();
        assert_eq!(numbers, [1, 2, 5, 7, 8]);
    }
}
