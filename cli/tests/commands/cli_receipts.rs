//! `receipts verify`: what it says of receipts, and of the key that they are checked with.

use std::path::{Path, PathBuf};

use bunq_partner::{MemoryCustody, ReceiptFile, ReceiptReader};
use bunq_partner_sandbox::{Sandbox, SignatureForm};
use serde_json::Value;

use crate::common::{Folder, in_pkcs1, program, program_for, ran, vector_key};

/// A file with the receipt of a close, and bunq's public key. The response lacks these headers.
async fn receipt(folder: &Folder, form: SignatureForm, lacks: &'static [&str]) -> (PathBuf, String) {
    let sandbox = Sandbox::builder().signature_form(form).start().await.unwrap();
    let path = folder.path("receipts");
    let client = sandbox.client().observer(ReceiptFile::open(&path).await.unwrap()).build().unwrap();
    sandbox.before_signing(|_, response| response.headers.retain(|(name, _)| !lacks.contains(&&**name)));
    let _ = client.provisions().close(sandbox.populate(1)[0]).await.unwrap();
    let receipt = ReceiptReader::new(&*std::fs::read(&path).unwrap()).next().unwrap().unwrap();
    (path, receipt.public_key)
}

/// What the program says of receipts, with this public key of bunq's.
fn verify(folder: &Folder, receipts: &Path, public_key: &str) -> (String, String, i32) {
    let key = folder.file("bunq.pem", public_key);
    ran(program(folder).args(["receipts", "verify", "-o", "jsonl"]).arg(receipts).arg("--public-key").arg(key))
}

#[tokio::test(flavor = "multi_thread")]
async fn bunqs_key_is_read_in_both_forms_and_must_be_able_to_verify() {
    test_timeout::start();
    let folder = Folder::new();
    let (receipts, key) = receipt(&folder, SignatureForm::Body, &[]).await;
    for pem in [key.clone(), in_pkcs1(&key)] {
        let (said, problem, code) = verify(&folder, &receipts, &pem);
        assert!(code == 0 && said.contains("bunq has signed this body"), "{said}{problem}");
    }
    let (said, _, code) = verify(&folder, &receipts, &vector_key("2048 bits"));
    assert!(code != 0 && said.contains("it is signed with another key than bunq's"), "{said}");
    for (name, problem) in [
        ("1024 bits", "the public key has 1024 bits, and must have 2048 to 8192"),
        ("2047 bits", "the public key has 2047 bits, and must have 2048 to 8192"),
        ("RSASSA-PSS", "the public key is not for RSA with PKCS#1 v1.5"),
    ] {
        let (said, told, code) = verify(&folder, &receipts, &vector_key(name));
        assert!(code == 2 && said.is_empty() && told.contains(problem), "{name}: {said}{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_stated_than_was_signed() {
    test_timeout::start();
    const IDS: [&str; 2] = ["X-Bunq-Client-Request-Id", "X-Bunq-Client-Response-Id"];
    const OLDER: SignatureForm = SignatureForm::WithHeaders;
    for (form, lacks, proof) in [
        (SignatureForm::Body, &[][..], "bunq has signed this body; not for which request, with which status or when"),
        (OLDER, &[], "bunq has signed this status, these ids and this body; not what was requested, or when"),
        (
            OLDER,
            &IDS[1..],
            "bunq has signed this status, this request id and this body; not what was requested, or when",
        ),
        (
            OLDER,
            &IDS[..1],
            "bunq has signed this status, this response id and this body; not for which request, or when",
        ),
        (OLDER, &IDS, "bunq has signed this status and this body; not for which request, or when"),
    ] {
        let folder = Folder::new();
        let (receipts, key) = receipt(&folder, form, lacks).await;
        let (said, problem, code) = verify(&folder, &receipts, &key);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((code, said["proves"].as_str()), (0, Some(proof)), "{problem}");
    }
}

/// What somebody has written behind the receipts is not thrown away, and neither are the receipts.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_note_in_it_takes_no_more_receipts() {
    test_timeout::start();
    let folder = Folder::new();
    let (receipts, key) = receipt(&folder, SignatureForm::Body, &[]).await;
    let whole = std::fs::read_to_string(&receipts).unwrap();
    let sandbox = Sandbox::start().await.unwrap();
    let id = sandbox.populate(1)[0].to_string();
    for noted in [format!("{whole}checked\n"), whole.replace("\"digest\":\"", "\"digest\":\"x")] {
        std::fs::write(&receipts, &noted).unwrap();
        let close = ["close", "--yes", &id, "--receipts"];
        let (_, problem, code) = ran(program_for(&folder, &sandbox).args(close).arg(&receipts));
        assert!(code != 0 && problem.contains("is damaged"), "{code}: {problem}");
        assert_eq!(std::fs::read_to_string(&receipts).unwrap(), noted);
        assert!(sandbox.call_log().is_empty(), "{problem}");
        assert_ne!(verify(&folder, &receipts, &key).2, 0);
    }
    std::fs::write(&receipts, whole.trim_end()).unwrap();
    assert_eq!(verify(&folder, &receipts, &key).2, 0);
}

/// What a user's call names is no provision: a closing takes the rows that `receipts verify` writes, and closes their ids.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_has_made_is_not_shown_as_a_provision() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("receipts");
    let sandbox = Sandbox::start().await.unwrap();
    let receipts = ReceiptFile::open(&path).await.unwrap();
    let client = sandbox.client().custody(MemoryCustody::new()).observer(receipts).build().unwrap();
    let id = sandbox.populate(1)[0];
    let user = client.users().activate(id).await.unwrap();
    let _ = user.onboarding().start().await.unwrap();
    let (said, problem, code) = ran(program(&folder).args(["receipts", "verify", "-o", "jsonl"]).arg(&path));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &said["operation"]), (0, &"create_user_onboarding".into()), "{problem}");
    assert_eq!((&said["id"], &said["for_user"]), (&Value::Null, &id.get().into()));
    let rows = folder.file("rows.jsonl", &format!("{said}\n"));
    let (_, problem, code) = ran(program_for(&folder, &sandbox).args(["close", "--yes", "--from"]).arg(rows));
    assert_eq!(code, 2, "{problem}");
    assert_ne!(sandbox.provision(id).unwrap()["status"], "CLOSED");
}
