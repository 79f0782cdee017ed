//! `report --failed`: the rows that certainly were not done, as the input of another run; and that `report` tells a fault as the run
//! does.

use std::collections::HashMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use bunq_partner::{Operation, Uuid};
use bunq_partner_sandbox::{Fault, Injection, Pace, Sandbox, SeedProvision};
use serde_json::{Value, json};

use crate::common::bulk::{bulk, made, report, users};
use crate::common::{Folder, person, program, ran};

fn failed(folder: &Folder, from: &Path) -> Command {
    let mut program = program(folder);
    program.args(["report", "--failed", "--output", "csv", "--from"]).arg(from);
    program
}

/// The last state of each row of a journal.
fn states(journal: &Path) -> HashMap<u64, String> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    let lines = text.lines().skip(1).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| (line["row"].as_u64().unwrap(), line["state"].as_str().unwrap().to_owned())).collect()
}

/// What fails for sure is done by a second run, what is in doubt by `--resume`, and nothing by both.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_failed_is_done_by_another_run() {
    test_timeout::start();
    // It makes a second user for a second request.
    let sandbox = Sandbox::builder().deduplicate(false).pace(Pace::Manual).start().await.unwrap();
    let folder = Folder::new();
    let (csv, uuids) = users(&folder, 12);
    for is_json in [false, true] {
        let text = std::fs::read_to_string(&csv).unwrap();
        let (from, uuids) = if is_json { as_json(&folder, &text) } else { (csv.clone(), uuids.clone()) };
        let journal = PathBuf::from(format!("{}.journal", from.display()));
        sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_PROVISION).times(3));
        let late = Fault::Late(Duration::from_secs(3600));
        sandbox.inject(Injection::new(late).on(&Operation::CREATE_PROVISION).after(3).times(2));
        let mut child =
            bulk(&folder, &sandbox, "create", &from).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let count = |state: &str| states(&journal).values().filter(|known| *known == state).count();
        while (count("accepted"), count("failed")) != (7, 3) {
            assert_eq!(child.try_wait().unwrap(), None, "it has ended");
            std::thread::sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        sandbox.clear_injections();

        let states = states(&journal);
        let mut in_doubt: Vec<_> = states.iter().filter(|(_, state)| *state == "sent").map(|(row, _)| *row).collect();
        in_doubt.sort_unstable();
        let (stdout, stderr, code) = ran(&mut failed(&folder, &from));
        assert_eq!(code, 20, "{stderr}");
        assert!(stderr.contains("3 of 12 rows are in the new input"), "{stderr}");
        // CSV has a header before them.
        let lines: Vec<_> = in_doubt.iter().map(|row| row + u64::from(!is_json)).collect();
        assert!(stderr.contains(&format!("2 in doubt (lines {}, {})", lines[0], lines[1])), "{stderr}");
        let resume = format!("`bunq-partner create --from {} --resume`, with the other options", from.display());
        assert!(stderr.contains(&resume), "{stderr}");
        // The rows as they were written, in the columns of the input.
        if !is_json {
            let is_failed = |place: u64| states.get(&place).is_some_and(|state| state == "failed");
            let lines = text.lines().zip(0..).filter(|(_, place)| *place == 0 || is_failed(*place));
            assert_eq!(stdout, lines.map(|(line, _)| format!("{line}\n")).collect::<String>());
        }
        let columns = if is_json {
            "external_uuid,phone_number,email,date_of_birth,country"
        } else {
            "external_uuid,email,phone_number"
        };
        assert_eq!(stdout.lines().next(), Some(columns));

        let before = made(&sandbox);
        let retry = folder.file(if is_json { "retry2.csv" } else { "retry.csv" }, &stdout);
        let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "create", &retry));
        assert_eq!((report(&stdout).len(), code), (3, 0), "{stderr}");
        assert!(report(&stdout).iter().all(|row| row["outcome"] == "accepted"), "{stdout}");
        assert_eq!(made(&sandbox).len(), before.len() + 3);
        let (_, stderr, code) = ran(bulk(&folder, &sandbox, "create", &from).arg("--resume"));
        assert_eq!(code, 12, "what has failed is final there: {stderr}");
        let made = made(&sandbox);
        assert!(uuids.iter().all(|uuid| made[uuid].len() == 1), "{made:?}");
        // Nothing is left to do but what the second run has done.
        let (_, stderr, code) = ran(&mut failed(&folder, &from));
        assert!(stderr.contains("3 of 12 rows are in the new input") && code == 0, "{code}: {stderr}");
        let (stdout, stderr, code) = ran(&mut failed(&folder, &retry));
        assert_eq!((stdout.as_str(), code), (format!("{columns}\n").as_str(), 0), "{stderr}");
    }
}

