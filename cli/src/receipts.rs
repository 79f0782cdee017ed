//! `receipts verify`: checks bunq's signed responses, offline.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use bunq_partner::{ErrorKind, Receipt, ReceiptReader, SignatureForm, files};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::columns::View;
use super::exit::{Failure, after_output};
use super::interrupt::blocking;
use super::output::{Field, GREEN, HIDDEN, Printer, RED, Record, names, note, warn};
use super::reading;

/// No public key is larger.
const MAX_KEY_LEN: usize = 64 * 1024;

/// No more is read of a pipe, which may have no end.
const MAX_PIPE_LEN: u64 = 1 << 30;

/// A file with more lines that are not valid is not read to its end: it holds something else.
const MAX_INVALID: u64 = 1000;

/// How many receipts are read before they are shown.
const READ_AHEAD: usize = 16;

pub(super) async fn verify(file: &Path, public_key: Option<&Path>, view: View) -> Result<(), Failure> {
    let format = view.format;
    let unusable = |problem: &dyn std::fmt::Display| {
        Failure::of_kind(ErrorKind::Storage, format!("the receipts {}: {problem}", file.display()))
    };
    let refused =
        |path: &Path, problem: &dyn std::fmt::Display| Failure::usage(format!("{}: {problem}", path.display()));
    // They hold what bunq says of people.
    let to_open = file.to_owned();
    let opened = blocking(move || {
        let (receipts, warning) = files::open_secret(to_open)?;
        Ok((Bounded::new(receipts)?, warning))
    });
    let (receipts, warning) = opened.await.map_err(|error| unusable(&error))?;
    if let Some(warning) = warning {
        warn(format, &format!("{}: {warning}", file.display()));
    }
    let mut reader = ReceiptReader::new(BufReader::new(receipts));
    if let Some(path) = public_key {
        let to_open = path.to_owned();
        let key = reading::text(MAX_KEY_LEN, move || files::open_public(to_open)).await;
        let key = key.map_err(|error| refused(path, &error))?;
        reader = reader.public_key(key.expose()).map_err(|error| refused(path, &error))?;
    }
    let (sender, mut read) = mpsc::channel(READ_AHEAD);
    // It ends when nobody listens any more.
    spawn_blocking(move || {
        for receipt in reader {
            if sender.blocking_send(receipt).is_err() {
                break;
            }
        }
    });
    let (mut printer, mut keys, mut invalid) = (Printer::new(view), BTreeSet::new(), 0_u64);
    let mut count = 0_u64;
    while invalid < MAX_INVALID
        && let Some(receipt) = read.recv().await
    {
        count += 1;
        let checked = receipt.as_ref().map_err(|problem| problem.problem.as_str());
        match checked {
            Ok(receipt) => keys.extend(receipt.public_key_fingerprint()),
            Err(_) => invalid += 1,
        }
        // Whether all are valid decides the exit code, even if the output fails.
        printer.add_anyway(Record::of(fields(count, checked)));
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
        MAX_INVALID => Err(Failure::negative(format!(
            "{invalid} of the first {count} receipts are not valid: what follows is not read, because this is no file of receipts"
        ))),
        invalid => Err(Failure::negative(format!("{invalid} of {count} receipts are not valid"))),
    };
    after_output(outcome, written)
}

/// A file that is read to its end, or a pipe up to a bound.
struct Bounded {
    file: File,
    /// How much may still be read of a pipe.
    left: Option<u64>,
}

impl Bounded {
    fn new(file: File) -> io::Result<Self> {
        let left = (!file.metadata()?.is_file()).then_some(MAX_PIPE_LEN);
        Ok(Self { file, left })
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if let Some(left) = &mut self.left {
            let problem = || format!("a pipe with more than {MAX_PIPE_LEN} bytes: give the path of a file");
            *left = left.checked_sub(read as u64).ok_or_else(|| io::Error::other(problem()))?;
        }
        Ok(read)
    }
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

pub(super) fn columns() -> Vec<&'static str> {
    names(&fields(0, Err("")))
}

fn fields(line: u64, checked: Result<&Receipt, &str>) -> Vec<Field> {
    let (receipt, problem) = (checked.ok(), checked.err());
    let (valid, style) = if receipt.is_some() { ("yes", GREEN) } else { ("no", RED) };
    vec![
        Field::new("line", 0, line),
        Field::new("valid", 0, receipt.is_some()).shown_as(valid).styled(Some(style)),
        Field::text("operation", 0, receipt.map(|receipt| &receipt.operation)),
        Field::new("id", 0, receipt.and_then(provision_id)),
        Field::new("for_user", 1, receipt.and_then(|receipt| receipt.for_user)),
        Field::text("response_id", 1, receipt.and_then(|receipt| receipt.response_id.as_ref())),
        Field::text("request_id", 3, receipt.and_then(|receipt| receipt.request_id.as_ref())),
        Field::new("http_status", HIDDEN, receipt.map(|receipt| receipt.status)),
        Field::new("at", 2, receipt.map(|receipt| receipt.at)),
        Field::new("public_key_sha256", HIDDEN, receipt.and_then(|receipt| receipt.public_key_fingerprint())),
        Field::new("proves", 4, receipt.map_or("nothing", proof)),
        Field::text("problem", 0, problem),
    ]
}

/// The provision that bunq's body names. What a user's calls name is something else, which must not be closed.
fn provision_id(receipt: &Receipt) -> Option<u64> {
    if receipt.for_user.is_some() {
        return None;
    }
    let body: Value = serde_json::from_str(receipt.body.as_deref()?).ok()?;
    let item = body["Response"].get(0)?;
    item["Id"]["id"].as_u64().or_else(|| item["PartnerUserProvision"]["id"].as_u64())
}
