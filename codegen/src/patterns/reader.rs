//! Reads a pattern of ECMAScript with the flag `u`.

/// The first and the last of some code points that follow each other.
pub(super) type Range = (u32, u32);

pub(super) const LAST: u32 = char::MAX as u32;

/// A regular expression.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    /// One character.
    Set(Vec<Range>),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    /// At least so often, and at most.
    Repeat(Box<Node>, u32, Option<u32>),
}

/// The characters that an escape makes stand for themselves.
const SYNTAX: &str = r"^$\.*+?()[]{}|/";

const DIGITS: &[Range] = &[(0x30, 0x39)];
const WORD: &[Range] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
/// White space and line ends, as ECMAScript has them: with the byte order mark, without U+0085.
const SPACES: &[Range] = &[
    (0x09, 0x0d),
    (0x20, 0x20),
    (0xa0, 0xa0),
    (0x1680, 0x1680),
    (0x2000, 0x200a),
    (0x2028, 0x2029),
    (0x202f, 0x202f),
    (0x205f, 0x205f),
    (0x3000, 0x3000),
    (0xfeff, 0xfeff),
];
/// What `.` does not match.
const LINE_ENDS: &[Range] = &[(0x0a, 0x0a), (0x0d, 0x0d), (0x2028, 0x2029)];

/// Reads a pattern between `^` and `$`. The error ends a sentence that begins with the pattern.
pub(super) fn read(pattern: &str) -> Result<Node, String> {
    let begun = pattern.strip_prefix('^').ok_or_else(|| has("no `^` at its beginning", pattern))?;
    let mut reader = Reader(begun);
    let alternatives = reader.alternatives()?;
    match reader.0 {
        "$" if alternatives.len() == 1 => Ok(Node::Choice(alternatives)),
        "$" => Err(has("alternatives to which `^` and `$` do not both belong: put them in a group", begun)),
        "" => Err(has("no `$` at its end", begun)),
        rest if rest.starts_with(')') => Err(has("a group that is not opened", rest)),
        rest => Err(has("`$` before its end", rest)),
    }
}

