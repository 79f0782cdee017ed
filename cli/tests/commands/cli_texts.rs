//! Texts of people: which are sent, how names are shown, and what is typed and repeated in an error.

use bunq_partner_sandbox::{Sandbox, SeedProvision};
use serde_json::{Value, json};

use crate::common::terminal::Terminal;
use crate::common::{Folder, program, program_for, program_with_session, ran};

/// Names of people, whose characters change nothing but themselves.
const NAMES: [&str; 6] = [
    "می\u{200c}خواهم",
    "ශ්\u{200d}රී",
    "👩\u{200d}💻 ❤\u{fe0f}",
    "🏴\u{e0067}\u{e0062}\u{e007f}",
    "Zo\u{ad}ë",
    "Ada\u{a0}\u{200b}L.",
];

async fn bank(names: &[&str], api_key: &str) -> Sandbox {
    let seed = names.iter().map(|name| json!({ "status": "ACTIVE", "display_name": name }));
    let seed: Result<Vec<SeedProvision>, _> = seed.map(serde_json::from_value).collect();
    Sandbox::builder().seed(seed.unwrap()).api_key(api_key.into()).start().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_be_reached_at_is_not_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let vectors: Value = serde_json::from_str(include_str!("../../../openapi/vectors/texts.json")).unwrap();
    let input = |case: &Value| {
        let of = |schema: &str, text: &str| if case["schema"] == schema { case["text"].clone() } else { text.into() };
        let (email, phone_number) = (of("EmailAddress", "user@example.com"), of("PhoneNumber", "+31600000000"));
        let uuid = "00000000-0000-4000-8000-000000000005";
        json!({ "external_uuid": uuid, "email": email, "phone_number": phone_number }).to_string()
    };
    let is_of_a_user = |case: &&Value| case["schema"] == "EmailAddress" || case["schema"] == "PhoneNumber";
    let mut seen = 0;
    for case in vectors["cases"].as_array().unwrap().iter().filter(|case| is_of_a_user(case)) {
        let file = folder.file("users.jsonl", &input(case));
        let (out, err, code) = ran(program_for(&folder, &sandbox).args(["create", "--dry-run", "--from"]).arg(&file));
        if case["valid"] == true {
            assert_eq!((err.as_str(), code), ("", 0), "{}: {out}", case["name"]);
            continue;
        }
        let rule = match case["schema"].as_str().unwrap() {
            "EmailAddress" => "line 1, email: an e-mail address is `name@host` alone, without `mailto:`",
            _ => "line 1, phone_number: a phone number is `+` and 7 to 15 digits (E.164), without the zero",
        };
        assert!(err.contains(rule) && code == 2, "{}: {code} {err}", case["name"]);
        // It is about a person.
        assert!(!err.contains(case["text"].as_str().unwrap()), "{}: {err}", case["name"]);
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
    let create = ["create", "--email", "user@example.com", "--phone-number", "+310612345678"];
    let (_, err, code) = ran(program_for(&folder, &sandbox).args(create));
    assert!(err.contains("+31600000000, not +310600000000") && code == 2, "{err}");
    // No pattern reaches the invisible characters above U+FFFF.
    let create = ["create", "--email", "us\u{e0041}er@example.com", "--phone-number", "+31600000000"];
    let (_, err, code) = ran(program_for(&folder, &sandbox).args(create));
    assert!(err.contains("without white space and invisible characters") && code == 2, "{err}");
    assert!(sandbox.call_log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_shown_as_it_is() {
    test_timeout::start();
    let (sandbox, folder) = (bank(&NAMES, "sandbox_key").await, Folder::new());
    // bunq has one that forges a line.
    let hostile = "Eve\u{1b}[2J\n\u{202e}\u{9b}1A";
    sandbox.before_signing(move |_, response| {
        let text = String::from_utf8(response.body.clone()).unwrap();
        response.body = text.replace("\"Zo\u{ad}ë\"", &serde_json::to_string(hostile).unwrap()).into_bytes();
    });
    let names: Vec<_> = NAMES.iter().rev().map(|name| if name.starts_with("Zo") { hostile } else { name }).collect();
    let list = ["list", "--columns", "display_name", "--output"];
    let command = program_with_session(&folder, &sandbox).await;
    let listed = |format: &str| {
        let mut command = crate::common::by(std::process::Command::new("env"), &command);
        let (out, err, code) = ran(command.args(list).arg(format));
        assert_eq!((err.as_str(), code), ("", 0));
        out
    };
    let json: Value = serde_json::from_str(&listed("json")).unwrap();
    let shown: Vec<_> = json.as_array().unwrap().iter().map(|seen| seen["display_name"].as_str().unwrap()).collect();
    assert_eq!(shown, names);
    let jsonl = listed("jsonl");
    assert_eq!(jsonl.lines().count(), names.len());
    assert!(!jsonl.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{jsonl}");
    let csv = names.iter().map(|name| if *name == hostile { format!("\"{name}\"\n") } else { format!("{name}\n") });
    assert_eq!(listed("csv"), format!("display_name\n{}", csv.collect::<String>()));
    let table = names.join("\n").replace(hostile, "Eve\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}1A");
    assert_eq!(listed("table"), format!("DISPLAY NAME\n{table}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_shows_what_cannot_be_seen() {
    test_timeout::start();
    let (sandbox, folder) =
        (bank(&["Ada\u{200b} \u{3164}L.\u{fe0f}\u{a0}M. ", "Ada L."], "of-production").await, Folder::new());
    let ids = sandbox.provision_ids();
    let state = folder.path("");
    let environment = [("BUNQ_API_KEY", "of-production"), ("XDG_STATE_HOME", state.to_str().unwrap())];
    let (first, second) = (ids[0].to_string(), ids[1].to_string());
    let close = ["close", &first, &second, "--env", "production", "--base-url", sandbox.base_url()];
    let mut terminal = Terminal::start(200, &close, &environment);
    terminal.expect("Close 2 provisions in production? [y/N] ");
    let named = r"  ACTIVE  Ada\u{200b} \u{3164}L.\u{fe0f}\u{a0}M.\u{20}";
    assert!(terminal.seen.contains(&format!("{named}\r\n")), "{}", terminal.seen);
    assert!(terminal.seen.contains("  ACTIVE  Ada L.\r\n"), "{}", terminal.seen);
    terminal.type_keys("n\n");
    assert_eq!(terminal.end().1, 1);
    // What a call of any operation would send is a part of the question.
    let body = r#"{"status":"CANC\u200bELLED","ad\nded":1}"#;
    let parameter = format!("provision_id={}", ids[0]);
    let call = ["api", "update_provision", "--param", &parameter, "--body", body, "--env", "production", "--base-url"];
    let mut terminal = Terminal::start(200, &[&call[..], &[sandbox.base_url()]].concat(), &environment);
    terminal.expect("in production? [y/N] ");
    assert!(terminal.seen.contains(r#""CANC\u{200b}ELLED""#), "{}", terminal.seen);
    terminal.type_keys("n\n");
    assert_eq!(terminal.end().1, 1);
}

#[test]
fn what_is_typed_forges_nothing_in_an_error() {
    test_timeout::start();
    let folder = Folder::new();
    let state = folder.path("");
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap())];
    let hostile = "drop\u{1b}[2J\u{9b}1A\u{202e}\nerror: forged";
    for words in [
        &[hostile][..],
        &["list", hostile],
        &[&format!("--{hostile}")],
        &["get", &format!("--{hostile}")],
        &["close", &format!("-{hostile}")],
        &["get", hostile],
        &["list", "--status", hostile],
        &["list", "--limit", hostile],
        &["--env", hostile, "list"],
        &["--output", hostile, "list"],
        &["sandbox", "--fault", hostile],
        &["sandbox", "--fault", &format!("drop,on={hostile}")],
        &["sandbox", "--rate-limits", hostile],
        &["sandbox", "--port", hostile],
        &["create", "--email", hostile, "--phone-number", hostile],
        &["api", hostile],
        &["api", "get_provision", "--param", hostile],
        &["report", "--from", hostile],
        &["receipts", "verify", hostile],
        &["help", hostile],
        &["list", "--columns", hostile],
        &["completions", hostile],
        &["--profile", hostile, "list"],
    ] {
        let (screen, code) = Terminal::start(200, words, &environment).end();
        let is_forged = screen.contains("\u{1b}[2J") || screen.contains(['\u{9b}', '\u{202e}']);
        let is_line = screen.lines().any(|line| line.trim_start().starts_with("error: forged"));
        assert!(!is_forged && !is_line && screen.contains("error") && code > 1, "{words:?}: {code} {screen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_long_name_does_not_widen_all_lines() {
    test_timeout::start();
    let long = "N".repeat(100_000);
    let names = [vec!["Ada"; 29], vec![&long]].concat();
    let (sandbox, folder) = (bank(&names, "sandbox_key").await, Folder::new());
    let (out, err, code) = ran(program_for(&folder, &sandbox).arg("list"));
    assert_eq!((out.lines().count(), out.matches(long.as_str()).count(), code), (31, 1, 0), "{err}");
    assert!(out.len() < long.len() + 31 * 300, "{}", out.len());
    // The columns of the others are where they were.
    let places: Vec<_> = out.lines().filter_map(|line| line.find("Ada ")).collect();
    assert!(places.len() == 29 && places.iter().all(|place| *place == places[0]), "{places:?}");
}

/// A program's own words are not changed.
#[test]
fn what_is_typed_is_repeated() {
    test_timeout::start();
    let (_, err, code) = ran(program(&Folder::new()).args(["get", "--Zoë\u{200c}"]));
    assert!(err.contains("unexpected argument '--Zoë\u{200c}' found") && code == 2, "{err}");
}
