//! The help about the operations of bunq's API, from the document.

use std::sync::LazyLock;

use bunq_partner::wire::{OPERATIONS, SCHEMAS};
use bunq_partner::{Operation, PathUser, RateLimit, SessionOf};
use clap::{Arg, Command};
use serde_json::Value;

use super::arguments::{called_as, made_by};
use super::connection::MAX_UPLOAD;
use super::exit::Failure;

static DESCRIPTIONS: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(OPERATIONS).unwrap_or_default());
static TYPES: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(SCHEMAS).unwrap_or_default());

/// Lists are for terminals with so many columns.
const MAX_LINE: usize = 80;

/// A longer line of an example goes on in the next one.
const MAX_EXAMPLE: usize = 96;

/// All operations, a line each.
pub(super) fn list() -> String {
    let lines = |heading: &str, is_listed: &dyn Fn(&Operation) -> bool| {
        let listed: Vec<_> = Operation::ALL.iter().filter(|operation| is_listed(operation)).collect();
        let width = listed.iter().map(|operation| operation.id.len()).max().unwrap_or_default();
        let lines: String = listed.iter().map(|operation| line(operation, width)).collect();
        format!("{heading}:\n{lines}\n")
    };
    let is_of = |session_of| move |operation: &Operation| !operation.managed && operation.session_of == session_of;
    let text = [
        lines("Operations for `bunq-partner api OPERATION`", &|operation| {
            !operation.managed && matches!(operation.session_of, Some(SessionOf::Partner) | None)
        }),
        lines("As the partner, or with `--user ID` as a user in custody", &is_of(Some(SessionOf::Either))),
        lines("With `--user ID`, as a user in custody", &is_of(Some(SessionOf::User))),
        lines("Calls of the session, which the program makes itself", &|operation| operation.managed),
    ];
    text.concat() + "`bunq-partner help api OPERATION` says what an operation takes."
}

/// An operation in a list. Where both do not fit into a line, the summary is in the next one.
fn line(operation: &Operation, width: usize) -> String {
    let (id, summary) = (operation.id, summary(operation));
    let line = format!("  {id:width$}  {summary}");
    if line.len() <= MAX_LINE { line + "\n" } else { format!("  {id}\n      {summary}\n") }
}

fn summary(operation: &Operation) -> &'static str {
    DESCRIPTIONS[operation.id]["summary"].as_str().unwrap_or_default()
}

/// What an operation does, and what it takes.
pub(super) fn describe(id: &str) -> Result<String, Failure> {
    let Some(operation) = Operation::by_id(id) else {
        let hint = "`bunq-partner help operations` lists them";
        return Err(Failure::usage(format!("there is no operation `{id}`")).with_hint(hint));
    };
    let described = &DESCRIPTIONS[operation.id];
    let effect = if operation.method == "GET" { "reads" } else { "changes something" };
    let RateLimit { calls, per, .. } = operation.rate_limit;
    let calls = if calls == 1 { "1 call".into() } else { format!("{calls} calls") };
    let mut text = format!(
        "{}\n\n{} {}\nIt {effect}; bunq allows {calls} in {} s.\n",
        summary(operation),
        operation.method,
        operation.path,
        per.as_secs()
    );
    if !operation.managed {
        text += &format!("It is called {}.\n", called_as(operation));
    }
    text += match operation.path_user {
        Some(PathUser::Session) => "The user in its path is that of the session.\n",
        Some(PathUser::Chosen) => "Without a `user_id` it is about the user of the session.\n",
        _ => "",
    };
    if operation.managed {
        text += &format!("`api` does not call it:\n  {}.\n", made_by(operation));
    }
    let parameters = list_of(&described["parameters"]).map(|parameter| Taken {
        name: parameter["name"].as_str().unwrap_or_default(),
        place: parameter["in"].as_str(),
        is_required: parameter["required"] == true,
        value: parameter,
        schema: &parameter["schema"],
    });
    text += &section("Parameters (--param NAME=VALUE)", parameters.collect());
    if let (true, types @ [_, ..]) = (operation.has_body, operation.content_types) {
        let types: Vec<_> = types.iter().map(|content_type| content_type.name).collect();
        let (most, types) = (MAX_UPLOAD / 1024 / 1024, types.join(", "));
        text += &format!("\nBody (--body @FILE):\n  A file of at most {most} MiB: {types}.\n");
    }
    let shapes: Vec<_> = list_of(&described["body"]).collect();
    for (shape, number) in shapes.iter().zip(1..) {
        let heading = match shapes.len() {
            1 => "Body (--body JSON)".to_owned(),
            count => format!("Body (--body JSON), shape {number} of {count}"),
        };
        let is_required = |name: &str| list_of(&shape["required"]).any(|required| required == name);
        let members = shape["properties"].as_object().into_iter().flatten();
        let members = members.map(|(name, schema)| Taken {
            name,
            place: None,
            is_required: is_required(name),
            value: schema,
            schema,
        });
        text += &section(&heading, members.collect());
    }
    if operation.returns_bytes {
        text += "\nResponse:\n  A file as it is, to standard output or to --output-file FILE.\n";
    }
    if !operation.managed {
        text += &format!("\nExample:\n{}", example(operation));
    }
    Ok(text)
}

