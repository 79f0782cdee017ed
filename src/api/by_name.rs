//! Calls by name: any operation of the document, with parameters as texts.

use reqwest::{Method, Request, Url};

use super::body::{RequestBody, with_bytes};
use super::calls::Api;
use super::check_header;
use super::client::{RequestError, set_json, with_header};
use super::response::{RequestPreview, Response, ResponseBody};
use crate::error::Error;
use crate::operation::{Operation, PATH_USER};
use crate::transport::path_user::SESSION_USER;
use crate::types::id_text;

/// No server accepts a longer URL.
const MAX_URL_LEN: usize = 8 * 1024;

impl Api {
    /// Calls any operation, and returns the verified bytes of the response.
    ///
    /// `parameters` are those [of the path](Operation::path_parameters), which are required, those [of the query](Operation::query),
    /// and the [headers](Operation::headers) that a caller gives. The client fills in the user of the session; `user_id` is a
    /// parameter only where the caller [may name another user](crate::PathUser::Chosen), and is optional there. `body` is `None`,
    /// JSON as `&Value`, or [`RequestBody::bytes`]. It is sent unchanged. Use the typed methods where you can: they check more
    /// before anything is sent.
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
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) before anything is sent: if the client makes the call by itself
    /// ([`Operation::managed`]); if the operation takes [the session of others](Operation::session_of); if a parameter or the body is missing; if the operation has no such parameter, or no body of this
    /// kind; if the value of an id is not a positive integer; if a file is empty, larger than
    /// [`max_upload_size`](crate::ClientBuilder::max_upload_size), or does not begin as its content type says.
    pub async fn call<'a>(
        &self,
        operation: &Operation,
        parameters: &[(&str, &str)],
        body: impl Into<RequestBody<'a>>,
    ) -> Result<Response<ResponseBody>, Error> {
        self.call_by_name(operation, parameters, body.into()).await
    }

    async fn call_by_name(
        &self,
        operation: &Operation,
        parameters: &[(&str, &str)],
        body: RequestBody<'_>,
    ) -> Result<Response<ResponseBody>, Error> {
        let invalid = |problem: String| Error::invalid_input(operation.id, problem);
        let operation = Operation::ALL
            .iter()
            .find(|known| *known == operation && !known.managed)
            .ok_or_else(|| invalid("the client makes this call by itself, to open or end a session".into()))?;
        let request = self.build_request(operation, parameters, body).map_err(RequestError::Refused);
        Ok(Response::of_bytes(self.exchange(operation, request).await?))
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
    pub fn preview<'a>(
        &self,
        operation: &Operation,
        parameters: &[(&str, &str)],
        body: impl Into<RequestBody<'a>>,
    ) -> Result<RequestPreview, Error> {
        let body = body.into();
        self.preview_of(|api| async move { api.call_by_name(operation, parameters, body).await })
    }

    /// Builds the request of a call by name, or returns what is wrong with its parameters.
    fn build_request(
        &self,
        operation: &Operation,
        parameters: &[(&str, &str)],
        body: RequestBody<'_>,
    ) -> Result<Request, String> {
        let elsewhere = || operation.query.iter().chain(operation.headers).copied();
        let known = || {
            let names: Vec<_> = operation.path_parameters().chain(elsewhere()).collect();
            if names.is_empty() { " (it takes none)".into() } else { format!(" (parameters: {})", names.join(", ")) }
        };
        let mut given: Vec<(&str, &str)> = Vec::with_capacity(parameters.len());
        for (name, value) in parameters.iter().copied() {
            if !operation.path_parameters().chain(elsewhere()).any(|known| known == name) {
                if name == PATH_USER && operation.path_user.is_some() {
                    return Err("the client fills in `user_id`, the user of the session: leave it out".into());
                }
                return Err(format!("it has no parameter `{name}`{}", known()));
            }
            if given.iter().any(|(other, _)| *other == name) {
                return Err(format!("the parameter `{name}` is given twice"));
            }
            let value = match operation.ids.iter().find(|id| **id == name) {
                Some(name) => id_text(name, value).map_err(|error| format!("the parameter {error}"))?,
                None => value,
            };
            given.push((name, value));
        }
        let segment = |name| match given.iter().find(|(other, _)| *other == name) {
            None if name == PATH_USER && operation.path_user.is_some() => Ok(SESSION_USER),
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
        for (name, value) in given.iter().filter(|(name, _)| operation.query.contains(name)) {
            url.query_pairs_mut().append_pair(name, value);
        }
        let method = Method::from_bytes(operation.method.as_bytes()).map_err(|error| error.to_string())?;
        let request = self.transport.http().request(method, url).header("accept", "application/json");
        let mut request = request.build().map_err(|error| error.without_url().to_string())?;
        if request.url().as_str().len() > MAX_URL_LEN {
            return Err("its parameters are longer than a URL can be".into());
        }
        let problem = |error| match error {
            RequestError::Refused(problem) => problem,
            RequestError::Unbuildable => "its request cannot be written".into(),
        };
        for header in operation.headers {
            let Some((_, text)) = given.iter().find(|(name, _)| name == header) else { continue };
            check_header(operation, header, text).map_err(|error| format!("{header}: {}", error.rule()))?;
            request = with_header(Ok(request), header, Some(text)).map_err(problem)?;
        }
        match body {
            RequestBody::None if operation.has_body => Err("it has a body, which is missing".into()),
            RequestBody::None => Ok(request),
            _ if !operation.has_body => Err("it has no body".into()),
            RequestBody::Json(_) if !operation.content_types.is_empty() => Err("its body is bytes, not JSON".into()),
            RequestBody::Json(body) => set_json(&mut request, body).map(|()| request).map_err(problem),
            RequestBody::Bytes { .. } if operation.content_types.is_empty() => {
                Err("its body is JSON, not bytes".into())
            }
            RequestBody::Bytes { content_type, bytes } => {
                with_bytes(Ok(request), &self.transport, operation, content_type, bytes).map_err(problem)
            }
        }
    }
}
