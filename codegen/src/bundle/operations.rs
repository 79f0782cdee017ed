//! What operations have in common, and how it is added to each.

use serde_json::{Value, json};

use super::super::document::reference;
use super::blocks::{Member, Problem, Row, split};

/// The order of members in an operation and in a response. Others stand where `x-` does.
const ORDER: [&str; 14] = [
    "operationId",
    "tags",
    "summary",
    "description",
    "x-",
    "security",
    "parameters",
    "requestBody",
    "responses",
    "headers",
    "content",
    "links",
    "4XX",
    "5XX",
];

/// A block mapping: its lines, and what they say.
#[derive(Clone, Copy)]
struct Block<'a> {
    title: &'a Row,
    rows: &'a [Row],
    value: &'a Value,
    indent: usize,
}

impl<'a> Block<'a> {
    fn split(&self) -> Result<Vec<Member<'a>>, Problem> {
        split(self.title, self.rows, self.indent, self.value)
    }

    /// The member as a block.
    fn inside(&self, member: &Member<'a>) -> Block<'a> {
        Block { title: member.line, rows: member.body, value: &self.value[member.key], indent: self.indent + 2 }
    }
}

/// What the bundle adds to operations.
pub(super) struct Shared<'a> {
    every: Vec<Block<'a>>,
    by_auth: Vec<(&'a str, Block<'a>)>,
}

impl<'a> Shared<'a> {
    /// Reads the source: what is added to `every` operation, and what by the kind of its `auth`.
    pub(super) fn read(rows: &'a [Row], value: &'a Value) -> Result<Self, Problem> {
        let mut shared = Self { every: Vec::new(), by_auth: Vec::new() };
        let file = Block { title: &rows[0], rows, value, indent: 0 };
        for part in file.split()? {
            let block = file.inside(&part);
            match part.key {
                "every" => shared.every.push(block),
                "auth" => shared.by_auth.extend(block.split()?.iter().map(|kind| (kind.key, block.inside(kind)))),
                _ => return Err((part.line.clone(), "only `every` and `auth` mean something here: remove it".into())),
            }
        }
        Ok(shared)
    }

    /// An operation with its tag and all that it has in common with others.
    pub(super) fn complete(
        &self,
        operation: &Member<'_>,
        value: &Value,
        tag: &str,
    ) -> Result<(Vec<Row>, Value), Problem> {
        let refused = |problem: String| Err((operation.line.clone(), problem));
        if value.get("tags").is_some() {
            return refused("its file has the tag: remove `tags`".into());
        }
        let auth = value["x-bunq-auth"].as_str().unwrap_or_default();
        let Some((_, by_auth)) = self.by_auth.iter().find(|(kind, _)| *kind == auth) else {
            let kinds: Vec<_> = self.by_auth.iter().map(|(kind, _)| *kind).collect();
            return refused(format!("set its x-bunq-auth to one of: {}", kinds.join(", ")));
        };
        let tags = [operation.line.with(format!("tags: [{tag}]"))];
        let tagged = Block { title: operation.line, rows: &tags, value: &json!({"tags": [tag]}), indent: 0 };
        let mut merged = (operation.body.to_vec(), value.clone());
        for other in [&tagged].into_iter().chain(&self.every).chain([by_auth]) {
            merged = merge(Block { title: operation.line, rows: &merged.0, value: &merged.1, indent: 6 }, *other)?;
        }
        let whole = operation.lead.iter().chain([operation.line]).cloned().chain(merged.0).collect();
        Ok((whole, merged.1))
    }
}

/// `own` with what `other` has beside it. Mappings become one, and lists follow each other. What is a reference, or anything else,
/// is `own`'s.
fn merge(own: Block<'_>, other: Block<'_>) -> Result<(Vec<Row>, Value), Problem> {
    let members = own.split()?;
    let mut value = own.value.clone();
    let mut parts: Vec<_> = members.iter().map(|member| (rank(member.key), member.all().cloned().collect())).collect();
    let mut new = Vec::new();
    for added in other.split()? {
        let from = other.inside(&added);
        let Some(place) = members.iter().position(|member| member.key == added.key) else {
            value[added.key] = from.value.clone();
            let rows = [added.line].into_iter().chain(added.body);
            new.push((rank(added.key), rows.map(|row| row.moved(other.indent, own.indent)).collect::<Vec<_>>()));
            continue;
        };
        let member = &members[place];
        let into = own.inside(member);
        let (rows, both) = match (into.value, from.value) {
            (Value::Object(_), Value::Object(_))
                if [into, from].iter().all(|block| reference(block.value).is_none()) =>
            {
                in_lines(member, into.indent)?;
                merge(into, from)?
            }
            (Value::Array(items), Value::Array(more)) => {
                in_lines(member, into.indent)?;
                let moved = from.rows.iter().map(|row| row.moved(from.indent, into.indent));
                (into.rows.iter().cloned().chain(moved).collect(), items.iter().chain(more).cloned().collect())
            }
            _ => continue,
        };
        value[member.key] = both;
        parts[place].1 = member.lead.iter().chain([member.line]).cloned().chain(rows).collect();
    }
    for (rank, rows) in new {
        let place = parts.iter().position(|(other, _)| *other > rank).unwrap_or(parts.len());
        parts.insert(place, (rank, rows));
    }
    Ok((parts.into_iter().flat_map(|(_, rows)| rows).collect(), value))
}

fn rank(key: &str) -> usize {
    let of = |key: &str| ORDER.iter().position(|other| *other == key);
    of(key).or(of("x-")).unwrap_or_default()
}

/// Refuses a member to which no lines can be added.
fn in_lines(member: &Member<'_>, indent: usize) -> Result<(), Problem> {
    let first = member.body.iter().find(|row| !row.says_nothing());
    if member.line.text.trim_end().ends_with(':') && first.is_some_and(|row| row.indent() == indent) {
        return Ok(());
    }
    let problem =
        format!("`{}` is added to: write a member or an item a line, indented by {indent} spaces", member.key);
    Err((member.line.clone(), problem))
}
