//! What the bank takes of a user, asked with one that is made for it: under which installation its token opens a session, and whether its
//! calls count towards the partner's rate limits.

use std::time::Duration;

use bunq_partner::{ErrorKind, Operation, Secret};
use bunq_partner_sandbox::{AcceptedInstallation, LimitScope};
use serde_json::json;
use tokio::time::sleep;

use super::super::exit::Failure;
use super::answer::{accepted_or_status, text};
use super::exchange::{ProbeRequest, ProbeResponse};
use super::interview::{Interview, Outcome};
use super::visit::{Visit, id_in};

/// How often the provision of the user is read until bunq shows its credential, of which the first without a pause: a sandbox moves on
/// with each read.
const READS: u32 = 120;
const READS_AT_ONCE: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);

const UNDER_PARTNERS: &str = "May a user's session be opened under the partner's installation?";
const UNDER_OWN: &str = "May it be opened under an installation of the user's own?";
const SCOPE: &str = "Whose calls count towards a rate limit together?";

/// Where the session of a user is opened, and the question whether it may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Partners,
    Own,
}

impl Place {
    fn question(self) -> &'static str {
        match self {
            Self::Partners => UNDER_PARTNERS,
            Self::Own => UNDER_OWN,
        }
    }

    /// The member of a profile that fits.
    fn setting(self) -> &'static str {
        match self {
            Self::Partners => "user_installation = \"partner\"",
            Self::Own => "user_installation = \"own\"",
        }
    }
}

impl Interview {
    /// Makes a user, and asks under which installation its token opens a session. The first session may bind the token, so the second
    /// question is asked with another one.
    pub(super) async fn make_user(&mut self) -> Result<(), Failure> {
        let outcome = self.visit.make_user().await;
        let Some((id, token)) = self.known(UNDER_PARTNERS, outcome)? else { return Ok(()) };
        let under_partners = self.open_for_user(Place::Partners, token.clone()).await?;
        let mut own_token = token;
        if under_partners != Some(false) {
            // A session that is not ended so ends with its credential.
            self.end_sessions_of_users().await;
            let outcome = self.visit.another_token(id, &own_token).await;
            let Some(token) = self.known(UNDER_OWN, outcome)? else { return Ok(()) };
            own_token = token;
        }
        let under_own = self.open_for_user(Place::Own, own_token.clone()).await?;
        let accepted = match (under_partners, under_own) {
            (Some(true), Some(true)) => AcceptedInstallation::Both,
            (Some(true), Some(false)) => AcceptedInstallation::Partner,
            (Some(false), Some(true)) => AcceptedInstallation::Own,
            _ => return Ok(()),
        };
        self.profile.user_installation = accepted;
        if accepted == AcceptedInstallation::Partner {
            // For the question about limits.
            let mut user = Visit::new(self.visit.caller.of_user(own_token, true)?);
            let outcome = user.open_session(true).await;
            self.users.push(user);
            self.answer(SCOPE, outcome)?;
        }
        Ok(())
    }

    /// Tries to open a session of the user. Returns whether the bank takes it, if that is known.
    async fn open_for_user(&mut self, place: Place, token: Secret) -> Result<Option<bool>, Failure> {
        let mut user = Visit::new(self.visit.caller.of_user(token, place == Place::Partners)?);
        let outcome = opened(&mut user, place).await;
        let answered = match outcome {
            Ok(response) => {
                let is_taken = response.is_success();
                let fits = if is_taken { format!(": `{}` fits", place.setting()) } else { String::new() };
                self.note_of_user(place.question(), accepted_or_status(&response) + &fits, &user, &response);
                Ok(Some(is_taken))
            }
            Err(failure) => self.answer(place.question(), Err(failure)).map(|_| None),
        };
        self.users.push(user);
        answered
    }

    /// Finds out whose calls share the limit that the partner has just used up.
    pub(super) async fn share_limit(&mut self) -> Result<(), Failure> {
        const LIMITED: &Operation = &Operation::GET_INSTALLATION;
        let Some(place) = self.users.iter().position(Visit::has_session) else { return Ok(()) };
        let mut user = self.users.remove(place);
        let asked = self.share_limit_with(&mut user, LIMITED).await;
        self.users.push(user);
        asked
    }

