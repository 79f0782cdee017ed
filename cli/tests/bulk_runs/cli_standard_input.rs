//! Ids and rows from standard input. The rows of `--from -` are read once the journal is this run's alone, and kept for a run that
//! resumes it: no rows are lost or taken for another run's, and a run that does not begin leaves nothing behind.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use bunq_partner::ProvisionId;
use bunq_partner_sandbox::Sandbox;

use crate::common::bulk::{Signal, bulk, limited, report, signal};
use crate::common::{Folder, hearing, in_shell, program, program_for, ran};

fn rows(ids: &[ProvisionId]) -> String {
    ids.iter().map(|id| format!("{id}\n")).collect()
}

/// A closing of what is on standard input.
fn close(folder: &Folder, sandbox: &Sandbox, journal: &Path) -> Command {
    let mut command = bulk(folder, sandbox, "close", Path::new("-"));
    command.arg("--journal").arg(journal).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a program that has taken these rows, and waits for more. The end of its input is the drop of what is returned.
fn started(command: &mut Command, rows: &str, copy: &Path) -> (Child, ChildStdin) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(rows.as_bytes()).unwrap();
    while std::fs::read_to_string(copy).unwrap_or_default() != rows {
        assert_eq!(child.try_wait().unwrap(), None, "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    (child, input)
}

/// Runs a program on a file as its standard input; says how much of it was taken too.
fn ran_on(command: &mut Command, input: &Path) -> (String, String, i32, u64) {
    let mut file = File::open(input).unwrap();
    let (stdout, stderr, code) = ran(command.stdin(file.try_clone().unwrap()));
    (stdout, stderr, code, file.stream_position().unwrap())
}

fn ended(child: Child) -> (String, String, i32) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

fn are_closed(sandbox: &Sandbox, ids: &[ProvisionId]) -> bool {
    ids.iter().all(|id| sandbox.provision(*id).unwrap()["status"] != "ACTIVE")
}

fn are_untouched(sandbox: &Sandbox, ids: &[ProvisionId]) -> bool {
    ids.iter().all(|id| sandbox.provision(*id).unwrap()["status"] == "ACTIVE")
}

fn paths(folder: &Folder) -> (PathBuf, PathBuf) {
    (folder.path("night"), folder.path("night.input"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_two_runs_on_one_journal_takes_nothing() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (own, others) = (sandbox.populate(3), sandbox.populate(3));
    let (journal, copy) = paths(&folder);
    let (first, input) = started(&mut close(&folder, &sandbox, &journal), &rows(&own), &copy);
    let second = folder.file("second", &rows(&others));
    let (_, stderr, code, taken) = ran_on(&mut close(&folder, &sandbox, &journal), &second);
    assert!(stderr.contains("another process uses it") && code == 21, "{stderr}");
    assert_eq!(taken, 0);
    drop(input);
    let (stdout, stderr, code) = ended(first);
    assert_eq!((report(&stdout).len(), code), (3, 0), "{stderr}");
    assert!(are_closed(&sandbox, &own) && are_untouched(&sandbox, &others));
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), rows(&own));
    // Afterwards it is the journal of another run.
    let (_, stderr, code, taken) = ran_on(&mut close(&folder, &sandbox, &journal), &second);
    assert!(stderr.contains("is the journal of an earlier run") && code == 2, "{stderr}");
    assert_eq!(taken, 0);
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), rows(&own));
}

