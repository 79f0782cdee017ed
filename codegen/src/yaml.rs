//! Reads YAML 1.2 as the JSON that it stands for. What JSON has not, such as anchors, tags and merge keys, is refused.

use granit_parser::{Event, Marker, Parser, ScalarStyle, ScanError, StrInput};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// How many levels of one kind, with brackets or with indentation, a document has at most.
const LEVELS: usize = 64;

type Events<'a> = Parser<'a, StrInput<'a>>;

/// Reads one document; no document is null. A value without quotes is what the core schema says, a key is its text.
///
/// # Errors
///
/// The problem and its place.
pub(crate) fn read(text: &str) -> Result<Value, ScanError> {
    if text.starts_with('\u{feff}') {
        return Err(ScanError::new(Marker::new(0, 1, 0), "byte order mark: save the file without it"));
    }
    let options = granit_parser::options! {
        strict_indentation: true,
        disallow_directives: true,
        emit_anchor_events: true,
        emit_unresolved_aliases: true,
        flow_nesting_limit: LEVELS,
        block_nesting_limit: LEVELS,
    };
    let mut events = Parser::new_from_str_with_options(text, options);
    let mut document = None;
    while let Some((event, place)) = next(&mut events)? {
        match event {
            Event::DocumentStart(..) if document.is_some() => {
                return Err(ScanError::new(place, "second document: write one document in a file"));
            }
            Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd | Event::StreamEnd => {}
            event => document = Some(value(event, place, &mut events)?),
        }
    }
    Ok(document.unwrap_or_default())
}

fn next<'a>(events: &mut Events<'a>) -> Result<Option<(Event<'a>, Marker)>, ScanError> {
    let Some((event, span)) = events.next().transpose()? else { return Ok(None) };
    let problem = match &event {
        Event::Anchor(..) => "anchor: remove it",
        Event::Alias(_) | Event::UnresolvedAlias(_) => "alias: write out what it stands for",
        event if event.tag().is_some() => "tag: remove it, and write a text in quotes",
        _ => return Ok(Some((event, span.start))),
    };
    Err(ScanError::new(span.tag_start().unwrap_or(span.start), problem))
}

/// The value that begins with `event`.
fn value<'a>(event: Event<'a>, place: Marker, events: &mut Events<'a>) -> Result<Value, ScanError> {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text).ok_or_else(|| {
            ScanError::new(place, format!("`{text}` is no number of 64 bits: correct it, or put it in quotes"))
        }),
        Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some((event, place)) = next(events)?.filter(|(event, _)| *event != Event::SequenceEnd) {
                items.push(value(event, place, events)?);
            }
            Ok(Value::Array(items))
        }
        Event::MappingStart(..) => {
            let mut members = Map::new();
            while let Some((event, place)) = next(events)?.filter(|(event, _)| *event != Event::MappingEnd) {
                let refused = |problem: &str| Err(ScanError::new(place, problem));
                let name = match event {
                    Event::Scalar(name, ScalarStyle::Plain, ..) if name == "<<" => {
                        return refused("merge key: write out the members");
                    }
                    Event::Scalar(name, style, ..)
                        if style != ScalarStyle::Plain || plain(&name) != Some(Value::Null) =>
                    {
                        name
                    }
                    _ => return refused("key that is no text: write a text"),
                };
                match members.entry(name) {
                    Entry::Occupied(member) => {
                        return refused(&format!("duplicate key `{}`: remove one", member.key()));
                    }
                    Entry::Vacant(member) => {
                        if let Some((event, place)) = next(events)? {
                            member.insert(value(event, place, events)?);
                        }
                    }
                }
            }
            Ok(Value::Object(members))
        }
        _ => Err(ScanError::new(place, format!("no value: {event:?}"))),
    }
}

/// What a scalar without quotes is, as the core schema of YAML 1.2 says; none if it is a number that does not fit.
fn plain(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match (text, unsigned) {
        ("" | "~" | "null" | "Null" | "NULL", _) => return Some(Value::Null),
        ("true" | "True" | "TRUE", _) => return Some(Value::Bool(true)),
        ("false" | "False" | "FALSE", _) => return Some(Value::Bool(false)),
        (".nan" | ".NaN" | ".NAN", _) | (_, ".inf" | ".Inf" | ".INF") => return None,
        _ => {}
    }
    let (digits, radix) = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => (digits, 16),
        (_, Some(digits)) => (digits, 8),
        _ => (unsigned, 10),
    };
    if !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(radix)) {
        let number = i128::from_str_radix(digits, radix).ok()?;
        return Number::from_i128(if text.starts_with('-') { -number } else { number }).map(Value::Number);
    }
    // Rust has floats that begin with a letter, and YAML has not.
    match text.parse() {
        Ok(number) if !unsigned.starts_with(char::is_alphabetic) => Number::from_f64(number).map(Value::Number),
        _ => Some(Value::String(text.to_owned())),
    }
}
