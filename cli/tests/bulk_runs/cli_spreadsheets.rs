//! Files as spreadsheets and people write them: their lines, their separators, and what the program itself has written.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bunq_partner::{NewProvision, Operation, ProvisionId, Uuid};
use bunq_partner_sandbox::{Fault, Injection, Sandbox, SeedProvision};
use serde_json::{Value, json};

use crate::common::bulk::{bulk, report, users};
use crate::common::{Folder, in_shell, program, program_for, ran};

fn seed(status: &str, external_uuid: Option<Uuid>, name: &str) -> SeedProvision {
    let seed = json!({ "status": status, "external_uuid": external_uuid, "display_name": name });
    serde_json::from_value(seed).unwrap()
}

fn refused(command: &mut Command) -> String {
    let (stdout, stderr, code) = ran(command);
    assert_eq!((stdout.as_str(), code), ("", 2), "{stderr}");
    stderr
}

fn reported(folder: &Folder, from: &Path, more: &[&str]) -> (String, String, i32) {
    ran(program(folder).args(["report", "--output", "csv", "--from"]).arg(from).args(more))
}

fn is_closing(sandbox: &Sandbox, id: ProvisionId) -> bool {
    sandbox.provision(id).unwrap()["status"] != "ACTIVE"
}

/// Edits what the lists have whose query has this text.
fn edit_lists(sandbox: &Sandbox, query: &'static str, edit: fn(&mut Vec<Value>)) {
    sandbox.before_signing(move |call, response| {
        if call.path.ends_with("/partner-user-provision")
            && call.query.as_deref().is_some_and(|all| all.contains(query))
        {
            let mut body: Value = serde_json::from_slice(&response.body).unwrap();
            edit(body["Response"].as_array_mut().unwrap());
            response.body = body.to_string().into_bytes();
        }
    });
}

fn closings(sandbox: &Sandbox) -> usize {
    sandbox.call_log().iter().filter(|call| call.method == "PUT").count()
}

