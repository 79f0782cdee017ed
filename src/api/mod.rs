//! The typed methods of the operations, generated from the document.
//!
//! [`Api`] has one method per operation. A method has the generated client build its request, sends it through the
//! transport, and returns the part of the response that the document names as its result. Each method makes one call.
//! Code that makes several calls or waits is built on these methods.

mod calls;
mod client;
mod decode;
mod envelope;
mod json_path;
mod pages;
mod response;

use std::sync::Arc;

use futures_util::future::FutureExt as _;
use futures_util::stream::Stream;
use reqwest::{Method, Request, Url};
use serde_json::Value;

pub use self::calls::Api;
use self::client::{RequestError, requests, set_json};
use self::envelope::{each, first, joined, of_kind, repeats, required};
pub(crate) use self::pages::{items, pages};
pub use self::response::{RequestPreview, Response, ResponseBody};
use crate::error::Error;
use crate::operation::Operation;
use crate::transport::VerifiedResponse;
use crate::transport::credentials::BoxFuture;

/// No server accepts a longer URL.
const MAX_URL_LEN: usize = 8 * 1024;

impl Api {
    /// Calls any operation, with a JSON body, and returns the verified bytes of the response.
    ///
    /// `parameters` are those of the path, which are all required, and of the query. The body is sent unchanged. Use
    /// the typed methods where you can: they check more before anything is sent.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
    /// use bunq_partner::Operation;
    ///
    /// let response = client.api().call(&Operation::GET_PROVISION, &[("provision_id", "123")], None).await?;
    /// println!("{}", String::from_utf8_lossy(&response));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the client makes the call by itself
    /// ([`Operation::managed`]), if a parameter or the body is missing, or if the operation has no such parameter or no
    /// body.
    pub async fn call(
        &self,
        operation: &Operation,
        parameters: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Response<ResponseBody>, Error> {
        let invalid = |problem: String| Error::invalid_input(operation.id, problem);
        let operation = Operation::ALL
            .iter()
            .find(|known| *known == operation && !known.managed)
            .ok_or_else(|| invalid("the client makes this call by itself, to open or end a session".into()))?;
        let request = self.build_request(operation, parameters, body).map_err(invalid)?;
        Ok(Response::of_bytes(self.exchange(operation, Ok(request)).await?))
    }

    /// Returns the request that [`call`](Self::call) would send, after the same checks. It sends nothing.
    ///
    /// ```no_run
    /// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
    /// use bunq_partner::Operation;
    ///
    /// let closing = serde_json::json!({ "status": "CANCELLED" });
    /// let preview = client.api().preview(&Operation::UPDATE_PROVISION, &[("provision_id", "123")], Some(&closing))?;
    /// println!("{} {} {:?}", preview.method, preview.url, preview.body);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Like those of [`call`](Self::call) before it sends anything.
    pub fn preview(
        &self,
        operation: &Operation,
        parameters: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<RequestPreview, Error> {
        self.preview_of(|api| async move { api.call(operation, parameters, body).await })
    }

    /// Returns the request of a call, which is made with methods that send nothing.
    pub(crate) fn preview_of<T, F>(&self, call: impl FnOnce(Self) -> F) -> Result<RequestPreview, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let preview = Arc::default();
        // It waits for nothing.
        let failure = call(Self { preview: Some(Arc::clone(&preview)), ..self.clone() }).now_or_never();
        let failure = failure.and_then(Result::err).unwrap_or_else(|| Error::internal("there was no request"));
        preview.get().cloned().ok_or(failure)
    }

    /// Builds the request of a call by name, or returns what is wrong with its parameters.
    fn build_request(
        &self,
        operation: &Operation,
        parameters: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Request, String> {
        let known = || {
            let names: Vec<_> = operation.path_parameters().chain(operation.query.iter().copied()).collect();
            if names.is_empty() { " (it takes none)".into() } else { format!(" (parameters: {})", names.join(", ")) }
        };
        for (index, (name, _)) in parameters.iter().enumerate() {
            if !operation.query.contains(name) && !operation.path_parameters().any(|known| known == *name) {
                return Err(format!("it has no parameter `{name}`{}", known()));
            }
            if parameters[..index].iter().any(|(other, _)| other == name) {
                return Err(format!("the parameter `{name}` is given twice"));
            }
        }
        let segment = |name| match parameters.iter().find(|(other, _)| *other == name) {
            None => Err(format!("the parameter `{name}` is missing{}", known())),
            // These values would lead to another path; URLs drop control characters.
            Some((_, value)) if matches!(*value, "" | "." | "..") || value.contains(char::is_control) => {
                Err(format!("the parameter `{name}` cannot be a segment of a path"))
            }
            Some((_, value)) => Ok(*value),
        };
        let mut url: Url = self.transport.base_url().parse().map_err(|_| "the base URL is not a URL")?;
        for part in operation.path.split('/').skip(1) {
            let name = part.strip_prefix('{').and_then(|name| name.strip_suffix('}'));
            let value = name.map_or(Ok(part), segment)?;
            url.path_segments_mut().map_err(|()| "the base URL has no path")?.push(value);
        }
        for (name, value) in parameters.iter().filter(|(name, _)| operation.query.contains(name)) {
            url.query_pairs_mut().append_pair(name, value);
        }
        let method = Method::from_bytes(operation.method.as_bytes()).map_err(|error| error.to_string())?;
        let request = self.transport.http().request(method, url).header("accept", "application/json");
        let mut request = request.build().map_err(|error| error.without_url().to_string())?;
        match (operation.has_body, body) {
            (true, Some(body)) => set_json(&mut request, body).map_err(|RequestError| "its body cannot be written")?,
            (false, None) => {}
            (true, None) => return Err("it has a body, which is missing".into()),
            (false, Some(_)) => return Err("it has no body".into()),
        }
        if request.url().as_str().len() > MAX_URL_LEN {
            return Err("its parameters are longer than a URL can be".into());
        }
        Ok(request)
    }
}

include!(concat!(env!("OUT_DIR"), "/methods.rs"));

#[cfg(test)]
mod tests;