/// Whoever comes first: one of them works on its own rows, and the other is told.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_runs_that_start_together_one_is_told() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    for _ in 0..5 {
        let folder = Folder::new();
        let journal = folder.path("night");
        let ids = [sandbox.populate(3), sandbox.populate(3)];
        let children = ids.each_ref().map(|ids| {
            let mut child = close(&folder, &sandbox, &journal).stdin(Stdio::piped()).spawn().unwrap();
            // One that refuses does not read.
            let _ = child.stdin.take().unwrap().write_all(rows(ids).as_bytes());
            child
        });
        let codes = children.map(|child| ended(child).2);
        let [winner, loser] = if codes[0] == 0 { [0, 1] } else { [1, 0] };
        assert!(codes[winner] == 0 && [2, 21].contains(&codes[loser]), "{codes:?}");
        assert!(are_closed(&sandbox, &ids[winner]) && are_untouched(&sandbox, &ids[loser]));
        assert_eq!(std::fs::read_to_string(folder.path("night.input")).unwrap(), rows(&ids[winner]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_there_is_named_and_stays() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (journal, copy) = paths(&folder);
    let (own, others) = (sandbox.populate(2), sandbox.populate(2));
    // Its run was killed while it took its input.
    let (mut killed, _input) = started(&mut close(&folder, &sandbox, &journal), &rows(&own), &copy);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let second = folder.file("second", &rows(&others));
    let (_, stderr, code, taken) = ran_on(&mut close(&folder, &sandbox, &journal), &second);
    assert!(stderr.contains("night.input is there already: a run was killed before it began") && code == 2, "{stderr}");
    assert_eq!(taken, 0);
    for with_journal in [true, false] {
        let mut plan = bulk(&folder, &sandbox, "close", Path::new("-"));
        plan.args(["--dry-run", "-o", "json"]);
        if with_journal {
            plan.arg("--journal").arg(&journal);
        }
        let (stdout, stderr, code, _) = ran_on(&mut plan, &second);
        assert!(stdout.contains("\"rows\": 2") && code == 0, "{stderr}");
    }
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), rows(&own));
    assert!(sandbox.call_log().is_empty());
    // What it says helps.
    let advice = stderr.split('`').nth(1).unwrap();
    let script = format!("\"$0\" \"$@\" --rehearse 1000 -o csv close {advice}");
    let (stdout, stderr, code) = ran(&mut in_shell(&program_for(&folder, &sandbox), &script));
    assert_eq!((report(&stdout).len(), code), (2, 0), "{stderr}");
    assert!(are_closed(&sandbox, &own) && are_untouched(&sandbox, &others));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_before_the_run_leaves_no_copy() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (journal, copy) = paths(&folder);
    let own = sandbox.populate(2);
    for kind in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut close = hearing(&close(&folder, &sandbox, &journal));
        let (child, _input) = started(close.stdout(Stdio::piped()).stderr(Stdio::piped()), &rows(&own), &copy);
        signal(&child, kind);
        let (stdout, stderr, code) = ended(child);
        assert!(code == 130 && stdout.is_empty() && !stderr.contains("--resume"), "{kind:?}: {code}: {stderr}");
        assert!(!copy.exists(), "{kind:?}");
    }
    assert!(sandbox.call_log().is_empty());
    // The journal was not begun, and is nobody's.
    let (_, stderr, code, _) = ran_on(&mut close(&folder, &sandbox, &journal), &folder.file("rows", &rows(&own)));
    assert_eq!(code, 0, "{stderr}");
    assert!(are_closed(&sandbox, &own));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_leaves_no_copy() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (journal, copy) = paths(&folder);
    let ids: Vec<_> = (1..=1000_u64).map(|id| id.try_into().unwrap()).collect();
    let input = folder.file("rows", &rows(&ids));
    let (_, stderr, code, _) = ran_on(&mut limited(&close(&folder, &sandbox, &journal), 1), &input);
    assert!(stderr.contains("standard input cannot be kept in ") && code == 19, "{stderr}");
    assert!(!copy.exists() && sandbox.call_log().is_empty());
}