/// What is left of a pattern.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    /// Reads up to the end of a group.
    fn alternatives(&mut self) -> Result<Vec<Node>, String> {
        let mut alternatives = Vec::new();
        loop {
            let mut nodes = Vec::new();
            while !(self.0.is_empty() || self.0.starts_with(['|', ')', '$'])) {
                let node = self.atom()?;
                nodes.push(self.repeated(node)?);
            }
            alternatives.push(Node::Sequence(nodes));
            if !self.eat("|") {
                return Ok(alternatives);
            }
        }
    }

    fn atom(&mut self) -> Result<Node, String> {
        let begun = self.0;
        let ranges = match self.take() {
            Some('(') => {
                if !self.eat("?:") && self.0.starts_with('?') {
                    return Err(has("lookaround, or a group with a name or flags", begun));
                }
                let alternatives = self.alternatives()?;
                return if self.eat(")") {
                    Ok(Node::Choice(alternatives))
                } else {
                    Err(has("a group that is not closed", begun))
                };
            }
            Some('[') => self.class(begun)?,
            Some('\\') => self.escape(begun, SYNTAX)?,
            Some('.') => all_but(LINE_ENDS.to_vec()),
            Some('^') => return Err(has("`^` after its beginning", begun)),
            Some('*' | '+' | '?' | '{') => return Err(has("nothing to repeat", begun)),
            Some(']' | '}') => return Err(has("a bracket that is not opened", begun)),
            character => character.map(single).into_iter().collect(),
        };
        Ok(Node::Set(ranges))
    }

    /// Reads how often a node is repeated. Repeating it as seldom as possible makes no difference to a whole text.
    fn repeated(&mut self, node: Node) -> Result<Node, String> {
        let begun = self.0;
        let (least, most) = match self.take() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => {
                let (counts, rest) = self.0.split_once('}').ok_or_else(|| has("a count that is not closed", begun))?;
                self.0 = rest;
                let count = |digits| number(digits, 10).ok_or_else(|| has("a count that is no number", begun));
                match counts.split_once(',') {
                    None => (count(counts)?, Some(count(counts)?)),
                    Some((least, "")) => (count(least)?, None),
                    Some((least, most)) => (count(least)?, Some(count(most)?)),
                }
            }
            _ => {
                self.0 = begun;
                return Ok(node);
            }
        };
        if most.is_some_and(|most| most < least) {
            return Err(has("a count whose end is before its beginning", begun));
        }
        self.eat("?");
        Ok(Node::Repeat(Box::new(node), least, most))
    }

    /// Reads a class after its bracket.
    fn class(&mut self, begun: &str) -> Result<Vec<Range>, String> {
        let is_negated = self.eat("^");
        let mut ranges = Vec::new();
        while !self.eat("]") {
            let here = self.0;
            let from = self.member(begun)?;
            if !self.0.starts_with('-') || self.0.starts_with("-]") {
                ranges.extend(from);
                continue;
            }
            self.eat("-");
            match (&from[..], &self.member(begun)?[..]) {
                ([(from, end)], [(to, last)]) if from == end && to == last && from <= to => ranges.push((*from, *to)),
                _ => return Err(has("no range between two characters", here)),
            }
        }
        Ok(if is_negated { all_but(ranges) } else { ranges })
    }

    fn member(&mut self, class: &str) -> Result<Vec<Range>, String> {
        let begun = self.0;
        match self.take() {
            Some('\\') => self.escape(begun, &format!("{SYNTAX}-")),
            Some(character) => Ok(vec![single(character)]),
            None => Err(has("a class that is not closed", class)),
        }
    }

    /// Reads what is escaped; these characters stand for themselves.
    fn escape(&mut self, begun: &str, themselves: &str) -> Result<Vec<Range>, String> {
        let code = match self.take() {
            Some('d') => return Ok(DIGITS.to_vec()),
            Some('D') => return Ok(all_but(DIGITS.to_vec())),
            Some('s') => return Ok(SPACES.to_vec()),
            Some('S') => return Ok(all_but(SPACES.to_vec())),
            Some('w') => return Ok(WORD.to_vec()),
            Some('W') => return Ok(all_but(WORD.to_vec())),
            Some('t') => Some(0x09),
            Some('n') => Some(0x0a),
            Some('v') => Some(0x0b),
            Some('f') => Some(0x0c),
            Some('r') => Some(0x0d),
            Some('x') => self.code(2),
            Some('u') => self.code(4),
            Some(character) if themselves.contains(character) => Some(character.into()),
            Some('1'..='9' | 'k') => return Err(has("a back reference", begun)),
            Some('b' | 'B') => return Err(has("a word boundary or a backspace", begun)),
            Some('p' | 'P') => return Err(has("a property of characters", begun)),
            _ => None,
        };
        let character = code.and_then(char::from_u32).ok_or_else(|| has("an escape that is no character", begun))?;
        Ok(vec![single(character)])
    }

    /// Reads the code of a character, with this many digits.
    fn code(&mut self, digits: usize) -> Option<u32> {
        let (code, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        number(code, 16)
    }

    fn take(&mut self) -> Option<char> {
        let mut characters = self.0.chars();
        let character = characters.next();
        self.0 = characters.as_str();
        character
    }

    fn eat(&mut self, token: &str) -> bool {
        let rest = self.0.strip_prefix(token);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }
}

fn has(what: &str, rest: &str) -> String {
    format!("has {what}, at `{rest}`")
}

fn number(digits: &str, radix: u32) -> Option<u32> {
    let is_number = digits.chars().all(|digit| digit.is_digit(radix));
    is_number.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

fn single(character: char) -> Range {
    (character.into(), character.into())
}

fn all_but(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut others = Vec::new();
    let mut begin = 0;
    for (first, last) in ranges {
        if begin < first {
            others.push((begin, first - 1));
        }
        begin = begin.max(last + 1);
    }
    if begin <= LAST {
        others.push((begin, LAST));
    }
    others
}
