//! The cipher: AES-256-GCM under a key of its own for each text.
//!
//! That key is derived with HKDF-SHA256 from the secret and a random salt, which stands before the text. So no key seals twice, its
//! nonce can be constant, and a secret may seal any number of texts.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use zeroize::Zeroizing;

use crate::types::Secret;

const SALT_LEN: usize = 32;

/// Distinguishes the derived keys from what another program derives of the same secret.
const DOMAIN: &[u8] = b"bunq-partner sealing\n";

/// Seals a text. It can be opened with the same secret, and what it is `bound_to`.
pub(super) fn seal(secret: &Secret, bound_to: &[u8], text: &Secret) -> Result<Vec<u8>, Unspecified> {
    let text = text.expose().as_bytes();
    // Wiped if sealing fails; with room for all, so that it does not grow and leave copies.
    let mut sealed = Zeroizing::new(Vec::with_capacity(SALT_LEN + text.len() + AES_256_GCM.tag_len()));
    sealed.resize(SALT_LEN, 0);
    rand::fill(&mut sealed)?;
    let key = key(secret, &sealed)?;
    sealed.extend_from_slice(text);
    let tag = key.seal_in_place_separate_tag(nonce(), Aad::from(bound_to), &mut sealed[SALT_LEN..])?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(std::mem::take(&mut *sealed))
}

/// Opens what was sealed. It fails if anything was changed.
pub(super) fn open(secret: &Secret, bound_to: &[u8], sealed: &[u8]) -> Result<Secret, Unspecified> {
    let (salt, sealed) = sealed.split_at_checked(SALT_LEN).ok_or(Unspecified)?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let text = key(secret, salt)?.open_in_place(nonce(), Aad::from(bound_to), &mut text)?;
    std::str::from_utf8(text).map(Secret::new).map_err(|_| Unspecified)
}

/// Joins parts so that no two lists of parts are the same bytes.
pub(super) fn joined(parts: &[&[u8]]) -> Vec<u8> {
    let mut joined = Vec::new();
    for part in parts {
        joined.extend_from_slice(&(part.len() as u64).to_be_bytes());
        joined.extend_from_slice(part);
    }
    joined
}

/// A secret of 256 random bits.
pub(super) fn random_secret() -> Result<Secret, Unspecified> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes)?;
    Ok(Secret::new(BASE64.encode(bytes.as_slice())))
}

fn key(secret: &Secret, salt: &[u8]) -> Result<LessSafeKey, Unspecified> {
    let derived = Salt::new(HKDF_SHA256, salt).extract(secret.expose().as_bytes());
    Ok(LessSafeKey::new(UnboundKey::from(derived.expand(&[DOMAIN], &AES_256_GCM)?)))
}

/// Each key seals once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}
