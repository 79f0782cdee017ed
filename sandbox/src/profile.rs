//! How this bank behaves where bunq's documentation leaves it open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bunq_partner::LimitScope;
use bunq_partner::types::InquiryEntryType;
use bunq_partner::wire::SignatureForm;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::objects::onboarding::FULFILLMENTS;
use crate::settings::{
    AcceptedInstallation, CreationResponse, DeadToken, FailureRetryResponse, FilterResponse, NotificationBody,
    RejectedEntry,
};
use crate::wire::response::{RawResponse, Refusal};

/// The result of a user who is known.
pub(crate) const APPROVED: &str = "APPROVED";

/// Every status of a refusal.
pub(crate) const REFUSALS: std::ops::RangeInclusive<u16> = 300..=599;

/// How a bank behaves where bunq's documentation says nothing, or where more than one manner has been seen.
///
/// `bunq-partner probe` finds out how bunq's own sandbox behaves and writes such a profile as JSON. A member that is missing
/// has its default, and an unknown one is refused.
///
/// ```
/// use bunq_partner_sandbox::{DeadToken, Profile};
///
/// let profile: Profile = serde_json::from_str(r#"{"dead_token": "insufficient_authorisation"}"#)?;
/// assert_eq!(profile.dead_token, DeadToken::InsufficientAuthorisation);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// How a token is refused that is dead or unknown. One that is missing, or of the wrong kind, gets 401.
    pub dead_token: DeadToken,
    /// The statuses of the refusals that are signed.
    pub signed_refusals: BTreeSet<u16>,
    /// Whether the response to the installation is signed.
    pub signed_installation: bool,
    /// What signatures cover.
    pub signature_form: SignatureForm,
    /// What the creation of a provision is answered with.
    pub creation_response: CreationResponse,
    /// What the replacement of the notification filters is answered with.
    pub filter_response: FilterResponse,
    /// How long the list of the notification filters shows those from before a replacement; in whole seconds as JSON.
    #[serde(serialize_with = "whole_seconds", deserialize_with = "from_seconds")]
    pub filters_shown_after: Duration,
    /// What a request to deliver failed calls again is answered with.
    pub failure_retry_response: FailureRetryResponse,
    /// How many tries bunq makes to report an event to a target, before it stores a failure.
    pub notification_tries: u32,
    /// How long after a try in vain the next one follows; in whole seconds as JSON.
    #[serde(serialize_with = "whole_seconds", deserialize_with = "from_seconds")]
    pub notification_retry: Duration,
    /// What bunq tells of the object of an event.
    pub notification_body: NotificationBody,
    /// What becomes of an entry of an inquiry whose answer is rejected.
    pub rejected_entry: RejectedEntry,
    /// The status of the refusal of a second creation with one `external_uuid`; `None`: it makes a second provision.
    pub duplicate: Option<u16>,
    /// The status of the refusal of an OAuth client while another one is active; `None`: there can be several.
    pub second_oauth_client: Option<u16>,
    /// The status of the refusal of an identity verification session while the user has one that is submitted and has no result; `None`:
    /// there can be several.
    pub second_identity_session: Option<u16>,
    /// The status of the refusal of the submission of a session that was submitted before; `None`: it is looked at again from the start.
    pub second_submission: Option<u16>,
    /// What the identity verification sessions of a user end with, in their order, such as `REJECTED`. The last one holds for all that
    /// follow, and every result but `APPROVED` has a reason. If there is none, it is `APPROVED`.
    pub identity_results: Vec<String>,
    /// How long it takes until a session that is submitted has its result; in whole seconds as JSON.
    #[serde(serialize_with = "whole_seconds", deserialize_with = "from_seconds")]
    pub identity_check: Duration,
    /// The kinds of fulfilments that are asked of each user, such as `ADDRESS_MAIN`. Those that no call answers are answered by the user.
    pub fulfillments: Vec<String>,
    /// How long bunq checks what a user has given, and then the user, and how long a user takes; in whole seconds as JSON.
    #[serde(serialize_with = "whole_seconds", deserialize_with = "from_seconds")]
    pub onboarding_check: Duration,
    /// The status of the refusal of statuses for an onboarding for which bunq has taken some before; `None`: the user is checked again from
    /// the start.
    pub second_statuses: Option<u16>,
    /// The status that onboardings end with, such as `VERIFIED` or `DENIED`.
    pub onboarding_result: String,
    /// What each user is asked in an inquiry that opens by itself when the onboarding is over, such as `USER_PERSON_SOURCE_OF_INCOME`. If
    /// it is nothing, none opens.
    pub inquiry_after_onboarding: Vec<InquiryEntryType>,
    /// The status of the refusal of an `X-Bunq-Client-Request-Id` that was used before; `None`: it is accepted.
    pub repeated_request_id: Option<u16>,
    /// The status of the refusal of a wrong API key.
    pub wrong_key: u16,
    /// The status of the refusal of a method that a path does not know.
    pub wrong_method: u16,
    /// The status of the refusal of a session that is opened without a signature; `None`: it is opened.
    pub unsigned_session: Option<u16>,
    /// Whether every other body must be signed too, except that of the installation.
    pub require_signatures: bool,
    /// Whether a refusal with 429 has the header `Retry-After`.
    pub retry_after: bool,
    /// Whose calls count towards a rate limit together, if it is enforced.
    pub limits_are_per: LimitScope,
    /// How long a session lasts; in whole seconds as JSON.
    #[serde(serialize_with = "whole_seconds", deserialize_with = "from_seconds")]
    pub session_timeout: Duration,
    /// How long the credential of a user waits for its first use; in whole seconds as JSON. An hour is that of bunq's sandbox, four are
    /// those of production.
    #[serde(serialize_with = "whole_seconds", deserialize_with = "from_seconds")]
    pub credential_lifetime: Duration,
    /// Under which installations the token of a user opens sessions. Elsewhere it is refused as a wrong API key is.
    pub user_installation: AcceptedInstallation,
    /// The messages of refusals by their status: only 404, 405 and 466.
    pub wording: BTreeMap<u16, String>,
}

