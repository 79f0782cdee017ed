//! Reads and checks receipts one by one.

use std::fmt;
use std::io::{BufRead, Read as _};

use aws_lc_rs::digest::{Context, SHA256};

use super::receipt::{Receipt, hex};
use crate::transport::signature::VerifyingKey;
use crate::types::{InvalidValue, from_json};

/// The longest line, in bytes. A body has at most 4 MB, and its JSON at most twice as many.
pub(super) const MAX_LINE: u64 = 16 * 1024 * 1024;

/// The end of a line: a digest over the digest of the line before and the beginning of this line.
const DIGEST: &str = r#","digest":""#;

/// The chain of digests that ties each line to those before it.
#[derive(Debug, Clone, Default)]
pub(super) struct Chain(String);

impl Chain {
    fn digest(&self, json: &str) -> String {
        let mut digest = Context::new(&SHA256);
        digest.update(self.0.as_bytes());
        digest.update(json.as_bytes());
        hex(digest.finish().as_ref())
    }

    /// Makes the next line from a receipt's JSON.
    pub(super) fn tie(&mut self, json: &str) -> String {
        self.0 = self.digest(json);
        let open = json.strip_suffix('}').unwrap_or(json);
        format!("{open}{DIGEST}{}\"}}\n", self.0)
    }

    /// Continues the chain with the digest of a line, without checking it.
    pub(super) fn follow(&mut self, line: &str) -> Option<()> {
        self.0 = split(line)?.1.to_owned();
        Some(())
    }

    /// Checks a line, and returns the receipt's JSON.
    fn untie(&mut self, line: &str) -> Result<String, &'static str> {
        let (open, digest) = split(line).ok_or("it is not a receipt")?;
        let json = format!("{open}}}");
        let is_whole = self.digest(&json) == digest;
        // The next line is checked against the digest that this one states.
        digest.clone_into(&mut self.0);
        if is_whole { Ok(json) } else { Err("it was changed, or one before it is missing or in another place") }
    }
}

/// Splits a line into its beginning and its digest.
fn split(line: &str) -> Option<(&str, &str)> {
    let (open, digest) = line.strip_suffix("\"}")?.rsplit_once(DIGEST)?;
    let is_digest = digest.len() == 64 && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_digest.then_some((open, digest))
}

/// A line that is not a receipt of bunq's, or that was changed after it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidReceipt {
    /// The number of the line, starting at 1.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for InvalidReceipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for InvalidReceipt {}

/// Reads the receipts of a [`ReceiptFile`](crate::ReceiptFile), and checks each.
///
/// For each line it checks bunq's signature, and the digest that ties the line to those before it. So it finds any
/// changed byte, and any line that is missing in the middle. It does not find lines that are missing at the end. The
/// digest is not a signature: whoever changes a line can compute new digests, so for everything that bunq has not
/// signed it only proves that there was no accident.
///
/// If you [give](Self::public_key) bunq's key, it also checks that the receipt's key is bunq's.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::fs::File;
/// use std::io::BufReader;
///
/// use bunq_partner::ReceiptReader;
///
/// let bunqs_key = std::fs::read_to_string("bunq.pem")?;
/// for receipt in ReceiptReader::new(BufReader::new(File::open("receipts.jsonl")?)).public_key(bunqs_key)? {
///     let receipt = receipt?;
///     println!("{} {:?}", receipt.operation, receipt.body);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReceiptReader<R> {
    lines: R,
    line: u64,
    is_over: bool,
    chain: Chain,
    public_key: Option<VerifyingKey>,
}

impl<R: BufRead> ReceiptReader<R> {
    /// Reads receipts from `lines`.
    pub fn new(lines: R) -> Self {
        Self { lines, line: 0, is_over: false, chain: Chain::default(), public_key: None }
    }

    /// Sets bunq's public key, as PEM, in X.509 or PKCS#1 form. A receipt with another key is refused.
    ///
    /// # Errors
    ///
    /// If it is not a public RSA key of 2048 to 8192 bits.
    pub fn public_key(self, pem: impl Into<String>) -> Result<Self, InvalidValue> {
        let key = VerifyingKey::from_pem(&pem.into()).map_err(|error| InvalidValue::new("public_key", error))?;
        Ok(Self { public_key: Some(key), ..self })
    }

    fn check(&mut self, line: &[u8]) -> Result<Receipt, String> {
        // Only the last line may lack its line break.
        let (line, is_ended) = line.strip_suffix(b"\n").map_or((line, false), |line| (line, true));
        let line = std::str::from_utf8(line).map_err(|_| "it is not text")?;
        let json = self.chain.untie(line).map_err(|problem| if is_ended { problem } else { "it is not complete" })?;
        let receipt: Receipt = from_json(json.as_bytes()).map_err(|error| format!("it is not a receipt: {error}"))?;
        receipt.check(self.public_key.as_ref())?;
        Ok(receipt)
    }
}

impl<R: BufRead> Iterator for ReceiptReader<R> {
    type Item = Result<Receipt, InvalidReceipt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let mut line = Vec::new();
        self.line += 1;
        let read = self.lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        let checked = match read {
            Ok(0) => return None,
            Ok(_) => self.check(&line),
            Err(error) => {
                self.is_over = true;
                Err(format!("it cannot be read: {error}"))
            }
        };
        Some(checked.map_err(|problem| InvalidReceipt { line: self.line, problem }))
    }
}
