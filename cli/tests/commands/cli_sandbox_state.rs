//! The state of a sandbox as a process: what is there after it was killed, and what it makes void.

use bunq_partner::{Client, Environment, NewProvision, Uuid};

use crate::cli_sandbox::Process;
use crate::common::{Folder, in_shell, program, ran};

/// A client that goes on when the sandbox at its port is another process.
fn client(bank: &Process) -> Client {
    let builder = Client::builder(Environment::Sandbox).base_url(bank.base_url()).api_key(bank.api_key());
    builder.without_rate_limits().build().unwrap()
}

fn new() -> NewProvision {
    NewProvision::person(Uuid::new_v4(), "user@example.com".parse().unwrap(), "+31600000000".parse().unwrap())
}

#[tokio::test]
async fn what_a_response_has_told_is_there_after_a_kill() {
    test_timeout::start();
    let folder = Folder::new();
    let state = folder.path("state.json");
    let start = |port: u16| {
        let mut command = program(&folder);
        command.args(["sandbox", "--log", "none", "--port", &port.to_string(), "--state"]).arg(&state);
        Process::start(&mut command)
    };
    let mut bank = start(0);
    let (port, client) = (bank.port(), client(&bank));
    for round in 0..20 {
        let created = client.provisions().create(new()).await.unwrap().id();
        assert_eq!(bank.stop("-KILL").1, None);
        bank = start(port);
        // What is read is told too: a step that was seen is not taken back.
        let read = client.provisions().get(created).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let read_again = client.provisions().get(created).await.unwrap();
        assert_ne!(read.sub_status, read_again.sub_status);
        assert_eq!(bank.stop("-KILL").1, None);
        bank = start(port);
        let third = client.provisions().get(created).await.unwrap();
        assert_ne!(third.sub_status, read.sub_status, "round {round}: {third:?}");
    }
    assert_eq!(bank.call(&folder, &["list", "--output", "jsonl"]).0.lines().count(), 20);
}

#[tokio::test]
async fn a_state_that_cannot_be_written_ends_it_and_was_not_told() {
    test_timeout::start();
    let folder = Folder::new();
    let state = folder.path("state.json");
    let mut plain = program(&folder);
    plain.args(["sandbox", "--state"]).arg(&state);
    // A file has at most 16 blocks of 512 or 1024 bytes, like one on a disk that is full then.
    let bank = Process::start(&mut in_shell(&plain, r#"trap '' XFSZ; ulimit -f 16; exec "$0" "$@""#));
    let client = client(&bank);
    let mut created = Vec::new();
    let error = loop {
        match client.provisions().create(new()).await {
            Ok(creating) => created.push(creating.id()),
            Err(error) => break error,
        }
    };
    assert!(error.is_doubtful(), "{error}");
    let (log, code) = bank.wait();
    assert!(log.contains(&format!("error: the sandbox cannot go on: the state file {}: ", state.display())), "{log}");
    assert_eq!(code, Some(19));
    let again = Process::start(&mut plain);
    let (out, _, _) = again.call(&folder, &["list", "--output", "jsonl"]);
    assert!(!created.is_empty());
    for id in created {
        assert!(out.contains(&format!("\"id\":{id},")), "{id} is not in {out}");
    }
}

#[test]
fn what_a_state_that_is_there_makes_void_is_refused() {
    test_timeout::start();
    let folder = Folder::new();
    let (state, seed) = (folder.path("state.json"), folder.file("seed.json", r#"[{"status": "ACTIVE"}]"#));
    let with = |arguments: &[&str]| {
        let mut command = program(&folder);
        command.args(["sandbox", "--state"]).arg(&state).args(arguments);
        command
    };
    let first = Process::start(&mut with(&["--provisions", "1", "--seed", seed.to_str().unwrap()]));
    assert_eq!(first.call(&folder, &["list", "--output", "jsonl"]).0.lines().count(), 2);
    drop(first);
    for (option, value) in [("--provisions", "1"), ("--provisions", "0"), ("--seed", seed.to_str().unwrap())] {
        let (out, err, code) = ran(&mut with(&[option, value]));
        assert_eq!((out.as_str(), code), ("", 2), "{err}");
        let problem = format!("error: {option} is for a new state, but {} has one already", state.display());
        let hint = format!("leave {option} out, or remove the file to begin anew");
        assert!(err.contains(&problem) && err.contains(&hint), "{err}");
    }
    let again = Process::start(&mut with(&[]));
    assert_eq!(again.call(&folder, &["list", "--output", "jsonl"]).0.lines().count(), 2);
}

/// Each would hide what the other one writes.
#[test]
fn two_sandboxes_do_not_share_a_state() {
    test_timeout::start();
    let folder = Folder::new();
    let state = folder.path("state.json");
    let with = || {
        let mut command = program(&folder);
        command.args(["sandbox", "--state"]).arg(&state);
        command
    };
    let first = Process::start(&mut with());
    // The file that is locked is another one after each start.
    for _ in 0..2 {
        let (out, err, code) = ran(&mut with());
        assert_eq!((out.as_str(), code), ("", 2), "{err}");
        assert!(err.contains("another sandbox keeps its state there: end that one, or give another file"), "{err}");
    }
    assert_eq!(first.call(&folder, &["whoami"]).2, 0);
    assert_eq!(first.stop("-KILL").1, None);
    let again = Process::start(&mut with());
    assert_eq!(ran(&mut with()).2, 2);
    assert_eq!(again.stop("-TERM").1, Some(0));
}

#[tokio::test]
async fn a_change_costs_its_own_size() {
    test_timeout::start();
    let folder = Folder::new();
    let state = folder.path("state.json");
    let bank = Process::start(program(&folder).args(["sandbox", "--provisions", "10000", "--state"]).arg(&state));
    let size = || std::fs::metadata(&state).unwrap().len();
    let client = client(&bank);
    client.open_session().await.unwrap();
    let before = size();
    for count in 1..=20 {
        let _ = client.provisions().create(new()).await.unwrap();
        let added = size() - before;
        assert!(added > 0 && added < count * 2000, "{before} and {added} bytes");
    }
    drop(bank);
    let again = Process::start(program(&folder).args(["sandbox", "--state"]).arg(&state));
    assert!(size() > before, "the whole is written anew");
    assert_eq!(again.call(&folder, &["list", "--status", "CREATED", "--output", "jsonl"]).0.lines().count(), 20);
}
