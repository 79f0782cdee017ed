//! A close without the crate: reqwest, aws-lc-rs and serde_json by hand, with only what is needed for the same bytes on
//! the wire.

#![allow(dead_code)]

use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bunq_partner::Uuid;
use bytes::Bytes;
use pem::{EncodeConfig, LineEnding, Pem};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{API_KEY, Result};

/// The `User-Agent` of the crate's requests.
const FIXED_HEADERS: [(&str, &str); 7] = [
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("cache-control", "no-cache"),
    ("user-agent", concat!("bunq-partner/", env!("CARGO_PKG_VERSION"))),
    ("x-bunq-language", "en_US"),
    ("x-bunq-region", "nl_NL"),
    ("x-bunq-geolocation", "0 0 0 0 000"),
];

#[derive(Serialize)]
struct Update {
    status: &'static str,
}

#[derive(Deserialize)]
struct Response {
    #[serde(rename = "Response")]
    response: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "Id")]
    id: Option<Id>,
}

#[derive(Deserialize)]
struct Id {
    id: u64,
}

/// The keys that sign requests and verify responses.
pub(crate) struct Keys {
    signing: KeyPair,
    verifying: ParsedPublicKey,
}

impl Keys {
    /// Generates a key pair that verifies its own signatures.
    pub(crate) fn generate() -> Result<Self> {
        let signing = KeyPair::generate(KeySize::Rsa2048)?;
        let verifying = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, signing.public_key().as_der()?.as_ref())?;
        Ok(Self { signing, verifying })
    }

    fn public_key_pem(&self) -> Result<String> {
        let der = self.signing.public_key().as_der()?;
        Ok(pem::encode_config(
            &Pem::new("PUBLIC KEY", der.as_ref()),
            EncodeConfig::new().set_line_ending(LineEnding::LF),
        ))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<String> {
        let mut signature = vec![0; self.signing.public_modulus_len()];
        self.signing.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)?;
        Ok(BASE64.encode(signature))
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<()> {
        Ok(self.verifying.verify_sig(message, &BASE64.decode(signature)?)?)
    }
}

/// An open session.
pub(crate) struct Bare {
    http: Client,
    base_url: String,
    keys: Keys,
    token: String,
}

impl Bare {
    /// Opens a session.
    pub(crate) async fn open(base_url: &str) -> Result<Self> {
        let http = Client::builder().connect_timeout(Duration::from_secs(10)).no_proxy().build()?;
        let mut keys = Keys::generate()?;
        let request = json!({ "client_public_key": keys.public_key_pem()? });
        let request = http.post(format!("{base_url}/installation")).headers(headers("", "")?).body(request.to_string());
        let installation: Value = serde_json::from_slice(&request.send().await?.bytes().await?)?;
        let server_key = pem::parse(text(&installation, "server_public_key")?)?;
        keys.verifying = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, server_key.contents())?;
        let token = text(&installation, "token")?.to_owned();
        let mut bare = Self { http, base_url: base_url.to_owned(), keys, token };
        let device = json!({ "description": "bare", "secret": API_KEY, "permitted_ips": [] });
        bare.exchange(Method::POST, "/device-server", device.to_string().into()).await?;
        let session = bare.exchange(Method::POST, "/session-server", json!({ "secret": API_KEY }).to_string().into());
        let session: Value = serde_json::from_slice(&session.await?)?;
        bare.token = text(&session, "token")?.to_owned();
        Ok(bare)
    }

    /// The call that is measured.
    pub(crate) async fn close(&self, id: u64) -> Result<()> {
        let body = serde_json::to_vec(&Update { status: "CANCELLED" })?;
        let response = self.exchange(Method::PUT, &format!("/partner-user-provision/{id}"), body.into()).await?;
        let response: Response = serde_json::from_slice(&response)?;
        let answered = response.response.into_iter().find_map(|item| item.id).ok_or("the response holds no Id")?;
        if answered.id == id { Ok(()) } else { Err("the response is about another provision".into()) }
    }

    /// Sends a file, with its content type.
    pub(crate) async fn upload(&self, path: &str, content_type: &'static str, file: Bytes) -> Result<()> {
        let mut headers = headers(&self.token, &self.keys.sign(&file)?)?;
        headers.insert("content-type", HeaderValue::from_static(content_type));
        self.exchange_with(headers, Method::POST, path, file).await.map(drop)
    }

    /// Receives a file.
    pub(crate) async fn download(&self, path: &str) -> Result<Bytes> {
        self.exchange(Method::GET, path, Bytes::new()).await
    }

    async fn exchange(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        self.exchange_with(headers(&self.token, &self.keys.sign(&body)?)?, method, path, body).await
    }

    async fn exchange_with(&self, headers: HeaderMap, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        let request = self.http.request(method, format!("{}{path}", self.base_url));
        let request = request.timeout(Duration::from_secs(30)).headers(headers).body(body);
        let response = request.send().await?.error_for_status()?;
        let signature = response.headers().get("x-bunq-server-signature").ok_or("the response is not signed")?.clone();
        let body = response.bytes().await?;
        self.keys.verify(&body, signature.as_bytes())?;
        Ok(body)
    }
}

/// The headers of a request, with a new request id.
pub(crate) fn headers(token: &str, signature: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in FIXED_HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert("x-bunq-client-request-id", HeaderValue::try_from(Uuid::new_v4().to_string())?);
    headers.insert("x-bunq-client-authentication", HeaderValue::from_str(token)?);
    headers.insert("x-bunq-client-signature", HeaderValue::from_str(signature)?);
    Ok(headers)
}

/// The first string with this name, at any depth.
fn text<'a>(json: &'a Value, name: &str) -> Result<&'a str> {
    fn find<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
        match json {
            Value::Object(object) => {
                object.get(name).and_then(Value::as_str).or_else(|| object.values().find_map(|value| find(value, name)))
            }
            Value::Array(array) => array.iter().find_map(|value| find(value, name)),
            _ => None,
        }
    }
    find(json, name).ok_or_else(|| format!("the response holds no {name}").into())
}
