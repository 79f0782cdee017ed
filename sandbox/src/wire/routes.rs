//! Which operation a request calls, by the document's own table.

use bunq_partner::Operation;

use crate::input;
use crate::wire::response::Refusal;

pub(crate) const ROOT: &str = "/v1";

/// The operation that a request calls, and the ids in its path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) operation: &'static Operation,
    /// The user, if the path has one.
    pub(crate) user: Option<u64>,
    /// All other ids, in order.
    ids: Vec<u64>,
}

impl Route {
    pub(crate) fn of(method: &str, path: &str) -> Result<Self, Refusal> {
        let below = path.strip_prefix(ROOT).unwrap_or_default();
        let matching = |operation: &'static Operation| Some((operation, matched(operation.path, below)?));
        let found: Vec<_> = Operation::ALL.iter().filter_map(matching).collect();
        let with_method = found.iter().filter(|(operation, _)| operation.method == method);
        // A path without parameters comes first.
        if let Some((operation, parameters)) = with_method.min_by_key(|(_, parameters)| parameters.len()) {
            let mut route = Self { operation, user: None, ids: Vec::new() };
            for (name, value) in parameters {
                match *name {
                    "{user_id}" => route.user = Some(number(value)?),
                    _ => route.ids.push(number(value)?),
                }
            }
            return Ok(route);
        }
        let mut methods: Vec<_> = found.iter().map(|(operation, _)| operation.method).collect();
        if methods.is_empty() {
            return Err(Refusal::not_found(format!("The sandbox has no route {method} {path}.")));
        }
        methods.sort_unstable();
        Err(Refusal::method_not_allowed(method, path, methods.join(", ")))
    }

    /// The ids in the path without that of the user, in order; 0 in the place of one that is not there.
    pub(crate) fn ids<const N: usize>(&self) -> [u64; N] {
        std::array::from_fn(|position| self.ids.get(position).copied().unwrap_or_default())
    }
}

/// The parameters in `template` and their values, if `path` is of its form.
fn matched<'a>(template: &'a str, path: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
    if template.split('/').count() != path.split('/').count() {
        return None;
    }
    let mut values = Vec::new();
    for (expected, found) in template.split('/').zip(path.split('/')) {
        if expected.starts_with('{') && !found.is_empty() {
            values.push((expected, found));
        } else if expected != found {
            return None;
        }
    }
    Some(values)
}

fn number(id: &str) -> Result<u64, Refusal> {
    input::number(id)
        .ok_or_else(|| Refusal::bad_request(format!("The id {} is not a number.", input::shown(&id.into()))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_route() {
        test_timeout::start();
        for operation in Operation::ALL {
            let path: Vec<_> =
                operation.path.split('/').map(|part| if part.starts_with('{') { "7" } else { part }).collect();
            let route = Route::of(operation.method, &format!("{ROOT}{}", path.join("/"))).unwrap();
            assert_eq!(route.operation, operation);
            let user = operation.path.contains("{user_id}");
            assert_eq!(route.user, user.then_some(7));
            let ids = operation.path.matches('{').count() - usize::from(user);
            assert_eq!(route.ids, vec![7; ids]);
        }
    }

    #[test]
    fn an_unknown_path_is_refused_with_method_and_path() {
        test_timeout::start();
        for (method, path, status) in [
            ("GET", "/", 404),
            ("GET", "*", 404),
            ("POST", "/installation", 404),
            ("GET", "/v1/user", 404),
            ("GET", "/v1/session", 404),
            ("POST", "/v1/installation/", 404),
            ("GET", "/v1/partner-user-provision/1/2", 404),
            ("PATCH", "/v1/installation", 405),
            ("POST", "/v1/installation/1", 405),
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
        test_timeout::start();
        for id in ["x", "-1", "9223372036854775808", "%31"] {
            let refusal = Route::of("GET", &format!("/v1/partner-user-provision/{id}")).unwrap_err();
            assert_eq!(refusal, Refusal::bad_request(format!("The id \"{id}\" is not a number.")));
        }
    }
}
