//! What a request asks for, by its method and path.

use super::answer::Refusal;
use super::input;
use crate::operation::Operation;

/// Where provisions live.
pub(super) const PROVISIONS: &str = "/v1/partner-user-provision";

/// What a request asks for, by what the caller must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `POST /installation`: no token.
    Install,
    /// With the installation's token.
    Handshake(Handshake),
    /// With a session's token.
    Session(SessionCall),
}

/// What takes an installation to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handshake {
    RegisterDevice,
    OpenSession,
}

/// What a session is for; the numbers are ids from the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionCall {
    End(u64),
    Create,
    List,
    Read(u64),
    Change(u64),
}

impl Route {
    pub(super) fn of(method: &str, path: &str) -> Result<Self, Refusal> {
        let (resource, id) = match path.strip_prefix("/v1/").and_then(|rest| rest.split_once('/')) {
            Some((resource, id)) if !id.is_empty() => (resource, Some(id)),
            Some(_) => return Err(no_route(method, path)),
            None => (path.strip_prefix("/v1/").unwrap_or_default(), None),
        };
        let not_allowed = |allow| Err(Refusal::method_not_allowed(method, path, allow));
        match (resource, id, method) {
            ("installation", None, "POST") => Ok(Self::Install),
            ("device-server", None, "POST") => Ok(Self::Handshake(Handshake::RegisterDevice)),
            ("session-server", None, "POST") => Ok(Self::Handshake(Handshake::OpenSession)),
            ("session", Some(id), "DELETE") => Ok(Self::Session(SessionCall::End(number(id)?))),
            ("partner-user-provision", None, "POST") => Ok(Self::Session(SessionCall::Create)),
            ("partner-user-provision", None, "GET") => Ok(Self::Session(SessionCall::List)),
            ("partner-user-provision", Some(id), "GET") => Ok(Self::Session(SessionCall::Read(number(id)?))),
            ("partner-user-provision", Some(id), "PUT") => Ok(Self::Session(SessionCall::Change(number(id)?))),
            ("installation" | "device-server" | "session-server", None, _) => not_allowed("POST"),
            ("session", Some(_), _) => not_allowed("DELETE"),
            ("partner-user-provision", None, _) => not_allowed("GET, POST"),
            ("partner-user-provision", Some(_), _) => not_allowed("GET, PUT"),
            _ => Err(no_route(method, path)),
        }
    }

    /// The operation that this is a call of.
    pub(super) fn operation(self) -> &'static Operation {
        match self {
            Self::Install => &Operation::CREATE_INSTALLATION,
            Self::Handshake(Handshake::RegisterDevice) => &Operation::CREATE_DEVICE_SERVER,
            Self::Handshake(Handshake::OpenSession) => &Operation::CREATE_SESSION,
            Self::Session(SessionCall::End(_)) => &Operation::DELETE_SESSION,
            Self::Session(SessionCall::Create) => &Operation::CREATE_PROVISION,
            Self::Session(SessionCall::List) => &Operation::LIST_PROVISIONS,
            Self::Session(SessionCall::Read(_)) => &Operation::GET_PROVISION,
            Self::Session(SessionCall::Change(_)) => &Operation::UPDATE_PROVISION,
        }
    }
}

fn no_route(method: &str, path: &str) -> Refusal {
    Refusal::not_found(format!("The sandbox has no route {method} {path}."))
}

fn number(id: &str) -> Result<u64, Refusal> {
    input::number(id)
        .ok_or_else(|| Refusal::bad_request(format!("The id {} is not a number.", input::shown(&id.into()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_route_is_found() {
        assert_eq!(Route::of("POST", "/v1/installation"), Ok(Route::Install));
        assert_eq!(Route::of("DELETE", "/v1/session/0"), Ok(Route::Session(SessionCall::End(0))));
        assert_eq!(Route::of("GET", PROVISIONS), Ok(Route::Session(SessionCall::List)));
        assert_eq!(Route::of("PUT", &format!("{PROVISIONS}/123")), Ok(Route::Session(SessionCall::Change(123))));
    }

    #[test]
    fn every_operation_has_its_route() {
        for operation in Operation::ALL {
            let path = format!("/v1{}", operation.path.replace("{provision_id}", "1").replace("{session_id}", "1"));
            assert_eq!(Route::of(operation.method, &path).unwrap().operation(), operation);
        }
    }

    #[test]
    fn an_unknown_one_is_refused_with_method_and_path() {
        for (method, path, status) in [
            ("GET", "/", 404),
            ("GET", "*", 404),
            ("POST", "/installation", 404),
            ("GET", "/v1/user", 404),
            ("GET", "/v1/session", 404),
            ("POST", "/v1/installation/", 404),
            ("POST", "/v1/installation/1", 404),
            ("GET", "/v1/installation", 405),
            ("PATCH", "/v1/partner-user-provision/1", 405),
            ("DELETE", "/v1/partner-user-provision", 405),
        ] {
            let refusal = Route::of(method, path).unwrap_err();
            assert_eq!(refusal.status, status, "{method} {path}");
            assert!(refusal.message.contains(method) && refusal.message.contains(path), "{}", refusal.message);
        }
    }

    #[test]
    fn an_id_is_a_number() {
        for id in ["x", "-1", "1/2", "9223372036854775808", "%31"] {
            let refusal = Route::of("GET", &format!("/v1/partner-user-provision/{id}")).unwrap_err();
            assert_eq!(refusal, Refusal::bad_request(format!("The id \"{id}\" is not a number.")));
        }
    }
}
