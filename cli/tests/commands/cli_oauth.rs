//! `oauth`, and what `doctor` and a creation say when the OAuth client lacks.

use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use serde_json::Value;

#[cfg(unix)]
use crate::common::terminal::Terminal;
use crate::common::{Folder, program_for, ran};

const URL: &str = "https://partner.example.com/callback";

async fn without_client() -> (Sandbox, Folder) {
    let sandbox = Sandbox::builder().without_oauth_client().one_oauth_client(false).start().await.unwrap();
    (sandbox, Folder::new())
}

/// Runs a command, and returns its JSON, what it has said beside it, and its exit code.
fn json(folder: &Folder, sandbox: &Sandbox, typed: &str) -> (Value, String, i32) {
    let (out, err, code) = ran(program_for(folder, sandbox).args(typed.split(' ')).args(["--output", "json"]));
    (serde_json::from_str(&out).unwrap_or_default(), err, code)
}

/// The state of doctor's step, what it saw, and the verdict.
fn doctor(folder: &Folder, sandbox: &Sandbox) -> (String, String, String) {
    let (report, _, code) = json(folder, sandbox, "doctor");
    let step = report["steps"].as_array().unwrap().iter().find(|step| step["name"] == "OAuth client").unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    assert_eq!(code == 0, step["state"] == "ok", "{report}");
    (text(&step["state"]), text(&step["saw"]), text(&report["verdict"]["next"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_is_created_once_and_its_secret_is_shown_on_request() {
    test_timeout::start();
    let (sandbox, folder) = without_client().await;
    let (shown, said, code) = json(&folder, &sandbox, "oauth show");
    assert_eq!((&shown, code), (&Value::Array(Vec::new()), 0), "{said}");
    let (state, saw, next) = doctor(&folder, &sandbox);
    assert_eq!((&*state, &*saw), ("failed", "none is active"));
    assert!(next.contains("no user can be provisioned until `bunq-partner oauth ensure URL`"), "{next}");
    let create = "create --email user@example.com --phone-number +31600000000";
    let (_, refused, code) = json(&folder, &sandbox, create);
    assert!(refused.contains("There is no active OAuth client with a callback URL") && code == 12, "{code} {refused}");

    // The response to the first request is lost.
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_OAUTH_CLIENT));
    let ensure = format!("oauth ensure {URL}");
    let (made, said, code) = json(&folder, &sandbox, &ensure);
    assert_eq!(code, 0, "{said}");
    assert_eq!([&made[0]["oauth_client_outcome"], &made[0]["callback_url_outcome"]], ["found", "accepted"]);
    let bank = sandbox.oauth_clients();
    assert_eq!(
        (bank.len(), &bank[0]["id"], &bank[0]["callback_url"][0]["url"]),
        (1, &made[0]["oauth_client_id"], &URL.into())
    );
    let secrets = [&bank[0]["client_id"], &bank[0]["secret"]].map(|secret| secret.as_str().unwrap().to_owned());
    let is_silent = |said: &str| secrets.iter().all(|secret| !said.contains(secret.as_str()));

    let (again, said, code) = json(&folder, &sandbox, &ensure);
    assert_eq!(
        ([&again[0]["oauth_client_outcome"], &again[0]["callback_url_outcome"]], code),
        ([&Value::from("already"); 2], 0)
    );
    let (shown, _, _) = json(&folder, &sandbox, "oauth show");
    assert_eq!((&shown[0]["oauth_client_status"], &shown[0]["callback_urls"]), (&"ACTIVE".into(), &URL.into()));
    for written in [made.to_string(), again.to_string(), shown.to_string(), said] {
        assert!(is_silent(&written), "{written}");
    }
    let (table, said, _) = ran(program_for(&folder, &sandbox).args(["oauth", "ensure", URL, "-vv"]));
    assert!(is_silent(&table) && is_silent(&said), "{table} {said}");
    assert!(table.contains("--show-secrets shows it"), "{table}");
    // On request they are in a file of its owner, which replaces no other.
    let kept = folder.path("oauth.json");
    for _ in 0..2 {
        let (_, said, code) = json(&folder, &sandbox, &format!("{ensure} --secret-file {}", kept.display()));
        assert!(code == 0 && is_silent(&said), "{said}");
        let file: Value = serde_json::from_str(&std::fs::read_to_string(&kept).unwrap()).unwrap();
        assert_eq!([&file["client_id"], &file["secret"]], [&bank[0]["client_id"], &bank[0]["secret"]]);
    }
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&kept).unwrap().permissions()) & 0o777,
        0o600
    );
    let other = folder.file("other.json", "{}");
    sandbox.take_call_log();
    let (_, refused, code) = json(&folder, &sandbox, &format!("{ensure} --secret-file {}", other.display()));
    assert!(refused.contains("it was not written by this program") && code == 2, "{refused}");
    // bunq may show a secret once only: a place where it could not be kept, or would replace another bank's, is refused first.
    let elsewhere = std::fs::read_to_string(&kept).unwrap().replace(sandbox.base_url(), "https://bank.example/v1");
    let of_other = folder.file("other_bank.json", &elsewhere);
    for (path, problem) in [
        (folder.path("nowhere").join("oauth.json"), "No such file or directory"),
        (of_other.clone(), "of https://bank.example/v1"),
        (folder.path("."), "not a regular file"),
    ] {
        let (_, refused, code) = json(&folder, &sandbox, &format!("{ensure} --secret-file {}", path.display()));
        assert!(refused.contains(problem) && code == 2 && is_silent(&refused), "{code} {refused}");
    }
    assert_eq!(std::fs::read_to_string(of_other).unwrap(), elsewhere);
    assert!(sandbox.take_call_log().iter().all(|call| !call.path.contains("oauth-client")));
    let (state, saw, _) = doctor(&folder, &sandbox);
    assert_eq!((&*state, saw.ends_with(&format!("is active, with {URL}"))), ("ok", true), "{saw}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_between_request_and_response_leaves_one() {
    test_timeout::start();
    for operation in [&Operation::CREATE_OAUTH_CLIENT, &Operation::CREATE_OAUTH_CALLBACK_URL] {
        let (sandbox, folder) = without_client().await;
        let (carried_out, mut told) = tokio::sync::mpsc::unbounded_channel();
        let end = operation.path.rsplit('/').next().unwrap();
        sandbox.before_signing(move |call, _| {
            if call.method == "POST" && call.path.ends_with(end) {
                let _ = carried_out.send(());
            }
        });
        sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(3600))).on(operation));
        let mut first = program_for(&folder, &sandbox).args(["oauth", "ensure", URL]).spawn().unwrap();
        told.recv().await.unwrap();
        first.kill().unwrap();
        first.wait().unwrap();
        sandbox.clear_edits();

        let (made, said, code) = json(&folder, &sandbox, &format!("oauth ensure {URL}"));
        assert_eq!(code, 0, "{said}");
        let bank = sandbox.oauth_clients();
        assert_eq!((bank.len(), bank[0]["callback_url"].as_array().unwrap().len()), (1, 1), "{}", operation.id);
        assert_eq!(made[0]["oauth_client_id"], bank[0]["id"]);
    }
}

