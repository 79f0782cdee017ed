//! An exit code for each kind of failure, as `help exit-codes` lists them.
//!
//! Not here: a timeout, which takes minutes, and a spent credential, which `cli_users` has.

use std::time::Duration;

use bunq_partner::{Operation, ProvisionId};
use bunq_partner_sandbox::{Fault, Injection, Pace, Sandbox};
use futures_util::future::join_all;
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::common::{Folder, person, program, program_for, program_with_session, ran, use_elsewhere};

/// The exit code of a command, and the error that it writes for scripts.
async fn ends(sandbox: &Sandbox, arguments: &[&str]) -> (i32, Value) {
    let folder = Folder::new();
    let mut program = program_with_session(&folder, sandbox).await;
    program.args(arguments).args(["--output", "jsonl", "--rehearse", "1000"]);
    let (_, err, code) = spawn_blocking(move || ran(&mut program)).await.unwrap();
    let last = err.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last).unwrap_or_else(|problem| panic!("{problem}: {err}"));
    assert_eq!(error["error"]["exit_code"], code);
    (code, error["error"].clone())
}

/// A bank with a provision that nothing moves on, and the number of that.
async fn start() -> (Sandbox, ProvisionId, String) {
    // Nobody waits for 3000 seconds because of a refusal that is not signed.
    let sandbox = Sandbox::builder().pace(Pace::Manual).signed_refusals(true).start().await.unwrap();
    let id = sandbox.populate(1)[0];
    (sandbox, id, id.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_a_call() {
    test_timeout::start();
    let (sandbox, _, id) = start().await;
    for (fault, code, kind) in [
        (Fault::NotJson, 6, "InvalidResponse"),
        (Fault::MissingSignature, 7, "Signature"),
        (Fault::RetryAfter(Duration::from_secs(3000)), 10, "RateLimited"),
        (Fault::Status(490), 12, "Rejected"),
        (Fault::Status(403), 22, "Forbidden"),
    ] {
        sandbox.inject(Injection::new(fault).on(&Operation::GET_PROVISION).always());
        let (ended, error) = ends(&sandbox, &["get", &id]).await;
        assert_eq!((ended, error["kind"].as_str()), (code, Some(kind)), "{error}");
        assert_eq!(error["operation"], "get_provision");
        sandbox.clear_injections();
    }
    let (code, error) = ends(&sandbox, &["get", "7"]).await;
    assert_eq!(code, 9);
    assert!(
        error["request_id"].is_string() && error["response_id"].is_string() && error["hint"].is_string(),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_that_are_attempted_again() {
    test_timeout::start();
    // The pauses between the attempts are real seconds, so all wait at once.
    let cases = [
        (Fault::Drop, 4),
        (Fault::Status(491), 11),
        (Fault::Status(500), 13),
        (Fault::UnsignedStatus(404), 9),
        (Fault::UnsignedStatus(401), 8),
        (Fault::UnsignedStatus(403), 12),
    ];
    let ended = cases.map(async |(fault, _)| {
        let (sandbox, _, id) = start().await;
        sandbox.inject(Injection::new(fault).on(&Operation::GET_PROVISION).always());
        ends(&sandbox, &["get", &id]).await
    });
    for ((fault, code), (ended, error)) in cases.into_iter().zip(join_all(ended).await) {
        assert_eq!(ended, code, "{fault:?}");
        // What a proxy says is not said to be bunq's.
        if let Fault::UnsignedStatus(_) = fault {
            assert_eq!(error["from_bunq"], false, "{error}");
            assert!(error["hint"].as_str().unwrap().contains("what has answered in bunq's place"), "{error}");
        }
    }
    let mut nobody = program(&Folder::new());
    let nobody = nobody.env("BUNQ_API_KEY", "sandbox_1").args(["get", "1", "--base-url", "http://127.0.0.1:1/v1"]);
    assert_eq!(ran(nobody).2, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_before_anything_is_sent() {
    test_timeout::start();
    let (sandbox, _, id) = start().await;
    let folder = Folder::new();
    let damaged = folder.file("context.json", "{}");
    #[cfg(unix)]
    std::fs::set_permissions(&damaged, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (_, _, code) = ran(program_for(&folder, &sandbox).args(["get", &id, "--context"]).arg(damaged));
    assert_eq!(code, 18);
    let (_, _, code) = ran(program_for(&folder, &sandbox).args(["get", "x"]));
    assert_eq!(code, 2);
    assert!(sandbox.call_log().is_empty());
}

/// A file that cannot be used ends each command that uses it with the same code.
#[test]
fn one_fault_has_one_code_in_every_command() {
    test_timeout::start();
    let folder = Folder::new();
    let ids = folder.file("ids.csv", "1015\n").display().to_string();
    let (missing, here) = (folder.path("missing").display().to_string(), folder.0.display().to_string());
    let in_missing = folder.path("missing/file").display().to_string();
    let empty = folder.file("empty", "").display().to_string();
    let journal = [
        &["report", "--from", &ids, "--journal"][..],
        &["--sandbox", "close", "--resume", "--from", &ids, "--journal"],
    ];
    let receipts = [&["receipts", "verify"][..], &["--sandbox", "close", "1015", "--receipts"]];
    for (commands, files, code) in [
        (&journal[..], &[&missing, &here, &in_missing][..], 21),
        (&receipts, &[&here, &in_missing], 21),
        // New receipts may go to a new file.
        (&receipts[..1], &[&missing, &empty], 21),
    ] {
        for (command, file) in commands.iter().flat_map(|command| files.iter().map(move |file| (command, file))) {
            let (_, err, ended) = ran(program(&folder).args(*command).arg(file));
            assert_eq!(ended, code, "{command:?} {file}: {err}");
        }
    }
    // A context that cannot be stored, where it is said and where the platform says.
    let get = |state: &str| {
        let mut program = program(&folder);
        program.env("BUNQ_API_KEY", "sandbox_1").env("XDG_STATE_HOME", state);
        program.args(["get", "1", "--base-url", "http://127.0.0.1:1/v1"]);
        program
    };
    #[cfg(target_os = "linux")]
    {
        let (_, err, ended) = ran(&mut get(&folder.path("empty/below").display().to_string()));
        assert_eq!(ended, 18, "{err}");
    }
    let (_, err, ended) = ran(get(&here).args(["--context", &in_missing]));
    assert_eq!(ended, 18, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key() {
    test_timeout::start();
    let (sandbox, _, _) = start().await;
    let (_, _, code) = ran(program_for(&Folder::new(), &sandbox).env("BUNQ_API_KEY", "sandbox_wrong").arg("whoami"));
    assert_eq!(code, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_that_come_to_nothing() {
    test_timeout::start();
    let (sandbox, failing, id) = start().await;
    let other = sandbox.populate(1)[0].to_string();
    let close = ["close", &id, "--wait", "--timeout", "1s"];
    let other = ["close", &other, "--wait", "--timeout", "1s"];
    let ((code, error), (other_code, _)) = tokio::join!(ends(&sandbox, &close), ends(&sandbox, &other));
    assert_eq!((code, error["kind"].as_str(), other_code), (15, Some("WaitTimeout"), 15));
    sandbox.fail(failing);
    let uuid = sandbox.provision(failing).unwrap()["external_uuid"].as_str().unwrap().to_owned();
    let create =
        ["create", "--ensure", "--email", "user@example.com", "--phone-number", "+31600000000", "--external-uuid"];
    assert_eq!(ends(&sandbox, &[&create[..], &[&uuid]].concat()).await.0, 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_there_twice() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let (client, new) = (sandbox.client().build().unwrap(), person());
    for _ in 0..2 {
        client.api().create_provision(&new.clone().into()).await.unwrap();
    }
    assert_eq!(ends(&sandbox, &["find", &new.external_uuid.to_string()]).await.0, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_is_not_known() {
    test_timeout::start();
    let (sandbox, _, id) = start().await;
    use_elsewhere(&sandbox, id.parse().unwrap()).await;
    // The reset gets no response, and nobody can look what became of it.
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::UPDATE_PROVISION));
    sandbox.inject(Injection::new(Fault::Status(500)).on(&Operation::GET_PROVISION).after(4).always());
    let users = Folder::new();
    let users = users.own_folder("users").display().to_string();
    let (code, error) = ends(&sandbox, &["users", "reset", &id, "--custody", &users]).await;
    assert_eq!((code, &error["in_doubt"]), (20, &Value::Bool(true)), "{error}");
    assert!(error["hint"].as_str().unwrap().starts_with("look before you repeat it"), "{error}");
}

#[test]
fn completions_and_the_manual_have_every_command() {
    test_timeout::start();
    let folder = Folder::new();
    let (help, _, _) = ran(program(&folder).arg("--help"));
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let commands: Vec<_> =
        commands.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 15, "{commands:?}");
    let (manual, err, code) = ran(program(&folder).arg("man"));
    assert_eq!((err.as_str(), code), ("", 0));
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(manual.contains(&format!(".SH \"BUNQ-PARTNER-{}\"", command.to_uppercase())), "{command}");
    }
    for part in
        ["\"EXIT STATUS\"", "the outcome is unknown", "ENVIRONMENT", "BUNQ_API_KEY", "FILES", "EXAMPLES", "close 1015"]
    {
        assert!(manual.contains(part), "{part}");
    }
    let options = manual.lines().filter(|line| line.starts_with("\\fB\\-\\-show\\-secrets")).count();
    assert_eq!(options, 1, "each option is said once");
    for shell in ["powershell", "elvish"] {
        let (script, err, code) = ran(program(&folder).args(["completions", shell]));
        assert_eq!((err.as_str(), code), ("", 0));
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    let (_, err, code) = ran(program(&folder).args(["completions", "cmd"]));
    assert!(err.contains("possible values: bash") && code == 2, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_is_over_says_its_time_in_words() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::builder().pace(Pace::Manual).start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    for (timeout, said) in [("0s", "is not closed ("), ("1s", "is not closed after 1 s (last seen as ")] {
        let (_, err, code) = ran(program_for(&folder, &sandbox).args(["close", &id, "--wait", "--timeout", timeout]));
        assert!(err.contains(&format!("provision {id} {said}")) && code == 15, "{timeout}: {code}: {err}");
    }
}
