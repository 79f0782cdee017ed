//! RSA keys, and signatures over bytes: PKCS#1 v1.5 with SHA-256, in base64.
//!
//! This module does not know HTTP: its callers decide which bytes are signed, and what follows from a bad signature.

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize, PublicKey};
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use pem::{EncodeConfig, LineEnding, Pem};
use serde::{Deserialize, Serialize};
use tokio::task::yield_now;
use zeroize::Zeroizing;

use crate::types::Secret;

/// What the signature of a response covers. bunq uses both forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignatureForm {
    /// Only the body.
    Body,
    /// The older form: the status, the `X-Bunq-*` headers and the body.
    WithHeaders,
}

impl SignatureForm {
    /// The bytes that the signature of a response covers. `headers` may have any order, and names in any case, as in
    /// HTTP.
    pub fn message<'a>(
        self,
        status: u16,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        body: &'a [u8],
    ) -> Cow<'a, [u8]> {
        match self {
            Self::Body => body.into(),
            Self::WithHeaders => message_with_headers(status, headers, body).into(),
        }
    }

    /// The digest of these bytes.
    pub(crate) async fn digest<'a>(
        self,
        status: u16,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        body: &[u8],
    ) -> Digest {
        match self {
            Self::Body => sha256(&[body]).await,
            Self::WithHeaders => sha256(&[&message_with_headers(status, headers, b""), body]).await,
        }
    }
}

/// How much is hashed before other tasks have their turn, in bytes. A slow processor takes a millisecond for it.
const PIECE: usize = 256 * 1024;

/// The SHA-256 of the parts, one after the other. After each piece other tasks have their turn, so that a file does not block the thread
/// of the runtime.
pub(crate) async fn sha256(parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(&SHA256);
    for piece in parts.iter().flat_map(|part| part.chunks(PIECE)) {
        context.update(piece);
        if piece.len() == PIECE {
            yield_now().await;
        }
    }
    context.finish()
}

/// The PEM label of a public key in X.509 form (SPKI), which bunq sends and expects.
const SPKI: &str = "PUBLIC KEY";

/// The PEM label of a public RSA key in PKCS#1.
const PKCS1: &str = "RSA PUBLIC KEY";

/// The key lengths that aws-lc verifies with, in bits. It parses others too.
const BITS: RangeInclusive<usize> = 2048..=8192;

/// A cryptographic operation that failed, or a text that is not a key. Its `Display` says what is wrong, and shows no
/// part of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureError(Cow<'static, str>);

