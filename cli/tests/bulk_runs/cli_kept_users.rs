//! What lies in the folder of `create --activate` is held against what bunq says.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bunq_partner::{FileCustody, MemoryCustody, Operation, ProvisionId};
use bunq_partner_sandbox::{Fault, Injection, Pace, Sandbox, SandboxBuilder};

use crate::common::bulk::{Signal, bulk, kept_record, kept_token, signal, users};
use crate::common::{Folder, calls, hearing, program_for, ran, skipped};

/// What is planted, and never sent.
const PLANTED: &str = "sandbox_planted";

/// A bank that makes users at once.
fn bank() -> SandboxBuilder {
    Sandbox::builder().pace(Pace::Every(Duration::ZERO))
}

/// The program, with a folder for the users that it activates.
fn taking(folder: &Folder, sandbox: &Sandbox, from: &Path, kept: &Path) -> Command {
    let mut program = bulk(folder, sandbox, "create", from);
    program.arg("--activate").arg(kept);
    program
}

/// Starts another bank in the place of one, when that is gone.
async fn in_place_of(bank: Sandbox, builder: impl Fn() -> SandboxBuilder) -> Sandbox {
    let port = bank.base_url().rsplit(':').next().unwrap().trim_end_matches("/v1").parse().unwrap();
    drop(bank);
    loop {
        match builder().port(port).start().await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
            started => return started.unwrap(),
        }
    }
}

/// Each user has the session and the token that bunq has made, and nothing else was sent as a key.
fn check_in_use(sandbox: &Sandbox, kept: &Path, ids: &[ProvisionId]) {
    let key = sandbox.api_key();
    let opened = calls(sandbox, "POST", "/session-server");
    for id in ids {
        assert_eq!(sandbox.provision(*id).unwrap()["credential"]["status"], "ACTIVE");
        let token = kept_token(sandbox, kept, *id);
        assert!(opened.iter().any(|call| call.body.contains(&token)), "{id}");
        assert!(kept_record(sandbox, kept, *id)["context"]["session"].is_object(), "{id}");
    }
    let tokens: Vec<_> = ids.iter().map(|id| kept_token(sandbox, kept, *id)).collect();
    let is_own = |body: &str| body.contains(key.expose()) || tokens.iter().any(|token| body.contains(token));
    for path in ["/device-server", "/session-server"] {
        assert!(calls(sandbox, "POST", path).iter().all(|call| is_own(&call.body)), "a stranger's token was sent");
    }
}

fn names(folder: &Path, part: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().contains(part)).collect()
}

/// The bank is another, or it was emptied: its ids and its address may be the same as before. What is kept may be needed elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn records_of_an_earlier_bank_stay() {
    test_timeout::start();
    let bank = || bank().api_key("sandbox_of_both".into());
    for is_at_one_address in [true, false] {
        let folder = Folder::new();
        let kept = folder.own_folder("users");
        let run = |sandbox: &Sandbox| {
            let own = Folder::new();
            let (from, _) = users(&own, 3);
            let (_, stderr, code) = ran(&mut taking(&own, sandbox, &from, &kept));
            (stderr, code)
        };
        let first = bank().start().await.unwrap();
        assert_eq!(run(&first), (String::new(), 0));
        let old = first.provision_ids().into_iter().map(|id| (id, kept_token(&first, &kept, id))).collect::<Vec<_>>();
        let second = if is_at_one_address { in_place_of(first, bank).await } else { bank().start().await.unwrap() };
        let (stderr, code) = run(&second);
        let common: Vec<_> = old.iter().filter(|(id, _)| second.provision_ids().contains(id)).collect();
        assert!(!common.is_empty());
        if is_at_one_address {
            // Credentials of one bank, which shows others now.
            assert_eq!((stderr.as_str(), code), ("", 0));
            check_in_use(&second, &kept, &second.provision_ids());
            continue;
        }
        assert_eq!(code, 18, "{stderr}");
        for (id, token) in common {
            assert!(stderr.contains(&format!("/{id}.json of provision {id} ")), "{stderr}");
            assert_eq!(kept_token(&second, &kept, *id), *token, "a token that may be needed elsewhere is lost");
            assert_ne!(second.provision(*id).unwrap()["credential"]["status"], "ACTIVE");
        }
        assert!(stderr.contains("http://127.0.0.1:") && stderr.contains("use a custody for each"), "{stderr}");
        assert!(old.iter().all(|(_, token)| !stderr.contains(token)), "{stderr}");
        assert!(stderr.contains("3 users are not activated"), "{stderr}");
    }
}

