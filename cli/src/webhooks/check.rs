//! `webhooks check`: whether bunq tells what matters, and whether it can call whom it tells. `doctor` asks for a part of it.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use bunq_partner::jiff::Timestamp;
use bunq_partner::reqwest::Url;
use bunq_partner::text::url_without_path;
use bunq_partner::types::{
    CertificatePinned, CertificatePinnedId, NotificationCategory, NotificationFilter, NotificationVerificationType,
};
use bunq_partner::{Environment, Error, ErrorKind, Notifications, ProvisionId};
use futures_util::TryStreamExt as _;
use serde_json::json;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::super::arguments::OutputFormat;
use super::super::examination::network::{Way, host_of};
use super::super::examination::step::{Check, CheckState, Checks};
use super::super::exit::{Failure, after_output, told};
use super::super::invocation::Invocation;
use super::super::output::write_value;
use super::super::words::relative;
use super::served::Served;
use super::{notifications, of};

/// The name of the finding that bunq calls a URL no more, and does not say so.
pub(crate) const PIN: &str = "pin";

/// How far back failed calls are looked for, and how many are counted.
const RECENT: Duration = Duration::from_secs(7 * 24 * 3600);
const MOST_FAILURES: u64 = 1000;

const PINNING: &str = "`bunq-partner help api create_pinned_certificate` says how a chain is pinned";

pub(super) async fn run(invocation: &Invocation, user: Option<ProvisionId>) -> Result<(), Failure> {
    let notifications = notifications(invocation, user)?;
    let mut steps = Checks::new(invocation.format() == OutputFormat::Table);
    let filters = notifications.list().await?;
    look_at_filters(&filters, user, &mut steps);
    look_at_targets(&notifications, &filters, user, &mut steps).await?;
    let is_well = steps.all.iter().all(|step| step.state != CheckState::Failed);
    let outcome = if is_well { Ok(()) } else { Err(Failure::negative("")) };
    let written = match invocation.format() {
        OutputFormat::Table => Ok(()),
        format => write_value(format, &json!({ "steps": steps.all })),
    };
    after_output(outcome, written)
}

/// Whether bunq tells what happens to provisions, or to a user.
fn look_at_filters(filters: &[NotificationFilter], user: Option<ProvisionId>, steps: &mut Checks) {
    let categories = match user {
        None => &[NotificationCategory::PartnerUserProvision][..],
        Some(_) => &[NotificationCategory::UserOnboarding, NotificationCategory::UserInformationInquiry],
    };
    for category in categories {
        let targets: Vec<_> = filters.iter().filter(|filter| filter.category == *category).map(target_of).collect();
        steps.push(if targets.is_empty() {
            let user = of(user);
            let remedy = format!("`bunq-partner webhooks ensure {category}{user}` has bunq tell it");
            Check::failed("filter", format!("{category} is told to nobody"), remedy)
        } else {
            Check::ok("filter", format!("{category} is told to {}", targets.join(" and ")))
        });
    }
}

/// Whether bunq can call the URLs of filters, and what it could not deliver. A session that is refused is an error.
pub(crate) async fn look_at_targets(
    notifications: &Notifications,
    filters: &[NotificationFilter],
    user: Option<ProvisionId>,
    steps: &mut Checks,
) -> Result<(), Error> {
    let pinned = match notifications.pinned().await {
        Ok(pinned) => pinned.iter().map(Pinned::new).collect(),
        Err(error) => {
            steps.push(unlisted(
                PIN,
                error,
                "the pinned certificates cannot be listed: whether they fit is not known",
            )?);
            Vec::new()
        }
    };
    // Of a server one URL is enough.
    let servers: BTreeMap<_, _> = filters.iter().map(|filter| (origin(filter), filter)).collect();
    for filter in servers.into_values() {
        let asks = filters.iter().filter(|other| origin(other) == origin(filter)).any(asks_for_certificate);
        look_at_server(filter, asks, &pinned, steps).await;
    }
    steps.push(match failures(notifications, user).await {
        Ok(check) => check,
        Err(error) => unlisted("failures", error, "the calls that bunq could not deliver cannot be listed")?,
    });
    Ok(())
}

/// A warning about what bunq does not show. A session that is refused, or a response that is not bunq's, is an error.
fn unlisted(name: &'static str, error: Error, remedy: &str) -> Result<Check, Error> {
    match error.kind() {
        ErrorKind::Signature | ErrorKind::Unauthorized => Err(error),
        _ => Ok(Check::warning(name, told(&error), remedy)),
    }
}