impl From<&'static str> for SignatureError {
    fn from(problem: &'static str) -> Self {
        Self(problem.into())
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SignatureError {}

/// An RSA private key of 2048 bits. Clones share it.
#[derive(Clone)]
pub struct SigningKey(Arc<KeyPair>);

impl SigningKey {
    /// Generates a key. It takes tens of milliseconds of CPU time: do not call it on an async thread.
    ///
    /// # Errors
    ///
    /// If the system cannot provide randomness.
    pub fn generate() -> Result<Self, SignatureError> {
        Ok(Self(Arc::new(KeyPair::generate(KeySize::Rsa2048).map_err(|_| "no RSA key could be made")?)))
    }

    /// Reads a key from PKCS#8 in base64 without line breaks: the part of a PEM between its first and last line.
    ///
    /// # Errors
    ///
    /// If it is not an RSA key of at least 2048 bits in this form.
    pub fn from_pkcs8(text: &Secret) -> Result<Self, SignatureError> {
        let mut der = Zeroizing::new(Vec::new());
        BASE64.decode_vec(text.expose(), &mut der).map_err(|_| "the private key is not base64")?;
        let refused = |_| "the private key is not RSA of at least 2048 bits in PKCS#8";
        Ok(Self(Arc::new(KeyPair::from_pkcs8(&der).map_err(refused)?)))
    }

    /// The private key as PKCS#8 in base64.
    ///
    /// # Errors
    ///
    /// If it cannot be encoded.
    pub fn to_pkcs8(&self) -> Result<Secret, SignatureError> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().map_err(|_| "the private key could not be encoded")?;
        Ok(Secret::new(BASE64.encode(der.as_ref())))
    }

    /// The public key as the installation sends it to bunq: PEM in X.509 form (`BEGIN PUBLIC KEY`).
    ///
    /// # Errors
    ///
    /// If it cannot be encoded.
    pub fn public_key_pem(&self) -> Result<String, SignatureError> {
        let der = self.0.public_key().as_der().map_err(|_| "the public key could not be encoded")?;
        Ok(spki_pem(der.as_ref()))
    }

    /// Signs `message`, and returns the signature in base64. A client signs the body of its request.
    ///
    /// # Errors
    ///
    /// If it cannot be signed.
    pub fn sign(&self, message: &[u8]) -> Result<String, SignatureError> {
        self.sign_digest(&digest(&SHA256, message))
    }

    /// Signs the message with this SHA-256, see [`sign`](Self::sign).
    pub(crate) fn sign_digest(&self, digest: &Digest) -> Result<String, SignatureError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        let signed = self.0.sign_digest(&RSA_PKCS1_SHA256, digest, &mut signature);
        signed.map_err(|_| "the message could not be signed")?;
        Ok(BASE64.encode(signature))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// An RSA public key of 2048 to 8192 bits.
pub struct VerifyingKey(ParsedPublicKey);

impl VerifyingKey {
    /// Reads a key from PEM in X.509 form (`BEGIN PUBLIC KEY`) or PKCS#1 form (`BEGIN RSA PUBLIC KEY`).
    ///
    /// # Errors
    ///
    /// If it is not PEM, not such a key, or not usable for verifying.
    pub fn from_pem(text: &str) -> Result<Self, SignatureError> {
        const NOT_RSA: &str = "the public key is not RSA, or is damaged";
        let pem = pem::parse(text).map_err(|_| "the public key is not PEM")?;
        if ![SPKI, PKCS1].contains(&pem.tag()) {
            return Err("the PEM holds something else than a public key".into());
        }
        let key = PublicKey::from_der(pem.contents()).map_err(|_| NOT_RSA)?;
        let spki: PublicKeyX509Der<'_> = key.as_der().map_err(|_| NOT_RSA)?;
        // aws-lc parses keys that it cannot verify with: those only for RSASSA-PSS, and those of other lengths.
        let whole = if pem.tag() == SPKI { spki.as_ref() } else { key.as_ref() };
        if pem.contents() != whole {
            return Err("the public key is not for RSA with PKCS#1 v1.5 (rsaEncryption), or is not DER".into());
        }
        let modulus = key.modulus().big_endian_without_leading_zero();
        let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
        if !BITS.contains(&bits) {
            let (shortest, longest) = (BITS.start(), BITS.end());
            let problem = format!("the public key has {bits} bits, and must have {shortest} to {longest}");
            return Err(SignatureError(problem.into()));
        }
        ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki.as_ref()).map(Self).map_err(|_| NOT_RSA.into())
    }

    /// The key as PEM in X.509 form.
    pub fn to_pem(&self) -> String {
        spki_pem(self.to_der())
    }

    /// The key as DER in X.509 form.
    pub(crate) fn to_der(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Whether `signature`, in base64, is this key's signature over the message with this SHA-256 digest.
    pub(crate) fn verifies_digest(&self, digest: &[u8], signature: &[u8]) -> bool {
        let Ok(digest) = Digest::import_less_safe(digest, &SHA256) else { return false };
        BASE64.decode(signature).is_ok_and(|signature| self.0.verify_digest_sig(&digest, &signature).is_ok())
    }

    /// Whether `signature`, in base64, is this key's signature over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        BASE64.decode(signature).is_ok_and(|signature| self.0.verify_sig(message, &signature).is_ok())
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref() == other.0.as_ref()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerifyingKey(..)")
    }
}

