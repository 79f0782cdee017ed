//! Runs that are asked to end, and runs that go on because their signals were ignored when they began.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bunq_partner::{Operation, ProvisionId};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, Sandbox};
use rustix::process::{Pid, kill_process};
use serde_json::Value;

use crate::common::bulk::{Signal, bulk, check_created, report, signal, users};
use crate::common::{Folder, calls, hearing, in_shell, program, program_for, ran};

/// What the program says when the end has begun.
const ENDS: &str = "no request begins any more";

/// A program whose messages are read.
struct Running {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, stderr }
    }

    /// Waits until it says something; returns that line.
    fn expect(&mut self, text: &str) -> String {
        let mut seen = Vec::new();
        for line in self.stderr.by_ref() {
            seen.push(line.unwrap());
            if seen.last().unwrap().contains(text) {
                return seen.pop().unwrap();
            }
        }
        panic!("{text:?} does not come: {seen:?}")
    }

    /// Waits for its end; returns what it has written, what it has said since, and its exit code.
    fn end(self) -> (String, String, Option<i32>) {
        let stderr: Vec<_> = self.stderr.map(Result::unwrap).collect();
        let output = self.child.wait_with_output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), stderr.join("\n"), output.status.code())
    }
}

fn ids(folder: &Folder, ids: &[ProvisionId]) -> PathBuf {
    let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
    folder.file("ids.csv", &format!("id\n{lines}"))
}

/// The last entry of each row in the journal.
fn journal(from: &Path) -> HashMap<u64, Value> {
    let text = std::fs::read_to_string(format!("{}.journal", from.display())).unwrap();
    let entries = text.lines().skip(1).map(|line| serde_json::from_str::<Value>(line).unwrap());
    entries.map(|entry| (entry["row"].as_u64().unwrap(), entry)).collect()
}

fn is_change(call: &CallLogEntry) -> bool {
    call.method == "PUT" || (call.method == "POST" && call.path.ends_with("/partner-user-provision"))
}

/// Holds the responses to these calls back, one after the other, and all that comes after: until the test drops what is received here.
fn held(sandbox: &Sandbox, mut is_held: impl FnMut(&CallLogEntry) -> bool + Send + 'static) -> Receiver<Sender<()>> {
    let (arrived, arrivals) = channel();
    sandbox.before_signing(move |call, _| {
        if is_held(call) {
            let (sender, respond) = channel();
            let _ = arrived.send(sender);
            // It ends when the sender is dropped.
            let _ = respond.recv();
        }
    });
    arrivals
}