/// Connects to the server of a URL, and holds what it shows against what is pinned.
async fn look_at_server(filter: &NotificationFilter, asks: bool, pinned: &[Pinned], steps: &mut Checks) {
    let shown = target_of(filter);
    let Ok(url) = filter.notification_target.as_str().parse::<Url>() else {
        return steps.push(Check::failed("URL", shown, "`bunq-partner webhooks list --show-urls` shows it"));
    };
    let reach = "start it, and see that bunq's addresses reach it; if no others may, check from where they do";
    let (mut way, host) = (Way::default(), host_of(&url).unwrap_or_default());
    let Some(connection) = way.reach(&url).await else {
        let problem = way.steps.all.pop().map(|step| step.saw).unwrap_or_default();
        return steps.push(Check::failed("URL", format!("{shown} cannot be reached: {problem}"), reach));
    };
    if url.scheme() != "https" {
        steps.push(Check::ok("URL", format!("{shown} can be reached, without TLS, as a sandbox on loopback does")));
        if !pinned.is_empty() {
            steps.push(unfit(&shown, "it has no certificate"));
        }
        return;
    }
    let served = match Served::look(connection, &host).await {
        Ok(served) => served,
        Err(problem) => return steps.push(Check::failed("URL", format!("{shown}: {problem}"), reach)),
    };
    let fitting = pinned.iter().find(|pinned| pinned.fits(&served.chain));
    // Without the certificate that it asks for, a server may refuse to go on.
    let refusal = served.refusal.filter(|_| !asks).map(|refusal| format!("{shown}: {refusal}"));
    let untrusted = served.problem.map(|problem| format!("{shown}: {problem}"));
    let is_loopback = Environment::is_loopback(url.as_str());
    steps.push(match (refusal, untrusted) {
        (Some(refusal), _) => {
            Check::failed("URL", refusal, "it refuses whoever is not bunq, or speaks no TLS that bunq does")
        }
        (None, None) => Check::ok("URL", format!("{shown} answers, and its certificate is valid")),
        (None, Some(problem)) if is_loopback => Check::warning("URL", problem, "a sandbox takes it, and bunq does not"),
        (None, Some(problem)) if fitting.is_some() => {
            Check::warning("URL", problem, "it is pinned: no source says whether bunq takes it for that")
        }
        (None, Some(problem)) => Check::failed(
            "URL",
            problem,
            "let it show a certificate that is valid for this host, with those that it is signed with",
        ),
    });
    match fitting {
        Some(fitting) => steps.push(Check::ok(PIN, format!("{shown} shows the chain {}, which is pinned", fitting.id))),
        None if pinned.is_empty() => {}
        None if pinned.iter().any(|pinned| pinned.chain.is_empty()) => {
            let remedy = "`bunq-partner api list_pinned_certificates` shows what bunq says of them";
            steps.push(Check::warning(PIN, format!("{shown}: bunq does not show what is pinned"), remedy));
        }
        None => steps.push(unfit(&shown, &format!("none of the {} pinned chains is what it shows", pinned.len()))),
    }
}

fn unfit(shown: &str, why: &str) -> Check {
    let saw = format!("{shown}: {why}, so bunq does not call it, and does not say so");
    Check::failed(PIN, saw, format!("let it show a chain that is pinned, or pin the one that it shows: {PINNING}"))
}

/// How many calls bunq could not deliver in the last days.
async fn failures(notifications: &Notifications, user: Option<ProvisionId>) -> Result<Check, Error> {
    let (name, now) = ("failures", Timestamp::now());
    let (mut failures, mut count, mut newest) = (pin!(notifications.failures()), 0, None);
    while let Some(failure) = failures.try_next().await? {
        let created = failure.created.map(bunq_partner::Timestamp::as_jiff);
        if created.is_some_and(|created| now.duration_since(created).unsigned_abs() > RECENT) {
            break;
        }
        (newest, count) = (newest.or(created), count + 1);
        if count == MOST_FAILURES {
            break;
        }
    }
    if count == 0 {
        return Ok(Check::ok(name, "bunq lists no call of the last 7 days that has failed"));
    }
    let at_least = if count == MOST_FAILURES { "at least " } else { "" };
    let last = newest.map(|newest| format!(", the last one {}", relative(newest, now))).unwrap_or_default();
    let user = of(user);
    let saw = format!("bunq could not deliver {at_least}{count} calls of the last 7 days{last}");
    let remedy = format!(
        "`bunq-partner webhooks failures{user}` shows them; `bunq-partner webhooks retry{user}` has those to your URL made again"
    );
    Ok(Check::warning(name, saw, remedy))
}

/// A chain that is pinned.
struct Pinned {
    id: CertificatePinnedId,
    /// Empty if bunq does not show it.
    chain: Vec<CertificateDer<'static>>,
}

impl Pinned {
    fn new(pinned: &CertificatePinned) -> Self {
        let pem = pinned.certificate_chain.as_deref().unwrap_or_default();
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap_or_default();
        Self { id: pinned.id, chain }
    }

    /// Whether a server shows this chain: one is how the other begins, because servers may leave out the authority.
    fn fits(&self, shown: &[CertificateDer<'_>]) -> bool {
        !self.chain.is_empty()
            && !shown.is_empty()
            && self.chain.iter().zip(shown).all(|(pinned, shown)| pinned == shown)
    }
}

fn target_of(filter: &NotificationFilter) -> String {
    url_without_path(filter.notification_target.as_str())
}

/// The server of a filter's URL.
fn origin(filter: &NotificationFilter) -> String {
    let url = filter.notification_target.as_str().parse::<Url>();
    url.map(|url| url.origin().ascii_serialization()).unwrap_or_default()
}

/// Whether bunq shows a certificate to the URL of this filter.
fn asks_for_certificate(filter: &NotificationFilter) -> bool {
    filter.all_verification_type.contains(&NotificationVerificationType::BunqCertificate)
}
