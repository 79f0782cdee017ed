//! Opens and makes sealed texts by their documented format, apart from the library.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bunq_partner::Secret;
use serde_json::Value;

/// What a text says that the client with this API key has kept. One of an earlier version says it itself.
pub fn unsealed(text: &str, api_key: &Secret) -> Value {
    let outer: Value = serde_json::from_str(text).unwrap();
    if outer["sealed"].is_null() {
        return outer;
    }
    let data_key = data_key(&outer, api_key);
    serde_json::from_slice(&opened(&data_key, &bound_to(&outer), &bytes(&outer["sealed"]))).unwrap()
}

/// The same text, but that it says something else.
pub fn resealed(text: &str, says: &Value, api_key: &Secret) -> String {
    let mut outer: Value = serde_json::from_str(text).unwrap();
    let data_key = data_key(&outer, api_key);
    let salt = [7; 32];
    let mut sealed = says.to_string().into_bytes();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let aad = Aad::from(bound_to(&outer));
    key(&data_key, &salt).seal_in_place_append_tag(nonce, aad, &mut sealed).unwrap();
    outer["sealed"] = BASE64.encode([&salt[..], &sealed].concat()).into();
    outer.to_string()
}

fn data_key(outer: &Value, api_key: &Secret) -> Vec<u8> {
    opened(api_key.expose().as_bytes(), b"data key", &bytes(&outer["data_key"]))
}

fn bytes(text: &Value) -> Vec<u8> {
    BASE64.decode(text.as_str().unwrap()).unwrap()
}

/// A salt of 32 bytes, the ciphertext and its tag.
fn opened(secret: &[u8], bound_to: &[u8], sealed: &[u8]) -> Vec<u8> {
    let (salt, sealed) = sealed.split_at(32);
    let mut text = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    key(secret, salt).open_in_place(nonce, Aad::from(bound_to), &mut text).unwrap().to_vec()
}

fn key(secret: &[u8], salt: &[u8]) -> LessSafeKey {
    let derived = Salt::new(HKDF_SHA256, salt).extract(secret);
    LessSafeKey::new(UnboundKey::from(derived.expand(&[b"bunq-partner sealing\n"], &AES_256_GCM).unwrap()))
}

/// All members but the sealed one, in this order, each after its length.
fn bound_to(outer: &Value) -> Vec<u8> {
    let text = |name: &str| match &outer[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let names = ["format", "bunq_partner_user", "version", "environment", "base_url", "provision_id", "sealer"];
    let mut parts: Vec<_> = names.iter().map(|name| text(name).into_bytes()).collect();
    parts.push(bytes(&outer["data_key"]));
    parts.iter().flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat()).collect()
}
