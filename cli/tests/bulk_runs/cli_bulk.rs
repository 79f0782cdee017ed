//! `close --from` and `create --from`, killed, starved of space and interrupted; their input, their report.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bunq_partner::{Operation, ProvisionId};
use bunq_partner_sandbox::{Fault, Injection, Pace, Sandbox, SandboxBuilder};
use serde_json::Value;

use crate::common::bulk::{FAST, bulk, check_created, limited, rehearsed, report, users};
use crate::common::{Folder, calls, in_shell, program, ran};

/// A file of ids.
fn ids(folder: &Folder, ids: &[ProvisionId]) -> PathBuf {
    let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
    folder.file("ids.csv", &format!("id\n{lines}"))
}

fn journal_of(from: &Path) -> PathBuf {
    PathBuf::from(format!("{}.journal", from.display()))
}

fn len(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

/// A bank with limits that are as fast as the program's. One that refuses a call names them.
fn fast() -> SandboxBuilder {
    let limits = Operation::ALL.iter().map(|operation| (operation, operation.rate_limit));
    limits.fold(Sandbox::builder(), |builder, (operation, limit)| {
        builder.rate_limit(operation, limit.calls, limit.per / FAST.parse::<u32>().unwrap())
    })
}

/// Faults at every so many calls of an operation, by turns.
fn plague(sandbox: &Sandbox, operation: &Operation, every: u32, up_to: usize) {
    let faults = [
        Fault::Drop,
        Fault::Truncated,
        Fault::RateLimited,
        Fault::UnsignedStatus(503),
        Fault::Replayed,
        Fault::LateArrival(Duration::from_millis(5)),
        Fault::SessionLost,
        Fault::Status(500),
    ];
    for (turn, call) in (every..u32::try_from(up_to).unwrap()).step_by(every as usize).enumerate() {
        sandbox.inject(Injection::new(faults[turn % faults.len()]).on(operation).after(call));
    }
}

/// Waits until the journal has grown by this much; says whether the program is still there.
fn until_grown(child: &mut Child, journal: &Path, by: u64) -> bool {
    let start = len(journal);
    while len(journal) < start + by {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Runs to the end, with a kill at so many random moments; returns the report.
fn killed(
    folder: &Folder,
    sandbox: &Sandbox,
    command: &str,
    from: &Path,
    rows: u64,
    kills: u64,
) -> Vec<HashMap<String, String>> {
    let journal = journal_of(from);
    let mut done = 0;
    let receipts = folder.path("receipts");
    let run = || {
        let mut program = bulk(folder, sandbox, command, from);
        program.arg("--receipts").arg(&receipts);
        if len(&journal) > 0 || journal.exists() {
            program.arg("--resume");
        }
        program
    };
    while done < kills {
        let mut child = run().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Each row has two lines of about a hundred bytes.
        if !until_grown(&mut child, &journal, fastrand::u64(0..rows * 200 / kills)) {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        done += 1;
    }
    assert!(done > kills / 2, "it was killed {done} times");
    for _ in 0..10 {
        let (stdout, stderr, code) = ran(&mut run());
        // Of a request that has arrived later than is waited for, there are two users, and the row says so.
        if code == 0 || code == 17 {
            let report = report(&stdout);
            check_receipts(folder, &receipts, &report);
            return report;
        }
        assert!(stderr.contains("unfinished") || stderr.contains("in doubt"), "{stderr}");
    }
    panic!("rows stay unfinished");
}

/// Each accepted row has a receipt, and all receipts are valid.
fn check_receipts(folder: &Folder, receipts: &Path, report: &[HashMap<String, String>]) {
    let (stdout, stderr, code) = ran(program(folder).args(["receipts", "verify", "-o", "jsonl"]).arg(receipts));
    assert_eq!(code, 0, "{stderr}");
    let known: HashSet<String> = stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["response_id"].as_str().unwrap().to_owned())
        .collect();
    let missing = report.iter().find(|row| row["outcome"] == "accepted" && !known.contains(&row["response_id"]));
    assert!(missing.is_none(), "{missing:?}");
    // Nobody reads what is said beside it.
    let mut unread = program(folder);
    let unread = unread.args(["receipts", "verify"]).arg(receipts).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut unread = unread.spawn().unwrap();
    drop(unread.stderr.take());
    assert_eq!(unread.wait().unwrap().code(), Some(0));
}

fn check_closed(sandbox: &Sandbox, ids: &[ProvisionId], report: &[HashMap<String, String>]) {
    assert_eq!(report.len(), ids.len());
    for ((row, id), place) in report.iter().zip(ids).zip(1..) {
        assert_eq!((row["row"].parse(), row["id"].parse()), (Ok(place), Ok(*id)));
        assert!(["accepted", "found", "already"].contains(&&*row["outcome"]), "{row:?}");
        assert_ne!(sandbox.provision(*id).unwrap()["status"], "ACTIVE");
    }
}

async fn closes_killed(rows: usize, kills: u64) {
    let sandbox = fast().start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(rows);
    plague(&sandbox, &Operation::UPDATE_PROVISION, 23, rows);
    let from = ids(&folder, &provisions);
    let report = killed(&folder, &sandbox, "close", &from, rows as u64, kills);
    check_closed(&sandbox, &provisions, &report);
}

async fn creates_killed(rows: usize, kills: u64) {
    // The strictest bank: it makes a second user for a second request.
    let sandbox = fast().deduplicate(false).pace(Pace::Manual).start().await.unwrap();
    let folder = Folder::new();
    plague(&sandbox, &Operation::CREATE_PROVISION, 23, rows);
    let (from, uuids) = users(&folder, rows);
    // Nobody activates so many users, but their credentials expire.
    let (bank, is_over) = (sandbox.clone(), Arc::new(AtomicBool::new(false)));
    let expiring = {
        let is_over = Arc::clone(&is_over);
        std::thread::spawn(move || {
            let mut known = 0;
            while !is_over.load(Ordering::Relaxed) {
                let ids = bank.provision_ids();
                for id in &ids[known..] {
                    (0..3).for_each(|_| assert!(bank.advance(*id)));
                    assert!(bank.expire_credential(*id));
                }
                known = ids.len();
                std::thread::sleep(Duration::from_millis(5));
            }
        })
    };
    let report = killed(&folder, &sandbox, "create", &from, rows as u64, kills);
    is_over.store(true, Ordering::Relaxed);
    expiring.join().unwrap();
    check_created(&sandbox, &uuids, &report);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_survives_kills() {
    test_timeout::start();
    closes_killed(300, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_survives_kills() {
    test_timeout::start();
    creates_killed(150, 8).await;
}

/// Some minutes: `cargo test --release --package bunq-partner-cli --test bulk_runs -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes"]
async fn ten_thousand_closes_survive_twenty_kills() {
    test_timeout::start();
    closes_killed(10_000, 20).await;
}

/// Some minutes: `cargo test --release --package bunq-partner-cli --test bulk_runs -- --ignored`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes"]
async fn two_thousand_creates_survive_twenty_kills() {
    test_timeout::start();
    creates_killed(2_000, 20).await;
}

/// A closing that is still on its way when the program is killed arrives after the bank has refused its twin.
#[tokio::test(flavor = "multi_thread")]
async fn a_closing_that_is_still_on_its_way_is_not_told_as_refused() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let id = sandbox.populate(1)[0];
    let from = ids(&folder, &[id]);
    // What is in doubt is looked for during 5 s.
    let close = || rehearsed("2", &folder, &sandbox, "close", &from);
    sandbox.inject(Injection::new(Fault::LateArrival(Duration::from_secs(2))).on(&Operation::UPDATE_PROVISION));
    sandbox.inject(Injection::new(Fault::Late(Duration::from_secs(3600))).on(&Operation::GET_PROVISION).always());
    let mut child = close().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while calls(&sandbox, "PUT", &id.to_string()).is_empty() {
        assert_eq!(child.try_wait().unwrap(), None, "it has ended");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    sandbox.clear_injections();

    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::UPDATE_PROVISION).always());
    let (stdout, stderr, _) = ran(program(&folder).args(["report", "-o", "csv", "--from"]).arg(&from));
    assert_eq!(report(&stdout)[0]["outcome"], "sent", "{stderr}");
    let (stdout, stderr, code) = ran(close().arg("--resume"));
    assert_eq!((code, &*report(&stdout)[0]["outcome"]), (0, "found"), "{stderr}");
}

/// The journal can grow no further, as on a full disk: nothing more is sent, and the next run goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_run_and_loses_nothing() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(100);
    let from = ids(&folder, &provisions);
    let journal = journal_of(&from);
    let run = |blocks: Option<u64>| match blocks {
        Some(blocks) => ran(&mut limited(&bulk(&folder, &sandbox, "close", &from), blocks)),
        None => ran(bulk(&folder, &sandbox, "close", &from).arg("--resume")),
    };
    // Room for the context, and for a part of the journal.
    let (_, stderr, code) = run(Some(8));
    assert_eq!(code, 21, "{stderr}");
    assert!(
        stderr.contains("the journal") && stderr.contains("it cannot be written") && stderr.contains("--resume"),
        "{stderr}"
    );
    let written = std::fs::read_to_string(&journal).unwrap();
    assert!(written.ends_with('\n'), "half a line is left");
    // What was sent is in the journal.
    let sent =
        calls(&sandbox, "PUT", "").len().max(sandbox.call_log().iter().filter(|call| call.method == "PUT").count());
    assert!(sent > 0 && written.lines().filter(|line| line.contains(r#""state":"sent""#)).count() >= sent);
    let (stdout, stderr, code) = run(None);
    assert_eq!(code, 0, "{stderr}");
    check_closed(&sandbox, &provisions, &report(&stdout));
}

fn refused(command: &mut Command) -> String {
    let (stdout, stderr, code) = ran(command);
    assert_eq!((stdout.as_str(), code), ("", 2), "{stderr}");
    stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_of_the_input_is_said_before_anything_is_sent() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let uuid = "11111111-1111-4111-8111-111111111111";
    let good = format!("external_uuid,email,phone_number,date_of_birth,country\n{uuid},a@example.com,+31600000001");
    for (command, text, problems) in [
        (
            "close",
            "id\n12\nabc\n12\n-1\n",
            &["line 3, id: the id of a", "line 4, id: it is in line 2 too", "line 5, id: the id of a provision is a"][..],
        ),
        (
            "close",
            "id,note\n12,x\n",
            &["line 1: field 2 is not the name of a column: the columns are id, external_uuid: `cut -d, -f1`"],
        ),
        ("close", "id\n12,13\n", &["line 2: it has 2 fields"]),
        ("close", "", &["it is empty"]),
        ("close", "id\n", &["it has no rows"]),
        (
            "close",
            "{\"id\":1}\n{\"id\":\n{\"ID\":2}\n{\"id\":[]}\n",
            &[
                "line 2: character 6: the line breaks off",
                "line 3: member 1 is not one of id",
                "line 4: id: it is neither",
            ],
        ),
        ("close", "{\"id\":1,\"id\":2}\n", &["line 1: the member `id` is there twice"]),
        ("close", "id\r7\r7\r", &["line 3, id: it is in line 2 too"]),
        ("close", "id;note\n7;x\n", &["line 1: field 2 is not", "`cut -d';' -f1`"]),
        ("close", "[{\"id\":7}]\n", &["without an array around them"]),
        ("close", "\u{feff}id\n7\n7\n", &["line 3, id: it is in line 2 too"]),
        ("create", "external_uuid,email\nx,y\n", &["line 1: the column `phone_number` is missing"]),
        ("create", &format!("{good},1990-02-31,NL\n"), &["line 2, date_of_birth: it is not a date, as in"]),
        ("create", &format!("{good},,NL\n"), &["line 2, date_of_birth: it is missing beside the country"]),
        (
            "create",
            &format!("{good},,\n{uuid},b@example.com,+31600000002,,\n"),
            &["line 3, external_uuid: it is in line 2 too"],
        ),
        ("create", &format!("{},,\n", good.replace("a@example.com", "a")), &["line 2, email: "]),
    ] {
        let from = folder.file("input", text);
        let stderr = refused(&mut bulk(&folder, &sandbox, command, &from));
        assert!(problems.iter().all(|problem| stderr.contains(problem)), "{text:?}: {stderr}");
    }
    let utf_16: Vec<u8> = "id\n12\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let from = folder.path("input");
    for (bytes, problem) in [
        ([&[0xff, 0xfe][..], &utf_16].concat(), "save it as UTF-8"),
        (utf_16, "save it as UTF-8"),
        (b"id\n12\n\xe9\n".to_vec(), "line 3: field 1: it is not UTF-8"),
        ([b"id\n", &b"1".repeat((32 << 20) + 1)[..]].concat(), "line 2: a line is longer than 33554432 bytes"),
    ] {
        std::fs::write(&from, bytes).unwrap();
        let stderr = refused(&mut bulk(&folder, &sandbox, "close", &from));
        assert!(stderr.contains(problem), "{stderr}");
    }
    // Only so many are said.
    let from = folder.file("input", &format!("id\n{}", "x\n".repeat(100)));
    assert!(refused(&mut bulk(&folder, &sandbox, "close", &from)).contains("; and 80 more"));
    assert!(sandbox.call_log().is_empty());
}

/// The values of a person, each in each column, with and without the names of the columns, in both notations.
#[tokio::test(flavor = "multi_thread")]
async fn no_mistake_repeats_a_value_of_the_input() {
    test_timeout::start();
    const COLUMNS: [&str; 5] = ["external_uuid", "email", "phone_number", "date_of_birth", "country"];
    const PERSON: [&str; 5] =
        ["feedbeef-1111-4111-8111-11111111111", "qzx@vwk.example", "+3165551234", "1990-02-31", "Qzland"];
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let mut inputs = vec![
        "qzx@vwk.example\n".to_owned(),
        "{\"id\":1}\n\"qzx@vwk.example\"\n{\"id\":1990-02-31}\n{\"qzx@vwk.example\":1}\n".to_owned(),
        "{\"email\":\"a@b\",\"email\":\"qzx@vwk.example\"}\n".to_owned(),
        "{\"email\":[\"qzx@vwk.example\"]}\n{\"email\":\"qzx@vwk.example\n".to_owned(),
        format!("{}\n\"{}\n", COLUMNS.join(","), PERSON.join("\",\"")),
    ];
    for shift in 0..COLUMNS.len() {
        let mut values = PERSON;
        values.rotate_left(shift);
        let row = values.join(",");
        inputs.push(format!("{}\n{row}\n{row},{row}\n", COLUMNS.join(",")));
        inputs.push(format!("{row}\n"));
        let members: serde_json::Map<_, _> =
            COLUMNS.iter().zip(values).map(|(column, value)| ((*column).to_owned(), value.into())).collect();
        inputs.push(format!("{}\n", Value::from(members)));
        inputs.push(format!("external_uuid,email,phone_number,director\n{}\n", values[..4].join(",")));
        inputs.push(format!("id\n{}\n", values[0]));
    }
    for (input, command) in inputs.iter().flat_map(|input| [(input, "create"), (input, "close")]) {
        let from = folder.file("input", input);
        let said = refused(&mut bulk(&folder, &sandbox, command, &from));
        for piece in ["feedbeef", "qzx", "vwk", "555", "1990-02", "Qzland"] {
            assert!(!said.contains(piece), "{command} {input}: {said}");
        }
    }
    assert!(sandbox.call_log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_ids_and_json_lines_are_taken_too() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(4);
    let [a, b, c, d] = provisions[..] else { panic!() };
    for (name, text) in [("list", format!("{a}\n{b}\n")), ("json", format!("{{\"id\": {c}}}\n\n{{\"id\": \"{d}\"}}\n"))]
    {
        let from = folder.file(name, &text);
        let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &from));
        assert_eq!((report(&stdout).len(), code), (2, 0), "{stderr}");
    }
    assert!(provisions.iter().all(|id| sandbox.provision(*id).unwrap()["status"] == "CANCELLED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_belongs_to_its_input_its_key_and_one_process() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(3);
    let from = ids(&folder, &provisions);
    let close = || bulk(&folder, &sandbox, "close", &from);
    let (_, stderr, code) = ran(close().arg("--resume"));
    assert!(code == 21 && stderr.contains("there is no journal") && stderr.contains("leave out --resume"), "{stderr}");
    assert_eq!(ran(&mut close()).2, 0);
    let stderr = refused(&mut close());
    assert!(stderr.contains("is the journal of an earlier run") && stderr.contains("--resume"), "{stderr}");
    sandbox.take_call_log();
    assert_eq!(ran(close().arg("--resume")).2, 0);
    let failed = |command: &mut Command| {
        let (_, stderr, code) = ran(command);
        assert_eq!(code, 21, "{stderr}");
        stderr
    };
    assert!(failed(close().arg("--resume").env("BUNQ_API_KEY", "sandbox_another")).contains("that of another API key"));
    let journal = journal_of(&from);
    let held = bunq_partner::FileJournal::open(&journal).await.unwrap();
    assert!(failed(close().arg("--resume")).contains("another process uses it"));
    // The report is there nevertheless.
    let reported = |from: &Path| {
        let mut program = program(&folder);
        ran(program.args(["report", "-o", "jsonl", "--from"]).arg(from).arg("--journal").arg(&journal))
    };
    let (stdout, stderr, code) = reported(&from);
    assert_eq!((stdout.lines().count(), code), (3, 0), "{stderr}");
    drop(held);
    let input = std::fs::read(&from).unwrap();
    std::fs::write(&from, "id\n99\n").unwrap();
    let stderr = failed(close().arg("--resume"));
    assert!(
        stderr.contains("is not the input that the journal was begun with") && !stderr.contains("goes on"),
        "{stderr}"
    );
    let (_, stderr, code) = reported(&from);
    assert!(code == 21 && stderr.contains("is not the input that the journal was begun with"), "{stderr}");
    std::fs::write(&from, input).unwrap();
    let text = std::fs::read_to_string(&journal).unwrap();
    for other in [1, 3] {
        let header = format!("\"bunq_partner_journal\":{other}");
        std::fs::write(&journal, text.replace("\"bunq_partner_journal\":2", &header)).unwrap();
        assert!(failed(close().arg("--resume")).contains(&format!("has the format {other}")));
    }
    std::fs::write(&journal, text.replace("update_provision", "list_provisions")).unwrap();
    for said in [failed(close().arg("--resume")), reported(&from).1] {
        assert!(said.contains("the journal is of `list_provisions`, which this version does not do in bulk"), "{said}");
    }
    // Of a later version nothing else is expected, and nothing is cut off.
    let later = format!("{{\"bunq_partner_journal\":3,\"bank\":1}}\n{}", "{\"row\":\"1\"}\n".repeat(3));
    std::fs::write(&journal, &later).unwrap();
    assert!(failed(close().arg("--resume")).contains("has the format 3"));
    assert!(reported(&from).1.contains("has the format 3"));
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), later);
    assert!(sandbox.call_log().iter().all(|call| call.method != "PUT"));
}

/// What was checked, and what a person has confirmed, is what is sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_changes_after_its_check_is_not_followed() {
    test_timeout::start();
    let sandbox = fast().start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(400);
    let others = sandbox.populate(400);
    let from = ids(&folder, &provisions);
    let mut program = rehearsed("100", &folder, &sandbox, "close", &from);
    let mut child = program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until_grown(&mut child, &journal_of(&from), 1000);
    ids(&folder, &others);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    check_closed(&sandbox, &provisions, &report(&String::from_utf8(output.stdout).unwrap()));
    assert!(others.iter().all(|id| sandbox.provision(*id).unwrap()["status"] == "ACTIVE"));
}

/// What a failure hints can be pasted, whatever the names of the files.
#[tokio::test(flavor = "multi_thread")]
async fn a_hint_to_resume_can_be_pasted() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(40);
    let lines: String = provisions.iter().map(|id| format!("{id}\n")).collect();
    let from = folder.file("it's a night.csv", &lines);
    let plain = bulk(&folder, &sandbox, "close", &from);
    let (_, stderr, code) = ran(&mut limited(&plain, 4));
    assert_eq!(code, 21, "{stderr}");
    let hint = stderr.rsplit("hint: ").next().unwrap();
    let command = hint.split('`').nth(1).unwrap();
    let mut pasted = in_shell(&plain, command);
    let path = Path::new(plain.get_program()).parent().unwrap();
    pasted.env("PATH", format!("{}:{}", path.display(), std::env::var("PATH").unwrap()));
    let (stdout, stderr, code) = ran(&mut pasted);
    assert_eq!(code, 0, "{command}: {stderr}");
    check_closed(&sandbox, &provisions, &report(&stdout));
}

/// A closed pipe hides no failure, and neither standard input nor a folder that cannot be used is left half done.
#[tokio::test(flavor = "multi_thread")]
async fn failures_are_not_hidden_by_what_happens_around_them() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let from = folder.file("ids", "99998\n99999\n");
    let plain = bulk(&folder, &sandbox, "close", &from);
    let mut shell = in_shell(&plain, "\"$0\" \"$@\" | true; exit ${PIPESTATUS[0]}");
    assert_eq!(ran(&mut shell).2, 9);
    // Nothing can be stored there, so nobody is created.
    let (users, _) = users(&folder, 2);
    let stderr = refused(bulk(&folder, &sandbox, "create", &users).args(["--activate", "/proc/1"]));
    assert!(stderr.contains("nothing can be stored in the folder /proc/1"), "{stderr}");
    let stderr = refused(bulk(&folder, &sandbox, "create", &users).arg("--activate").arg(&users));
    assert!(
        stderr.contains("nothing can be stored in the folder ") && stderr.contains(": it is not a folder"),
        "{stderr}"
    );
    assert!(sandbox.provision_ids().is_empty());
    // A refusal before anything is sent keeps nothing of standard input.
    let mut child = program(&folder)
        .env("BUNQ_API_KEY", "x")
        .args(["--env", "production", "create", "--from", "-", "--journal"])
        .arg(folder.path("night"))
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&std::fs::read(&users).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!folder.path("night.input").exists());
}

/// A report is there before the end too, and has the rows that were not begun.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_fail_are_reported_with_the_exit_code_of_the_first() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(2);
    let from = folder.file("ids", &format!("{}\n99999\n{}\n", provisions[0], provisions[1]));
    let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &from));
    assert_eq!(code, 9, "{stderr}");
    let rows = report(&stdout);
    assert_eq!(rows.iter().map(|row| &*row["outcome"]).collect::<Vec<_>>(), ["accepted", "failed", "accepted"]);
    assert_eq!((&*rows[1]["error_kind"], &*rows[1]["http_status"]), ("NotFound", "404"));
    assert!(
        stderr.contains("line 2: ") && stderr.contains("not all of the 3 rows are done: 2 accepted, 1 failed"),
        "{stderr}"
    );
    let text = std::fs::read_to_string(journal_of(&from)).unwrap();
    let kept: Vec<_> = text.lines().filter(|line| !line.contains("\"row\":3")).collect();
    let journal = folder.file("journal", &(kept.join("\n") + "\n"));
    let (stdout, _, code) =
        ran(program(&folder).args(["report", "-o", "json", "--from"]).arg(&from).arg("--journal").arg(&journal));
    let rows: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (rows[2]["outcome"].as_str(), rows[2]["id"].as_u64(), code),
        (Some("not_begun"), Some(provisions[1].get()), 9)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_input_is_kept_for_the_next_run() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(3);
    let dash = Path::new("-");
    assert!(refused(&mut bulk(&folder, &sandbox, "close", dash)).contains("say with --journal"));
    let journal = folder.path("night");
    let with_input = |arguments: &[&str]| {
        let mut child = bulk(&folder, &sandbox, "close", dash)
            .args(arguments)
            .arg("--journal")
            .arg(&journal)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: String = provisions.iter().map(|id| format!("{id}\n")).collect();
        // A program that refuses does not read.
        let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
        child.wait_with_output().unwrap()
    };
    let planned = bulk_plan(&with_input(&["--dry-run", "-o", "json"]).stdout);
    assert_eq!(planned["rows"], 3);
    assert!(!journal.exists() && !folder.path("night.input").exists());
    assert!(with_input(&[]).status.success());
    // A look at other rows does not replace it.
    let kept = std::fs::read(folder.path("night.input")).unwrap();
    assert_eq!(bulk_plan(&with_input(&["--dry-run", "-o", "json"]).stdout)["rows"], 3);
    let refused = String::from_utf8(with_input(&[]).stderr).unwrap();
    assert!(refused.contains("is the journal of an earlier run"), "{refused}");
    assert_eq!(std::fs::read(folder.path("night.input")).unwrap(), kept);
    assert_eq!(std::fs::metadata(folder.path("night.input")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = String::from_utf8(with_input(&["--resume"]).stderr).unwrap();
    assert!(again.contains("night.input: give --from"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_not_begun_has_nothing_to_go_on_with() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let (from, _) = users(&folder, 2);
    let journal = folder.path("night");
    let mut create = bulk(&folder, &sandbox, "create", Path::new("-"));
    create.arg("--journal").arg(&journal).env("BUNQ_API_KEY", "sandbox_another");
    create.stdin(std::fs::File::open(&from).unwrap());
    let (_, stderr, code) = ran(&mut create);
    assert!(code == 8 && !stderr.contains("--resume"), "{stderr}");
    assert!(!folder.path("night.input").exists());
    let mut reported = program(&folder);
    let (stdout, _, code) =
        ran(reported.args(["report", "-o", "csv", "--from"]).arg(&from).arg("--journal").arg(&journal));
    assert!(code == 1 && report(&stdout).iter().all(|row| row["outcome"] == "not_begun"), "{stdout}");
}

fn bulk_plan(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap()
}

/// The time that a night takes is said before it begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_how_long_it_takes() {
    test_timeout::start();
    let folder = Folder::new();
    let lines: String = (1..=10_000).map(|id| format!("{id}\n")).collect();
    let from = folder.file("ids", &lines);
    let (stdout, _, code) = ran(program(&folder).args(["close", "--dry-run", "--from"]).arg(&from));
    assert_eq!((stdout.as_str(), code), ("10000 rows: update_provision calls in 4 h 10 min\n", 0));
    let (from, _) = users(&folder, 1000);
    let (stdout, stderr, _) = ran(program(&folder).args(["create", "--dry-run", "--from"]).arg(&from));
    assert!(stdout.starts_with("1000 rows: create_provision calls in 10 min\n"), "{stdout}");
    let held =
        "the run stops at 120 users until others are activated: --activate FOLDER activates them, all in 8 h 20 min";
    assert!(stderr.contains(held), "{stderr}");
    let (stdout, ..) = ran(program(&folder)
        .args(["create", "--dry-run", "--activate"])
        .arg(folder.own_folder("kept"))
        .arg("--from")
        .arg(&from));
    assert!(stdout.starts_with("1000 rows: create_provision calls in 8 h 20 min\n"), "{stdout}");
}

/// The time of this machine jumps by days between and during runs: the order of what is written counts, not its times.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_changes_nothing() {
    test_timeout::start();
    let sandbox = fast().deduplicate(false).pace(Pace::Manual).start().await.unwrap();
    let folder = Folder::new();
    let (from, uuids) = users(&folder, 40);
    let journal = journal_of(&from);
    // What arrives late arrives long before it is waited for no more.
    let create = || rehearsed("100", &folder, &sandbox, "create", &from);
    sandbox.inject(
        Injection::new(Fault::LateArrival(Duration::from_millis(5))).on(&Operation::CREATE_PROVISION).after(9).times(9),
    );
    let mut child = create().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until_grown(&mut child, &journal, 4000);
    child.kill().unwrap();
    child.wait().unwrap();
    // What was written is from tomorrow, or from last year.
    let text = std::fs::read_to_string(&journal).unwrap();
    let year = &bunq_partner::jiff::Timestamp::now().to_string()[..4];
    for (jump, other) in [("2001", "2001"), ("2098", "2098")] {
        let jumped = text.replace(&format!("\"at\":\"{year}"), &format!("\"at\":\"{jump}"));
        assert_ne!(jumped, text, "{other}");
        std::fs::write(&journal, &jumped).unwrap();
        let (stdout, stderr, code) = ran(create().arg("--resume"));
        assert_eq!(code, 0, "{stderr}");
        check_created(&sandbox, &uuids, &report(&stdout));
    }
}

/// Receipts that cannot be written stop the run as a full journal does.
#[tokio::test(flavor = "multi_thread")]
async fn no_row_is_begun_without_room_for_its_receipt() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let provisions = sandbox.populate(100);
    let from = ids(&folder, &provisions);
    let receipts = folder.path("receipts");
    let mut plain = bulk(&folder, &sandbox, "close", &from);
    plain.arg("--receipts").arg(&receipts);
    let (_, stderr, code) = ran(&mut limited(&plain, 16));
    assert_eq!(code, 21, "{stderr}");
    assert!(stderr.contains("the receipts") && stderr.contains("it cannot be written"), "{stderr}");
    let receipts_written = std::fs::read_to_string(&receipts).unwrap().lines().count();
    let sent = sandbox.call_log().iter().filter(|call| call.method == "PUT").count();
    assert!(receipts_written > 0 && sent <= receipts_written + 17, "{sent} {receipts_written}");
    let (stdout, stderr, code) = ran(plain.arg("--resume"));
    assert_eq!(code, 0, "{stderr}");
    check_closed(&sandbox, &provisions, &report(&stdout));
}
