//! `receipts verify`: bunq's signed responses are checked, offline.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::path::Path;

use bunq_partner::{ErrorKind, Receipt, ReceiptReader, SignatureForm, files};
use serde_json::{Value, json};

use super::arguments::OutputFormat;
use super::exit::{Failure, after_output};
use super::output::{Field, Printer, Record, note, warn};

/// No public key is larger.
const MAX_KEY_LEN: usize = 64 * 1024;

pub(super) fn verify(file: &Path, public_key: Option<&Path>, format: OutputFormat) -> Result<(), Failure> {
    let unusable = |problem: &dyn std::fmt::Display| {
        Failure::of_kind(ErrorKind::Storage, format!("the receipts {}: {problem}", file.display()))
    };
    let refused =
        |path: &Path, problem: &dyn std::fmt::Display| Failure::usage(format!("{}: {problem}", path.display()));
    // They hold what bunq says of people.
    let (receipts, warning) = files::open_secret(file).map_err(|error| unusable(&error))?;
    if let Some(warning) = warning {
        warn(format, &format!("{}: {warning}", file.display()));
    }
    let mut reader = ReceiptReader::new(BufReader::new(receipts));
    if let Some(path) = public_key {
        let key = files::open_public(path).and_then(|file| files::read_text(file, MAX_KEY_LEN));
        let key = key.map_err(|error| refused(path, &error))?;
        reader = reader.public_key(key.expose()).map_err(|error| refused(path, &error))?;
    }
    let (mut printer, mut keys, mut invalid) = (Printer::new(format), BTreeSet::new(), 0_u64);
    let mut count = 0_u64;
    for (receipt, line) in reader.zip(1_u64..) {
        count += 1;
        let record = match receipt {
            Ok(receipt) => {
                keys.extend(receipt.public_key_fingerprint());
                valid(line, &receipt)
            }
            Err(problem) => {
                invalid += 1;
                refusal(line, &problem.problem)
            }
        };
        // Whether all are valid decides the exit code, even if the output fails.
        printer.add_anyway(record);
    }
    if count == 0 {
        return Err(unusable(&"the file is empty"));
    }
    let written = printer.finish();
    for key in keys.iter().filter(|_| public_key.is_none()) {
        let text = format!("signed with the key sha256:{key}: that it is bunq's is not checked without --public-key");
        note(format, &text);
    }
    let outcome = match invalid {
        0 => Ok(()),
        invalid => Err(Failure::negative(format!("{invalid} of {count} receipts are not valid"))),
    };
    after_output(outcome, written)
}

/// What a receipt proves.
fn proof(receipt: &Receipt) -> &'static str {
    match (receipt.shows_body(), receipt.signature_form) {
        (false, _) => "bunq has signed a message with this digest; the receipt does not show what it says",
        (true, SignatureForm::Body) => "bunq has signed this body; not for which request, with which status or when",
        (true, _) => match (receipt.signed_request_id(), receipt.signed_response_id()) {
            (Some(_), Some(_)) => {
                "bunq has signed this status, these ids and this body; not what was requested, or when"
            }
            (Some(_), None) => {
                "bunq has signed this status, this request id and this body; not what was requested, or when"
            }
            (None, Some(_)) => {
                "bunq has signed this status, this response id and this body; not for which request, or when"
            }
            (None, None) => "bunq has signed this status and this body; not for which request, or when",
        },
    }
}

fn valid(line: u64, receipt: &Receipt) -> Record {
    let proof = proof(receipt);
    let json = json!({
        "line": line,
        "valid": true,
        "operation": receipt.operation,
        "provision_id": provision_id(receipt),
        "status": receipt.status,
        "request_id": receipt.request_id,
        "response_id": receipt.response_id,
        "at": receipt.at.to_string(),
        "public_key_sha256": receipt.public_key_fingerprint(),
        "proves": proof,
        "problem": null,
    });
    Record { fields: fields(line, Ok(receipt), proof), json }
}

fn refusal(line: u64, problem: &str) -> Record {
    let json = json!({ "line": line, "valid": false, "proves": "nothing", "problem": problem });
    Record { fields: fields(line, Err(problem), "nothing"), json }
}

fn fields(line: u64, checked: Result<&Receipt, &str>, proof: &str) -> Vec<Field> {
    let (receipt, problem) = (checked.ok(), checked.err());
    let (valid, style) = if receipt.is_some() { ("yes", "32") } else { ("no", "31") };
    vec![
        Field::new("line", 0, line.to_string()),
        Field::new("valid", 0, valid).styled(Some(style)),
        Field::optional("operation", 0, receipt.map(|receipt| &receipt.operation)),
        Field::optional("provision_id", 0, receipt.and_then(provision_id)),
        Field::optional("response_id", 1, receipt.and_then(|receipt| receipt.response_id.as_ref())),
        Field::optional("request_id", 3, receipt.and_then(|receipt| receipt.request_id.as_ref())),
        Field::optional("at", 2, receipt.map(|receipt| receipt.at)),
        Field::new("proves", 4, proof),
        Field::optional("problem", 0, problem),
    ]
}

/// The id that bunq's body names.
fn provision_id(receipt: &Receipt) -> Option<u64> {
    let body: Value = serde_json::from_str(receipt.body.as_deref()?).ok()?;
    let item = body["Response"].get(0)?;
    item["Id"]["id"].as_u64().or_else(|| item["PartnerUserProvision"]["id"].as_u64())
}
