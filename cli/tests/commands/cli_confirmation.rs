//! What a person sees before provisions are closed in production, and what is read for it.

use std::fmt::Display;
use std::path::Path;

use bunq_partner::Operation;
use bunq_partner_sandbox::{Fault, Injection, Sandbox, SandboxBuilder, SeedProvision};
use serde_json::json;

use crate::common::terminal::Terminal;
use crate::common::{Folder, program, ran};

const KEY: &str = "of-production";

/// A bank that takes the key, and provisions of these statuses, with the names `User 1` and so on.
async fn bank(statuses: &[&str]) -> (Sandbox, Vec<String>) {
    let seed = statuses.iter().zip(1..).map(|(status, number)| {
        serde_json::from_value::<SeedProvision>(json!({ "status": status, "display_name": format!("User {number}") }))
    });
    let seed: Vec<_> = seed.collect::<Result<_, _>>().unwrap();
    let sandbox = builder().seed(seed).start().await.unwrap();
    let ids = sandbox.provision_ids().iter().map(ToString::to_string).collect();
    (sandbox, ids)
}

fn builder() -> SandboxBuilder {
    Sandbox::builder().api_key(KEY.into())
}

/// The program at a terminal, for a bank that is production to it.
fn start(sandbox: &Sandbox, folder: &Folder, arguments: &[&str]) -> Terminal {
    let state = folder.path("");
    let environment = [("BUNQ_API_KEY", KEY), ("XDG_STATE_HOME", state.to_str().unwrap())];
    let production = ["--env", "production", "--base-url", sandbox.base_url()];
    Terminal::start(200, &[arguments, &production].concat(), &environment)
}

/// The methods of the calls to provisions, with their queries.
fn calls(sandbox: &Sandbox) -> Vec<String> {
    let calls = sandbox.take_call_log().into_iter().filter(|call| call.path.contains("/partner-user-provision"));
    calls.map(|call| format!("{} {}", call.method, call.query.unwrap_or_default()).trim_end().to_owned()).collect()
}