/// The check, the run, the report and the new input name a row by the line that an editor shows.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_named_by_the_lines_of_an_editor() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    // A name with line ends in it, a line without text, and rows in lines 5 and 7.
    let text = "id,display_name\n{a},\"Ada\nvan\"\n\n99999,x\n\n{b},y\n";
    for (name, end) in [("crlf", "\r\n"), ("lf", "\n"), ("cr", "\r")] {
        let ids = sandbox.populate(2);
        let filled = |b: &str| text.replace("{a}", &ids[0].to_string()).replace("{b}", b).replace('\n', end);
        let wrong = folder.file(&format!("{name}-wrong.csv"), &filled("x"));
        let stderr = refused(&mut bulk(&folder, &sandbox, "close", &wrong));
        assert!(stderr.contains("-wrong.csv: line 7, id: the id of a provision"), "{name}: {stderr}");

        let from = folder.file(&format!("{name}.csv"), &filled(&ids[1].to_string()));
        let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &from));
        assert!(stderr.contains("line 5: ") && code == 9, "{name}: {stderr}");
        for stdout in [stdout, reported(&folder, &from, &[]).0] {
            let lines: Vec<_> = report(&stdout).iter().map(|row| (row["row"].clone(), row["line"].clone())).collect();
            assert_eq!(lines, [("1", "2"), ("2", "5"), ("3", "7")].map(|(row, line)| (row.into(), line.into())));
        }
        let (stdout, ..) = reported(&folder, &from, &["--failed"]);
        assert_eq!(stdout, "id\n99999\n");
        // The last row was not begun.
        let journal = std::fs::read_to_string(folder.path(&format!("{name}.csv.journal"))).unwrap();
        let kept = journal.lines().filter(|line| !line.contains("\"row\":3")).map(|line| format!("{line}\n"));
        let journal = folder.file("journal", &kept.collect::<String>());
        let (_, stderr, _) = reported(&folder, &from, &["--failed", "--journal", journal.to_str().unwrap()]);
        assert!(stderr.contains("1 not done yet (line 7)"), "{name}: {stderr}");

        let lines = "{\"id\":1}\n\n{\"id\":2}\n{\"id\":1}\n".replace('\n', end);
        let stderr = refused(&mut bulk(&folder, &sandbox, "close", &folder.file("lines", &lines)));
        assert!(stderr.contains("line 4, id: it is in line 1 too"), "{name}: {stderr}");
    }
    // Only a line is bounded, however it ends.
    let ids: String = (1..=20_000).map(|id| format!("{id}\r")).collect();
    let from = folder.file("long", &ids);
    assert_eq!(ran(program(&folder).args(["close", "--dry-run", "--from"]).arg(from)).2, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_spreadsheets_write_is_read() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let columns = ["external_uuid", "email", "phone_number", "date_of_birth", "country"];
    for (place, (before, separator, end, after)) in [
        ("", ";", "\r\n", ""),
        ("", "\t", "\n", ""),
        ("\u{feff}sep=;\r\n", ";", "\r\n", ""),
        ("sep=,\n", ",", "\n", ",,,,\n,,,,\n"),
        ("", ",", "\r", ",,,,\r\r, ,\"\",,\r"),
        ("\u{feff}", ";", "\r\n", ";;;;\r\n \r\n"),
        // As many cells as the widest row has.
        ("", ",", ",,\n", ",,,,,,\n"),
        ("", ";", "\n", ";;;;; ;\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let uuid = Uuid::new_v4();
        let person = [&uuid.to_string(), "\"a@example.com\"", "'+31600000001 ", "1990-12-31", "NL"];
        let header = columns.join(separator);
        let header = if place % 2 == 0 { header } else { header.to_uppercase() };
        let lines = [header, person.join(separator)].map(|line| line + end);
        let text = format!("{before}{}{after}", lines.concat());
        let from = folder.file(&format!("users{place}"), &text);
        let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "create", &from));
        assert_eq!((report(&stdout).len(), code), (1, 0), "{text:?}: {stderr}");
    }
    // The sign in front of the number is not sent.
    let sent = sandbox.call_log().into_iter().filter(|call| call.method == "POST" && call.path.ends_with("provision"));
    assert_eq!(sent.filter(|call| call.body.contains("\"+31600000001\"")).count(), 8);
    for (text, problem) in [
        ("id,status\n7,x\n,\n\n8,x\n", "line 3: the row is empty: remove it"),
        ("sep=;\n\nid;statu\n7;x\n", "line 3: field 2 is not the name of a column"),
        ("sep=|\nid|status\n", "line 1: `sep=` is followed by a comma, a semicolon or a tab"),
        (",,\n,,\n", "it has no rows"),
        ("id;status\n7\n", "line 2: it has 1 fields instead of 2"),
        ("id,status,\n7,x,y\n", "line 2: it has 3 fields instead of 2"),
        ("id,Status,ID\n7,x,7\n", "line 1: the column `id` is there twice"),
        ("id,,status\n7,,x\n", "line 1: field 2 is not the name of a column"),
        ("id,display_name\n7,\"Ada\n8,x\n9,\"Bob\n", "line 2: a field that begins with a quote does not end with one"),
    ] {
        let stderr = refused(&mut bulk(&folder, &sandbox, "close", &folder.file("wrong", text)));
        assert!(stderr.contains(problem), "{text:?}: {stderr}");
    }
}

