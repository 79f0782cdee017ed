//! One signed request, and a read of its response: what a program without a client would contain.

use std::error::Error;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use serde::{Deserialize, Serialize};

#[derive(Serialize)]
struct Close {
    status: &'static str,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Envelope {
    #[serde(rename = "Response")]
    response: Vec<serde_json::Value>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = KeyPair::generate(KeySize::Rsa2048)?;
    let body = serde_json::to_vec(&Close { status: "CANCELLED" })?;
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &body, &mut signature)?;
    let request = reqwest::Client::new()
        .put("https://partner-api.sandbox.bunq.com/v1/partner-user-provision/123")
        .header("x-bunq-client-signature", base64::engine::general_purpose::STANDARD.encode(signature))
        .body(body);
    let envelope: Envelope = request.send().await?.json().await?;
    println!("{envelope:?}");
    Ok(())
}
