//! `probe` against the sandbox in every variant of every trait: it tells each apart, and a sandbox with the resulting profile
//! is told to be the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use bunq_partner::Operation;
use bunq_partner_sandbox::{
    AcceptedInstallation, CreationResponse, DeadToken, Fault, Injection, LimitScope, Profile, Sandbox, SignatureForm,
};
use serde_json::Value;

use crate::common::{Folder, program_for, ran};

/// A bank of this kind. One limit is kept, so that there is a 429 to be seen, however slow the machine is.
async fn bank(profile: Profile) -> Sandbox {
    let limited = Sandbox::builder().rate_limit(&Operation::GET_INSTALLATION, 3, Duration::from_secs(3600));
    limited.profile(profile).start().await.unwrap()
}

/// The report on a bank.
fn report(sandbox: &Sandbox) -> Value {
    let (out, err, code) = ran(program_for(&Folder::new(), sandbox).args(["probe", "--create", "--output", "json"]));
    assert_eq!((err.as_str(), code), ("", 0), "{out}");
    for secret in [sandbox.api_key().expose(), "\"token"] {
        assert!(!out.contains(secret), "{out}");
    }
    serde_json::from_str(&out).unwrap()
}

fn profile(report: &Value) -> Profile {
    serde_json::from_value(report["profile"].clone()).unwrap()
}

/// What is found out about a bank of this kind.
async fn found_out(played: &Profile) -> Profile {
    /// Most variants leave most traits as they are by default, so that kinds recur: each is probed once.
    static KNOWN: Mutex<BTreeMap<String, Profile>> = Mutex::new(BTreeMap::new());
    let kind = serde_json::to_string(played).unwrap();
    let known = KNOWN.lock().unwrap().get(&kind).cloned();
    match known {
        Some(known) => known,
        None => {
            let found = profile(&report(&bank(played.clone()).await));
            KNOWN.lock().unwrap().insert(kind, found.clone());
            found
        }
    }
}

/// One trait of a profile, changed.
type Change = fn(&mut Profile);

/// What is seen of a trait.
type Seen = fn(&Profile) -> String;

