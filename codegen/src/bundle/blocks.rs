//! The members of block mappings, as lines.

use std::rc::Rc;

use serde_json::Value;

use super::super::lines::key;

/// A line, and where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) text: String,
    pub(super) file: Rc<str>,
    pub(super) number: usize,
}

impl Row {
    /// Another text for the same place.
    pub(super) fn with(&self, text: impl Into<String>) -> Self {
        Self { text: text.into(), file: Rc::clone(&self.file), number: self.number }
    }

    /// The line, moved from one indentation to another.
    pub(super) fn moved(&self, from: usize, to: usize) -> Self {
        self.with(match self.text.get(from..) {
            Some(content) if !self.is_empty() => " ".repeat(to) + content,
            _ => String::new(),
        })
    }

    pub(super) fn place(&self) -> String {
        format!("{}:{}", self.file, self.number)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.trim().is_empty()
    }

    pub(super) fn indent(&self) -> usize {
        self.text.len() - self.text.trim_start_matches(' ').len()
    }

    /// Whether the line is empty or a comment.
    pub(super) fn says_nothing(&self) -> bool {
        let content = self.text.trim_start();
        content.is_empty() || content.starts_with('#')
    }
}

/// A member of a block mapping.
pub(super) struct Member<'a> {
    pub(super) key: &'a str,
    /// The empty lines and comments before it.
    pub(super) lead: &'a [Row],
    /// The line with the key.
    pub(super) line: &'a Row,
    /// The lines after it.
    pub(super) body: &'a [Row],
}

impl<'a> Member<'a> {
    pub(super) fn all(&self) -> impl Iterator<Item = &'a Row> {
        self.lead.iter().chain([self.line]).chain(self.body)
    }
}

/// A problem, and its line.
pub(super) type Problem = (Row, String);

/// Splits the block mapping under `title` into its members, which are indented by `indent`. `value` is what the lines say: with it,
/// another style is found out, and refused.
pub(super) fn split<'a>(
    title: &Row,
    rows: &'a [Row],
    indent: usize,
    value: &Value,
) -> Result<Vec<Member<'a>>, Problem> {
    let refused = |row: &Row| {
        let problem = format!("write a member a line here, indented by {indent} spaces, as the other sources do");
        Err((row.clone(), problem))
    };
    let mut starts = Vec::new();
    for (index, row) in rows.iter().enumerate().filter(|(_, row)| !row.says_nothing()) {
        match key(row.text.trim_start()) {
            Some(key) if row.indent() == indent && value.get(key).is_some() => starts.push((index, key)),
            _ if row.indent() > indent && !starts.is_empty() => {}
            _ => return refused(row),
        }
    }
    if starts.len() != value.as_object().map_or(0, serde_json::Map::len) {
        return refused(title);
    }
    let mut members = Vec::new();
    let mut begin = 0;
    for (number, (start, key)) in starts.iter().enumerate() {
        let next = starts.get(number + 1).map(|(next, _)| *next);
        // Comments and empty lines belong to the member after them.
        let is_lead = |row: &&Row| row.is_empty() || (row.says_nothing() && row.indent() <= indent);
        let between = &rows[start + 1..next.unwrap_or(rows.len())];
        let lead = next.map_or(0, |_| between.iter().rev().take_while(is_lead).count());
        let body = &between[..between.len() - lead];
        members.push(Member { key, lead: &rows[begin..*start], line: &rows[*start], body });
        begin = start + 1 + body.len();
    }
    Ok(members)
}
