//! Notification filters, calls that could not be delivered, and pinned certificates.

use std::collections::{BTreeMap, BTreeSet};

use bunq_partner::Operation;
use bunq_partner::types::{
    CreatePinnedCertificateRequest, NotificationTarget, ReplaceNotificationFiltersRequest,
    RetryNotificationFilterFailuresRequest,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::paging::Window;
use super::{Answer, Handler, RoutedCall};
use crate::bank::Bank;
use crate::clock::after;
use crate::input;
use crate::objects::notifications::{Failure, Filter, PinnedChain};
use crate::objects::table::Stored;
use crate::settings::{FailureRetryResponse, FilterResponse};
use crate::wire::response::{RawResponse, Refusal};

pub(super) const ANSWERS: &[Answer] = &[
    Answer { operation: &Operation::LIST_NOTIFICATION_FILTERS, handler: Handler::SessionUser(list_filters) },
    Answer { operation: &Operation::REPLACE_NOTIFICATION_FILTERS, handler: Handler::SessionUser(replace_filters) },
    Answer { operation: &Operation::LIST_NOTIFICATION_FILTER_FAILURES, handler: Handler::ChosenUser(list_failures) },
    Answer { operation: &Operation::RETRY_NOTIFICATION_FILTER_FAILURES, handler: Handler::ChosenUser(retry_failures) },
    Answer { operation: &Operation::LIST_PINNED_CERTIFICATES, handler: Handler::SessionUser(list_pinned) },
    Answer { operation: &Operation::CREATE_PINNED_CERTIFICATE, handler: Handler::SessionUser(pin) },
    Answer { operation: &Operation::GET_PINNED_CERTIFICATE, handler: Handler::SessionUser(get_pinned) },
    Answer { operation: &Operation::DELETE_PINNED_CERTIFICATE, handler: Handler::SessionUser(unpin) },
];

/// The greatest number of targets of a category.
const MOST_TARGETS: usize = 2;

fn list_filters(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let late = bank.filter_views.of(user, request.now);
    Ok(RawResponse::items(late.unwrap_or_else(|| shown_filters(bank, user))))
}

fn shown_filters(bank: &Bank, user: u64) -> Vec<Value> {
    bank.objects.notification_filters.of(user).map(shown_filter).collect()
}

/// A filter with the members that bunq shows, null where the client has sent none.
fn shown_filter(filter: &Stored<Filter>) -> Value {
    let Filter(mut members) = filter.content.clone();
    for name in ["all_user_id", "all_monetary_account_id", "all_verification_type"] {
        members.entry(name).or_insert(Value::Null);
    }
    json!({ "NotificationFilterUrl": members })
}

fn replace_filters(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let filters = filters(&request.call.body)?;
    let shown_after = bank.settings.profile.filters_shown_after;
    if !shown_after.is_zero() {
        let shown = shown_filters(bank, user);
        bank.filter_views.keep(user, after(request.now, shown_after), shown);
    }
    let table = &mut bank.objects.notification_filters;
    let old: Vec<_> = table.of(user).map(|filter| filter.id).collect();
    old.into_iter().try_for_each(|id| table.delete(user, id))?;
    for filter in filters {
        table.add(user, Filter(filter), request.now, &mut bank.numbers);
    }
    match bank.settings.profile.filter_response {
        FilterResponse::Filters => Ok(RawResponse::items(shown_filters(bank, user))),
        FilterResponse::Id => Ok(RawResponse::id(bank.numbers.next())),
    }
}

/// The filters of a body, as they were sent.
fn filters(body: &[u8]) -> Result<Vec<Map<String, Value>>, Refusal> {
    #[derive(Deserialize)]
    struct AsSent {
        notification_filters: Vec<Map<String, Value>>,
    }
    let request: ReplaceNotificationFiltersRequest = input::body(body)?;
    let mut targets: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for filter in &request.notification_filters {
        let (category, target) = (filter.category.as_str(), filter.notification_target.as_str());
        // The type is read as bunq has sent it, and checked when it is made.
        let checked = target.parse::<NotificationTarget>();
        checked.map_err(|error| Refusal::bad_request(format!("{error}.")))?;
        let of_category = targets.entry(category).or_default();
        of_category.insert(target);
        if of_category.len() > MOST_TARGETS {
            let category = input::shown(&category.into());
            return Err(Refusal::bad_request(format!("The category {category} has more than {MOST_TARGETS} targets.")));
        }
    }
    input::body(body).map(|AsSent { notification_filters }| notification_filters)
}

fn list_failures(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let window = Window::of(request.call.query.as_deref(), "failures")?;
    let all: Vec<_> = failures(bank, user).collect();
    let path = Operation::LIST_NOTIFICATION_FILTER_FAILURES.path.replace("{user_id}", &user.to_string());
    let (page, links) = window.page(&all, &path)?;
    Ok(RawResponse::page(page.into_iter().map(shown_failure).collect(), links))
}

/// The failures that a user sees, oldest first: the partner all of them, and each user its own.
fn failures(bank: &Bank, user: u64) -> impl Iterator<Item = &Stored<Failure>> {
    let all = bank.objects.notification_failures.of(bank.partner);
    all.filter(move |failure| user == bank.partner || failure.content.user == user)
}

fn shown_failure(failure: &Stored<Failure>) -> Value {
    let Failure { user, category, event_type, object_id, target, response_code, problem } = &failure.content;
    let timeout = "Connection timed out after 10000 milliseconds";
    let problem = response_code.map_or(problem.as_deref().unwrap_or(timeout).into(), |status| {
        Value::from(format!("The target responded with {status}"))
    });
    let filter = json!({ "category": category, "notification_target": target });
    failure.item(
        "NotificationFilterFailure",
        [
            ("notification_filters", json!([filter])),
            ("category", category.as_str().into()),
            ("event_type", event_type.as_str().into()),
            ("object_id", (*object_id).into()),
            ("exception_message", problem),
            ("response_code", (*response_code).into()),
            ("notification_target", target.as_str().into()),
            ("user_id", (*user).into()),
            ("user_requested_id", Value::Null),
        ],
    )
}

/// Has failed calls made anew, with the objects as they are now. To a target that is not on loopback none is made.
fn retry_failures(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let body: RetryNotificationFilterFailuresRequest = input::body(&request.call.body)?;
    let ids = body.notification_filter_failed_ids.as_str().split(',').map(|id| input::number(id).unwrap_or_default());
    let ids: BTreeSet<_> = ids.collect();
    let known: BTreeSet<_> = failures(bank, user).map(|failure| failure.id).collect();
    if let Some(id) = ids.difference(&known).next() {
        return Err(Refusal::not_found(format!("There is no failed delivery {id}.")));
    }
    let (partner, table) = (bank.partner, &mut bank.objects.notification_failures);
    for id in &ids {
        bank.retried.push(table.get(partner, *id)?.content.clone());
        table.delete(partner, *id)?;
    }
    let shown = match bank.settings.profile.failure_retry_response {
        FailureRetryResponse::Ids => ids.len(),
        FailureRetryResponse::Id => 1,
        FailureRetryResponse::Nothing => 0,
    };
    Ok(RawResponse::items(ids.into_iter().take(shown).map(|id| json!({ "Id": { "id": id } })).collect()))
}

fn list_pinned(bank: &mut Bank, _request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    Ok(RawResponse::items(bank.objects.pinned_chains.of(user).map(shown_chain).collect()))
}

fn shown_chain(chain: &Stored<PinnedChain>) -> Value {
    json!({ "CertificatePinned": { "id": chain.id, "certificate_chain": chain.content.0 } })
}

fn pin(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let body: CreatePinnedCertificateRequest = input::body(&request.call.body)?;
    if body.certificate_chain.is_empty() {
        return Err(Refusal::bad_request("The certificate_chain has no certificate."));
    }
    let chain: Vec<_> = body.certificate_chain.iter().map(|one| one.certificate.as_str().trim_end()).collect();
    let chain = PinnedChain(chain.join("\n"));
    Ok(RawResponse::id(bank.objects.pinned_chains.add(user, chain, request.now, &mut bank.numbers)))
}

fn get_pinned(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    Ok(RawResponse::items(vec![shown_chain(bank.objects.pinned_chains.get(user, id)?)]))
}

fn unpin(bank: &mut Bank, request: &RoutedCall<'_>, user: u64) -> Result<RawResponse, Refusal> {
    let [id] = request.route.ids();
    bank.objects.pinned_chains.delete(user, id)?;
    Ok(RawResponse::items(Vec::new()))
}

/// An intervention of a test.
impl Bank {
    /// Stores calls about a provision that could not be delivered, one for each target of the partner's filters for provisions; returns
    /// how many.
    pub(crate) fn fail_notification(&mut self, provision: u64) -> usize {
        const CATEGORY: &str = "PARTNER_USER_PROVISION";
        let now = self.clock.now();
        let Some(stored) = self.provisions.get(provision, now, &mut self.numbers) else { return 0 };
        let user = stored.user(now, &mut self.numbers).api_key;
        let filters = self.objects.notification_filters.of(self.partner);
        let filters = filters.filter(|filter| filter.content.0.get("category").is_some_and(|name| name == CATEGORY));
        let targets = filters.filter_map(|filter| filter.content.0.get("notification_target")?.as_str());
        let failures: Vec<_> = targets
            .map(|target| Failure {
                user,
                category: CATEGORY.to_owned(),
                event_type: "PARTNER_USER_PROVISION_PROCESS_UPDATED".to_owned(),
                object_id: provision,
                target: target.to_owned(),
                response_code: None,
                problem: None,
            })
            .collect();
        let count = failures.len();
        for failure in failures {
            self.objects.notification_failures.add(self.partner, failure, now, &mut self.numbers);
        }
        count
    }
}