/// Waits until so many closings or creations have arrived.
async fn changed(sandbox: &Sandbox, count: usize) {
    while sandbox.call_log().iter().filter(|call| is_change(call)).count() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The rate limit lets a few rows on the wire; the others of 40 wait for their turn, and the end does not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_signal_no_request_begins() {
    test_timeout::start();
    for (command, operation, kind) in [
        ("close", &Operation::UPDATE_PROVISION, Signal::TERM),
        ("create", &Operation::CREATE_PROVISION, Signal::TERM),
        ("close", &Operation::UPDATE_PROVISION, Signal::INT),
        ("create", &Operation::CREATE_PROVISION, Signal::HUP),
    ] {
        let (sandbox, folder) = (Sandbox::builder().deduplicate(false).start().await.unwrap(), Folder::new());
        let (from, uuids) = match command {
            "close" => (ids(&folder, &sandbox.populate(40)), Vec::new()),
            _ => users(&folder, 40),
        };
        // As many as may be on the wire; their permits are free when they are answered, long after the signal.
        let calls_on_wire = operation.rate_limit.calls;
        let late = Fault::Late(Duration::from_secs(4));
        sandbox.inject(Injection::new(late).on(operation).times(calls_on_wire));
        let mut running = Running::start(hearing(&bulk(&folder, &sandbox, command, &from)));
        changed(&sandbox, calls_on_wire as usize).await;
        signal(&running.child, kind);
        running.expect(ENDS);
        let before = sandbox.call_log().len();
        let (_, stderr, code) = running.end();
        assert!(code == Some(130) && stderr.contains("--resume` goes on"), "{command} {kind:?}: {code:?} {stderr}");
        assert_eq!(sandbox.call_log().len(), before, "{command} {kind:?}: {:?}", sandbox.call_log().last());
        // What has not left is not in doubt.
        let sent = sandbox.call_log().iter().filter(|call| is_change(call)).count();
        let entries = journal(&from);
        let is_in_doubt = |entry: &Value| entry["state"] == "sent" || entry["in_doubt"] == true;
        let touched = entries.values().filter(|entry| is_in_doubt(entry) || entry["state"] == "accepted").count();
        assert_eq!(touched, sent, "{command} {kind:?}: {entries:?}");
        let (stdout, stderr, code) = ran(bulk(&folder, &sandbox, command, &from).arg("--resume"));
        assert_eq!(code, 0, "{stderr}");
        let rows = report(&stdout);
        match command {
            "close" => assert!(rows.len() == 40 && calls(&sandbox, "PUT", "").len() == 40, "{rows:?}"),
            _ => check_created(&sandbox, &uuids, &rows),
        }
    }
}

/// A closing of 40 rows, with their file, of which two are on the wire and get no response.
async fn closing_without_responses(folder: &Folder, sandbox: &Sandbox) -> (PathBuf, Running) {
    let from = ids(folder, &sandbox.populate(40));
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(600))).on(&Operation::UPDATE_PROVISION).times(2));
    let running = Running::start(hearing(&bulk(folder, sandbox, "close", &from)));
    changed(sandbox, 2).await;
    (from, running)
}

/// What bunq does not answer is left in doubt after five seconds, before a container would be killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_does_not_come_does_not_hold_up_the_end() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (from, mut running) = closing_without_responses(&folder, &sandbox).await;
    signal(&running.child, Signal::TERM);
    running.expect(ENDS);
    let (_, stderr, code) = running.end();
    assert!(code == Some(130) && stderr.contains("--resume` goes on"), "{code:?} {stderr}");
    assert_eq!(calls(&sandbox, "PUT", "").len(), 2);
    assert_eq!(journal(&from).values().filter(|entry| entry["in_doubt"] == true).count(), 2);
    let (stdout, stderr, code) = ran(bulk(&folder, &sandbox, "close", &from).arg("--resume"));
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(report(&stdout).iter().filter(|row| row["outcome"] == "found").count(), 2);
    // Nothing that was in doubt was requested again.
    assert_eq!(calls(&sandbox, "PUT", "").len(), 40);
}

/// A second signal stops at once, whatever is on the wire; nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_at_once() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (from, mut running) = closing_without_responses(&folder, &sandbox).await;
    signal(&running.child, Signal::INT);
    running.expect(ENDS);
    signal(&running.child, Signal::INT);
    let (_, stderr, code) = running.end();
    assert!(code == Some(130) && stderr.contains("--resume` goes on"), "{code:?} {stderr}");
    let (stdout, stderr, code) = ran(bulk(&folder, &sandbox, "close", &from).arg("--resume"));
    assert_eq!((report(&stdout).len(), code), (40, 0), "{stderr}");
    assert_eq!(calls(&sandbox, "PUT", "").len(), 40);
}

/// A pager that is left open, or a service whose log nobody takes: the program is blocked in the middle of a line.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_whose_output_is_not_read_ends_too() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    // More than a pipe takes.
    sandbox.populate(500);
    let mut list = program_for(&folder, &sandbox);
    list.args(["--rehearse", "1000", "list", "--output", "jsonl"]);
    let mut child = hearing(&list).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut unread = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut unread, &mut [0]).unwrap();
    signal(&child, Signal::TERM);
    let code = tokio::task::spawn_blocking(move || child.wait().unwrap().code()).await.unwrap();
    assert_eq!(code, Some(130));
    drop(unread);
}

