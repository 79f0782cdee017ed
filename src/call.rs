//! The funnel: every call to bunq goes through here into the generated client and comes out as an [`Answer`] or
//! as an [`Error`].
//!
//! The generated client's own errors hold bodies and lose ids, so none of them gets past this room. What is done
//! with the request on its way is the pipeline's.

use std::sync::Arc;

use progenitor_client::{Error as GeneratedError, ResponseValue};
use tokio::time::Instant;

use crate::api;
use crate::drift::listen;
use crate::error::{Error, Facts};
use crate::operation::Operation;
use crate::pipeline::{Call, Credentials, Pipeline};
use crate::secret::on_wire;
use crate::session::Access;

/// A success answer of bunq's, verified and decoded.
pub(crate) struct Answer<T> {
    body: T,
    facts: Facts,
}

impl<T> Answer<T> {
    /// Takes out what is needed; what is wrong with the answer becomes the error.
    pub(crate) fn take<U>(self, pick: impl FnOnce(T) -> Result<U, String>) -> Result<U, Error> {
        pick(self.body).map_err(|problem| Error::invalid_response(self.facts, problem))
    }
}

/// Makes one call of `operation` in the session, to be over by `deadline`: `send` is given the generated client that
/// goes through the pipeline.
pub(crate) async fn call<T, E, F>(
    pipeline: &Arc<Pipeline>,
    operation: &'static Operation,
    deadline: Instant,
    send: impl FnOnce(api::Client) -> F,
) -> Result<Answer<T>, Error>
where
    F: Future<Output = Result<ResponseValue<T>, GeneratedError<E>>>,
{
    run(Call::new(Arc::clone(pipeline), operation, Credentials::Session, deadline), send).await
}

/// As [`call`], with the access of whoever makes it instead of the session's.
pub(crate) async fn call_with<T, E, F>(
    pipeline: &Arc<Pipeline>,
    operation: &'static Operation,
    access: Access,
    send: impl FnOnce(api::Client) -> F,
) -> Result<Answer<T>, Error>
where
    F: Future<Output = Result<ResponseValue<T>, GeneratedError<E>>>,
{
    run(Call::new(Arc::clone(pipeline), operation, Credentials::Given(access), pipeline.deadline()), send).await
}

async fn run<T, E, F>(call: Call, send: impl FnOnce(api::Client) -> F) -> Result<Answer<T>, Error>
where
    F: Future<Output = Result<ResponseValue<T>, GeneratedError<E>>>,
{
    let call = Arc::new(call);
    let pipeline = call.pipeline();
    let client = api::Client::new_with_client(pipeline.base_url(), pipeline.http().clone(), Arc::clone(&call));
    let (result, novelties) = listen(on_wire(send(client))).await;
    pipeline.report(novelties);
    match (call.outcome(), result) {
        (Some(Err(error)), _) => Err(error),
        (Some(Ok(facts)), Ok(value)) => Ok(Answer { body: value.into_inner(), facts }),
        (Some(Ok(facts)), Err(error)) => Err(Error::invalid_response(facts, undecodable(&error))),
        (None, _) => Err(Error::internal(format_args!("{}: the request could not be built", call.operation().id))),
    }
}

/// Why an answer did not decode, without any of what it held: it may hold tokens.
fn undecodable<E>(error: &GeneratedError<E>) -> String {
    match error {
        GeneratedError::InvalidResponsePayload(body, _) if body.is_empty() => "the answer is empty".into(),
        GeneratedError::InvalidResponsePayload(_, error) if !error.is_data() => "the answer is not JSON".into(),
        GeneratedError::InvalidResponsePayload(_, error) => {
            let problem = error.to_string();
            let problem = if problem.starts_with("missing field") {
                problem
            } else {
                format!("unexpected value at line {} column {}", error.line(), error.column())
            };
            format!("the answer is not what the document describes: {problem}")
        }
        _ => "the answer is not what the document describes".into(),
    }
}
