//! How calls are made: over which transport, as whom, within what time, and whether they are sent at all.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::FutureExt as _;
use reqwest::header::{ACCEPT, HeaderValue};
use reqwest::{Body, Request, Url};

use super::body::problem_of_result;
use super::client::RequestError;
use super::response::RequestPreview;
use crate::error::{Error, Remedy};
use crate::operation::{Operation, SessionOf};
use crate::transport::call_budget::CallBudget;
use crate::transport::connections::Reuse;
use crate::transport::credentials::{BoxFuture, ProvideCredentials};
use crate::transport::rate_limit::Role;
use crate::transport::shutdown::Gate;
use crate::transport::trouble::Trouble;
use crate::transport::{CallOptions, Transport, VerifiedResponse};
use crate::types::REDACTED;

/// The typed methods of all operations of the OpenAPI document. Cheap to clone.
///
/// Each call is signed, verified, rate-limited and retried like any other of the [`Client`](crate::Client).
/// [`ErrorKind`](crate::ErrorKind) lists the errors of any call. [`provisions`](crate::Client::provisions) has the
/// operations that take more than one call.
///
/// Dropping the future of a call cancels it on this side. bunq may carry the request out nevertheless.
///
/// ```no_run
/// # async fn example(client: bunq_partner::Client) -> Result<(), bunq_partner::Error> {
/// use bunq_partner::types::ListProvisionsQuery;
/// use bunq_partner::{PageSize, ProvisionStatus};
///
/// let query = ListProvisionsQuery::default().status([ProvisionStatus::Active]).count(PageSize::MAX);
/// let page = client.api().list_provisions(query).await?;
/// println!("{} active, bunq's id of the response: {:?}", page.items.len(), page.response_id());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Api {
    pub(super) transport: Arc<Transport>,
    pub(super) source: Arc<dyn ProvideCredentials>,
    pub(super) timing: Timing,
    pub(super) reuse: Reuse,
    /// What each request passes before it leaves.
    pub(super) gate: Gate,
    /// What holds up the call in progress, for a caller that shows it. Calls are then made one at a time.
    pub(super) trouble: Option<Trouble>,
    /// Calls leave their request here, and send nothing.
    pub(super) preview: Option<Arc<OnceLock<RequestPreview>>>,
}

/// The time limit of a call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Timing {
    /// This long after the call begins.
    After(Duration),
    /// The rest of a verb's time.
    Within(CallBudget),
}

impl Api {
    pub(crate) fn new(transport: Arc<Transport>, source: Arc<dyn ProvideCredentials>) -> Self {
        let timing = Timing::After(transport.config().operation_timeout);
        let gate = transport.gate().clone();
        Self { transport, source, timing, reuse: Reuse::Allowed, gate, trouble: None, preview: None }
    }

    /// Sets the time limit of each call, in place of [`ClientBuilder::operation_timeout`]. With zero, each call fails
    /// before anything is sent.
    ///
    /// [`ClientBuilder::operation_timeout`]: crate::ClientBuilder::operation_timeout
    #[must_use]
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.timing = Timing::After(timeout);
        self
    }

    /// The size of the largest file that is sent, in bytes: that of [`ClientBuilder::max_upload_size`].
    ///
    /// [`ClientBuilder::max_upload_size`]: crate::ClientBuilder::max_upload_size
    pub fn max_upload_size(&self) -> usize {
        self.transport.config().max_upload_size
    }

    /// Returns the same methods, whose calls share `budget`.
    pub(crate) fn until(&self, budget: CallBudget) -> Self {
        Self { timing: Timing::Within(budget), ..self.clone() }
    }

    /// Returns the same methods, whose calls use these connections.
    pub(crate) fn over(&self, reuse: Reuse) -> Self {
        Self { reuse, ..self.clone() }
    }

    /// Returns the same methods, whose requests pass this gate.
    pub(crate) fn through(&self, gate: &Gate) -> Self {
        Self { gate: gate.clone(), ..self.clone() }
    }

    /// Returns the same methods for calls that are made one at a time; `trouble` says what holds up the one in
    /// progress.
    pub(crate) fn telling(&self, trouble: &Trouble) -> Self {
        Self { trouble: Some(trouble.clone()), ..self.clone() }
    }

    /// Returns the budget of a call that begins now.
    pub(crate) fn budget(&self) -> CallBudget {
        match self.timing {
            Timing::After(timeout) => CallBudget::after(timeout, self.transport.limits().next_rank()),
            Timing::Within(budget) => budget,
        }
    }

    /// Returns the budget of a check of what became of a request. If the call has less time left, the check gets that of an
    /// attempt: to stay in doubt is worse than to be late.
    pub(crate) fn check_by(&self, budget: CallBudget) -> CallBudget {
        budget.with_time_for(self.transport.config().attempt_timeout)
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
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

    /// Sends the request of a call, if it could be built.
    pub(super) fn exchange(
        &self,
        operation: &'static Operation,
        request: Result<Request, RequestError>,
    ) -> BoxFuture<'_, Result<VerifiedResponse, Error>> {
        let request = request.map_err(|error| match error {
            RequestError::Unbuildable => Error::internal("the request could not be built"),
            RequestError::Refused(problem) => Error::invalid_input(operation.id, problem),
        });
        Box::pin(async move {
            check_session(operation, self.transport.role())?;
            let mut request = request?;
            if !has_all_segments(operation, request.url(), self.transport.base_url()) {
                return Err(Error::invalid_input(operation.id, "a parameter cannot be a segment of its path"));
            }
            if operation.content_types.is_empty() && has_redacted_text(&request) {
                let problem = format!(
                    "a text of the body is \"{REDACTED}\", which stands for a secret: give the secret, not what is shown of it"
                );
                return Err(Error::invalid_input(operation.id, problem));
            }
            if operation.returns_bytes {
                // The result has the content type of the file, and a refusal is JSON.
                request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
            }
            if let Some(preview) = &self.preview {
                let _ = preview.set(RequestPreview::new(operation, &request));
                return Err(Error::internal("the request is only shown"));
            }
            let trouble = &self.trouble.clone().unwrap_or_default();
            let options = CallOptions { budget: self.budget(), reuse: self.reuse, gate: &self.gate, trouble };
            let response = self.transport.call(operation, request, &*self.source, options).await?;
            match problem_of_result(&response.body).filter(|_| operation.returns_bytes) {
                Some(problem) => Err(self.refuse(response, Vec::new(), problem.into())),
                None => Ok(response),
            }
        })
    }
}