/// What takes the place of the copy is not read, and not removed.
#[tokio::test(flavor = "multi_thread")]
async fn the_rows_come_from_the_copy_that_was_made() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (journal, copy) = paths(&folder);
    let (own, others) = (sandbox.populate(2), sandbox.populate(2));
    let (child, input) = started(&mut close(&folder, &sandbox, &journal), &rows(&own), &copy);
    std::fs::rename(folder.file("planted", &rows(&others)), &copy).unwrap();
    drop(input);
    let (stdout, stderr, code) = ended(child);
    assert_eq!((report(&stdout).len(), code), (2, 0), "{stderr}");
    assert!(are_closed(&sandbox, &own) && are_untouched(&sandbox, &others));
    assert_eq!(std::fs::read_to_string(&copy).unwrap(), rows(&others));
    // Nor does a run go on with it.
    let (_, stderr, code) = ran(bulk(&folder, &sandbox, "close", &copy).arg("--journal").arg(&journal).arg("--resume"));
    assert!(stderr.contains("is not the input that the journal was begun with") && code == 21, "{stderr}");
    assert!(are_untouched(&sandbox, &others));
}

/// What must not be used is refused while the rows are still where they came from.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_refused_before_standard_input_is_taken() {
    test_timeout::start();
    use std::os::unix::fs::PermissionsExt as _;

    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (journal, copy) = paths(&folder);
    let input = folder.file("rows", "1\n");
    let spoiled = folder.file("spoiled", sandbox.api_key().expose());
    std::fs::set_permissions(&spoiled, std::fs::Permissions::from_mode(0o644)).unwrap();
    for option in ["--api-key-file", "--context", "--receipts"] {
        let (_, stderr, _, taken) = ran_on(close(&folder, &sandbox, &journal).arg(option).arg(&spoiled), &input);
        assert!(stderr.contains("its mode is 0644") && taken == 0, "{option}: {taken}: {stderr}");
        assert!(!journal.exists() && !copy.exists(), "{option}");
    }
    let (_, stderr, _, taken) = ran_on(&mut close(&folder, &sandbox, &spoiled), &input);
    assert!(stderr.contains("its mode is 0644") && taken == 0, "{stderr}");
    let tokens = folder.path("tokens");
    std::fs::create_dir(&tokens).unwrap();
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut create = bulk(&folder, &sandbox, "create", Path::new("-"));
    create.arg("--journal").arg(&journal).arg("--activate").arg(&tokens);
    let (_, stderr, _, taken) = ran_on(&mut create, &input);
    assert!(stderr.contains("its mode is 0777") && taken == 0 && !journal.exists(), "{stderr}");
    let body = ["api", "create_provision", "--body", "-", "--base-url", sandbox.base_url(), "--api-key-file"];
    let (_, stderr, _, taken) = ran_on(program(&folder).args(body).arg(&spoiled), &input);
    assert!(stderr.contains("its mode is 0644") && taken == 0, "{stderr}");
    // A copy that others may have changed is not gone on with.
    std::fs::rename(&spoiled, &copy).unwrap();
    std::fs::write(&copy, "1\n").unwrap();
    let (_, stderr, code) = ran(bulk(&folder, &sandbox, "close", &copy).arg("--journal").arg(&journal));
    assert!(stderr.contains("night.input: its mode is 0644") && code == 2, "{stderr}");
    assert!(sandbox.call_log().is_empty());
}

/// Mistakes in the rows are said as those of standard input, of which nothing is kept then.
#[tokio::test(flavor = "multi_thread")]
async fn rows_with_mistakes_are_not_kept() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let (journal, copy) = paths(&folder);
    let (mut child, mut input) = started(&mut close(&folder, &sandbox, &journal), "1\n1\n", &copy);
    input.write_all(b"x\n").unwrap();
    drop(input);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("standard input: line 2, id: it is in line 1 too; line 3, id: the id"), "{stderr}");
    assert!(child.wait().unwrap().code() == Some(2) && !copy.exists());
}