fn lines(ids: &[impl Display]) -> String {
    ids.iter().map(|id| format!("{id}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_would_be_closed() {
    test_timeout::start();
    let (sandbox, ids) = bank(&["ACTIVE", "CLOSED", "ACTIVE", "CANCELLED"]).await;
    let folder = Folder::new();
    let close = ["close", &ids[2], "999999", &ids[0], &ids[1], &ids[2], &ids[3]];
    let mut terminal = start(&sandbox, &folder, &close);
    terminal.expect("Close 5 provisions in production? [y/N] ");
    let shown = terminal.seen.replace("\r\n", "\n");
    // What is waited for is shown, and removed, if that takes long.
    let (_, shown) = shown.rsplit_once("\u{1b}[2K").unwrap_or(("", &shown));
    let line = |id: &str, state: &str, name: &str| format!("  {id:6}  {state:31}  {name}").trim_end().to_owned() + "\n";
    let expected = [
        line(&ids[2], "ACTIVE", "User 3"),
        line("999999", "not at bunq", ""),
        line(&ids[0], "ACTIVE", "User 1"),
        line(&ids[1], "CLOSED, closed already", "User 2"),
        line(&ids[3], "CANCELLED, being closed already", "User 4"),
        "API key of user 1001, Sandbox Partner (company)\n".into(),
        "Close 5 provisions in production? [y/N] ".into(),
    ];
    assert_eq!(shown, expected.concat());
    assert!(calls(&sandbox).iter().all(|call| call.starts_with("GET")));
    terminal.type_keys("n\n");
    let (screen, code) = terminal.end();
    assert!(screen.contains("nothing was done") && code == 1, "{screen}");
    assert!(calls(&sandbox).is_empty());

    // One is named in the question.
    let mut terminal = start(&sandbox, &folder, &["close", &ids[0], "--output", "json"]);
    terminal.expect(&format!("Close {} in production? [y/N] ", ids[0]));
    assert!(terminal.seen.contains(&format!("  {}  ACTIVE  User 1\r\n", ids[0])), "{}", terminal.seen);
    assert_eq!(calls(&sandbox).len(), 1);
    terminal.type_keys("y\n");
    let (screen, code) = terminal.end();
    assert!(screen.contains("\"outcome\": \"accepted\"") && code == 0, "{screen}");
}

/// A name does not go on in the next line, where it could be taken for another provision, or drive the others off the screen.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_stays_in_its_line() {
    test_timeout::start();
    let names = [
        "L".repeat(5000),
        "\u{6f22}".repeat(150),
        "Ada\u{1b}[2J\u{202e}\n  7  CLOSED".into(),
        " ".repeat(190) + "7  CLOSED",
    ];
    let seed = names.map(|name| {
        serde_json::from_value::<SeedProvision>(json!({ "status": "ACTIVE", "display_name": name })).unwrap()
    });
    let (sandbox, folder) = (builder().seed(Vec::from(seed)).start().await.unwrap(), Folder::new());
    let ids: Vec<_> = sandbox.provision_ids().iter().map(ToString::to_string).collect();
    let close: Vec<_> = ["close"].into_iter().chain(ids.iter().map(String::as_str)).collect();
    let mut terminal = start(&sandbox, &folder, &close);
    terminal.expect("Close 4 provisions in production? [y/N]");
    let lines: Vec<_> = terminal.seen.lines().collect();
    assert_eq!(lines.len(), 6, "{lines:?}");
    for (line, id) in lines.iter().zip(&ids) {
        assert!(line.starts_with(&format!("  {id}  ACTIVE")) && !line.contains('\u{1b}'), "{line}");
        assert!(console::measure_text_width(line) <= 200, "{line}");
    }
    terminal.type_keys("n\n");
    assert_eq!(terminal.end().1, 1);
}

/// What was pasted behind the command does not agree to it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_after_the_question() {
    test_timeout::start();
    let (sandbox, ids) = bank(&["ACTIVE"]).await;
    let folder = Folder::new();
    let mut terminal = start(&sandbox, &folder, &["close", &ids[0]]);
    terminal.type_keys("y\n");
    terminal.expect("in production? [y/N] ");
    terminal.type_keys("n\n");
    let (screen, code) = terminal.end();
    assert!(screen.contains("nothing was done") && code == 1, "{screen}");
    assert!(calls(&sandbox).iter().all(|call| call.starts_with("GET")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_shown_in_part() {
    test_timeout::start();
    let (sandbox, folder) = (builder().start().await.unwrap(), Folder::new());
    let ids = sandbox.populate(25);
    let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
    let close: Vec<_> = ["close"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let mut terminal = start(&sandbox, &folder, &close);
    terminal.expect("Close 25 provisions in production? [y/N]");
    assert_eq!(terminal.seen.matches("  ACTIVE  ").count(), 20, "{}", terminal.seen);
    assert!(terminal.seen.contains("  and 5 more\r\n"), "{}", terminal.seen);
    assert_eq!(calls(&sandbox).len(), 1);
    terminal.type_keys("n\n");
    assert_eq!(terminal.end().1, 1);

    let from = folder.file("ids.csv", &format!("id\n{}", lines(&ids)));
    let from = from.to_str().unwrap();
    let mut terminal = start(&sandbox, &folder, &["close", "--from", from]);
    terminal.expect(&format!("Close the 25 provisions of {from} in production? [y/N]"));
    assert_eq!(terminal.seen.matches("  ACTIVE  ").count(), 3, "{}", terminal.seen);
    assert!(terminal.seen.contains("  and 22 more\r\nAPI key of user "), "{}", terminal.seen);
    assert_eq!(calls(&sandbox).len(), 1);
    terminal.type_keys("n\n");
    assert_eq!(terminal.end().1, 1);
    assert!(calls(&sandbox).is_empty());
}

/// A page has all that are near to each other, and there are no more pages than ids.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_read_by_pages() {
    test_timeout::start();
    let (sandbox, folder) = (builder().start().await.unwrap(), Folder::new());
    let ids: Vec<_> = sandbox.populate(1000).iter().map(ToString::to_string).collect();
    for (wanted, pages) in [(&[0, 1, 90, 500, 998, 999][..], 3), (&[0, 400, 800], 3), (&[7], 1), (&[3, 5, 7], 1)] {
        let close: Vec<_> = ["close"].into_iter().chain(wanted.iter().map(|place| ids[*place].as_str())).collect();
        let mut terminal = start(&sandbox, &folder, &close);
        terminal.expect("in production? [y/N]");
        let calls = calls(&sandbox);
        assert_eq!(calls.len(), pages, "{wanted:?}: {calls:?}");
        assert_eq!(terminal.seen.matches("  ACTIVE  ").count(), wanted.len(), "{}", terminal.seen);
        terminal.type_keys("\u{3}");
        assert_eq!(terminal.end().1, 130);
    }
    // Ids that no provision has.
    for close in [&["close", "1"][..], &["close", "1", "2", "999999", "9223372036854775807"]] {
        let mut terminal = start(&sandbox, &folder, close);
        terminal.expect("in production? [y/N]");
        assert_eq!(terminal.seen.matches("  not at bunq\r\n").count(), close.len() - 1, "{}", terminal.seen);
        terminal.type_keys("n\n");
        assert_eq!(terminal.end().1, 1);
    }
}

/// A bank that begins no page there, or another page than is asked for, makes nothing be said that is not so.
#[tokio::test(flavor = "multi_thread")]
async fn what_pages_do_not_show_is_read_one_by_one() {
    test_timeout::start();
    let (sandbox, folder) = (builder().start().await.unwrap(), Folder::new());
    let ids: Vec<_> = sandbox.populate(3).iter().map(ToString::to_string).collect();
    let close = ["close", &ids[0], &ids[1], &ids[2], "7"];
    let is_seen = || {
        let mut terminal = start(&sandbox, &folder, &close);
        terminal.expect("in production? [y/N]");
        assert_eq!(terminal.seen.matches("  ACTIVE  ").count(), 3, "{}", terminal.seen);
        assert_eq!(terminal.seen.matches("  not at bunq\r\n").count(), 1, "{}", terminal.seen);
        terminal.type_keys("n\n");
        assert_eq!(terminal.end().1, 1);
    };
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::LIST_PROVISIONS).always());
    is_seen();
    sandbox.clear_injections();
    sandbox.before_signing(|call, response| {
        if call.method == "GET" && call.path.ends_with("/partner-user-provision") {
            response.body = br#"{"Response": [], "Pagination": {}}"#.to_vec();
        }
    });
    is_seen();
}

/// A failure to read is that of the command, and nothing is closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_is_not_closed() {
    test_timeout::start();
    let (sandbox, ids) = bank(&["ACTIVE", "ACTIVE"]).await;
    let folder = Folder::new();
    for operation in [&Operation::LIST_PROVISIONS, &Operation::GET_PROVISION] {
        sandbox.inject(Injection::new(Fault::Status(403)).on(operation).always());
    }
    for close in [&["close", &*ids[0]][..], &["close", &ids[0], &ids[1]]] {
        let (screen, code) = start(&sandbox, &folder, close).end();
        assert!(code == 22 && !screen.contains("[y/N]") && screen.contains("nothing was closed"), "{screen}");
    }
    assert!(calls(&sandbox).iter().all(|call| call.starts_with("GET")));
}