/// Refuses an operation that takes the session of others: bunq would refuse it too, and the call might open a session for nothing.
fn check_session(operation: &Operation, role: Role) -> Result<(), Error> {
    let (problem, remedy) = match (operation.session_of, role) {
        (Some(SessionOf::Partner), Role::User) => {
            ("it takes the session of a partner, and this is a user's", Remedy::CallAsPartner)
        }
        (Some(SessionOf::User), Role::Partner) => {
            ("it takes the session of a user, and this is the partner's", Remedy::CallAsUser)
        }
        (Some(SessionOf::Partner), Role::Partner)
        | (Some(SessionOf::User), Role::User)
        | (Some(SessionOf::Either) | None, _) => return Ok(()),
    };
    Err(Error::invalid_input(operation.id, problem).with_remedy(remedy))
}

/// Whether the path of a URL has all segments of the operation's, and none that is empty: a text such as `..` leads elsewhere.
fn has_all_segments(operation: &Operation, url: &Url, base_url: &str) -> bool {
    // What is not a text is a segment.
    if operation.path_parameters().all(|name| operation.ids.contains(&name)) {
        return true;
    }
    let count = |path: &str| path.matches('/').count();
    let base = base_url.parse::<Url>().map_or(0, |base| count(base.path().trim_end_matches('/')));
    let path = url.path();
    count(path) == base + count(operation.path) && !path.contains("//") && !path.ends_with('/')
}

/// Whether a text of a JSON body is what a secret is shown as. Whoever sends what was printed or stored would replace the secret by it.
fn has_redacted_text(request: &Request) -> bool {
    let text = format!("\"{REDACTED}\"");
    let body = request.body().and_then(Body::as_bytes).unwrap_or_default();
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_refused_with_the_session_of_others() {
        test_timeout::start();
        let is_allowed =
            |session_of, role| check_session(&Operation { session_of, ..Operation::GET_INSTALLATION }, role).is_ok();
        for (session_of, partner, user) in [
            (None, true, true),
            (Some(SessionOf::Either), true, true),
            (Some(SessionOf::Partner), true, false),
            (Some(SessionOf::User), false, true),
        ] {
            let allowed = (is_allowed(session_of, Role::Partner), is_allowed(session_of, Role::User));
            assert_eq!(allowed, (partner, user), "{session_of:?}");
        }
    }

    #[test]
    fn a_text_that_is_no_segment_of_a_path_is_noticed() {
        test_timeout::start();
        let operation = Operation { path: "/drawer/{drawer}/note/{note}", ..Operation::GET_INSTALLATION };
        for base in ["https://bunq.test", "https://bunq.test/v1", "https://bunq.test/drawer/drawer"] {
            let is_one = |drawer: &str, note: &str| {
                let url = format!("{base}/drawer/{drawer}/note/{note}?a=/b").parse().unwrap();
                has_all_segments(&operation, &url, base)
            };
            assert!(is_one("a", "b") && is_one("...", "%5C") && is_one("%252e%252e", "%2F"));
            for text in ["", ".", "..", "%2e%2E", "a/b", "a\\b"] {
                assert!(!is_one(text, "b") && !is_one("a", text), "{base} {text}");
            }
        }
    }
}
