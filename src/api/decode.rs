//! Decodes the verified body of a response.

use serde::de::DeserializeOwned;

use super::calls::Api;
use super::json_path;
use super::response::Response;
use crate::error::{CallMetadata, Error};
use crate::transport::{VerifiedResponse, spans};
use crate::types::{UnknownValue, collect_unknown, from_json};

impl Api {
    /// Decodes a response, and makes its result with `unpack`. The problem of either is the error of the call.
    pub(super) fn decode<T: DeserializeOwned, U>(
        &self,
        response: VerifiedResponse,
        unpack: impl FnOnce(T) -> Result<U, String>,
    ) -> Result<Response<U>, Error> {
        let (decoded, unknown) = collect_unknown(|| from_json(&response.body));
        let unpacked = match decoded {
            Ok(envelope) => unpack(envelope),
            Err(error) => Err(undecodable(&response.body, &error)),
        };
        match unpacked {
            Ok(value) => Ok(Response::new(value, self.read(response, unknown))),
            Err(problem) => Err(self.refuse(response, unknown, problem)),
        }
    }

    /// Decodes a response that says no more than that the call has succeeded: an envelope, or nothing at all.
    pub(super) fn decode_nothing<T: DeserializeOwned>(
        &self,
        response: VerifiedResponse,
    ) -> Result<Response<()>, Error> {
        if response.body.is_empty() {
            return Ok(Response::new((), response.metadata));
        }
        self.decode(response, |_: T| Ok(()))
    }

    // These two are compiled once for all operations.

    fn read(&self, response: VerifiedResponse, unknown: Vec<UnknownValue>) -> CallMetadata {
        response.span.in_scope(|| self.transport.report_unknown(unknown));
        response.metadata
    }

    pub(super) fn refuse(&self, response: VerifiedResponse, unknown: Vec<UnknownValue>, problem: String) -> Error {
        let span = response.span.clone();
        let error = Error::invalid_response(self.read(response, unknown), problem);
        spans::record_failure(&span, &error);
        error
    }
}

/// Says why a response did not decode, and where, with the document's names of its members. It repeats no value,
/// because that may be a token.
fn undecodable(body: &[u8], error: &serde_json::Error) -> String {
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
