//! `probe` at a bank of which one call is broken, or every call from one on: nothing is left that is not named, and nothing is told
//! that no answer has said.

use std::collections::BTreeMap;
#[cfg(unix)]
use std::process::{Command, Stdio};
#[cfg(unix)]
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner_sandbox::{Fault, Injection, Profile, Sandbox};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::common::{Folder, program_for, ran};

/// What a run has written, how it ended, and what is still at the bank.
struct Run {
    report: Option<Value>,
    said: String,
    error: Value,
    code: i32,
    provisions: Vec<Value>,
    sessions: usize,
}

async fn probe(injections: Vec<Injection>) -> Run {
    let sandbox = Sandbox::start().await.unwrap();
    injections.into_iter().for_each(|injection| sandbox.inject(injection));
    probe_at(&sandbox).await
}

async fn probe_at(sandbox: &Sandbox) -> Run {
    let folder = Folder::new();
    let mut program = program_for(&folder, sandbox);
    program.args(["--rehearse", "1000", "-o", "jsonl", "probe", "--create"]);
    let (out, said, code) = spawn_blocking(move || ran(&mut program)).await.unwrap();
    let error = said.lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap()["error"].clone());
    let provisions = sandbox.provision_ids().into_iter().map(|id| sandbox.provision(id).unwrap());
    Run {
        report: (!out.is_empty()).then(|| serde_json::from_str(&out).unwrap()),
        said,
        error: error.unwrap_or_default(),
        code,
        provisions: provisions.filter(|provision| provision["status"] != "CANCELLED").collect(),
        sessions: sessions(sandbox),
    }
}

/// How many sessions have not been ended.
fn sessions(sandbox: &Sandbox) -> usize {
    let state: Value = serde_json::from_str(sandbox.saved_state().unwrap().expose()).unwrap();
    let sessions = state["access"]["sessions"].as_object().unwrap().values();
    sessions.filter(|session| session["is_ended"] == false).count()
}

/// Each answer of a report, by its question.
fn answers(report: &Value) -> BTreeMap<&str, &str> {
    let facts = report["facts"].as_array().unwrap().iter();
    facts.map(|fact| (fact["question"].as_str().unwrap(), fact["answer"].as_str().unwrap())).collect()
}

/// How many calls a probe makes, and what it reports, if nothing is broken.
async fn unbroken() -> (u32, Value) {
    let sandbox = Sandbox::start().await.unwrap();
    let run = probe_at(&sandbox).await;
    assert_eq!((run.provisions.len(), run.sessions, run.code), (0, 0, 0), "{}", run.said);
    let report = run.report.unwrap();
    assert_eq!(report["left"].as_array().unwrap().len(), 2, "the installations and the devices alone");
    (u32::try_from(sandbox.call_log().len()).unwrap(), report)
}

/// Runs a probe for each fault at each call.
async fn for_each_call(faults: &[Fault], broken: fn(Injection) -> Injection, check: impl Fn(&str, &Run)) {
    let (calls, _) = unbroken().await;
    let cases = faults.iter().flat_map(|fault| (0..calls).map(|call| (*fault, call)));
    let runs = cases.map(|(fault, call)| async move {
        let injection = broken(Injection::new(fault).after(call));
        (format!("{fault:?} at call {call}"), probe(vec![injection]).await)
    });
    let mut runs = stream::iter(runs).buffer_unordered(4);
    while let Some((case, run)) = runs.next().await {
        check(&case, &run);
        let named = run.error["message"].as_str().unwrap_or_default();
        for open in &run.provisions {
            let names = [open["id"].to_string(), open["external_uuid"].as_str().unwrap().to_owned()];
            assert!(names.iter().any(|name| named.contains(name)), "{case}: {open} is not named: {}", run.said);
        }
        assert!(run.sessions == 0 || named.contains("session"), "{case}: {}", run.said);
        assert!(run.provisions.is_empty() && run.sessions == 0 || run.code != 0, "{case}");
        // Who reads the report learns of each failure.
        let unknown = run.report.iter().flat_map(answers).filter(|(_, answer)| answer.starts_with("not known")).count();
        assert!(unknown == 0 || run.code != 0, "{case}: {}", run.said);
    }
}

/// With one call broken, everything is removed. A session whose token did not arrive cannot be.
fn is_clean(case: &str, run: &Run) {
    assert!(run.provisions.is_empty(), "{case}: {:?}", run.provisions);
    assert!(run.sessions == 0 || run.said.contains("whose token did not arrive"), "{case}: {}", run.said);
}