/// Probes a bank for each variant; each is told from the others, and a bank with the resulting profile is told to be the same.
async fn tells_apart(variants: &[Change], seen: Seen) {
    let mut told = BTreeSet::new();
    for change in variants {
        let mut played = Profile::default();
        change(&mut played);
        let first = found_out(&played).await;
        assert_eq!(seen(&first), seen(&played));
        assert_eq!(found_out(&first).await, first);
        told.insert(seen(&first));
    }
    assert_eq!(told.len(), variants.len(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_tokens() {
    test_timeout::start();
    let variants: [Change; 3] = [
        |profile| profile.dead_token = DeadToken::Unauthorized,
        |profile| profile.dead_token = DeadToken::InsufficientAuthentication,
        |profile| profile.dead_token = DeadToken::InsufficientAuthorisation,
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.dead_token)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures() {
    test_timeout::start();
    let variants: [Change; 4] = [
        |profile| profile.signed_refusals = BTreeSet::new(),
        |profile| profile.signed_refusals = [404].into(),
        |profile| profile.signed_refusals = [400, 429, 466].into(),
        |profile| profile.signed_refusals = [401, 405].into(),
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.signed_refusals)).await;
    let variants: [Change; 2] =
        [|profile| profile.signed_installation = true, |profile| profile.signed_installation = false];
    tells_apart(&variants, |profile| profile.signed_installation.to_string()).await;
    let variants: [Change; 2] = [
        |profile| profile.signature_form = SignatureForm::Body,
        |profile| profile.signature_form = SignatureForm::WithHeaders,
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.signature_form)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creations() {
    test_timeout::start();
    let variants: [Change; 2] = [
        |profile| profile.creation_response = CreationResponse::Id,
        |profile| profile.creation_response = CreationResponse::Provision,
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.creation_response)).await;
    let variants: [Change; 3] = [
        |profile| profile.duplicate = Some(400),
        |profile| profile.duplicate = Some(409),
        |profile| profile.duplicate = None,
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.duplicate)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals() {
    test_timeout::start();
    let variants: [Change; 3] = [
        |profile| profile.repeated_request_id = Some(400),
        |profile| profile.repeated_request_id = Some(409),
        |profile| profile.repeated_request_id = None,
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.repeated_request_id)).await;
    let variants: [Change; 2] = [|profile| profile.wrong_key = 400, |profile| profile.wrong_key = 401];
    tells_apart(&variants, |profile| profile.wrong_key.to_string()).await;
    let variants: [Change; 2] = [|profile| profile.wrong_method = 405, |profile| profile.wrong_method = 404];
    tells_apart(&variants, |profile| profile.wrong_method.to_string()).await;
    let variants: [Change; 2] = [|profile| profile.retry_after = false, |profile| profile.retry_after = true];
    tells_apart(&variants, |profile| profile.retry_after.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_without_a_signature() {
    test_timeout::start();
    let variants: [Change; 3] = [
        |profile| profile.unsigned_session = Some(466),
        |profile| profile.unsigned_session = Some(400),
        |profile| profile.unsigned_session = None,
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.unsigned_session)).await;
    let variants: [Change; 2] =
        [|profile| profile.require_signatures = false, |profile| profile.require_signatures = true];
    tells_apart(&variants, |profile| profile.require_signatures.to_string()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users() {
    test_timeout::start();
    let variants: [Change; 3] = [
        |profile| profile.user_installation = AcceptedInstallation::Own,
        |profile| profile.user_installation = AcceptedInstallation::Partner,
        |profile| profile.user_installation = AcceptedInstallation::Both,
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.user_installation)).await;
    let variants: [Change; 4] = [
        |profile| profile.limits_are_per = LimitScope::Address,
        |profile| profile.limits_are_per = LimitScope::Session,
        |profile| {
            (profile.limits_are_per, profile.user_installation) = (LimitScope::Address, AcceptedInstallation::Partner);
        },
        |profile| {
            (profile.limits_are_per, profile.user_installation) = (LimitScope::Session, AcceptedInstallation::Partner);
        },
    ];
    let seen: Seen = |profile| format!("{:?} {:?}", profile.limits_are_per, profile.user_installation);
    tells_apart(&variants, seen).await;
}

/// Whose calls share a limit is told as far as one address can tell, with the settings of machines that fit.
#[tokio::test(flavor = "multi_thread")]
async fn what_machines_count_by_is_told_as_far_as_it_is_known() {
    test_timeout::start();
    let answer = async |scope, refused_after: Option<u32>| {
        let mut played = Profile::default();
        played.limits_are_per = scope;
        let sandbox = bank(played).await;
        if let Some(calls) = refused_after {
            let refusal = Injection::new(Fault::RateLimited).on(&Operation::GET_INSTALLATION);
            sandbox.inject(refusal.after(calls));
        }
        let report = report(&sandbox);
        let mut facts = report["facts"].as_array().unwrap().iter();
        let fact = facts.find(|fact| fact["question"] == "Whose calls count towards a rate limit together?");
        fact.unwrap()["answer"].as_str().unwrap().to_owned()
    };
    let by_address = answer(LimitScope::Address, None).await;
    assert!(
        by_address.starts_with("those of the partner and its users: `limits_are_per = \"address\"` fits"),
        "{by_address}"
    );
    assert!(by_address.contains("`counted_by = \"address_and_key\"` does"), "{by_address}");
    // The limit refuses none of the first three calls of the partner's, and of the user's. The next one is of its second session.
    let by_key = answer(LimitScope::Session, Some(3 + 3)).await;
    assert!(by_key.starts_with("those of one API key: ") && by_key.ends_with("`counted_by = \"key\"`"), "{by_key}");
    let by_session = answer(LimitScope::Session, None).await;
    assert_eq!(by_session, "those of one session: `limits_are_per = \"session\"` fits");
}

/// The answers name the settings of the client that fit.
#[tokio::test(flavor = "multi_thread")]
async fn the_settings_that_fit_are_named() {
    test_timeout::start();
    let mut played = Profile::default();
    (played.user_installation, played.limits_are_per) = (AcceptedInstallation::Partner, LimitScope::Session);
    let sandbox = bank(played).await;
    let report = report(&sandbox);
    let answer = |question: &str| {
        let mut facts = report["facts"].as_array().unwrap().iter();
        facts.find(|fact| fact["question"] == question).unwrap()["answer"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        answer("May a user's session be opened under the partner's installation?"),
        "accepted: `user_installation = \"partner\"` fits"
    );
    assert_eq!(answer("May it be opened under an installation of the user's own?"), "refused: 400");
    assert_eq!(
        answer("Whose calls count towards a rate limit together?"),
        "those of one session: `limits_are_per = \"session\"` fits"
    );
    // No token of a user is in the report, and nothing of the users is left but what bunq cannot remove.
    assert_eq!(report["left"].as_array().unwrap().len(), 2, "{}", report["left"]);
    for id in sandbox.provision_ids() {
        assert_eq!(sandbox.provision(id).unwrap()["status"], "CANCELLED");
    }
    for call in sandbox.call_log() {
        let body: Value = serde_json::from_str(&call.body).unwrap_or_default();
        assert!(body["secret"].as_str().is_none_or(|secret| !report.to_string().contains(secret)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_and_words() {
    test_timeout::start();
    let variants: [Change; 2] = [
        |profile| profile.session_timeout = Duration::from_secs(604_800),
        |profile| profile.session_timeout = Duration::from_secs(300),
    ];
    tells_apart(&variants, |profile| format!("{:?}", profile.session_timeout)).await;
    for (status, words) in [(404, "Route not found."), (405, "Not this way."), (466, "Sign it.")] {
        let mut played = Profile::default();
        played.wording = [(status, words.to_owned())].into();
        let first = found_out(&played).await;
        assert_eq!(first.wording[&status], words);
        assert_eq!(found_out(&first).await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_saved_and_the_profile_can_be_started_with() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let mut command = program_for(&folder, &sandbox);
    let (page, err, code) = ran(command.arg("probe").arg("--save").arg(folder.path("")));
    assert_eq!((err.as_str(), code), ("", 0));
    assert!(page.starts_with("# How http://127.0.0.1:") && page.contains("| How is a dead session refused? | 401 |"));
    assert!(!page.contains("a creation answered with"), "nothing is created unless it is wanted");
    assert!(sandbox.provision_ids().is_empty());
    assert_eq!(std::fs::read_to_string(folder.path("report.md")).unwrap(), page);
    let report: Value = serde_json::from_str(&std::fs::read_to_string(folder.path("report.json")).unwrap()).unwrap();
    for (place, problem) in [("report.md", "it is not a folder"), ("missing", "there is no such folder: make it first")]
    {
        let (_, err, code) = ran(program_for(&folder, &sandbox).arg("probe").arg("--save").arg(folder.path(place)));
        assert!(err.contains(problem) && code == 2, "{err}");
    }
    let saved = std::fs::read_to_string(folder.path("profile.json")).unwrap();
    assert_eq!(serde_json::from_str::<Profile>(&saved).unwrap(), profile(&report));
    #[cfg(unix)]
    for name in ["report.md", "report.json", "profile.json"] {
        let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(folder.path(name)).unwrap());
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_few_calls_and_sessions_and_closes_what_it_has_created() {
    test_timeout::start();
    let mut profile = Profile::default();
    profile.duplicate = None;
    let (sandbox, folder) = (Sandbox::builder().profile(profile).start().await.unwrap(), Folder::new());
    for (arguments, calls, sessions) in [(&["probe"][..], 16..=24, 1), (&["probe", "--create"], 40..=50, 3)] {
        let (_, _, code) = ran(program_for(&folder, &sandbox).args(arguments));
        assert_eq!(code, 0);
        let journal = sandbox.take_call_log();
        assert!(calls.contains(&journal.len()), "{arguments:?}: {}", journal.len());
        let opened = journal.iter().filter(|call| call.path == "/v1/session-server" && call.carried_out);
        assert_eq!(opened.count(), sessions);
    }
    let ids = sandbox.provision_ids();
    assert_eq!(ids.len(), 3, "the bank has created twice with one external_uuid, and a user");
    for id in ids {
        assert_eq!(sandbox.provision(id).unwrap()["status"], "CANCELLED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bank_that_refuses_the_key_ends_it() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (out, err, code) = ran(program_for(&folder, &sandbox).env("BUNQ_API_KEY", "sandbox_wrong").arg("probe"));
    assert_eq!((out.as_str(), code), ("", 8));
    assert!(err.contains("got 400 from the bank: User credentials are incorrect.") && err.contains("doctor"), "{err}");
    assert!(err.contains("left at the bank: the installation: bunq has no call that removes it"), "{err}");
}