/// Lists in each notation, the report of a creation, its outcomes and its receipts close what is in them.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_writes_a_closing_reads() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let run = |words: &[&str]| {
        let (stdout, stderr, code) = ran(program_for(&folder, &sandbox).args(["--rehearse", "1000"]).args(words));
        assert_eq!(code, 0, "{words:?}: {stderr}");
        stdout
    };
    let created = |place: usize| {
        let (users, _) = users(&folder, 2);
        let (users, journal) = (users.to_str().unwrap(), folder.path(&format!("created{place}")));
        let receipts = folder.path(&format!("receipts{place}"));
        let words = ["-o", "csv", "create", "--from", users, "--journal", journal.to_str().unwrap()];
        let written = run(&[&words[..], &["--receipts", receipts.to_str().unwrap()]].concat());
        (written, users.to_owned(), journal, receipts)
    };
    let one = |place: u32| {
        let (email, phone) = (format!("one{place}@example.com"), format!("+3161{place:07}"));
        ["create".to_owned(), "--email".into(), email, "--phone-number".into(), phone]
    };
    let mut inputs = Vec::new();
    for format in ["csv", "jsonl"] {
        let known = sandbox.provision_ids();
        let (..) = created(inputs.len());
        inputs.push((run(&["list", "-o", format, "--limit", "2"]), sandbox.provision_ids().split_off(known.len())));
        let known = sandbox.provision_ids();
        let words = one(inputs.len() as u32);
        let words: Vec<_> = words.iter().map(String::as_str).chain(["--wait", "-o", format]).collect();
        inputs.push((run(&words), sandbox.provision_ids().split_off(known.len())));
        let known = sandbox.provision_ids();
        let (_, users, journal, receipts) = created(inputs.len());
        let ids = sandbox.provision_ids().split_off(known.len());
        if format == "csv" {
            inputs
                .push((run(&["report", "-o", format, "--from", &users, "--journal", journal.to_str().unwrap()]), ids));
        } else {
            inputs.push((run(&["receipts", "verify", "-o", format, receipts.to_str().unwrap()]), ids));
        }
    }
    for ((text, ids), place) in inputs.iter().zip(1..) {
        assert!(!ids.is_empty());
        let from = folder.file(&format!("input{place}"), text);
        let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &from));
        assert_eq!((report(&stdout).len(), code), (ids.len(), 0), "{text}: {stderr}");
        assert!(ids.iter().all(|id| sandbox.provision(*id).unwrap()["status"] == "CANCELLED"), "{text}");
        // What a report has written of a closing is such a file too.
        let again = folder.file(&format!("again{place}"), &stdout);
        let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &again));
        assert!(code == 0 && report(&stdout).iter().all(|row| row["outcome"] == "already"), "{stderr}");
    }
    for (text, problem) in [
        ("id,satus\n7,x\n", "line 1: field 2 is not the name of a column: the columns are id, external_uuid"),
        ("status,external_uid\nx,y\n", "line 1: field 2 is not"),
        ("status,created\nx,y\n", "line 1: the column `id` or `external_uuid` is missing"),
        ("{\"id\":7,\"label_usr\":{}}\n", "line 1: member 2 is not one of id, external_uuid"),
        ("id,external_uuid\n,\n7,\n", "line 2: the row is empty"),
        ("id,status\n,ACTIVE\n", "line 2, id: it is missing, and so is the external_uuid"),
    ] {
        let stderr = refused(&mut bulk(&folder, &sandbox, "close", &folder.file("wrong", text)));
        assert!(stderr.contains(problem), "{text:?}: {stderr}");
    }
}

