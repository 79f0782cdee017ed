//! `create --from`: new users, whose credentials expire, held back or activated.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bunq_partner::{MemoryCustody, Operation, ProvisionId, Uuid};
use bunq_partner_sandbox::{Fault, Injection, Pace, Sandbox};
use serde_json::Value;

use crate::common::bulk::{Signal, bulk, check_created, kept_record, kept_token, report, signal, users};
use crate::common::terminal::Terminal;
use crate::common::{Folder, calls, hearing, program_for, ran};

/// The program, with a folder for the users that it activates.
fn taking(folder: &Folder, sandbox: &Sandbox, from: &Path) -> (Command, PathBuf) {
    let kept = folder.own_folder("users");
    let mut program = bulk(folder, sandbox, "create", from);
    program.arg("--activate").arg(&kept).stdout(Stdio::piped()).stderr(Stdio::piped());
    (program, kept)
}

/// Waits until something is so, as long as the program goes on.
fn until(child: &mut Child, is_so: impl Fn() -> bool) {
    while !is_so() {
        assert_eq!(child.try_wait().unwrap(), None, "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn are_in_use(sandbox: &Sandbox) -> bool {
    sandbox.provision_ids().iter().all(|id| sandbox.provision(*id).unwrap()["credential"]["status"] == "ACTIVE")
}

/// No more users are created than can be activated in time, until others have activated some.
#[tokio::test(flavor = "multi_thread")]
async fn creation_holds_back_until_users_are_activated() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let folder = Folder::new();
    let (from, uuids) = users(&folder, 125);
    let mut program = bulk(&folder, &sandbox, "create", &from);
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(stderr.any(|line| line.contains("120 users wait to be activated")));
    let client = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
    until(&mut child, || sandbox.provision_ids().len() >= 120);
    let ids = sandbox.provision_ids();
    assert_eq!(ids.len(), 120);
    let ready = |id: ProvisionId| (0..3).for_each(|_| assert!(sandbox.advance(id)));
    // One is activated, and one more is created.
    ready(ids[0]);
    client.users().activate(ids[0]).await.unwrap();
    until(&mut child, || sandbox.provision_ids().len() >= 121);
    assert_eq!(sandbox.provision_ids().len(), 121);
    // The others expire unused, which gives their places back too.
    for id in &ids[1..6] {
        ready(*id);
        assert!(sandbox.expire_credential(*id));
    }
    let said: Vec<_> = stderr.collect();
    assert!(said.iter().any(|line| line.contains("have expired unused")), "{said:?}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{said:?}");
    check_created(&sandbox, &uuids, &report(&String::from_utf8(output.stdout).unwrap()));
}

/// The credential that expires first is activated first, in whatever order users were created.
#[tokio::test(flavor = "multi_thread")]
async fn the_credential_that_expires_first_goes_first() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let folder = Folder::new();
    let (from, uuids) = users(&folder, 6);
    // The last of the file expires first.
    let later = |uuid: &str, uuids: &[Uuid]| uuids.iter().rev().position(|other| other.to_string() == uuid).unwrap();
    let of_file = uuids.clone();
    sandbox.before_signing(move |call, response| {
        let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return };
        if call.method != "GET" {
            return;
        }
        for item in body["Response"].as_array_mut().unwrap() {
            let provision = &mut item["PartnerUserProvision"];
            let minutes = provision["external_uuid"].as_str().map_or(0, |uuid| 10 + later(uuid, &of_file));
            if provision["credential"].is_object() {
                provision["credential"]["expiry_time"] = format!("2099-01-01 00:{minutes}:00.000000").into();
            }
        }
        response.body = body.to_string().into();
    });
    let kept = folder.own_folder("users");
    let mut create = bulk(&folder, &sandbox, "create", &from);
    let mut child = create.arg("--activate").arg(&kept).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until(&mut child, || sandbox.provision_ids().len() >= 6);
    // All are ready before the first has its session.
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(6))).on(&Operation::CREATE_SESSION));
    for id in sandbox.provision_ids() {
        (0..3).for_each(|_| assert!(sandbox.advance(id)));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ids: HashMap<_, _> = sandbox
        .provision_ids()
        .into_iter()
        .map(|id| (sandbox.provision(id).unwrap()["external_uuid"].as_str().unwrap().to_owned(), id))
        .collect();
    let tokens: Vec<_> = uuids.iter().map(|uuid| kept_token(&sandbox, &kept, ids[&uuid.to_string()])).collect();
    let opened: Vec<_> = calls(&sandbox, "POST", "/session-server")
        .iter()
        .filter_map(|call| tokens.iter().position(|token| call.body.contains(token)))
        .collect();
    // The first that is there is not held up for the others.
    assert_eq!(opened.len(), 6);
    assert!(opened[1..].windows(2).all(|pair| pair[0] > pair[1]), "{opened:?}");
}

