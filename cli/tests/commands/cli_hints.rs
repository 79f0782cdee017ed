//! What a message advises can be done: each command that one names runs, and what it names as the cause is the cause.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use bunq_partner::Operation;
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use serde_json::Value;

use crate::common::{Folder, calls, program, program_for, program_with_session, ran, resealed, unsealed};

/// The commands that the texts of the program name: `` `bunq-partner … ` ``, with `ID` for what is filled in.
fn named(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            named(&path, found);
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<_> = text.lines().map(str::trim).filter(|line| !line.starts_with("//!")).collect();
        // A text goes on in the next line after a `\`.
        let code = code.join("\n").replace("\\\n", "");
        for rest in code.split("`bunq-partner ").skip(1) {
            found.insert(rest.split_once('`').unwrap().0.to_owned());
        }
    }
}

/// A command with values in place of what is filled in: `ID`, `{id}` and so on.
fn filled(named: &str, id: &str, folder: &Folder) -> Vec<String> {
    let operation = Operation::GET_PROVISION.id;
    let ids = folder.path("ids.csv").display().to_string();
    let profile = folder.path("profile.json").display().to_string();
    let file = folder.path("file.pdf").display().to_string();
    let value = |before: &str| match before {
        "find" => "00000000-0000-4000-8000-0000000000aa",
        "api" => operation,
        "--bank-profile" => profile.as_str(),
        "--from" | "--journal" => ids.as_str(),
        "--fault" => "drop",
        "ensure" => "https://partner.example.com/callback",
        _ => id,
    };
    let named = named
        .replace("{named}", " ID")
        .replace("{user}", "")
        .replace("{from}{journal}", "{from}")
        .replace("{command}", "close");
    let mut words: Vec<String> = Vec::new();
    for word in named.split_whitespace() {
        let before = words.last().cloned().unwrap_or_default();
        let is_filled_in = word.starts_with('{') || word.chars().all(|c| c.is_ascii_uppercase());
        let value = match word {
            "FILE" => file.as_str(),
            "CATEGORY" | "{category}" => "PARTNER_USER_PROVISION",
            _ => value(&before),
        };
        words.push(if is_filled_in { value } else { word }.to_owned());
    }
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_that_a_message_names_runs() {
    test_timeout::start();
    let mut all = BTreeSet::new();
    named(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    assert!(all.contains("doctor") && all.contains("session reinstall") && all.len() > 20, "{all:?}");
    for named in &all {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let id = sandbox.populate(1)[0].to_string();
        folder.file("ids.csv", &format!("id\n{id}\n"));
        folder.file("file.pdf", "%PDF-1.7");
        let mut words = filled(named, &id, &folder);
        // A server does not end, a run or a database is not there, and an operation has parameters.
        if ["sandbox", "report", "api", "fleet", "postgres"].contains(&words[0].as_str()) || named.ends_with("--resume")
        {
            words.push("--help".into());
        }
        if ["users", "onboard", "inquiries", "attachment"].contains(&words[0].as_str()) {
            let users = folder.own_folder("users").display().to_string();
            words.extend(["--custody".to_owned(), users]);
        }
        let mut command = match words[0].as_str() {
            "--sandbox" => program(&folder),
            _ => program_with_session(&folder, &sandbox).await,
        };
        command.env("BUNQ_WEBHOOK_URL", "https://partner.example.com/bunq");
        command.args(["--rehearse", "1000"]).args(&words);
        let (_, err, code) = tokio::task::spawn_blocking(move || ran(&mut command)).await.unwrap();
        assert!(![2, 19].contains(&code), "`{named}`, as {words:?}, ends with {code}: {err}");
    }
}

/// The hint and the message of a failure, for scripts.
fn failure(command: &mut Command) -> (String, String, i32) {
    let (_, err, code) = ran(command.args(["--output", "json"]));
    let last: Value =
        serde_json::from_str(err.lines().last().unwrap()).unwrap_or_else(|error| panic!("{error}: {err}"));
    let text = |name: &str| last["error"][name].as_str().unwrap_or_default().to_owned();
    (text("message"), text("hint"), code)
}

/// What `doctor` concludes and advises.
fn verdict(command: &mut Command) -> String {
    let (out, err, _) = ran(command.args(["doctor", "--output", "json"]));
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    report["verdict"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_of_the_banks_is_taken_with_session_reinstall() {
    test_timeout::start();
    let folder = Folder::new();
    let context = folder.path("context.json");
    let file = context.to_str().unwrap();
    let sandbox = Sandbox::start().await.unwrap();
    let at = || {
        let mut command = program_for(&folder, &sandbox);
        command.args(["--rehearse", "1000", "--context", file]);
        command
    };
    assert_eq!(ran(at().arg("list")).2, 0);
    // The same token, and another key of the bank's in the file.
    let text = std::fs::read_to_string(&context).unwrap();
    let mut stored = unsealed(&text, &sandbox.api_key());
    let other = bunq_partner::wire::SigningKey::generate().unwrap().public_key_pem().unwrap();
    stored["installation"]["server_public_key"] = other.into();
    std::fs::write(&context, resealed(&text, &stored, &sandbox.api_key())).unwrap();

    let (message, hint, code) = failure(at().arg("list"));
    assert_eq!(code, 7, "{message}");
    assert!(message.contains("damaged or out of date") && !message.contains("Client::"), "{message}");
    assert!(hint.contains("`bunq-partner session reinstall`"), "{hint}");
    assert!(verdict(&mut at()).contains("`bunq-partner session reinstall`"));
    let (out, err, code) = ran(at().args(["session", "reinstall", "--output", "json"]));
    assert_eq!((err.as_str(), code), ("", 0));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["context"], file);
    assert_eq!(ran(at().arg("list")).2, 0);

    // A bank that has forgotten everything.
    sandbox.forget_installations();
    sandbox.take_call_log();
    let (message, hint, code) = failure(at().arg("list"));
    assert!(code == 8 && message.contains("forgotten the stored installation"), "{message}");
    assert!(hint.contains("`bunq-partner session reinstall`"), "{hint}");
    assert_eq!(ran(at().args(["session", "reinstall"])).2, 0);
    assert_eq!(calls(&sandbox, "POST", "/installation").len(), 1);
    assert_eq!(ran(at().arg("list")).2, 0);
}

/// Nobody is told to make another installation where the one in use is of this very run.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_in_between_is_not_taken_for_a_damaged_key() {
    test_timeout::start();
    for (fault, cause) in [
        (Fault::MissingSignature, "something between this machine and bunq has removed it"),
        (Fault::ForeignSignature, "bunq has given its key just now"),
    ] {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        sandbox.inject(Injection::new(fault).on(&Operation::LIST_PROVISIONS).always());
        let (message, hint, code) = failure(program_for(&folder, &sandbox).arg("list"));
        assert!(code == 7 && message.contains(cause), "{message}");
        assert!(hint.contains("`bunq-partner doctor`") && !hint.contains("reinstall"), "{hint}");
        let verdict = verdict(program_for(&Folder::new(), &sandbox).args(["--rehearse", "1000"]));
        assert!(verdict.contains(cause) && !verdict.contains("reinstall"), "{verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_was_compressed_on_its_way_is_named() {
    test_timeout::start();
    for status in [200, 404] {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let mut command = program_with_session(&folder, &sandbox).await;
        if status != 200 {
            sandbox.inject(Injection::new(Fault::Status(status)).on(&Operation::LIST_PROVISIONS).always());
        }
        sandbox.after_signing(|_, response| {
            response.headers.push(("Content-Encoding".into(), "gzip".into()));
            response.body = b"\x1f\x8b\x08".to_vec();
        });
        let (message, hint, _) = failure(command.args(["--rehearse", "1000", "list"]));
        assert!(message.contains("the response is compressed (gzip)"), "{message}");
        assert!(hint.contains("`bunq-partner doctor`") && !hint.contains("reinstall"), "{hint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_url_of_no_version_or_another_is_named() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let host = sandbox.base_url().trim_end_matches("/v1");
    let at = |base_url: &str| {
        let mut command = program(&folder);
        command.env("BUNQ_API_KEY", sandbox.api_key().expose()).args(["--base-url", base_url]);
        command
    };
    for url in [&format!("{host}/v2"), &format!("{host}/gateway/v10/")] {
        let (message, hint, code) = failure(at(url).arg("list"));
        assert!(code == 2 && message.contains(&format!("`{url}` does not end with `/v1`")), "{message}");
        assert!(hint.contains("`bunq-partner config show`"), "{hint}");
    }
    assert!(sandbox.call_log().is_empty());
    for url in ["https://api.partner.bunq.com", "https://partner-api.sandbox.bunq.com/"] {
        let refused = ran(program(&folder).env("BUNQ_API_KEY", "sandbox_1").args(["list", "--base-url", url]));
        assert!(refused.2 == 2 && refused.1.contains("does not end with `/v1`"), "{}", refused.1);
    }
    // Whoever acts on "there is no such object" does not act on this.
    let (message, hint, code) = failure(at(host).args(["get", "1015"]));
    assert!(code == 12 && message.contains("the base URL does not lead to bunq's API"), "{message}");
    assert!(hint.contains("`bunq-partner config show`"), "{hint}");
}

/// The same line fails again until something is changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_on_once_its_cause_is_put_right() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let ids = folder.file("ids.csv", "id\n7\n");
    let mut wrong = program_for(&folder, &sandbox);
    let (_, hint, code) = failure(wrong.env("BUNQ_API_KEY", "sandbox_wrong").args(["close", "--from"]).arg(&ids));
    assert_eq!(code, 8);
    let (first, then) = hint.split_once("; once that is put right, `bunq-partner ").unwrap();
    assert!(first.contains("`bunq-partner doctor`") && then.ends_with("--resume` goes on"), "{hint}");
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_it_waits_for_and_repeats_nothing() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let pause = std::time::Duration::from_millis(100);
    sandbox.inject(Injection::new(Fault::SlowDrip(pause)).on(&Operation::LIST_PROVISIONS).always());
    let (key, state) = (sandbox.api_key(), folder.path(""));
    let environment = [("BUNQ_API_KEY", key.expose()), ("XDG_STATE_HOME", state.to_str().unwrap())];
    let doctor = ["doctor", "--base-url", sandbox.base_url()];
    let mut terminal = crate::common::terminal::Terminal::start(120, &doctor, &environment);
    terminal.expect("waiting for bunq's response to list_provisions");
    drop(terminal);

    sandbox.clear_injections();
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::LIST_PROVISIONS).always());
    sandbox.take_call_log();
    assert!(verdict(&mut program_for(&folder, &sandbox)).contains("the connection to bunq broke"));
    assert_eq!(calls(&sandbox, "GET", "/partner-user-provision").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_installation_in_production_is_asked_about() {
    test_timeout::start();
    let sandbox = Sandbox::builder().api_key("of-production".into()).start().await.unwrap();
    let folder = Folder::new();
    let mut reinstall = program_for(&folder, &sandbox);
    reinstall.args(["session", "reinstall", "--env", "production"]);
    let (_, err, code) = ran(&mut reinstall);
    assert!(code == 2 && err.contains("in production: confirm it with --yes"), "{err}");
    assert!(sandbox.call_log().is_empty());
    let (_, err, code) = ran(reinstall.arg("--yes"));
    assert!(code == 0 && err.contains("another installation is in use, kept in "), "{err}");
}
