//! `api`: any operation of the document.

use std::io::{self, Read as _};

use bunq_partner::Operation;
use serde_json::Value;

use super::arguments::ApiOptions;
use super::exit::Failure;
use super::invocation::Invocation;
use super::output::write_json;
use super::provisions::show_previews;

/// No body is larger.
const MAX_BODY: u64 = 1024 * 1024;

/// The operation, and the body as JSON.
pub(super) struct Call {
    pub(super) operation: &'static Operation,
    body: Option<Value>,
}

impl Call {
    /// Reads what is to be called, before anything is sent.
    pub(super) fn read(options: &ApiOptions) -> Result<Self, Failure> {
        let operation = Operation::by_id(&options.operation);
        let operation =
            operation.ok_or_else(|| Failure::usage(format!("there is no operation {}", options.operation)))?;
        Ok(Self { operation, body: options.body.as_deref().map(body).transpose()? })
    }

    pub(super) async fn run(self, invocation: &Invocation, options: &ApiOptions) -> Result<(), Failure> {
        let api = invocation.client.api();
        let parameters: Vec<_> =
            options.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if options.dry_run.dry_run {
            let preview = api.preview(self.operation, &parameters, self.body.as_ref())?;
            return show_previews(invocation.format(), &[preview]);
        }
        let response = api.call(self.operation, &parameters, self.body.as_ref()).await?;
        let json =
            if invocation.shows_secrets() { serde_json::from_slice(&response).ok() } else { response.redacted() };
        let json = json.ok_or_else(|| Failure::usage("the response is not JSON, so it is not shown"))?;
        write_json(&json)?;
        if let Some(id) = response.response_id() {
            invocation.note(&format!("response id {id}"));
        }
        Ok(())
    }
}

fn body(text: &str) -> Result<Value, Failure> {
    let failed = |error: io::Error| Failure::usage(format!("--body {text}: {error}"));
    let read = match text.strip_prefix('@') {
        _ if text == "-" => bounded(io::stdin()).map_err(failed)?,
        Some(file) => bounded(std::fs::File::open(file).map_err(failed)?).map_err(failed)?,
        None => text.to_owned(),
    };
    // The message of serde_json may quote a part of it, which may be about a person.
    serde_json::from_str(&read).map_err(|error| {
        Failure::usage(format!("--body is not JSON: line {}, column {}", error.line(), error.column()))
    })
}

fn bounded(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_BODY + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BODY { Err(io::Error::other("it is larger than 1 MiB")) } else { Ok(text) }
}