/// Ids can be foreseen: whatever lies where the file of a user will be, before there is the user.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_planted_for_a_user_is_not_believed() {
    test_timeout::start();
    let outside = Folder::new();
    let target = outside.file("target", PLANTED);
    let is_root = rustix::process::geteuid().is_root();
    type Plant<'a> = &'a dyn Fn(&Path);
    let write = |path: &Path, text: &str, mode: u32| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let plants: [(&str, Plant<'_>); 7] = [
        ("text", &|path| write(path, PLANTED, 0o600)),
        ("a later format", &|path| write(path, &format!("{:255}\n{{}}", "{\"bunq_partner_custody\":2}"), 0o600)),
        ("everybody's", &|path| write(path, PLANTED, 0o644)),
        ("a link", &|path| symlink(&target, path).unwrap()),
        ("another name", &|path| fs::hard_link(&target, path).unwrap()),
        ("a folder", &|path| fs::create_dir(path).unwrap()),
        ("another user's", &|path| {
            write(path, PLANTED, 0o600);
            chown(path, Some(65534), None).unwrap();
        }),
    ];
    for (name, plant) in plants {
        if name == "another user's" && !is_root {
            skipped("only root can give a file to another user");
            continue;
        }
        let (sandbox, folder) = (bank().start().await.unwrap(), Folder::new());
        let kept = folder.own_folder("users");
        let next = sandbox.populate(1)[0].get() + 1;
        for id in next..next + 30 {
            plant(&kept.join(format!("{id}.json")));
        }
        let (from, _) = users(&folder, 1);
        let (_, stderr, code) = ran(&mut taking(&folder, &sandbox, &from, &kept));
        let id = sandbox.provision_ids()[1];
        let path = kept.join(format!("{id}.json"));
        assert!(code == 18 && stderr.contains(&path.display().to_string()), "{name}: {code}: {stderr}");
        assert!(sandbox.call_log().iter().all(|call| !call.body.contains(PLANTED)), "{name}");
        assert!(!stderr.contains(PLANTED) && fs::symlink_metadata(&path).is_ok(), "{name}: {stderr}");
        assert_eq!(fs::read_to_string(&target).unwrap(), PLANTED);
        // It is taken out, and the next run goes on.
        for planted in fs::read_dir(&kept).unwrap().map(|planted| planted.unwrap().path()) {
            if planted.extension().is_some_and(|extension| extension == "json") {
                if name == "a folder" { fs::remove_dir(planted).unwrap() } else { fs::remove_file(planted).unwrap() }
            }
        }
        let (_, stderr, code) = ran(taking(&folder, &sandbox, &from, &kept).arg("--resume"));
        assert_eq!(code, 0, "{name}: {stderr}");
        check_in_use(&sandbox, &kept, &[id]);
    }
}

/// Users who are in use have a session of the token before: the token that was made since is stored, and another session opened.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_reset_is_replaced_and_activated() {
    test_timeout::start();
    let (sandbox, folder) = (bank().start().await.unwrap(), Folder::new());
    let (from, _) = users(&folder, 3);
    let kept = folder.own_folder("users");
    assert_eq!(ran(&mut taking(&folder, &sandbox, &from, &kept)).2, 0);
    let ids = sandbox.provision_ids();
    let old: Vec<_> = ids.iter().map(|id| kept_token(&sandbox, &kept, *id)).collect();
    let partner = sandbox.client().custody(MemoryCustody::new()).build().unwrap();
    partner.provisions().reset_token(ids[0]).await.unwrap().await.unwrap();
    // That of the second was activated by somebody else.
    partner.users().reset(ids[1]).await.unwrap();
    sandbox.take_call_log();
    let (_, stderr, code) = ran(taking(&folder, &sandbox, &from, &kept).arg("--resume"));
    assert!(stderr.contains("1 users are not activated") && code == 16, "{code}: {stderr}");
    let problem = format!(
        "credential of provision {} was replaced, and what is in custody is the token of one before it",
        ids[1]
    );
    assert!(stderr.contains(&problem), "{stderr}");
    // Nothing that is over was sent, and the third has the session that it had.
    let sent: Vec<_> = [calls(&sandbox, "POST", "/session-server"), calls(&sandbox, "POST", "/device-server")].concat();
    assert!(sent.iter().all(|call| old.iter().all(|token| !call.body.contains(token))));
    assert_ne!(kept_token(&sandbox, &kept, ids[0]), old[0]);
    assert_eq!(
        (kept_token(&sandbox, &kept, ids[1]), kept_token(&sandbox, &kept, ids[2])),
        (old[1].clone(), old[2].clone())
    );
    assert_eq!(sandbox.provision(ids[0]).unwrap()["credential"]["status"], "ACTIVE");
    // Once more, and all is as it is.
    sandbox.take_call_log();
    let (_, stderr, code) = ran(taking(&folder, &sandbox, &from, &kept).arg("--resume"));
    assert_eq!(code, 16, "{stderr}");
    assert!(sandbox.call_log().iter().all(|call| call.method == "GET"));
}