fn spki_pem(der: &[u8]) -> String {
    pem::encode_config(&Pem::new(SPKI, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

/// The message of bunq's older signature form: the status, the `X-Bunq-*` headers without the signature, sorted by
/// name, and the body.
///
/// `headers` may have any order, and names in any case, as in HTTP; they are signed as `X-Bunq-Name: value`.
pub(crate) fn message_with_headers<'a>(
    status: u16,
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    body: &[u8],
) -> Vec<u8> {
    let mut message = format!("{status}\n").into_bytes();
    for (name, value) in signed_headers(headers) {
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(b": ");
        message.extend_from_slice(value);
        message.push(b'\n');
    }
    message.push(b'\n');
    message.extend_from_slice(body);
    message
}

/// The `X-Bunq-*` headers of a response without the signature, as the older form signs them.
pub(crate) fn signed_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<(String, &'a [u8])> {
    let mut signed: Vec<(String, &[u8])> = headers
        .map(|(name, value)| (canonical_name(name), value))
        .filter(|(name, _)| name.starts_with("X-Bunq-") && name != "X-Bunq-Server-Signature")
        .collect();
    signed.sort_unstable();
    signed
}

/// Turns `x-bunq-client-request-id` into `X-Bunq-Client-Request-Id`.
fn canonical_name(name: &str) -> String {
    let mut start_of_word = true;
    name.chars()
        .map(|c| {
            let cased = if start_of_word { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            start_of_word = c == '-';
            cased
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn an_unusable_private_key_is_refused_with_the_reason() {
        test_timeout::start();
        let refusal = |text: &str| SigningKey::from_pkcs8(&text.into()).unwrap_err().to_string();
        assert_eq!(refusal("!"), "the private key is not base64");
        let neither = "the private key is not RSA of at least 2048 bits in PKCS#8";
        assert_eq!(refusal(""), neither);
        assert_eq!(refusal("QUJD"), neither);
    }

    #[test]
    fn what_is_no_public_key_is_refused_with_the_reason() {
        test_timeout::start();
        let refusal = |text: &str| VerifyingKey::from_pem(text).unwrap_err().to_string();
        assert_eq!(refusal("key"), "the public key is not PEM");
        let nonsense = Pem::new(SPKI, b"not a key".to_vec());
        assert_eq!(refusal(&pem::encode(&nonsense)), "the public key is not RSA, or is damaged");
        let private = Pem::new("PRIVATE KEY", b"not a key".to_vec());
        assert_eq!(refusal(&pem::encode(&private)), "the PEM holds something else than a public key");
        let der = pem::parse(SigningKey::generate().unwrap().public_key_pem().unwrap()).unwrap().into_contents();
        for (label, der) in [(SPKI, [der.clone(), b"more".to_vec()].concat()), (PKCS1, der)] {
            let other_form = "the public key is not for RSA with PKCS#1 v1.5 (rsaEncryption), or is not DER";
            assert_eq!(refusal(&pem::encode(&Pem::new(label, der))), other_form);
        }
    }

    #[test]
    fn the_key_vectors_hold() {
        test_timeout::start();
        let vectors: serde_json::Value = serde_json::from_str(include_str!("../../openapi/vectors/keys.json")).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let key = VerifyingKey::from_pem(case["public_key_pem"].as_str().unwrap());
            assert_eq!(key.is_ok(), case["usable"], "{}: {key:?}", case["name"]);
        }
    }

    #[tokio::test]
    async fn other_tasks_have_their_turn_while_a_file_is_hashed() {
        test_timeout::start();
        let file: Vec<u8> = (0..=u8::MAX).cycle().take(16 * PIECE + 1).collect();
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        assert_eq!(sha256(&[b"head", &file]).await.as_ref(), digest(&SHA256, &[b"head", &file[..]].concat()).as_ref());
        assert!(turns.load(Ordering::Relaxed) >= 16);
        other.abort();
    }

    #[test]
    fn the_signing_vectors_hold() {
        test_timeout::start();
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../openapi/vectors/signing.json")).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let text = |member: &str| case[member].as_str().unwrap();
            let der = pem::parse(text("private_key_pem")).unwrap().into_contents();
            let key = SigningKey::from_pkcs8(&BASE64.encode(der).into()).unwrap();
            assert_eq!(key.sign(text("body").as_bytes()).unwrap(), text("signature"), "{}", case["name"]);
        }
    }
}