impl Default for Profile {
    /// The behaviour that has been seen most often. Of the identity of users none has been seen, so it is the one that is hard to be ready for.
    fn default() -> Self {
        Self {
            dead_token: DeadToken::Unauthorized,
            signed_refusals: BTreeSet::new(),
            signed_installation: true,
            signature_form: SignatureForm::Body,
            creation_response: CreationResponse::Id,
            filter_response: FilterResponse::Filters,
            filters_shown_after: Duration::ZERO,
            failure_retry_response: FailureRetryResponse::Ids,
            notification_tries: 6,
            notification_retry: Duration::from_secs(60),
            notification_body: NotificationBody::Whole,
            rejected_entry: RejectedEntry::AskedAgain,
            duplicate: Some(400),
            second_oauth_client: Some(400),
            second_identity_session: Some(400),
            second_submission: Some(400),
            identity_results: vec!["REJECTED".to_owned(), APPROVED.to_owned()],
            identity_check: Duration::from_secs(5),
            fulfillments: FULFILLMENTS.map(str::to_owned).to_vec(),
            onboarding_check: Duration::from_secs(5),
            second_statuses: Some(490),
            onboarding_result: "VERIFIED".to_owned(),
            inquiry_after_onboarding: vec![InquiryEntryType::UserPersonSourceOfIncome],
            repeated_request_id: Some(400),
            wrong_key: 400,
            wrong_method: 405,
            unsigned_session: Some(466),
            require_signatures: false,
            retry_after: false,
            limits_are_per: LimitScope::Address,
            session_timeout: Duration::from_secs(604_800),
            credential_lifetime: Duration::from_secs(60 * 60),
            user_installation: AcceptedInstallation::Both,
            wording: BTreeMap::new(),
        }
    }
}

impl Profile {
    pub(crate) fn is_signed(&self, response: &RawResponse) -> bool {
        !response.is_refusal() || self.signed_refusals.contains(&response.status)
    }

    /// A refusal in the words and with the status that this bank has for it.
    pub(crate) fn refusal(&self, mut refusal: Refusal) -> Refusal {
        if let Some(message) = self.wording.get(&refusal.status) {
            refusal.message.clone_from(message);
        }
        if refusal.status == 405 {
            refusal.status = self.wrong_method;
        }
        refusal
    }

    /// The first setting that cannot be, if any.
    pub(crate) fn problem(&self) -> Option<String> {
        let known = [
            Some(self.wrong_key),
            Some(self.wrong_method),
            self.duplicate,
            self.second_oauth_client,
            self.second_identity_session,
            self.second_submission,
            self.second_statuses,
            self.repeated_request_id,
            self.unsigned_session,
        ];
        let statuses = known.into_iter().flatten().chain(self.signed_refusals.iter().copied());
        if let Some(status) = statuses.into_iter().find(|status| !REFUSALS.contains(status)) {
            return Some(format!("{status} is not the status of a refusal: those are 300 to 599"));
        }
        let other = self.wording.keys().find(|status| ![404, 405, 466].contains(*status))?;
        Some(format!("wording has {other}: it can have 404, 405 and 466"))
    }
}

fn whole_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

fn from_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_back() {
        test_timeout::start();
        let profile = Profile { wording: [(404, "Route not found".to_owned())].into(), ..Profile::default() };
        let json = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&json).unwrap(), profile);
        assert_eq!(serde_json::from_str::<Profile>("{}").unwrap(), Profile::default());
        let error = serde_json::from_str::<Profile>(r#"{"dead_tokens": "unauthorized"}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `dead_tokens`") && error.contains("`dead_token`"), "{error}");
    }

    #[test]
    fn what_cannot_be_is_named() {
        test_timeout::start();
        assert_eq!(Profile::default().problem(), None);
        let problem = |profile: Profile| profile.problem().unwrap();
        assert!(problem(Profile { duplicate: Some(200), ..Profile::default() }).starts_with("200 is not the status"));
        let wording = [(500, "No.".to_owned())].into();
        assert_eq!(problem(Profile { wording, ..Profile::default() }), "wording has 500: it can have 404, 405 and 466");
    }
}