/// Each user has a session, with a token and a context of its owner's alone; a second run opens none again.
#[tokio::test(flavor = "multi_thread")]
async fn new_users_are_activated() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let (from, uuids) = users(&folder, 12);
    let kept = folder.own_folder("users");
    let create = || {
        let mut program = bulk(&folder, &sandbox, "create", &from);
        program.arg("--activate").arg(&kept);
        program
    };
    let (stdout, stderr, code) = ran(&mut create());
    assert_eq!(code, 0, "{stderr}");
    check_created(&sandbox, &uuids, &report(&stdout));
    for id in sandbox.provision_ids() {
        assert_eq!(sandbox.provision(id).unwrap()["credential"]["status"], "ACTIVE");
    }
    for id in sandbox.provision_ids() {
        let path = kept.join(format!("{id}.json"));
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        let token = kept_token(&sandbox, &kept, id);
        assert!(!token.is_empty() && !stdout.contains(&token) && !stderr.contains(&token));
    }
    sandbox.take_call_log();
    assert_eq!(ran(create().arg("--resume")).2, 0);
    assert!(sandbox.call_log().iter().all(|call| call.method == "GET"), "{:?}", sandbox.call_log());
}

/// Users whose rows are done, and who have no session yet, are not forgotten by whoever ends the run, nor if a token is
/// replaced meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn users_without_a_session_are_left_for_the_next_run() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let (from, uuids) = users(&folder, 3);
    // The key has its session.
    assert_eq!(ran(program_for(&folder, &sandbox).arg("whoami")).2, 0);
    for operation in [&Operation::CREATE_SESSION, &Operation::GET_INSTALLATION] {
        sandbox.inject(Injection::new(Fault::Status(500)).on(operation).always());
    }
    let (program, kept) = taking(&folder, &sandbox, &from);
    let mut child = hearing(&program).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(stderr.any(|line| line.contains("no session can be opened for the user")));
    let is_stored = |id: &ProvisionId| kept.join(format!("{id}.json")).exists();
    until(&mut child, || sandbox.provision_ids().iter().filter(|id| is_stored(id)).count() == 3);
    signal(&child, Signal::INT);
    let said: Vec<_> = stderr.collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{said:?}");
    let is_said = |text: &str| said.iter().any(|line| line.contains(text));
    assert!(is_said("3 users are not activated") && is_said("--resume` goes on"), "{said:?}");
    check_created(&sandbox, &uuids, &report(&String::from_utf8(output.stdout).unwrap()));
    sandbox.clear_injections();

    // It has a context of the token before.
    let tried = |id: &ProvisionId| !kept_record(&sandbox, &kept, *id)["context"].is_null();
    let id = sandbox.provision_ids().into_iter().find(tried).unwrap();
    sandbox.client().build().unwrap().provisions().reset_token(id).await.unwrap().await.unwrap();
    let (mut program, _) = taking(&folder, &sandbox, &from);
    let (_, stderr, code) = ran(program.arg("--resume"));
    assert_eq!(code, 0, "{stderr}");
    assert!(are_in_use(&sandbox));
}