/// Nothing is read where nobody is asked.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_more_is_read_for_scripts() {
    test_timeout::start();
    let (sandbox, ids) = bank(&["ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE"]).await;
    let folder = Folder::new();
    let from = folder.file("ids.csv", &lines(&ids[2..3]));
    let run = |arguments: &[&str], from: Option<&Path>| {
        let mut program = program(&folder);
        program.env("BUNQ_API_KEY", KEY).args(["--env", "production", "--base-url", sandbox.base_url()]);
        ran(program.args(arguments).args(from))
    };
    let asked = run(&["close", &ids[0], &ids[1]], None);
    assert!(asked.1.contains("Close 2 provisions in production: confirm it with --yes") && asked.2 == 2, "{asked:?}");
    let asked = run(&["close", "--from"], Some(&from));
    assert!(asked.1.contains("in production: confirm it with --yes") && asked.2 == 2, "{asked:?}");
    let planned = run(&["close", &ids[0], "--dry-run"], None);
    assert_eq!((planned.1.as_str(), planned.2), ("", 0));
    assert!(sandbox.call_log().is_empty());
    assert_eq!(run(&["close", &ids[0], &ids[1], "--yes"], None).2, 0);
    assert_eq!(calls(&sandbox), ["PUT", "PUT"]);
    assert_eq!(run(&["close", "--yes", "--from"], Some(&from)).2, 0);
    assert_eq!(calls(&sandbox), ["PUT"]);
    // A dry run at a terminal asks nothing either.
    let (screen, code) = start(&sandbox, &folder, &["close", &ids[3], "--dry-run"]).end();
    assert!(code == 0 && !screen.contains("[y/N]"), "{screen}");
    assert!(calls(&sandbox).is_empty());
}

/// Ids that are typed at the terminal: what is waited for is said, and the question comes after them.
#[tokio::test(flavor = "multi_thread")]
async fn typed_ids_are_asked_about() {
    test_timeout::start();
    let (sandbox, ids) = bank(&["ACTIVE", "ACTIVE"]).await;
    let folder = Folder::new();
    let mut terminal = start(&sandbox, &folder, &["close", "-", "--output", "json"]);
    terminal.expect("waiting for ids of provisions, one a line, on standard input; Ctrl-D ends it");
    terminal.type_keys(&format!("{}\u{4}", lines(&ids)));
    terminal.expect("Close 2 provisions in production? [y/N]");
    assert!(calls(&sandbox).iter().all(|call| call.starts_with("GET")));
    terminal.type_keys("y\n");
    let (screen, code) = terminal.end();
    assert_eq!((screen.matches("\"outcome\": \"accepted\"").count(), code), (2, 0), "{screen}");

    let mut terminal = start(&sandbox, &folder, &["close", "-"]);
    terminal.expect("waiting for ids of provisions");
    terminal.type_keys("7\n\u{3}");
    let (screen, code) = terminal.end();
    assert!(screen.contains("interrupted") && code == 130, "{screen}");
}
