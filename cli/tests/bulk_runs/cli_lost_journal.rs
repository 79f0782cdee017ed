//! `create --from` again: without the journal, which is gone, and with one in which nothing is left to do.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bunq_partner::{Client, NewProvision, Operation, ProvisionId, Uuid};
use bunq_partner_sandbox::{Fault, Injection, Pace, Sandbox};
use serde_json::Value;

use crate::common::bulk::{bulk, report, users};
use crate::common::{Folder, calls, program, ran};

/// Creates the users of a file, without what was known of it before: as in a container without a volume.
fn create(folder: &Folder, sandbox: &Sandbox, from: &Path) -> (Vec<(String, String, String)>, String, i32) {
    let _ = std::fs::remove_file(format!("{}.journal", from.display()));
    let (stdout, stderr, code) = ran(&mut bulk(folder, sandbox, "create", from));
    let rows =
        report(&stdout).into_iter().map(|row| (row["outcome"].clone(), row["id"].clone(), row["created"].clone()));
    (rows.collect(), stderr, code)
}

fn created(sandbox: &Sandbox, id: ProvisionId) -> String {
    let created: bunq_partner::Timestamp = sandbox.provision(id).unwrap()["created"].as_str().unwrap().parse().unwrap();
    created.as_jiff().to_string()
}

/// A user with this key, whoever creates it.
async fn another(client: &Client, external_uuid: Uuid) -> ProvisionId {
    let (email, phone_number) = ("other@example.com".parse().unwrap(), "+31600999999".parse().unwrap());
    client.provisions().create(NewProvision::person(external_uuid, email, phone_number)).await.unwrap().id()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_lost_creates_nobody_twice() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let folder = Folder::new();
    let (from, _) = users(&folder, 6);
    let (rows, stderr, code) = create(&folder, &sandbox, &from);
    assert!(code == 0 && rows.iter().all(|(outcome, ..)| outcome == "accepted"), "{stderr}");
    let ids = sandbox.provision_ids();
    let of = |id: &ProvisionId| ("already".to_owned(), id.to_string(), created(&sandbox, *id));
    let mut already: Vec<_> = ids.iter().map(of).collect();

    let (mut rows, stderr, code) = create(&folder, &sandbox, &from);
    // Users are created side by side, not in the order of the file.
    rows.sort();
    assert_eq!((rows, code), (already.clone(), 0), "{stderr}");
    assert_eq!(sandbox.provision_ids(), ids);

    // One that is closed is not taken for the one that is wanted, and is not made again.
    client.provisions().close(ids[2]).await.unwrap().await.unwrap();
    let (mut rows, stderr, code) = create(&folder, &sandbox, &from);
    rows.sort();
    already[2].0 = "failed".into();
    already.sort();
    assert_eq!((rows, code), (already, 14), "{stderr}");
    assert!(stderr.contains(&format!("that of provision {}, which is CLOSED", ids[2])), "{stderr}");
    assert_eq!(sandbox.provision_ids(), ids);

    // Of one that is closed and one that is going, the one that is going is taken; of two that are going, none.
    let key = |id: ProvisionId| sandbox.provision(id).unwrap()["external_uuid"].as_str().unwrap().parse().unwrap();
    let (instead, second) = (another(&client, key(ids[2])).await, another(&client, key(ids[0])).await);
    let (rows, stderr, code) = create(&folder, &sandbox, &from);
    assert!(rows.contains(&of(&instead)), "{rows:?}");
    let failed: Vec<_> = rows.iter().filter(|(outcome, ..)| outcome == "failed").collect();
    assert_eq!((failed.len(), code), (1, 17), "{stderr}");
    assert!([ids[0], second].iter().all(|id| stderr.contains(&id.to_string())), "{stderr}");
    assert_eq!(sandbox.provision_ids().len(), 8);
}

