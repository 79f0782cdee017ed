//! The bank: all state of the sandbox, and the checks that every call must pass before a resource answers it.

use std::net::IpAddr;

use bunq_partner::Secret;
use jiff::Timestamp;

use crate::access_control::{AccessControl, ActingUser, LiveSession};
use crate::clock::{Clock, Numbers};
use crate::objects::Tables;
use crate::objects::notifications::{Failure, FilterViews};
use crate::profile::Profile;
use crate::resources::provisions::provision::Terms;
use crate::resources::provisions::table::ProvisionTable;
use crate::settings::Pace;
use crate::wire::call::ReceivedCall;
use crate::wire::call_log::{self, ReceivedSignature};
use crate::wire::response::Refusal;

/// How the bank is set up.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) pace: Pace,
    pub(crate) api_key: Secret,
    pub(crate) profile: Profile,
    /// The addresses that the API key may be used from; `None`: all.
    pub(crate) allowed_addresses: Option<Vec<IpAddr>>,
    pub(crate) public_key_pem: String,
}

/// The bank. Resources use its fields.
#[derive(Debug)]
pub(crate) struct Bank {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) numbers: Numbers,
    pub(crate) access: AccessControl,
    pub(crate) provisions: ProvisionTable,
    pub(crate) objects: Tables,
    pub(crate) filter_views: FilterViews,
    /// The partner's company.
    pub(crate) partner: u64,
    /// The failed deliveries that are to be made anew.
    pub(crate) retried: Vec<Failure>,
}

impl Bank {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut numbers = Numbers::new();
        let partner = numbers.next();
        let access = AccessControl::new(settings.profile.dead_token);
        let terms = Terms { pace: settings.pace, credential_lifetime: settings.profile.credential_lifetime };
        let provisions = ProvisionTable::new(terms, settings.profile.duplicate);
        let (clock, objects, filter_views) = (Clock::new(), Tables::default(), FilterViews::default());
        let retried = Vec::new();
        Self { settings, clock, numbers, access, provisions, objects, filter_views, partner, retried }
    }

    /// Checks the signature of a call.
    pub(crate) fn judge(&self, call: &ReceivedCall) -> ReceivedSignature {
        self.access.judge(call.header("X-Bunq-Client-Signature"), call.token(), &call.body)
    }

    /// Checks every call with a token: the request id, if any, must be new, and the signature, if any, valid.
    pub(crate) fn vet(
        &mut self,
        installation: u64,
        request_id: Option<&str>,
        signature: ReceivedSignature,
    ) -> Result<(), Refusal> {
        if let Some(id) = request_id
            && !self.access.note_request_id(installation, id)
            && let Some(status) = self.settings.profile.repeated_request_id
        {
            return Err(Refusal::used_request_id(status, id));
        }
        match signature {
            ReceivedSignature::Invalid => {
                Err(Refusal::unauthorized("The signature is not the installation's over this body."))
            }
            ReceivedSignature::None | ReceivedSignature::Valid | ReceivedSignature::Unchecked => Ok(()),
        }
    }

    /// The session of a token, if it is alive. A user's session ends with the credential that it was opened with: when that is replaced, and
    /// when the provision is closed or has failed.
    pub(crate) fn session(&mut self, token: Option<&str>, now: Timestamp) -> Result<LiveSession, Refusal> {
        let session = self.access.session(token, now)?;
        let is_alive = match session.user {
            ActingUser::Partner => true,
            ActingUser::Provisioned(user) => {
                let provision = self.provisions.get(user.provision, now, &mut self.numbers);
                provision.is_some_and(|provision| provision.credential_id() == Some(user.credential))
            }
        };
        if is_alive { Ok(session) } else { Err(self.access.dead()) }
    }

    /// The id of a session's user for paths.
    fn user(&self, session: LiveSession) -> u64 {
        match session.user {
            ActingUser::Partner => self.partner,
            ActingUser::Provisioned(user) => user.id,
        }
    }

    /// Checks the user in the path of a call, and returns it: that of the session, or, where the partner may choose, one of its users.
    ///
    /// bunq's documents do not say how the id of another user is refused. The sandbox responds with 403, whether there is such a user or
    /// not.
    pub(crate) fn check_user(&self, user: Option<u64>, session: LiveSession, may_choose: bool) -> Result<u64, Refusal> {
        let is_partners = |user| may_choose && session.user == ActingUser::Partner && self.provisions.has_user(user);
        let own = self.user(session);
        match user.unwrap_or(own) {
            user if user == own || is_partners(user) => Ok(user),
            user => Err(Refusal::new(403, format!("The user {user} is not one that this session may act for."))),
        }
    }

    /// Checks that a body is signed, if the profile requires that.
    pub(crate) fn check_signed(&self, call: &ReceivedCall, signature: ReceivedSignature) -> Result<(), Refusal> {
        let is_unsigned = signature == ReceivedSignature::None && !call.body.is_empty();
        if self.settings.profile.require_signatures && is_unsigned { Err(Refusal::unsigned(466)) } else { Ok(()) }
    }
}

/// Checks the headers of a call.
pub(crate) fn check_headers(call: &ReceivedCall) -> Result<(), Refusal> {
    let missing = |name: &str| Refusal::bad_request(format!("The header {name} is missing or empty."));
    let cache_control = call.header("Cache-Control").ok_or_else(|| missing("Cache-Control"))?;
    if !cache_control.split(',').any(|directive| directive.trim().eq_ignore_ascii_case("no-cache")) {
        return Err(Refusal::bad_request("The header Cache-Control must be no-cache."));
    }
    call.header("User-Agent").ok_or_else(|| missing("User-Agent"))?;
    let language = call_log::header(&call.headers, "X-Bunq-Language");
    if language.is_some_and(|language| !["en_US", "nl_NL"].contains(&language)) {
        return Err(Refusal::bad_request("The header X-Bunq-Language must be en_US or nl_NL."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access_control::ProvisionedUser;

    #[test]
    fn a_path_has_the_user_of_the_session_or_one_that_the_partner_may_choose() {
        test_timeout::start();
        let mut bank = Bank::new(Settings {
            pace: Pace::Manual,
            api_key: Secret::new("sandbox_key".to_owned()),
            profile: Profile::default(),
            allowed_addresses: None,
            public_key_pem: String::new(),
        });
        let now = bank.clock.now();
        let [user, other] = [(); 2].map(|()| {
            let provision = bank.provisions.populate(1, now, &mut bank.numbers)[0];
            bank.provisions.get(provision, now, &mut bank.numbers).unwrap().user(now, &mut bank.numbers).api_key
        });
        let session = |user| LiveSession { id: 1, installation: 2, user };
        let check = |path, user, may_choose| bank.check_user(path, session(user), may_choose).map_err(|no| no.status);

        let users = ActingUser::Provisioned(ProvisionedUser { id: user, provision: 3, credential: 4 });
        let partner = ActingUser::Partner;
        for may_choose in [false, true] {
            assert_eq!(check(Some(bank.partner), partner, may_choose), Ok(bank.partner));
            assert_eq!(check(Some(user), users, may_choose), Ok(user));
            assert_eq!(check(Some(bank.partner), users, may_choose), Err(403));
            assert_eq!(check(Some(other), users, may_choose), Err(403));
            assert_eq!(check(Some(9), partner, may_choose), Err(403));
            assert_eq!(check(Some(0), partner, may_choose), Err(403));
        }
        assert_eq!(check(Some(user), partner, false), Err(403));
        assert_eq!(check(Some(other), partner, true), Ok(other));
    }
}
