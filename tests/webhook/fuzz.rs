//! Bodies from anybody: the documented ones, mutated. All cases follow from a seed, which a failure prints.
//!
//! They are a million with `CI=1`, as `cargo xtask ci` sets it. More of them, with the seeds of another day:
//! `BUNQ_PARTNER_INPUTS=100000000 BUNQ_PARTNER_SEED=$(date +%s) cargo test --release --test webhook -- fuzz`

use std::thread;

use bunq_partner::webhook::{Hint, InvalidNotification, Notification};
use fastrand::Rng;
use serde_json::{Value, json};

use super::message::{arrived, vectors};

/// How many inputs each test has in CI, and elsewhere.
const INPUTS: [u64; 2] = [500_000, 10_000];

/// The beginning of each planted secret.
const PLANTED: &str = "qzx-";

/// The members that are secrets.
const SECRET: [&str; 6] = ["token", "token_value", "authorization_code", "redirect_url", "client_id", "secret"];

/// What is put into a text.
const PIECES: [&[u8]; 22] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b",",
    b":",
    b"null",
    b"-1",
    b"1e999",
    b"0.0000000001",
    b"\\",
    b"\\ud800",
    b"\\u0000",
    b"\xff",
    b"\xf0\x9f",
    b"99999999999999999999",
    b"{\"PartnerUserProvision\":",
    b"\"category\":",
    b"[[[[[[[[[[[[[[[[",
    b"[redacted]",
    b" ",
];

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Prints how to repeat an input that has failed.
struct Case(u64);

impl Drop for Case {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("BUNQ_PARTNER_INPUTS=1 BUNQ_PARTNER_SEED={}", self.0);
        }
    }
}

/// Checks as many inputs as are asked for. Each has a seed of its own, and several threads share them.
pub(crate) fn each(check: impl Fn(&mut Rng) + Sync) {
    let usual = INPUTS[usize::from(std::env::var_os("CI").is_none())];
    let first = variable("BUNQ_PARTNER_SEED").unwrap_or(1);
    let count = variable("BUNQ_PARTNER_INPUTS").unwrap_or(usual);
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    thread::scope(|scope| {
        for thread in 0..threads {
            let check = &check;
            scope.spawn(move || {
                for seed in (first..first + count).skip(thread as usize).step_by(threads as usize) {
                    let _case = Case(seed);
                    check(&mut Rng::with_seed(seed));
                }
            });
        }
    });
}

/// What a user may see of a body. It is in proportion to the body.
fn shown(body: &[u8]) -> Result<String, InvalidNotification> {
    let notification = Notification::from_bytes(body)?;
    let hint = serde_json::to_string(&notification.hint(arrived())).unwrap();
    assert!(hint.len() <= Hint::MAX_LEN, "{hint}");
    assert_eq!(serde_json::from_str::<Hint>(&hint).unwrap(), notification.hint(arrived()), "{hint}");
    let text = format!("{notification:?}\n{}\n{hint}", serde_json::to_string(&notification).unwrap());
    assert!(text.len() <= 2000 + 20 * body.len(), "{} bytes make {}: {text}", body.len(), text.len());
    Ok(text)
}

/// Checks that an error has nothing of the body: all that there are have one text each.
fn says_nothing(error: InvalidNotification) {
    use InvalidNotification::{NotJson, NotNotification, TooDeep, TooLong, TooManyMembers};
    assert!([TooLong, TooDeep, TooManyMembers, NotJson, NotNotification].contains(&error));
}

pub(crate) fn documented() -> Vec<Value> {
    vectors().into_iter().filter(|case| case["refuse"] != true).map(|mut case| case["body"].take()).collect()
}

fn any_range(rng: &mut Rng, length: usize) -> std::ops::Range<usize> {
    let start = rng.usize(..=length);
    start..rng.usize(start..=length.min(start + 40))
}

pub(crate) fn any_piece(rng: &mut Rng) -> &'static [u8] {
    PIECES[rng.usize(..PIECES.len())]
}

/// The text of a documented body, with up to eight changes.
pub(crate) fn mutated_text(bodies: &[String], rng: &mut Rng) -> Vec<u8> {
    let mut text = bodies[rng.usize(..bodies.len())].clone().into_bytes();
    for _ in 0..rng.usize(1..=8) {
        let at = rng.usize(..=text.len());
        match rng.u8(..7) {
            0 => text.truncate(at),
            1 => drop(text.drain(any_range(rng, text.len()))),
            2 => {
                let again = text[any_range(rng, text.len())].to_vec();
                text.splice(at..at, again);
            }
            3 => {
                let other = bodies[rng.usize(..bodies.len())].as_bytes();
                text.splice(at..at, other[any_range(rng, other.len())].to_vec());
            }
            4 => {
                let piece = any_piece(rng).repeat(1 << rng.u8(..6));
                text.splice(at..at, piece);
            }
            _ => {
                if let Some(byte) = text.get_mut(at) {
                    *byte = rng.u8(..);
                }
            }
        }
    }
    text
}

#[test]
fn mutated_texts_are_read_or_refused() {
    test_timeout::start();
    let bodies: Vec<_> = documented().iter().map(ToString::to_string).collect();
    each(|rng| {
        if let Err(error) = shown(&mutated_text(&bodies, rng)) {
            says_nothing(error);
        }
    });
}