/// A run that is finished makes no call, also if more users were created than may wait to be activated; and what has failed
/// in it, has failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_finished_run_makes_no_call_and_says_what_is_final() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let folder = Folder::new();
    let (from, _) = users(&folder, 130);
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_PROVISION).after(3));
    let mut child =
        bulk(&folder, &sandbox, "create", &from).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut expired = 0;
    while child.try_wait().unwrap().is_none() {
        let ids = sandbox.provision_ids();
        for id in &ids[expired..] {
            (0..3).for_each(|_| assert!(sandbox.advance(*id)));
            assert!(sandbox.expire_credential(*id));
        }
        expired = ids.len();
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!((child.wait().unwrap().code(), sandbox.provision_ids().len()), (Some(12), 129));
    sandbox.take_call_log();
    let (stdout, stderr, code) = ran(bulk(&folder, &sandbox, "create", &from).arg("--resume"));
    assert_eq!((report(&stdout).len(), code), (130, 12), "{stderr}");
    assert!(stderr.contains("129 accepted, 1 failed") && !stderr.contains("goes on"), "{stderr}");
    assert!(stderr.contains("--resume skips them: correct what their errors name"), "{stderr}");
    assert!(sandbox.call_log().is_empty(), "{:?}", sandbox.call_log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_says_what_the_look_may_cost_and_looks_for_nothing() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let (from, _) = users(&folder, 60);
    let plan = |format: &str| {
        let mut program = program(&folder);
        program.env("BUNQ_API_KEY", sandbox.api_key().expose()).args(["--base-url", sandbox.base_url(), "-o", format]);
        ran(program.args(["create", "--dry-run", "--from"]).arg(&from))
    };
    let (stdout, stderr, code) = plan("table");
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("at most 120 calls of list_provisions in 2 min"), "{stdout}");
    let json: Value = serde_json::from_str(&plan("json").0).unwrap();
    assert_eq!((&json["max_look_calls"], &json["max_look_seconds"]), (&120.into(), &120.into()));
    assert!(sandbox.call_log().is_empty());
}

/// What was given for a user that is there is not used, and that is said; another user is not taken for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_there_already_is_told_from_one_that_is_created() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let folder = Folder::new();
    let (from, uuids) = users(&folder, 1);
    let id = another(&client, uuids[0]).await;
    let created = created(&sandbox, id);
    let create = |arguments: &[&str]| {
        let mut program = program(&folder);
        program.env("BUNQ_API_KEY", sandbox.api_key().expose()).args(["--base-url", sandbox.base_url(), "create"]);
        program.args(["--email", "user@example.com", "--phone-number", "+31600000001", "--external-uuid"]);
        ran(program.arg(uuids[0].to_string()).args(arguments))
    };
    let unused = "what was given now as e-mail address and phone number is not used";
    for arguments in [&[][..], &["--ensure"], &["--wait"]] {
        let (stdout, stderr, code) = create(arguments);
        assert!(code == 0 && stdout.contains("already"), "{stderr}");
        let said = format!("the user was there already: provision {id}, created {created}; {unused}");
        assert!(stderr.contains(&said), "{stderr}");
    }
    let json: Value = serde_json::from_str(&create(&["-o", "json"]).0).unwrap();
    assert_eq!((&json[0]["outcome"], &json[0]["created"]), (&"already".into(), &created.clone().into()));
    let (_, stderr, code) = create(&["--date-of-birth", "1990-01-31", "--country", "NL"]);
    assert_eq!(code, 14, "{stderr}");
    assert!(stderr.contains("(requested: USER_ANONYMOUS_TRANSACTION_AUDIT, USER_VERIFIED)"), "{stderr}");
    assert!(stderr.contains(&format!("that of provision {id}, created {created}, which differs")), "{stderr}");

    // The same for the rows of a file, in the run and in the report.
    let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "create", &from));
    assert!(code == 0 && stderr.contains(&format!("1 users were there already: {unused}")), "{stderr}");
    assert_eq!(report(&stdout)[0]["created"], created);
    let (stdout, stderr, _) = ran(program(&folder).args(["report", "-o", "csv", "--from"]).arg(&from));
    assert!(stderr.contains(unused) && report(&stdout)[0]["created"] == created, "{stderr}");
    let header = "external_uuid,email,phone_number,date_of_birth,country";
    let row = format!("{},user@example.com,+31600000001,1990-01-31,NL", uuids[0]);
    let audited = folder.file("audited.csv", &format!("{header}\n{row}\n"));
    let (stdout, stderr, code) = ran(&mut bulk(&folder, &sandbox, "create", &audited));
    assert_eq!((&*report(&stdout)[0]["outcome"], code), ("failed", 14), "{stderr}");
    assert!(stderr.contains("line 2: the external_uuid") && stderr.contains("(requested: USER_ANON"), "{stderr}");
    assert_eq!(sandbox.provision_ids(), [id]);
}

/// A file of users is always looked for, so that there is nothing to ask for.
#[tokio::test(flavor = "multi_thread")]
async fn ensure_is_refused_beside_a_file() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let (from, _) = users(&folder, 2);
    let (_, stderr, code) = ran(bulk(&folder, &sandbox, "create", &from).arg("--ensure"));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("'--from <FILE>' cannot be used with '--ensure'"), "{stderr}");
    assert!(calls(&sandbox, "POST", "").is_empty() && sandbox.call_log().is_empty());
}
