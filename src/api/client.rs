//! The generated client, and the hook that sends its requests through the transport.
//!
//! The generated client's own errors contain bodies and lose ids, so none of them leaves this module: the outcome of a
//! call is stored in its [`GeneratedCall`].

use std::fmt;
use std::sync::{Arc, OnceLock};

use progenitor_client::{ClientHooks, OperationInfo};
use reqwest::{Request, Response as HttpResponse};

use super::calls::Api;
use super::json_path;
use crate::error::Error;
use crate::operation::Operation;
use crate::transport::VerifiedResponse;

#[allow(clippy::all, dead_code, unused_imports, missing_docs, unreachable_pub)]
mod generated {
    use crate::types;

    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}

pub(super) use self::generated::Client;

/// One call of the generated client, and its outcome.
pub(crate) struct GeneratedCall {
    api: Api,
    operation: &'static Operation,
    outcome: OnceLock<Result<VerifiedResponse, Error>>,
}

impl GeneratedCall {
    pub(super) fn new(api: &Api, operation: &'static Operation) -> Arc<Self> {
        Arc::new(Self { api: api.clone(), operation, outcome: OnceLock::new() })
    }

    /// The outcome of the call.
    pub(super) fn outcome(&self) -> Result<VerifiedResponse, Error> {
        self.outcome.get().cloned().unwrap_or_else(|| Err(Error::internal("the request could not be built")))
    }
}

impl fmt::Debug for GeneratedCall {
    /// Leaves out the outcome, which contains a body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratedCall").field("operation", &self.operation.id).finish_non_exhaustive()
    }
}

/// A generated client that makes one call.
pub(super) fn client_for(call: &Arc<GeneratedCall>) -> Client {
    let transport = call.api.transport();
    Client::new_with_client(transport.base_url(), transport.http(), Arc::clone(call))
}

impl ClientHooks<Arc<GeneratedCall>> for Client {
    async fn exec(&self, request: Request, _: &OperationInfo) -> reqwest::Result<HttpResponse> {
        let GeneratedCall { api, operation, outcome } = &*self.inner;
        let result = api.exchange(operation, request).await;
        let body = result.as_ref().map(|response| response.body.clone()).unwrap_or_default();
        // The hook runs once per call, and nothing else sets the outcome.
        let _ = outcome.set(result);
        Ok(http::Response::new(body).into())
    }
}

/// Says why a response did not decode, and where, with the document's names of its members. It repeats no value,
/// because that may be a token.
pub(super) fn undecodable(body: &[u8], error: &serde_json::Error) -> String {
    if body.is_empty() {
        return "the response is empty".into();
    }
    if !error.is_data() {
        return "the response is not JSON".into();
    }
    let problem = error.to_string();
    let is_about_the_shape = ["missing field", "a list has more than"].iter().any(|own| problem.starts_with(own));
    let problem = problem.split(" at line ").next().filter(|_| is_about_the_shape).unwrap_or("unexpected value");
    let path = json_path::at(body, error.line(), error.column());
    // The problem is with the whole list, so the position within it is left out.
    let is_list = problem.starts_with("a list has more than") && path.ends_with(']');
    let path = path.rsplit_once('[').filter(|_| is_list).map_or(path.as_str(), |(list, _)| list);
    let place = if path.is_empty() { String::new() } else { format!("`{path}`: ") };
    format!("the response is not what the document describes: {place}{problem}")
}