/// Plants a secret in each member that is one.
fn plant(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if SECRET.contains(&name.as_str()) {
                    *member = json!(format!("{PLANTED}{name}"));
                }
                plant(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plant),
        _ => {}
    }
}

/// A value of any shape, with secrets in it.
fn any_value(rng: &mut Rng) -> Value {
    let secret = SECRET[rng.usize(..SECRET.len())];
    match rng.u8(..9) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(rng.i64(..)),
        3 => json!(f64::MAX),
        4 => json!("\u{202e}\u{0}\"\n"),
        5 => json!({ secret: format!("{PLANTED}value") }),
        6 => json!([{ "any": { secret: [format!("{PLANTED}value")] } }]),
        7 => json!({}),
        _ => json!([]),
    }
}

/// Changes one thing within a value: a member or an item is another, is gone, is new, or is within one more.
fn mutate(value: &mut Value, rng: &mut Rng) {
    let count = value.as_object().map_or(0, |members| members.len()) + value.as_array().map_or(0, Vec::len);
    if count > 0 && rng.u8(..5) > 0 {
        let index = rng.usize(..count);
        let inner = match value {
            Value::Object(members) => members.values_mut().nth(index),
            Value::Array(items) => items.get_mut(index),
            _ => None,
        };
        return mutate(inner.unwrap(), rng);
    }
    match (value, rng.u8(..5)) {
        (Value::Object(members), 0) => {
            let name = SECRET[rng.usize(..SECRET.len())];
            members.insert(name.to_owned(), json!([format!("{PLANTED}new")]));
        }
        (Value::Object(members), 1) => members.retain(|_, _| rng.u8(..4) > 0),
        (Value::Array(items), 0) => items.push(any_value(rng)),
        (value, 2) => *value = json!([value.take()]),
        (value, 3) => *value = json!({ "Novelty": value.take() }),
        (value, _) => *value = any_value(rng),
    }
}

#[test]
fn mutated_shapes_are_read_and_show_no_secret() {
    test_timeout::start();
    let mut bodies = documented();
    bodies.iter_mut().for_each(plant);
    each(|rng| {
        let mut body = bodies[rng.usize(..bodies.len())].clone();
        let Some(event) = body["NotificationUrl"].as_object_mut() else { return };
        let object = event.entry("object").or_insert(Value::Null);
        for _ in 0..rng.usize(1..=3) {
            mutate(object, rng);
        }
        match rng.u8(..20) {
            0 => drop(event.remove("object")),
            1 => drop(event.insert("event_type".into(), any_value(rng))),
            2 => drop(event.insert("target_url".into(), any_value(rng))),
            _ => {}
        }
        // Whatever it is about: it has a category.
        let text = shown(body.to_string().as_bytes()).unwrap();
        assert!(!text.contains(PLANTED), "{body} shows {text}");
    });
}

/// The most of each kind that passes, a hundred times. What takes time with the square of its length does not end here.
#[test]
fn the_largest_bodies_are_read() {
    test_timeout::start();
    let within = |before: &str, piece: &str, after: &str| {
        let rest = before.len() + after.len() + 60;
        let pieces = piece.repeat((Notification::MAX_LEN - rest) / piece.len());
        format!(r#"{{"NotificationUrl": {{"category": "C", {before}{pieces}{after}}}}}"#)
    };
    let inquiry = r#""object": {"UserInformationInquiry": {"#;
    let bodies = [
        within(r#""object": ""#, "x", "\""),
        within(r#""object": ""#, "\\u0041", "\""),
        within(r#""object": ""#, "\\\"", "\""),
        within(r#""object": "#, "9", ""),
        within(r#""object": 0."#, "9", ""),
        within(r#""object": 1e"#, "9", ""),
        within(r#""event_type": ""#, "E", "\""),
        within(r#""event_type": "#, "9", ""),
        within(r#""object": {""#, "k", r#"": {"id": 7}}"#),
        within(&format!("{inquiry}\"updated\": \""), "2", "\"}}"),
        within(&format!("{inquiry}\"updated\": \"2026-01-01 "), " ", "\"}}"),
        within(&format!("{inquiry}\"id\": "), "1", "}}"),
        within(&format!("{inquiry}\"title\": \""), "\\n", "\"}}"),
        within(&format!("{inquiry}\"all_entry\": ["), &" ".repeat(15), "]}}"),
        within(r#""object": {"PartnerUserProvision": {"external_uuid": ""#, "a", "\"}}"),
        within(" ", "\n", "\"x\": 1"),
        // As many members as there may be.
        format!(
            r#"{{"NotificationUrl": {{"category": "C", {inquiry}"all_entry": [{}]}}}}}}}}"#,
            vec![r#"{"UserInformationInquiryEntry":1}"#; 1800].join(",")
        ),
        format!(r#"{{"NotificationUrl": {{"category": "C", "object": {{{}}}}}}}"#, {
            let members: Vec<_> = (0..4000).map(|member| format!("\"{member:x}\":{{}}")).take(2000).collect();
            members.join(",")
        }),
    ];
    for body in &bodies {
        for _ in 0..100 {
            let text = shown(body.as_bytes());
            assert!(text.is_ok(), "{text:?}: {}", body.get(..100).unwrap_or(body));
        }
    }
}