/// A user whose session bunq does not open is tried again behind the others, and given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_fails_does_not_hold_up_the_others() {
    test_timeout::start();
    // Others are opened after its first failure, or none.
    tokio::join!(one_fails(6, 0), one_fails(6, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_fails_alone_is_given_up() {
    test_timeout::start();
    one_fails(1, 0).await;
}

/// A run with so many users, of which one fails, by the order in which they are tried first.
async fn one_fails(count: usize, failing: usize) {
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let (from, _) = users(&folder, count);
    let (mut program, kept) = taking(&folder, &sandbox, &from);
    let (key, mut tried) = (sandbox.api_key(), Vec::new());
    sandbox.before_signing(move |call, response| {
        if call.path.ends_with("/session-server") && !call.body.contains(key.expose()) {
            let nth = tried.iter().position(|body| *body == call.body).unwrap_or_else(|| {
                tried.push(call.body.clone());
                tried.len() - 1
            });
            response.status = if nth == failing { 500 } else { response.status };
        }
    });
    let (_, stderr, code) = tokio::task::spawn_blocking(move || ran(&mut program)).await.unwrap();
    assert_eq!(code, 13, "{stderr}");
    assert!(stderr.contains("1 users are not activated"), "{stderr}");
    let has_session = |id: &ProvisionId| kept_record(&sandbox, &kept, *id)["context"]["session"].is_object();
    assert_eq!(sandbox.provision_ids().iter().filter(|id| has_session(id)).count(), count - 1);
}

/// It is waited for, for longer than a user that fails is tried.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_counts_against_nobody() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let (from, uuids) = users(&folder, 1);
    assert_eq!(ran(program_for(&folder, &sandbox).arg("whoami")).2, 0);
    for operation in [&Operation::CREATE_SESSION, &Operation::GET_INSTALLATION] {
        sandbox.inject(Injection::new(Fault::Status(503)).on(operation).always());
    }
    let (mut program, kept) = taking(&folder, &sandbox, &from);
    let mut child = program.spawn().unwrap();
    let is_stored = |id: &ProvisionId| kept.join(format!("{id}.json")).exists();
    until(&mut child, || sandbox.provision_ids().iter().any(is_stored));
    sandbox.inject(Injection::new(Fault::Status(503)).always());
    // Four attempts each, and a session before each.
    until(&mut child, || calls(&sandbox, "GET", "/installation").len() > 6 * 4);
    sandbox.clear_injections();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check_created(&sandbox, &uuids, &report(&String::from_utf8(output.stdout).unwrap()));
    assert!(are_in_use(&sandbox));
}

/// Where nothing can be stored, no more users are created whose credentials would expire.
#[tokio::test(flavor = "multi_thread")]
async fn no_users_are_created_for_a_folder_that_fails() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let folder = Folder::new();
    let (from, _) = users(&folder, 150);
    let (mut program, kept) = taking(&folder, &sandbox, &from);
    let mut child = program.spawn().unwrap();
    until(&mut child, || sandbox.provision_ids().len() >= 120);
    std::fs::remove_dir_all(&kept).unwrap();
    let mut ready = HashSet::new();
    while child.try_wait().unwrap().is_none() {
        for id in sandbox.provision_ids() {
            if ready.insert(id) {
                (0..3).for_each(|_| assert!(sandbox.advance(id)));
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(18), "{stderr}");
    assert!(
        stderr.contains(".json of provision ")
            && stderr.contains("No such file")
            && stderr.contains("--resume` goes on"),
        "{stderr}"
    );
    assert_eq!(sandbox.provision_ids().len(), 120);
}

/// At a terminal the bar says why it stands, in its first 80 columns.
#[tokio::test(flavor = "multi_thread")]
async fn a_bar_that_stands_says_what_it_waits_for() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let folder = Folder::new();
    let (from, _) = users(&folder, 125);
    let (state, key, from) = (folder.path(""), sandbox.api_key(), from.display().to_string());
    let environment = [("XDG_STATE_HOME", state.to_str().unwrap()), ("BUNQ_API_KEY", key.expose())];
    let arguments = ["create", "--rehearse", "1000", "--from", &from, "--base-url", sandbox.base_url()];
    let mut terminal = Terminal::start(80, &arguments, &environment);
    terminal.expect("120/125  waits for users to be activated, --activate FOLDER does it");
    terminal.type_keys("\u{3}");
    let (screen, code) = terminal.end();
    assert!(screen.contains("--resume` goes on") && code == 130, "{screen}");
}