/// The bank is put back to where nobody had a session: what says otherwise is not believed.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_never_opened_is_not_believed() {
    test_timeout::start();
    let (sandbox, folder) = (bank().start().await.unwrap(), Folder::new());
    let (from, _) = users(&folder, 2);
    let kept = folder.own_folder("users");
    assert_eq!(ran(program_for(&folder, &sandbox).arg("whoami")).2, 0);
    for operation in [&Operation::CREATE_SESSION, &Operation::GET_INSTALLATION] {
        sandbox.inject(Injection::new(Fault::Status(503)).on(operation).always());
    }
    let mut program = hearing(&taking(&folder, &sandbox, &from, &kept));
    let mut child = program.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(stderr.any(|line| line.contains("no session can be opened for the user")));
    while names(&kept, ".json").len() < 2 {
        assert_eq!(child.try_wait().unwrap(), None, "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    signal(&child, Signal::INT);
    drop(stderr);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    sandbox.clear_injections();
    let state = sandbox.saved_state().unwrap();
    let resume = |sandbox: &Sandbox| ran(taking(&folder, sandbox, &from, &kept).arg("--resume"));
    let (_, stderr, code) = resume(&sandbox);
    assert_eq!((stderr.as_str(), code), ("", 0));
    check_in_use(&sandbox, &kept, &sandbox.provision_ids());

    let sandbox = in_place_of(sandbox, || bank().saved_state(state.clone())).await;
    let (_, stderr, code) = resume(&sandbox);
    assert_eq!((stderr.as_str(), code), ("", 0));
    check_in_use(&sandbox, &kept, &sandbox.provision_ids());
}

/// What may be all that there is stays where it is, and what is wrong with it is said.
#[tokio::test(flavor = "multi_thread")]
async fn the_records_of_users_in_use_stay() {
    test_timeout::start();
    let (sandbox, folder) = (bank().start().await.unwrap(), Folder::new());
    let (from, _) = users(&folder, 2);
    let kept = folder.own_folder("users");
    assert_eq!(ran(&mut taking(&folder, &sandbox, &from, &kept)).2, 0);
    let resume = || ran(taking(&folder, &sandbox, &from, &kept).arg("--resume"));
    let id = sandbox.provision_ids()[0];
    for (mode, problem, expected) in
        [(0o644, "its mode is 0644, so that others may have read or changed it", 18), (0o660, "", 0)]
    {
        let path = kept.join(format!("{id}.json"));
        let before = fs::read(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        sandbox.take_call_log();
        let (_, stderr, code) = resume();
        assert!(stderr.contains(problem) && code == expected, "{mode:o}: {code}: {stderr}");
        assert!(sandbox.call_log().iter().all(|call| call.method == "GET"));
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    // One that is closed since was in use.
    let partner = sandbox.client().build().unwrap();
    partner.provisions().close(sandbox.provision_ids()[1]).await.unwrap().await.unwrap();
    let (_, stderr, code) = resume();
    assert_eq!(code, 0, "{stderr}");
}

/// Thousands who are in use cost some pages of a listing.
#[tokio::test(flavor = "multi_thread")]
async fn users_in_use_are_looked_at_together() {
    test_timeout::start();
    let (sandbox, folder) = (bank().start().await.unwrap(), Folder::new());
    let (from, _) = users(&folder, 24);
    let kept = folder.own_folder("users");
    let (_, stderr, code) = ran(&mut taking(&folder, &sandbox, &from, &kept));
    assert_eq!(code, 0, "{stderr}");
    sandbox.take_call_log();
    // Those that come meanwhile are looked at in the next round.
    for operation in [&Operation::LIST_PROVISIONS, &Operation::GET_PROVISION] {
        sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(2))).on(operation));
    }
    let (_, stderr, code) = ran(taking(&folder, &sandbox, &from, &kept).arg("--resume"));
    assert_eq!((code, stderr.as_str()), (0, ""));
    let journal = sandbox.take_call_log();
    assert!(journal.iter().all(|call| call.method == "GET"), "{journal:?}");
    assert!(journal.len() < 12, "{} calls for 24 users", journal.len());
}

/// One process has a custody at a time: what is created without it would expire.
#[tokio::test(flavor = "multi_thread")]
async fn no_users_are_created_for_a_custody_that_another_process_uses() {
    test_timeout::start();
    let (sandbox, folder) = (bank().start().await.unwrap(), Folder::new());
    let (from, _) = users(&folder, 1);
    let kept = folder.own_folder("users");
    let other = sandbox.client().custody(FileCustody::new(&kept)).build().unwrap();
    other.users().check_custody().await.unwrap();
    let (_, stderr, code) = ran(&mut taking(&folder, &sandbox, &from, &kept));
    assert!(code == 18 && stderr.contains("another process uses it"), "{code}: {stderr}");
    assert!(sandbox.call_log().is_empty());
}
