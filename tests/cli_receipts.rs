//! `receipts verify`: what it says of receipts, and of the key that they are checked with.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;

use bunq_partner::sandbox::{Sandbox, SignatureForm};
use bunq_partner::{ReceiptFile, ReceiptReader};
use common::{Folder, in_pkcs1, program, ran, vector_key};

/// A file with the receipt of a close, and bunq's public key.
async fn receipt(folder: &Folder, form: SignatureForm) -> (std::path::PathBuf, String) {
    let sandbox = Sandbox::builder().signature_form(form).start().await.unwrap();
    let path = folder.path("receipts");
    let client = sandbox.client().observer(ReceiptFile::open(&path).await.unwrap()).build().unwrap();
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
    let folder = Folder::new();
    let (receipts, key) = receipt(&folder, SignatureForm::Body).await;
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
