//! CSV that the program writes: a header always, and no cell that a spreadsheet computes.

use bunq_partner::{Operation, Uuid};
use bunq_partner_sandbox::{Fault, Injection, Sandbox, SeedProvision};
use serde_json::{Value, json};

use crate::common::bulk::bulk;
use crate::common::{Folder, program, program_for, ran};

/// A text that a spreadsheet would compute gets a sign in CSV, which the program takes off again, and none elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn no_cell_is_a_formula() {
    test_timeout::start();
    let names = ["=1+1", "+Ada", "-Ada", "@Ada", "\tAda", "\rAda", "'=1", "'Ada", " =1", "Ada\n=1", "\u{202e}Ada"];
    let seed = |name: &&str| -> SeedProvision {
        let seed = json!({ "status": "ACTIVE", "external_uuid": Uuid::new_v4(), "display_name": name });
        serde_json::from_value(seed).unwrap()
    };
    let seeds = names.iter().map(seed);
    let (sandbox, folder) = (Sandbox::builder().seed(seeds).start().await.unwrap(), Folder::new());
    let list = |format: &str| {
        let (stdout, stderr, code) = ran(program_for(&folder, &sandbox).args(["list", "-o", format]));
        assert_eq!(code, 0, "{stderr}");
        stdout
    };
    let json: Value = serde_json::from_str(&list("json")).unwrap();
    let written: Vec<_> = json.as_array().unwrap().iter().map(|one| one["display_name"].as_str().unwrap()).collect();
    assert_eq!(written, names.iter().copied().rev().collect::<Vec<_>>());
    let text = list("csv");
    let mut csv = csv::Reader::from_reader(text.as_bytes());
    let header = csv.headers().unwrap().clone();
    let place = header.iter().position(|name| name == "display_name").unwrap();
    let cells: Vec<_> = csv.records().map(|record| record.unwrap()[place].to_owned()).collect();
    let signed = ["'=1+1", "'+Ada", "'-Ada", "'@Ada", "'\tAda", "'\rAda", "''=1"];
    assert_eq!(cells, signed.iter().chain(&names[7..]).copied().rev().collect::<Vec<_>>());
    // Such a list closes what is in it.
    let from = folder.file("list.csv", &text);
    let (_, stderr, code) = ran(&mut bulk(&folder, &sandbox, "close", &from));
    assert_eq!(code, 0, "{stderr}");

    // An address is a text, a phone number has a form of its own.
    let (uuid, email) = (Uuid::new_v4(), "=a@example.com");
    let from = folder.file("users.csv", &format!("external_uuid,email,phone_number\n{uuid},{email},+31600000001\n"));
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_PROVISION));
    assert_eq!(ran(&mut bulk(&folder, &sandbox, "create", &from)).2, 12);
    let (retry, ..) = ran(program(&folder).args(["report", "--failed", "-o", "csv", "--from"]).arg(&from));
    assert_eq!(retry, format!("external_uuid,email,phone_number\n{uuid},'{email},+31600000001\n"));
    let retry = folder.file("retry.csv", &retry);
    assert_eq!(ran(&mut bulk(&folder, &sandbox, "create", &retry)).2, 0);
    let sent = sandbox.call_log().into_iter().filter(|call| call.method == "POST" && call.path.ends_with("provision"));
    let sent: Vec<_> = sent.map(|call| serde_json::from_str::<Value>(&call.body).unwrap()["email"].clone()).collect();
    assert_eq!(sent, [email, email]);
}

/// bunq's ids in headers are UUIDs, but whoever has answered, or has made a file of receipts, may have put anything there.
#[tokio::test(flavor = "multi_thread")]
async fn no_id_of_a_response_is_a_formula() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let ids = sandbox.populate(2);
    sandbox.before_signing(|_, response| {
        let ids =
            response.headers.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("X-Bunq-Client-Response-Id"));
        ids.for_each(|(_, value)| *value = "=1+1".into());
    });
    let from = folder.file("ids", &format!("id\n{}\n", ids[0]));
    let receipts = folder.path("receipts");
    let mut close = bulk(&folder, &sandbox, "close", &from);
    let many = ran(close.arg("--receipts").arg(&receipts)).0;
    let one = ran(program_for(&folder, &sandbox).args(["close", "-o", "csv", &ids[1].to_string()])).0;
    let verified = ran(program(&folder).args(["receipts", "verify", "-o", "csv"]).arg(&receipts)).0;
    for written in [many, one, verified] {
        assert!(written.contains(",'=1+1,") && !written.contains(",=1+1"), "{written}");
    }
}

/// A list is taken back whatever the names in it are.
#[tokio::test(flavor = "multi_thread")]
async fn no_name_makes_a_list_unreadable() {
    test_timeout::start();
    let names = ["Ada".repeat(100_000), "\"".repeat(10_001), "\0".into(), "a\0".repeat(300)];
    let seeds = names.iter().map(|name| -> SeedProvision {
        serde_json::from_value(json!({ "status": "ACTIVE", "display_name": name })).unwrap()
    });
    let (sandbox, folder) = (Sandbox::builder().seed(seeds).start().await.unwrap(), Folder::new());
    for format in ["csv", "jsonl"] {
        let (list, stderr, code) = ran(program_for(&folder, &sandbox).args(["list", "-o", format]));
        assert_eq!(code, 0, "{stderr}");
        let from = folder.file(format, &list);
        let (plan, stderr, code) = ran(program(&folder).args(["close", "--dry-run", "--from"]).arg(from));
        assert!(plan.starts_with("4 rows: ") && code == 0, "{format}: {stderr}");
    }
}

/// Where there is nothing, there is a header.
#[tokio::test(flavor = "multi_thread")]
async fn empty_csv_has_its_header() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    for words in [&["list"][..], &["watch", "--timeout", "0s"]] {
        let (stdout, stderr, code) = ran(program_for(&folder, &sandbox).args(words).args(["-o", "csv"]));
        assert!(
            stdout.starts_with("id,status,") && stdout.lines().count() == 1 && code == 0,
            "{words:?}: {stdout}{stderr}"
        );
    }
}