    async fn share_limit_with(&mut self, user: &mut Visit, limited: &'static Operation) -> Result<(), Failure> {
        let outcome = user.caller.send_at_once(limited).await;
        let Some(of_user) = self.answer(SCOPE, outcome)? else { return Ok(()) };
        if of_user.status == 429 {
            self.profile.limits_are_per = LimitScope::Address;
            // From here it cannot be told whether they share the address, the partner, or both.
            let answer = "those of the partner and its users: `limits_are_per = \"address\"` fits; on machines with several \
                          addresses or API keys, `counted_by = \"address_and_key\"` does, whichever of the two bunq counts by";
            self.note_of_user(SCOPE, answer.into(), user, &of_user);
            return Ok(());
        }
        let outcome = self.visit.caller.send_at_once(limited).await;
        let Some(of_partner) = self.answer(SCOPE, outcome)? else { return Ok(()) };
        if of_partner.status != 429 {
            return self.unknown(SCOPE, "the limit was open again before the user's call");
        }
        // Another session of the user's key, while the limit of the first is used up.
        let first = user.caller.session.clone();
        let outcome = user.open_session(true).await;
        if self.answer(SCOPE, outcome)?.is_none_or(|opened| !opened.is_success()) {
            return self.unknown(SCOPE, "no second session was opened");
        }
        let second = std::mem::replace(&mut user.caller.session, first);
        let outcome = user.caller.use_up(limited).await;
        let used_up = self.answer(SCOPE, outcome)?;
        let first = std::mem::replace(&mut user.caller.session, second);
        let outcome = user.caller.send_at_once(limited).await;
        let of_second = self.answer(SCOPE, outcome)?;
        // The provision of the user is closed later, and the first session with it, if this does not end it.
        let second = std::mem::replace(&mut user.caller.session, first);
        let _ = user.remove_all().await;
        user.caller.session = second;
        let (Some(used_up), Some(of_second)) = (used_up, of_second) else { return Ok(()) };
        if used_up.status != 429 {
            return self.unknown(SCOPE, "the user's limit was not used up");
        }
        self.profile.limits_are_per = LimitScope::Session;
        let answer = match of_second.status {
            429 => {
                "those of one API key: `limits_are_per = \"session\"` fits, and on several machines `counted_by = \"key\"`"
            }
            _ => "those of one session: `limits_are_per = \"session\"` fits",
        };
        self.note_of_user(SCOPE, answer.into(), user, &of_second);
        Ok(())
    }

    /// Ends what was made for users, while the session of the partner is open. What fails is tried again at the end.
    pub(super) async fn end_users(&mut self) {
        self.end_sessions_of_users().await;
        if self.visit.has_provisions() {
            let _ = self.visit.close_created().await;
        }
    }

    async fn end_sessions_of_users(&mut self) {
        for user in &mut self.users {
            let _ = user.remove_all().await;
        }
    }

    fn unknown(&mut self, question: &'static str, why: &'static str) -> Result<(), Failure> {
        self.note_unknown(question, why);
        self.failures.push(Failure::of_kind(ErrorKind::Rejected, why));
        Ok(())
    }

    /// What several calls have found out; `None` if one has failed, which is noted.
    fn known<T>(&mut self, question: &'static str, outcome: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match outcome {
            Ok(known) => Ok(Some(known)),
            Err(failure) => self.answer(question, Err(failure)).map(|_| None),
        }
    }
}

/// Makes what the session needs, and opens it. The response is that to the first call that is refused.
async fn opened(user: &mut Visit, place: Place) -> Outcome {
    if place == Place::Own {
        user.install().await?;
        let registered = user.register_key(true).await?;
        if !registered.is_success() {
            return Ok(registered);
        }
    }
    user.open_session(true).await
}

impl Visit {
    /// Makes a user. Returns the id of its provision and its token.
    async fn make_user(&mut self) -> Result<(u64, Secret), Failure> {
        let created = self.create_another().await?;
        let id = id_in(&created).ok_or_else(|| self.caller.unexpected("a creation", &created))?;
        Ok((id, self.token_of(id, None).await?))
    }

    /// Gets another token for a user.
    async fn another_token(&mut self, id: u64, before: &Secret) -> Result<Secret, Failure> {
        let path = format!("/partner-user-provision/{id}");
        let body = Some(json!({ "status": "TOKEN_RESET_REQUESTED" }));
        let reset = ProbeRequest { path, ..ProbeRequest::of(&Operation::UPDATE_PROVISION, body) };
        let response = self.with_session(reset).await?;
        if !response.is_success() {
            return Err(self.caller.unexpected("a reset", &response));
        }
        self.token_of(id, Some(before)).await
    }

    /// Waits for a token that nobody has used.
    async fn token_of(&mut self, id: u64, before: Option<&Secret>) -> Result<Secret, Failure> {
        for read in 0..READS {
            if read >= READS_AT_ONCE {
                sleep(PAUSE / self.caller.rehearse).await;
            }
            let path = format!("/partner-user-provision/{id}");
            let response: ProbeResponse = self.with_session(ProbeRequest::at(&Operation::GET_PROVISION, path)).await?;
            if !response.is_success() {
                return Err(self.caller.unexpected("a read", &response));
            }
            let provision = response.json();
            let of_credential = |member: &str| text(&provision, &format!("/PartnerUserProvision/credential/{member}"));
            let token = of_credential("token_value").map(Secret::new);
            let is_fresh = of_credential("status").is_some_and(|status| status == "PENDING_FIRST_USE");
            if let Some(token) = token.filter(|token| is_fresh && Some(token) != before) {
                return Ok(token);
            }
        }
        Err(Failure::of_kind(ErrorKind::Timeout, format!("bunq had shown no credential after {READS} reads")))
    }
}