/// One row that does not name a provision for certain, and nothing is closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_closing_by_key_is_certain_or_refused() {
    test_timeout::start();
    let [one, twice, over, other, unknown] = [(); 5].map(|()| Uuid::new_v4());
    let seeds = [
        seed("ACTIVE", Some(one), "a"),
        seed("CLOSED", Some(one), "a before"),
        seed("ACTIVE", Some(twice), "b"),
        seed("ACTIVE", Some(twice), "b again"),
        seed("CLOSED", Some(over), "c"),
        seed("ACTIVE", Some(other), "d"),
    ];
    let sandbox = Sandbox::builder().deduplicate(false).seed(seeds).start().await.unwrap();
    let folder = Folder::new();
    let [a, _, b, b2, _, d] = sandbox.provision_ids()[..] else { panic!() };
    // Rows are read one by one when the listing is longer than they are many.
    for is_long in [false, true] {
        if is_long {
            sandbox.populate(2_000);
        }
        let text = format!(
            "id,external_uuid\n{a},{one}\n,{twice}\n,{over}\n,{unknown}\n{b},{one}\n99999,{one}\n,{other}\n{d},\n"
        );
        let from = folder.file(if is_long { "wrong.long" } else { "wrong" }, &text);
        let stderr = refused(&mut bulk(&folder, &sandbox, "close", &from));
        for problem in [
            &format!(
                "line 3, external_uuid: at bunq it is that of provisions {b}, {b2}, which are not closed: give one id"
            ),
            "line 4, external_uuid: bunq has no provision with it that is not closed",
            "line 5, external_uuid: bunq has no provision with it",
            &format!("line 6, external_uuid: at bunq provision {b} has another one, or none"),
            "line 7, id: bunq has no provision 99999",
            &format!("line 8, external_uuid: its provision is {d}, which is in line 9 too"),
            "hint: nothing was closed",
        ] {
            assert!(stderr.contains(problem), "{problem}: {stderr}");
        }
        assert!(!stderr.contains("line 2"), "{stderr}");
        assert_eq!(closings(&sandbox), 0);
        // Its journal was not begun.
        let good = format!("external_uuid,id\n{one},\n{twice},{b2}\n");
        std::fs::write(&from, good).unwrap();
        let plan = ran(program(&folder).args(["close", "--dry-run", "--from"]).arg(&from)).0;
        assert!(plan.contains("2 rows: update_provision") && plan.contains("2 rows need a look at bunq"), "{plan}");
        let plan = ran(program(&folder).args(["close", "--dry-run", "-o", "json", "--from"]).arg(&from)).0;
        let plan: Value = serde_json::from_str(&plan).unwrap();
        assert_eq!((&plan["rows"], &plan["look_rows"], &plan["max_look_calls"]), (&json!(2), &json!(2), &json!(4)));
    }
    let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &folder.path("wrong.long")));
    assert!(stderr.contains("2 rows need a look at bunq first") && code == 0, "{stderr}");
    let ids: Vec<_> = report(&stdout).iter().map(|row| (row["id"].clone(), row["external_uuid"].clone())).collect();
    assert_eq!(ids, [(a.to_string(), one.to_string()), (b2.to_string(), twice.to_string())]);
    assert!(
        is_closing(&sandbox, a) && is_closing(&sandbox, b2) && !is_closing(&sandbox, b) && !is_closing(&sandbox, d)
    );
    assert_eq!(closings(&sandbox), 2);
}

/// A page that does not show a provision, or not its key, decides nothing, and neither does a list whose filter does not hold.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_tells_too_little_closes_nothing_else() {
    test_timeout::start();
    let [closed, one, twice] = [(); 3].map(|()| Uuid::new_v4());
    let seeds = [
        seed("ACTIVE", Some(twice), "a"),
        seed("CLOSED", Some(closed), "b"),
        seed("ACTIVE", Some(one), "c"),
        seed("ACTIVE", Some(twice), "a again"),
    ];
    let sandbox = Sandbox::builder().deduplicate(false).seed(seeds).start().await.unwrap();
    let folder = Folder::new();
    let [_, b, c, _] = sandbox.provision_ids()[..] else { panic!() };
    // The list leaves out closed provisions, and all keys.
    edit_lists(&sandbox, "", |items| {
        items.retain(|item| item["PartnerUserProvision"]["status"] != "CLOSED");
        items.iter_mut().for_each(|item| item["PartnerUserProvision"]["external_uuid"] = Value::Null);
    });
    let from = folder.file("both", &format!("id,external_uuid\n{b},{closed}\n{c},{one}\n"));
    let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &from));
    assert_eq!(code, 0, "{stderr}");
    let outcomes: Vec<_> = report(&stdout).iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, ["already", "accepted"]);
    // The filter is ignored: of two provisions with one key, the first page has one.
    sandbox.clear_edits();
    edit_lists(&sandbox, "external_uuid=", |items| {
        items[1]["PartnerUserProvision"]["external_uuid"] = json!(Uuid::new_v4());
    });
    sandbox.populate(1_000);
    let before = closings(&sandbox);
    let from = folder.file("key", &format!("external_uuid\n{twice}\n"));
    let (_, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &from));
    assert!(stderr.contains("filtered by one external_uuid and has others: give ids") && code != 0, "{stderr}");
    assert!(stderr.contains("nothing was closed") && closings(&sandbox) == before, "{stderr}");
}