/// The signal comes as soon as it no longer ends the process by itself, while certificates and keys are prepared.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_between_two_phases_of_a_command_is_heard() {
    test_timeout::start();
    let folder = Folder::new();
    // It answers nothing.
    let bank = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut probe = program(&folder);
    probe.env("BUNQ_API_KEY", "sandbox_1").args(["probe", "--base-url"]);
    probe.arg(format!("http://{}/v1", bank.local_addr().unwrap()));
    let child = hearing(&probe).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let is_caught = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let mask = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(mask.trim(), 16).unwrap() >> (Signal::TERM.as_raw() - 1) & 1 == 1
    };
    while !is_caught() {
        std::thread::yield_now();
    }
    signal(&child, Signal::TERM);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
}

/// After a signal neither a session of a user is opened, nor is a user waited for.
#[tokio::test(flavor = "multi_thread")]
async fn no_user_is_activated_after_a_signal() {
    test_timeout::start();
    for (kind, is_of_session) in [(Signal::TERM, true), (Signal::TERM, false), (Signal::INT, true)] {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let (from, uuids) = users(&folder, 1);
        // The session of the partner is open.
        assert_eq!(ran(program_for(&folder, &sandbox).arg("whoami")).2, 0);
        let activating = || {
            let mut program = bulk(&folder, &sandbox, "create", &from);
            program.arg("--activate").arg(folder.own_folder("users"));
            program
        };
        // One of the calls after the creation: there is one at a time.
        let mut is_created = false;
        let arrivals = held(&sandbox, move |call| {
            is_created |= is_change(call);
            is_created && (if is_of_session { call.path.ends_with("/installation") } else { call.method == "GET" })
        });
        let mut running = Running::start(hearing(&activating()));
        let response = arrivals.recv().unwrap();
        signal(&running.child, kind);
        running.expect(ENDS);
        let before = sandbox.call_log().len();
        drop((response, arrivals));
        let (_, stderr, code) = running.end();
        assert!(code == Some(130) && stderr.contains("--resume` goes on"), "{code:?} {stderr}");
        assert_eq!(sandbox.call_log().len(), before, "{:?}", sandbox.call_log().last());
        let (stdout, stderr, code) = ran(activating().arg("--resume"));
        assert_eq!(code, 0, "{stderr}");
        check_created(&sandbox, &uuids, &report(&stdout));
        let is_active = |id| sandbox.provision(id).unwrap()["credential"]["status"] == "ACTIVE";
        assert!(sandbox.provision_ids().into_iter().all(is_active));
    }
}

/// `nohup`, and Ctrl-C for what a script has in the background. Linux alone tells what was ignored.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_was_ignored_from_the_start_stays_ignored() {
    test_timeout::start();
    let begun = |script: &str| format!("{script} & echo process $! >&2; wait $!");
    for (script, ignored, ends) in [
        ("exec nohup \"$0\" \"$@\"".to_owned(), vec![Signal::HUP], Signal::TERM),
        ("exec nohup \"$0\" \"$@\"".to_owned(), vec![Signal::HUP], Signal::INT),
        (begun("\"$0\" \"$@\""), vec![Signal::INT], Signal::HUP),
        (begun("nohup \"$0\" \"$@\""), vec![Signal::INT, Signal::HUP], Signal::TERM),
    ] {
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let from = ids(&folder, &sandbox.populate(40));
        let arrivals = held(&sandbox, is_change);
        let mut running = Running::start(hearing(&in_shell(&bulk(&folder, &sandbox, "close", &from), &script)));
        let process = if script.contains('&') {
            let said = running.expect("process ");
            Pid::from_raw(said.split(' ').next_back().unwrap().parse().unwrap()).unwrap()
        } else {
            Pid::from_child(&running.child)
        };
        // It is in progress, and has set its handlers.
        let response = arrivals.recv().unwrap();
        for kind in ignored {
            kill_process(process, kind).unwrap();
        }
        drop(response);
        // It goes on with other rows.
        for _ in 0..4 {
            drop(arrivals.recv().unwrap());
        }
        let response = arrivals.recv().unwrap();
        kill_process(process, ends).unwrap();
        running.expect(ENDS);
        drop((response, arrivals));
        assert_eq!(running.end().2, Some(130), "{script}");
    }
}