/// Faults of which no response says anything about the bank.
const SILENT: [Fault; 7] = [
    Fault::Status(500),
    Fault::UnsignedStatus(404),
    Fault::Drop,
    Fault::Truncated,
    Fault::NotJson,
    Fault::WrongSignature,
    Fault::RateLimited,
];

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_comes_from_a_call_that_has_failed() {
    test_timeout::start();
    let (_, usual) = unbroken().await;
    let expected = answers(&usual);
    for_each_call(
        &SILENT,
        |injection| injection,
        |case, run| {
            is_clean(case, run);
            let Some(report) = &run.report else { return };
            for fact in report["facts"].as_array().unwrap() {
                let (question, answer) = (fact["question"].as_str().unwrap(), fact["answer"].as_str().unwrap());
                let is_known = !answer.starts_with("not known: ");
                // There a 429 is an answer.
                let is_usual = expected.get(question) == Some(&answer) || question.starts_with("Does a 429");
                assert!(!is_known || is_usual, "{case}: {question} {answer}");
                assert_eq!(is_known, fact["http_status"].is_u64(), "{case}: {fact}");
            }
            let traits = |report: &Value| {
                let mut profile: Profile = serde_json::from_value(report["profile"].clone()).unwrap();
                profile.wording.clear();
                profile
            };
            assert_eq!(traits(report), traits(&usual), "{case}");
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_or_a_lost_session_leaves_nothing() {
    test_timeout::start();
    let faults = [Fault::Status(400), Fault::SessionLost, Fault::Relabelled(404)];
    for_each_call(&faults, |injection| injection, is_clean).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_is_not_true_leaves_nothing() {
    test_timeout::start();
    for_each_call(&[Fault::Status(500)], |injection| injection.carried_out(true), is_clean).await;
    for operation in ["create_provision", "update_provision", "delete_session"] {
        let run = probe(vec![format!("status=400,on={operation},carried-out=yes").parse().unwrap()]).await;
        assert_eq!((run.provisions.len(), run.sessions), (0, 0), "{operation}: {}", run.said);
    }
    for_each_call(&[Fault::EmptyResponse], |injection| injection.carried_out(false), is_clean).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_is_named() {
    test_timeout::start();
    for_each_call(&[Fault::Status(500), Fault::Drop], Injection::always, |case, run| assert_ne!(run.code, 0, "{case}"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_named_with_the_way_to_remove_it() {
    test_timeout::start();
    let run = probe(vec!["status=500,on=update_provision,times=always".parse().unwrap()]).await;
    let id = run.provisions[0]["id"].to_string();
    let (message, hint) = (run.error["message"].as_str().unwrap(), run.error["hint"].as_str().unwrap());
    assert!(message.starts_with("2 questions have no answer: update_provision got 500 from the bank: "), "{message}");
    assert!(message.contains(&format!("left at the bank: provision {id}")), "{message}");
    assert!(message.contains("the device \"bunq-partner probe\"") && !message.contains("external_uuid"), "{message}");
    assert!(hint.contains(&format!("`bunq-partner close {id}`")), "{hint}");
    assert_eq!((run.code, run.sessions), (13, 0));
    let left = &run.report.unwrap()["left"];
    assert!(left.as_array().unwrap().iter().any(|left| left == &json!(format!("provision {id}"))), "{left}");

    // What is known to be there is closed, also if nothing can be listed.
    let run = probe(vec!["status=500,on=list_provisions,times=always".parse().unwrap()]).await;
    assert!(run.provisions.is_empty() && run.sessions == 0 && run.code == 13, "{}", run.said);
    let message = run.error["message"].as_str().unwrap();
    assert!(message.contains("left at the bank: perhaps a provision with the external_uuid "), "{message}");

    let run = probe(vec!["status=500,on=delete_session,times=always".parse().unwrap()]).await;
    let answers = run.report.as_ref().map(answers).unwrap();
    assert_eq!(answers["How is a dead session refused?"], "not known: the session has not ended");
    assert!(run.said.contains("left at the bank: a session, of a user: a session") && run.code == 13, "{}", run.said);
    // One is the partner's. Those of the user end with its credential and its provision, and are not marked as ended.
    assert_eq!(run.sessions, 3);
}

/// Tells of each call of a method to a path that ends so.
#[cfg(unix)]
fn calls_to(sandbox: &Sandbox, method: &'static str, path: &'static str) -> Receiver<()> {
    let (sender, receiver) = channel();
    sandbox.before_signing(move |call, _| {
        if call.method == method && call.path.contains(path) {
            // The test may have ended.
            let _ = sender.send(());
        }
    });
    receiver
}

/// Runs a probe, interrupts it at each of these calls, and returns what it has said and its exit code.
#[cfg(unix)]
async fn interrupted_at(sandbox: &Sandbox, calls: Receiver<()>, times: usize) -> (String, i32) {
    let folder = Folder::new();
    let mut program: Command = program_for(&folder, sandbox);
    let mut program = crate::common::hearing(program.args(["--rehearse", "1000", "probe", "--create"]));
    program.stdout(Stdio::null()).stderr(Stdio::piped());
    spawn_blocking(move || {
        let child = program.spawn().unwrap();
        for _ in 0..times {
            // Longer than anything takes that comes at all.
            calls.recv_timeout(Duration::from_secs(60)).unwrap();
            crate::common::bulk::signal(&child, crate::common::bulk::Signal::INT);
        }
        let output = child.wait_with_output().unwrap();
        (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
    })
    .await
    .unwrap()
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interruption_removes_what_was_made() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.inject("late=3600s,on=create_provision".parse::<Injection>().unwrap());
    let calls = calls_to(&sandbox, "POST", "/partner-user-provision");
    let (said, code) = interrupted_at(&sandbox, calls, 1).await;
    let id = sandbox.provision_ids()[0];
    assert_eq!((&sandbox.provision(id).unwrap()["status"], code), (&json!("CANCELLED"), 130), "{said}");
    assert_eq!(sessions(&sandbox), 0, "{said}");
    assert!(
        said.contains("interrupted; left at the bank: the installation and the device")
            && !said.contains("provision 1"),
        "{said}"
    );
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interruption_names_what_is_left() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let hangs = Injection::new(Fault::Late(Duration::from_secs(3600))).carried_out(false).always();
    sandbox.inject(hangs.on(&Operation::UPDATE_PROVISION));
    // One interrupts the questions, the other the removal.
    let calls = calls_to(&sandbox, "PUT", "/partner-user-provision");
    let (said, code) = interrupted_at(&sandbox, calls, 2).await;
    let id = sandbox.provision_ids()[0];
    assert!(said.contains(&format!("`bunq-partner close {id}`")) && said.contains("a session"), "{said}");
    assert_eq!(code, 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_words_are_cut() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.before_signing(|call, response| {
        if response.status >= 400 || call.path.contains("partner-user-provision") {
            response.status = response.status.max(400);
            response.body = json!({ "Error": [{ "error_description": "long ".repeat(200_000) }] }).to_string().into();
        }
    });
    let run = probe_at(&sandbox).await;
    assert!(
        run.said.len() < 4000 && run.said.contains("long long") && run.code != 0,
        "{} {}",
        run.said.len(),
        run.code
    );
    sandbox.before_signing(|call, response| {
        if call.path.contains("999999999999") {
            response.body = json!({ "Error": [{ "error_description": "long ".repeat(200_000) }] }).to_string().into();
        }
    });
    let run = probe_at(&sandbox).await;
    let report = run.report.unwrap().to_string();
    assert!(report.len() < 10_000 && report.contains("long long") && run.code == 0, "{} {}", report.len(), run.said);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_user_says_how_long_its_session_lasts() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    sandbox.before_signing(|call, response| {
        if call.path.ends_with("/session-server") && response.status == 200 {
            let mut body: Value = serde_json::from_slice(&response.body).unwrap();
            let user = |seconds: u64| json!({ "id": 1, "session_timeout": seconds });
            let key = json!({
                "id": 2,
                "requested_by_user": { "UserCompany": user(9000) },
                "granted_by_user": { "UserPerson": user(7000) },
            });
            body["Response"][2] = json!({ "UserApiKey": key });
            response.body = body.to_string().into();
        }
    });
    let report = probe_at(&sandbox).await.report.unwrap();
    assert_eq!(answers(&report)["How long does a session last?"], "7000 seconds");
    let profile: Profile = serde_json::from_value(report["profile"].clone()).unwrap();
    assert_eq!(profile.session_timeout, Duration::from_secs(7000));
}