/// A person may see them, after a question.
#[cfg(unix)]
#[test]
fn a_person_may_see_the_secret() {
    test_timeout::start();
    let mut terminal = Terminal::start(200, &["--sandbox", "oauth", "show", "--show-secrets", "--output", "json"], &[]);
    terminal.expect("Show them? [y/N]");
    terminal.type_keys("y\n");
    let (screen, code) = terminal.end();
    let shown: Value = serde_json::from_str(&screen[screen.find("[\n").unwrap()..]).unwrap();
    assert!(shown[0]["secret"].as_str().unwrap().len() == 64 && code == 0, "{screen}");
}

/// What to do is about OAuth clients, and not about provisions.
#[tokio::test(flavor = "multi_thread")]
async fn each_failure_has_its_hint() {
    test_timeout::start();
    let (sandbox, folder) = without_client().await;
    let hint = |typed: &str| {
        let (_, said, code) = json(&folder, &sandbox, typed);
        let failure: Value = said.lines().find_map(|line| serde_json::from_str(line).ok()).unwrap();
        (failure["error"]["hint"].as_str().unwrap_or_default().to_owned(), code, said)
    };
    let ensure = format!("oauth ensure {URL}");
    // A refusal after the client, and one whose outcome nobody knows.
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_OAUTH_CALLBACK_URL));
    let (advice, code, said) = hint(&ensure);
    let id = &sandbox.oauth_clients()[0]["id"];
    assert!(advice.contains(&format!("the OAuth client {id} is there")) && code == 12, "{said}");
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_OAUTH_CALLBACK_URL));
    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::LIST_OAUTH_CLIENTS).after(1).always());
    let (advice, code, said) = hint(&ensure);
    assert!(advice.contains("run this again after some seconds") && code == 20, "{said}");
    sandbox.clear_injections();
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_OAUTH_CLIENT));
    let (advice, code, said) = hint("api create_oauth_client --body {}");
    assert!(advice.contains("`bunq-partner oauth show`") && code == 20, "{said}");

    sandbox.add_oauth_client();
    let (advice, code, said) = hint(&ensure);
    assert!(advice.contains("`bunq-partner help api update_oauth_client`") && code == 17, "{said}");
    sandbox.cancel_oauth_clients();
    let (advice, code, said) = hint(&ensure);
    assert!(advice.contains("`bunq-partner help api update_oauth_client`") && code == 14, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_clients_is_named() {
    test_timeout::start();
    let (sandbox, folder) = without_client().await;
    for url in ["http://partner.example.com/callback", "partner.example.com", "https://partner.example.com/#here"] {
        let (_, refused, code) = ran(program_for(&folder, &sandbox).args(["oauth", "ensure", url]));
        assert!(refused.contains("a callback URL begins with `https://` and a host") && code == 2, "{refused}");
    }
    assert!(sandbox.call_log().is_empty());

    sandbox.add_oauth_client();
    let ensure = format!("oauth ensure {URL}");
    let (state, saw, _) = doctor(&folder, &sandbox);
    assert_eq!((&*state, saw.ends_with("is active, and has no callback URL")), ("failed", true), "{saw}");
    sandbox.cancel_oauth_clients();
    let (_, refused, code) = json(&folder, &sandbox, &ensure);
    assert!(refused.contains("(CANCELLED): activate one with update_oauth_client") && code != 0, "{refused}");
    assert_eq!(doctor(&folder, &sandbox).1, "none is active");
    sandbox.add_oauth_client();
    sandbox.add_oauth_client();
    let (_, refused, code) = json(&folder, &sandbox, &ensure);
    assert!(refused.contains("2 OAuth clients are active, where there should be one") && code != 0, "{refused}");
    let (state, saw, next) = doctor(&folder, &sandbox);
    assert!(saw.contains("2 OAuth clients are active"), "{saw}");
    assert_eq!((&*state, &*next), ("failed", "`bunq-partner api update_oauth_client` cancels one"));
}

/// Whether a user can be provisioned is not known then: all else is well.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_warns_where_the_clients_cannot_be_listed() {
    test_timeout::start();
    for fault in [Fault::Status(403), Fault::UnsignedStatus(403), Fault::Status(503), Fault::Drop] {
        let (sandbox, folder) = without_client().await;
        sandbox.inject(Injection::new(fault).on(&Operation::LIST_OAUTH_CLIENTS).always());
        let (report, said, code) = json(&folder, &sandbox, "doctor");
        let step = report["steps"].as_array().unwrap().iter().find(|step| step["name"] == "OAuth client").unwrap();
        assert_eq!((&step["state"], code), (&"warning".into(), 0), "{fault:?} {report} {said}");
        let listed = sandbox.call_log().into_iter().filter(|call| call.path.ends_with("/oauth-client")).count();
        assert_eq!(listed, 1, "{fault:?}");
    }
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    for number in 0..4 {
        let url = format!("https://partner.example.com/{number}").parse().unwrap();
        sandbox.client().build().unwrap().oauth().ensure(url).await.unwrap();
    }
    let (_, saw, _) = doctor(&folder, &sandbox);
    assert!(saw.ends_with("https://partner.example.com/1 and 2 more"), "{saw}");
}
