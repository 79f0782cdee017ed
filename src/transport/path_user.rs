//! The user in the path of a call. A request is built before its session is known, and each attempt fills in the user of its own.

use reqwest::Url;

use crate::operation::Operation;

/// The placeholder that the path of a request has for the user of the session.
pub(crate) const SESSION_USER: &str = "{user_id}";

/// The placeholder as a URL has it.
const ENCODED: &str = "%7Buser_id%7D";

/// Returns the path of a URL with `user` in place of the placeholder. `None` if the path has none: it is about no user, or about one
/// that the caller has named.
pub(crate) fn filled_in(operation: &Operation, url: &Url, user: &str) -> Option<String> {
    operation.path_user?;
    // The base URL may have a path of its own, so it is counted from the end.
    let from_end = operation.path.rsplit('/').position(|segment| segment == SESSION_USER)?;
    let mut segments: Vec<_> = url.path().split('/').collect();
    let place = segments.len().checked_sub(from_end + 1)?;
    let segment = segments.get_mut(place).filter(|segment| **segment == ENCODED)?;
    *segment = user;
    Some(segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::PathUser;

    #[test]
    fn the_user_has_its_place_in_the_path_alone() {
        test_timeout::start();
        let operation =
            |path_user| Operation { path: "/user/{user_id}/note/{note}", path_user, ..Operation::GET_INSTALLATION };
        let filled_in = |path_user, url: &str| filled_in(&operation(path_user), &url.parse().unwrap(), "7");
        let path = |path: &str| Some(path.to_owned());
        for user in [PathUser::Session, PathUser::Chosen].map(Some) {
            let url = "https://bank.example/a/v1/user/%7Buser_id%7D/note/b%20c%2Fd?e=f";
            assert_eq!(filled_in(user, url), path("/a/v1/user/7/note/b%20c%2Fd"));
            // A caller has named a user.
            assert_eq!(filled_in(user, "https://bank.example/v1/user/8/note/9"), None);
            // What is in another place is no user, whatever it is.
            assert_eq!(filled_in(user, "https://bank.example/%7Buser_id%7D/user/8/note/%7Buser_id%7D"), None);
            assert_eq!(filled_in(user, "https://bank.example/"), None);
        }
        assert_eq!(filled_in(None, "https://bank.example/v1/user/%7Buser_id%7D/note/9"), None);
    }
}