/// A file for another bank is refused without a read of each of its rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_bank_is_refused_soon() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let rows: String = (0..100).map(|row| format!("{},{}\n", 1_000_000 + row, Uuid::new_v4())).collect();
    let from = folder.file("other", &format!("id,external_uuid\n{rows}"));
    let stderr = refused(&mut bulk(&folder, &sandbox, "close", &from));
    assert!(
        stderr.contains("line 2, id: bunq has no provision 1000000;") && stderr.contains("; and 80 more"),
        "{stderr}"
    );
    let looks = sandbox.call_log().into_iter().filter(|call| call.path.contains("/partner-user-provision"));
    assert_eq!(looks.count(), 21);
}

/// With --resume on a journal that was not begun, a closed provision is refused as without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_not_begun_is_not_resumed() {
    test_timeout::start();
    let key = Uuid::new_v4();
    let sandbox = Sandbox::builder().seed([seed("CLOSED", Some(key), "a")]).start().await.unwrap();
    let folder = Folder::new();
    let from = folder.file("key", &format!("external_uuid\n{key}\n"));
    for resumes in [false, true] {
        let stderr = refused(bulk(&folder, &sandbox, "close", &from).args(resumes.then_some("--resume")));
        assert!(stderr.contains("bunq has no provision with it that is not closed"), "{stderr}");
        assert!(stderr.contains("hint: nothing was closed: correct"), "{stderr}");
    }
}