/// Other users as JSON lines, of which the last has more members.
fn as_json(folder: &Folder, csv: &str) -> (PathBuf, Vec<Uuid>) {
    let uuids: Vec<_> = csv.lines().skip(1).map(|_| Uuid::new_v4()).collect();
    let lines = csv.lines().skip(1).zip(&uuids).zip(1..).map(|((line, uuid), place)| {
        let fields: Vec<_> = line.split(',').collect();
        let more = if place == uuids.len() { r#","date_of_birth":"1990-12-31","country":"NL""# } else { "" };
        format!(r#"{{"external_uuid":"{uuid}","phone_number":"{}","email":"{}"{more}}}"#, fields[2], fields[1]) + "\n"
    });
    (folder.file("users.jsonl", &lines.collect::<String>()), uuids)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_done_is_named_and_not_given() {
    test_timeout::start();
    let closed = Uuid::new_v4();
    let seed: SeedProvision =
        serde_json::from_value(json!({ "status": "CLOSED", "external_uuid": closed.to_string() })).unwrap();
    let sandbox = Sandbox::builder().deduplicate(false).seed([seed]).start().await.unwrap();
    let folder = Folder::new();
    let (client, twice) = (sandbox.client().build().unwrap(), person());
    for _ in 0..2 {
        client.api().create_provision(&twice.clone().into()).await.unwrap();
    }
    let (from, _) = users(&folder, 1);
    let known = [closed, twice.external_uuid].map(|uuid| format!("{uuid},b@example.com,+31600000009\n"));
    let text = std::fs::read_to_string(&from).unwrap() + &known.concat();
    std::fs::write(&from, text).unwrap();
    assert_eq!(ran(&mut bulk(&folder, &sandbox, "create", &from)).2, 14);
    let (stdout, stderr, code) = ran(&mut failed(&folder, &from));
    assert_eq!((stdout.as_str(), code), ("external_uuid,email,phone_number\n", 14), "{stderr}");
    assert!(stderr.contains("2 failed because bunq has a user with their external_uuid (lines 3, 4)"), "{stderr}");
    assert!(!stderr.contains("--resume"), "{stderr}");

    // A list of ids without a header, of which the last was not begun.
    let id = sandbox.populate(1)[0];
    let from = folder.file("ids", &format!("99998\n{id}\n99999\n"));
    assert_eq!(ran(&mut bulk(&folder, &sandbox, "close", &from)).2, 9);
    let journal = folder.path("ids.journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let kept: String =
        text.lines().filter(|line| !line.contains("\"row\":3")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&journal, kept).unwrap();
    let (stdout, stderr, code) = ran(&mut failed(&folder, &from));
    assert_eq!((stdout.as_str(), code), ("id\n99998\n", 1), "{stderr}");
    assert!(stderr.contains("1 not done yet (line 3)") && stderr.contains("close --from"), "{stderr}");
    let (_, stderr, code) = ran(program(&folder).args(["report", "--failed", "--from"]).arg(&from));
    assert!(stderr.contains("add --output csv") && code == 2, "{stderr}");
}

/// One fault has one exit code and one message, from `report` and from the run that goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_the_same_for_the_report() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let ids = sandbox.populate(2);
    let from = folder.file("ids.csv", &format!("{}\n{}\n", ids[0], ids[1]));
    assert_eq!(ran(&mut bulk(&folder, &sandbox, "close", &from)).2, 0);
    let (people, _) = users(&folder, 1);
    let created = folder.path("created");
    assert_eq!(ran(bulk(&folder, &sandbox, "create", &people).arg("--journal").arg(&created)).2, 0);
    let journal = folder.path("ids.csv.journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let edited = |name: &str, from: &str, to: &str| folder.file(name, &text.replace(from, to));
    let open = folder.file("open", &text);
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
    symlink(&journal, folder.path("link")).unwrap();
    let key = format!("\"kind\":\"id\",\"key\":\"{}\"", ids[0]);
    sandbox.take_call_log();
    for (command, from, journal, code, said) in [
        ("close", folder.path("missing.csv"), journal.clone(), 2, "No such file"),
        ("close", folder.0.clone(), journal.clone(), 2, "it is not a regular file"),
        ("close", folder.file("wrong.csv", "id\nx\n"), journal.clone(), 2, "line 2, id"),
        ("close", folder.file("other.csv", "7\n"), journal.clone(), 21, "input"),
        ("create", people.clone(), journal.clone(), 21, ""),
        ("close", from.clone(), created, 21, ""),
        ("close", from.clone(), folder.path("nothing"), 21, "there is no journal"),
        ("close", from.clone(), from.clone(), 2, "it is the input"),
        ("close", from.clone(), folder.0.clone(), 21, "it is not a regular file"),
        ("close", from.clone(), open, 21, "its mode is 0644"),
        ("close", from.clone(), folder.path("link"), 21, "it is a symbolic link"),
        ("close", from.clone(), folder.file("garbage", "garbage\n"), 21, "it is not a journal"),
        ("close", from.clone(), edited("v9", "_journal\":2", "_journal\":9"), 21, "it has the format 9"),
        ("close", from.clone(), edited("op", "update_provision", "other"), 21, "does not do in bulk"),
        ("close", from.clone(), edited("key", &key, "\"kind\":\"id\",\"key\":\"7\""), 21, ""),
        ("close", PathBuf::from("-"), journal.clone(), 2, "standard input was kept in"),
    ] {
        let resumed = ran(bulk(&folder, &sandbox, command, &from).arg("--journal").arg(&journal).arg("--resume"));
        assert!(resumed.1.contains(said) && resumed.2 == code, "{resumed:?}");
        for failed in [&[][..], &["--failed"]] {
            let mut program = program(&folder);
            program
                .args(["report", "--output", "csv", "--from"])
                .arg(&from)
                .arg("--journal")
                .arg(&journal)
                .args(failed);
            let reported = ran(&mut program);
            assert!(reported.1.contains(said) && reported.2 == code, "{resumed:?}: {reported:?}");
        }
    }
    assert!(sandbox.call_log().iter().all(|call| call.method != "PUT"));
}
