//! What the bank answers: a module for each resource, which registers its operations.

pub(crate) mod attachments;
pub(crate) mod credentials;
pub(crate) mod handshake;
pub(crate) mod identity;
pub(crate) mod inquiries;
pub(crate) mod notifications;
pub(crate) mod oauth;
pub(crate) mod onboarding;
pub(crate) mod paging;
pub(crate) mod plant;
pub(crate) mod provisions;
pub(crate) mod seed;

use bunq_partner::{Operation, SessionOf};
use jiff::Timestamp;

use crate::access_control::{ActingUser, LiveSession};
use crate::bank::{Bank, check_headers};
use crate::wire::call::ReceivedCall;
use crate::wire::call_log::ReceivedSignature;
use crate::wire::response::{REQUEST_ID, RawResponse, Refusal};
use crate::wire::routes::Route;

/// What each resource answers. An operation that is in none of them is refused with 501.
const RESOURCES: &[&[Answer]] = &[
    handshake::ANSWERS,
    credentials::ANSWERS,
    oauth::ANSWERS,
    provisions::ANSWERS,
    onboarding::ANSWERS,
    attachments::ANSWERS,
    identity::ANSWERS,
    inquiries::ANSWERS,
    notifications::ANSWERS,
];

/// An operation, and what carries it out.
pub(crate) struct Answer {
    pub(crate) operation: &'static Operation,
    pub(crate) handler: Handler,
}

/// Carries an operation out for a caller with the token that the operation takes.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    Anonymous(fn(&mut Bank, &RoutedCall<'_>) -> Result<RawResponse, Refusal>),
    /// With the id of the installation.
    Installation(fn(&mut Bank, &RoutedCall<'_>, u64) -> Result<RawResponse, Refusal>),
    Session(fn(&mut Bank, &RoutedCall<'_>, LiveSession) -> Result<RawResponse, Refusal>),
    /// With the user in the path, who is that of the session.
    SessionUser(fn(&mut Bank, &RoutedCall<'_>, u64) -> Result<RawResponse, Refusal>),
    /// With the user in the path, who is that of the session or, in the partner's session, any of its users.
    ChosenUser(fn(&mut Bank, &RoutedCall<'_>, u64) -> Result<RawResponse, Refusal>),
}

/// A call that has been routed.
pub(crate) struct RoutedCall<'a> {
    pub(crate) call: &'a ReceivedCall,
    pub(crate) route: &'a Route,
    pub(crate) signature: ReceivedSignature,
    pub(crate) now: Timestamp,
}

/// Carries out a call, whose signature has been checked with this result.
pub(crate) fn perform(
    bank: &mut Bank,
    route: &Route,
    call: &ReceivedCall,
    signature: ReceivedSignature,
) -> Result<RawResponse, Refusal> {
    check_headers(call)?;
    let answer = RESOURCES.iter().copied().flatten().find(|answer| answer.operation == route.operation);
    let answer = answer.ok_or_else(|| Refusal::not_implemented(route.operation.id))?;
    let request = RoutedCall { call, route, signature, now: bank.clock.now() };
    match answer.handler {
        Handler::Anonymous(handle) => handle(bank, &request),
        Handler::Installation(handle) => {
            let installation = bank.access.installation(call.token())?;
            bank.vet(installation, call.header(REQUEST_ID), signature)?;
            handle(bank, &request, installation)
        }
        Handler::Session(handle) => {
            let session = admit(bank, &request)?;
            handle(bank, &request, session)
        }
        Handler::SessionUser(handle) => {
            let session = admit(bank, &request)?;
            let user = bank.check_user(route.user, session, false)?;
            handle(bank, &request, user)
        }
        Handler::ChosenUser(handle) => {
            let session = admit(bank, &request)?;
            let user = bank.check_user(route.user, session, true)?;
            handle(bank, &request, user)
        }
    }
}

/// The session of a call, which has been checked as every call with the token of a session is.
fn admit(bank: &mut Bank, request: &RoutedCall<'_>) -> Result<LiveSession, Refusal> {
    let session = bank.session(request.call.token(), request.now)?;
    bank.vet(session.installation, request.call.header(REQUEST_ID), request.signature)?;
    bank.check_signed(request.call, request.signature)?;
    let is_partners = session.user == ActingUser::Partner;
    match request.route.operation.session_of {
        Some(SessionOf::Partner) if !is_partners => {
            Err(Refusal::new(403, "The session is a provisioned user's: this call is the partner's."))
        }
        Some(SessionOf::User) if is_partners => {
            Err(Refusal::new(403, "The session is the partner's: this call is a provisioned user's."))
        }
        _ => Ok(session),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use bunq_partner::{Auth, PathUser};

    use super::*;

    #[test]
    fn every_operation_of_the_document_has_an_answer() {
        test_timeout::start();
        let has_answer = |operation: &&Operation| {
            RESOURCES.iter().copied().flatten().any(|answer| answer.operation.id == operation.id)
        };
        let without: Vec<_> = Operation::ALL.iter().filter(|operation| !has_answer(operation)).collect();
        assert!(without.is_empty(), "{without:?} would be refused with 501");
    }

    #[test]
    fn every_answer_is_registered_once_with_the_token_of_its_operation() {
        test_timeout::start();
        let mut ids = HashSet::new();
        for Answer { operation, handler } in RESOURCES.iter().copied().flatten() {
            assert!(ids.insert(operation.id), "{} is there twice", operation.id);
            let auth = match handler {
                Handler::Anonymous(_) => Auth::None,
                Handler::Installation(_) => Auth::Installation,
                Handler::Session(_) | Handler::SessionUser(_) | Handler::ChosenUser(_) => Auth::Session,
            };
            assert_eq!(auth, operation.auth, "{}", operation.id);
            let path_user = match handler {
                Handler::SessionUser(_) => Some(PathUser::Session),
                Handler::ChosenUser(_) => Some(PathUser::Chosen),
                _ => None,
            };
            assert_eq!(path_user, operation.path_user, "{}", operation.id);
        }
    }
}