/// What a row was about is what it stays about.
#[tokio::test(flavor = "multi_thread")]
async fn a_closing_by_key_goes_on_with_the_same_provisions() {
    test_timeout::start();
    let keys: Vec<_> = (0..40).map(|_| Uuid::new_v4()).collect();
    let seeds = keys.iter().map(|key| seed("ACTIVE", Some(*key), "Ada"));
    let sandbox = Sandbox::builder().deduplicate(false).seed(seeds).start().await.unwrap();
    let folder = Folder::new();
    let ids = sandbox.provision_ids();
    let lines: String = keys.iter().map(|key| format!("{key}\n")).collect();
    let from = folder.file("keys", &format!("external_uuid\n{lines}"));
    // The last rows get no response before the run is killed.
    let late = Fault::Late(Duration::from_secs(600));
    sandbox.inject(Injection::new(late).on(&Operation::UPDATE_PROVISION).after(20).always());
    let mut child =
        bulk(&folder, &sandbox, "close", &from).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while closings(&sandbox) < 22 {
        assert_eq!(child.try_wait().unwrap(), None, "it has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    sandbox.clear_injections();
    // A user of a closed provision is created again, and a provision of a row that was not begun is closed by somebody else.
    let client = sandbox.client().build().unwrap();
    let (email, phone) = ("a@example.com".parse().unwrap(), "+31600000000".parse().unwrap());
    client.api().create_provision(&NewProvision::person(keys[0], email, phone).into()).await.unwrap();
    let _ = client.provisions().close(ids[39]).await.unwrap();
    let again = sandbox.provision_ids().into_iter().max().unwrap();
    let (stdout, stderr, code) = ran(bulk(&folder, &sandbox, "close", &from).arg("--resume"));
    assert_eq!(code, 0, "{stderr}");
    let rows = report(&stdout);
    for ((row, id), place) in rows.iter().zip(&ids).zip(2..) {
        assert_eq!((row["id"].clone(), row["line"].clone()), (id.to_string(), place.to_string()));
        assert!(is_closing(&sandbox, *id), "{row:?}");
    }
    assert_eq!(rows[39]["outcome"], "already");
    assert_eq!(sandbox.provision(again).unwrap()["status"], "CREATED");
    // Nothing is left to look up.
    sandbox.take_call_log();
    assert_eq!(ran(bulk(&folder, &sandbox, "close", &from).arg("--resume")).2, 0);
    assert!(sandbox.call_log().iter().all(|call| !call.path.contains("partner-user-provision")));
}

/// A run that goes on and cannot tell what a row means says how to go on without it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_refused_later_is_left_to_another_file() {
    test_timeout::start();
    let keys = [(); 2].map(|()| Uuid::new_v4());
    let seeds = keys.map(|key| seed("ACTIVE", Some(key), "Ada"));
    let sandbox = Sandbox::builder().deduplicate(false).seed(seeds).start().await.unwrap();
    let folder = Folder::new();
    let from = folder.file("the keys", &format!("external_uuid\n{}\n{}\n", keys[0], keys[1]));
    assert_eq!(ran(&mut bulk(&folder, &sandbox, "close", &from)).2, 0);
    // The second row was not begun, and has two users since.
    let journal = folder.path("the keys.journal");
    let text = std::fs::read_to_string(&journal).unwrap();
    let kept = text.lines().filter(|line| !line.contains("\"row\":2")).map(|line| format!("{line}\n"));
    std::fs::write(&journal, kept.collect::<String>()).unwrap();
    let client = sandbox.client().build().unwrap();
    for _ in 0..2 {
        let (email, phone) = ("a@example.com".parse().unwrap(), "+31600000000".parse().unwrap());
        client.api().create_provision(&NewProvision::person(keys[1], email, phone).into()).await.unwrap();
    }
    let before = closings(&sandbox);
    let plain = bulk(&folder, &sandbox, "close", &from);
    let stderr = refused(bulk(&folder, &sandbox, "close", &from).arg("--resume"));
    assert!(
        stderr.contains("line 3, external_uuid: at bunq it is that of") && stderr.contains("nothing more was closed"),
        "{stderr}"
    );
    assert_eq!(closings(&sandbox), before);
    // Its advice can be pasted, and what that writes is such a file.
    let command = stderr.split('`').nth(1).unwrap();
    let mut pasted = in_shell(&plain, command);
    let path = Path::new(plain.get_program()).parent().unwrap();
    pasted.env("PATH", format!("{}:{}", path.display(), std::env::var("PATH").unwrap()));
    let (stdout, stderr, _) = ran(&mut pasted);
    assert_eq!(report(&stdout)[1]["outcome"], "not_begun", "{stderr}");
    let [.., one, _] = sandbox.provision_ids()[..] else { panic!() };
    let chosen: Vec<_> = stdout.lines().take(1).chain(stdout.lines().skip(2)).collect();
    let chosen = folder.file("chosen", &format!("{}\n", chosen.join("\n").replace("2,3,,", &format!("2,3,{one},"))));
    let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &chosen));
    assert_eq!((report(&stdout)[0]["id"].clone(), code), (one.to_string(), 0), "{stderr}");
}

/// Standard input whose rows are refused is not kept, and is named as what it is.
#[tokio::test(flavor = "multi_thread")]
async fn refused_rows_of_standard_input_are_not_kept() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let rows = folder.file("rows", &format!("external_uuid\r\n{}\r\n", Uuid::new_v4()));
    let mut close = bulk(&folder, &sandbox, "close", Path::new("-"));
    close.arg("--journal").arg(folder.path("night")).stdin(std::fs::File::open(rows).unwrap());
    let stderr = refused(&mut close);
    assert!(stderr.contains("error: standard input: line 2, external_uuid: bunq has no provision"), "{stderr}");
    assert!(!folder.path("night.input").exists());
}