/// A parameter, or a member of a body.
struct Taken {
    name: &'static str,
    /// Where it is in the URL.
    place: Option<&'static str>,
    is_required: bool,
    /// The JSON with its description.
    value: &'static Value,
    schema: &'static Value,
}

/// A list under a heading, with those first that are required.
fn section(heading: &str, mut taken: Vec<Taken>) -> String {
    if taken.is_empty() {
        return String::new();
    }
    taken.sort_by_key(|taken| !taken.is_required);
    let arguments = taken.iter().map(|Taken { name, place, is_required, value, schema }| {
        let kind = if value["explode"] == false {
            format!("several with commas: {}", kind(&schema["items"]))
        } else {
            kind(schema)
        };
        let text = value["description"].as_str().unwrap_or_default();
        let text: Vec<_> = text.split("\n\n").next().unwrap_or_default().split_whitespace().collect();
        let facts = place.iter().copied().chain(is_required.then_some("required")).chain([&*kind]);
        let facts: Vec<_> = facts.collect();
        Arg::new(*name).required(*is_required).help(format!("{} [{}]", text.join(" "), facts.join(", ")))
    });
    let section = Command::new("operation").disable_help_flag(true).max_term_width(100).args(arguments);
    format!("\n{heading}:\n{}\n", section.help_template("{positionals}").render_help().to_string().trim_end())
}

/// What a value is, in a few words.
fn kind(schema: &Value) -> String {
    let target = schema["$ref"].as_str().and_then(|pointer| pointer.strip_prefix("#/components/schemas/"));
    if let Some(schema) = target.map(|name| &TYPES[name]).or_else(|| schema["allOf"].get(0)) {
        return kind(schema);
    }
    let values: Vec<_> = list_of(&schema["enum"]).filter_map(Value::as_str).collect();
    match (schema["type"].as_str(), schema["format"].as_str()) {
        _ if !values.is_empty() => values.join(" or "),
        (Some("array"), _) => format!("list of {}", kind(&schema["items"])),
        (Some("integer"), _) => match (&schema["minimum"], &schema["maximum"]) {
            (Value::Number(least), Value::Number(most)) => format!("integer from {least} to {most}"),
            _ => "integer".into(),
        },
        (Some("object"), _) => match schema["properties"].as_object() {
            Some(members) => format!("object of {}", members.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
            None => "object".into(),
        },
        (Some("string"), Some(format)) => format.into(),
        (Some(other), _) => other.into(),
        (None, _) => "any".into(),
    }
}

fn list_of(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// An example to type, with the required parameters and a file for the body.
fn example(operation: &Operation) -> String {
    let parameters =
        list_of(&DESCRIPTIONS[operation.id]["parameters"]).filter(|parameter| parameter["required"] == true);
    let parameters = parameters.map(|parameter| {
        let example = match &parameter["example"] {
            Value::String(text) => text.clone(),
            Value::Null => "VALUE".into(),
            other => other.to_string(),
        };
        format!("--param {}={example}", parameter["name"].as_str().unwrap_or_default())
    });
    let user = (operation.session_of == Some(SessionOf::User)).then_some("--user ID");
    let body = operation.has_body.then_some(match operation.content_types {
        [] => "--body @body.json",
        _ => "--body @FILE",
    });
    let output = operation.returns_bytes.then_some("--output-file FILE");
    let mut lines = vec![format!("  bunq-partner api {}", operation.id)];
    for words in parameters.chain([user, body, output].into_iter().flatten().map(str::to_owned)) {
        match lines.last_mut() {
            Some(line) if line.len() + words.len() <= MAX_EXAMPLE => *line += &format!(" {words}"),
            _ => lines.push(format!("    {words}")),
        }
    }
    lines.join(" \\\n")
}