/// The program with this text as its standard input.
fn given(text: &str, command: &mut Command) -> (String, String, i32) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that refuses does not read.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    ended(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_come_from_standard_input() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let ids = sandbox.populate(3);
    let text = format!("id\r\n{}\r\n\r\n  {}\t\r\n{0}\r\n", ids[1], ids[0]);
    let (stdout, stderr, code) = given(&text, program_for(&folder, &sandbox).args(["get", "-", "-o", "csv"]));
    assert_eq!((stderr.as_str(), code), ("", 0));
    let mut seen: Vec<_> = report(&stdout).iter().map(|row| row["id"].clone()).collect();
    seen.sort();
    assert_eq!(seen, [ids[0].to_string(), ids[1].to_string()]);
    let (stdout, _, code) =
        given(&text, program_for(&folder, &sandbox).args(["close", "-", "--dry-run", "-o", "jsonl"]));
    assert_eq!((stdout.matches("\"PUT\"").count(), code), (2, 0));
    assert!(are_untouched(&sandbox, &ids));
    // As a listing gives them.
    let mut plain = program_for(&folder, &sandbox);
    let script = "\"$0\" \"$@\" list --limit 2 -o csv | cut -d, -f1 | \"$0\" \"$@\" close - --wait -o csv";
    let (stdout, stderr, code) = ran(&mut in_shell(&plain, script));
    assert_eq!((report(&stdout).len(), code), (2, 0), "{stderr}");
    assert!(are_untouched(&sandbox, &ids[..1]) && are_closed(&sandbox, &ids[1..]));
    let (stdout, stderr, code) = given(&rows(&ids[1..]), plain.args(["watch", "-", "--color=never"]));
    assert_eq!((stdout.matches("CLOSED").count(), code), (2, 0), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_ids_are_refused_before_anything_is_sent() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0];
    let many: String = (1..=1001).map(|id| format!("{id}\n")).collect();
    for command in ["close", "get", "watch"] {
        for (text, problem) in [
            (format!("{id}\nAda Lovelace\n7,8\n"), "standard input: lines 2, 3: the id of a provision is a positive"),
            (String::new(), "standard input: there is no id"),
            ("\n \r\n".into(), "standard input: there is no id"),
            (many.clone(), "standard input: there are 1001 ids, and at most 1000"),
            ("1\n".repeat(600_000), "standard input: it is larger than 1048576 bytes"),
        ] {
            let (stdout, stderr, code) = given(&text, program_for(&folder, &sandbox).args([command, "-"]));
            assert!(stdout.is_empty() && code == 2 && stderr.contains(problem), "{command}: {code}: {stderr}");
            assert!(!stderr.contains("Lovelace"), "{stderr}");
        }
        for ids in [["-", "7"], ["7", "-"], ["-", "-"]] {
            let (_, stderr, code) = given("7\n", program_for(&folder, &sandbox).arg(command).args(ids));
            assert!(stderr.contains("- cannot be combined with ids") && code == 2, "{stderr}");
        }
    }
    // Nobody can be asked.
    let mut production = program_for(&folder, &sandbox);
    production.args(["--env", "production", "close", "-"]).env("BUNQ_API_KEY", "of-production");
    let (_, stderr, code) = given(&rows(&[id]), &mut production);
    assert!(stderr.contains(&format!("Close {id} in production: confirm it with --yes")) && code == 2, "{stderr}");
    let mut without_key = program(&folder);
    let (_, stderr, code) = given(&rows(&[id]), without_key.args(["close", "-", "--base-url", sandbox.base_url()]));
    assert!(stderr.contains("there is no API key: set BUNQ_API_KEY") && code == 2, "{stderr}");
    assert!(sandbox.call_log().is_empty());
}

/// What never ends does not hold up the end of the program.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_wait_for_standard_input() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    for arguments in [
        &["close", "-"][..],
        &["watch", "-"],
        &["api", "create_provision", "--body", "-"],
        &["close", "--dry-run", "--from", "-"],
    ] {
        let mut command = hearing(program_for(&folder, &sandbox).args(arguments));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A pipe takes no more than 64 KiB that nobody reads.
        child.stdin.as_mut().unwrap().write_all(" ".repeat(100_000).as_bytes()).unwrap();
        let input = child.stdin.take();
        signal(&child, Signal::INT);
        let (_, stderr, code) = ended(child);
        assert!(stderr.contains("interrupted") && code == 130, "{arguments:?}: {code}: {stderr}");
        drop(input);
    }
    assert!(sandbox.call_log().is_empty());
}
