//! `doctor`: why bunq says no, step by step, and a verdict.
//!
//! The network path to the bank is checked first; if it is not private, no key is sent. [`network`], [`bank`], [`custody`] and
//! [`webhooks`] make the checks, [`verdict`] decides.

mod bank;
mod custody;
mod verdict;
mod webhooks;

use bunq_partner::reqwest::Url;
use bunq_partner::{Error, ErrorKind, RetryPolicy};
use serde_json::json;

use self::bank::Examination;
use self::verdict::{Circumstances, Diagnosis, verdict};
use super::arguments::OutputFormat;
use super::examination::network;
use super::examination::step::{Check, Checks};
use super::exit::{Failure, after_output};
use super::invocation::Invocation;
use super::output::{write_text, write_value};
use super::words::clean;

/// Examines the network path to the bank and its answers; `unusable` is why there is no key, or no folder for the context.
pub(super) async fn run(invocation: &Invocation, unusable: Option<Failure>) -> Result<(), Failure> {
    let connection = &invocation.connection;
    // The first failure is what is asked for.
    let client = connection.client_with(|builder| builder.retry(RetryPolicy::default().max_attempts(1)));
    let environment = connection.environment;
    let mut steps = Checks::new(invocation.format() == OutputFormat::Table);
    let key_remedy = "give the key of this environment, as bunq shows it, or the right --env";
    match &client {
        Ok(client) => {
            let of_profile = connection.profile.as_ref().map(|profile| format!(", of {profile}")).unwrap_or_default();
            steps.push(Check::ok("bank", format!("{environment} at {}{of_profile}", client.base_url())));
            let remedy = "without it no more than the way to bunq can be examined";
            steps.push(match &unusable {
                None => Check::ok("key", format!("it has the form of a key of {environment}")),
                Some(failure) if failure.is_of_kind(ErrorKind::Context) => {
                    let step = if connection.names_database { "database" } else { "context" };
                    Check::failed(step, failure.message(), remedy)
                }
                Some(failure) => Check::failed("key", failure.message(), remedy),
            });
        }
        Err(failure) => {
            let problem = failure.message();
            let error = failure.error();
            steps.push(match error.and_then(Error::field) {
                Some("base_url" | "allow_plain_http") => {
                    Check::failed("bank", problem, "correct it: `bunq-partner config show` says where it is from")
                }
                Some(variable @ ("SSL_CERT_FILE" | "SSL_CERT_DIR")) => {
                    let remedy =
                        format!("set {variable} right, or unset it: the system's certificates are trusted then");
                    Check::failed("certificates", problem, remedy)
                }
                None if error.is_some_and(|error| error.kind() == ErrorKind::Internal) => {
                    Check::failed("certificates", problem, "HTTPS needs them; plain HTTP on loopback does not")
                }
                _ if network::proxy_for(&connection.base_url).is_err() => {
                    Check::failed("proxy", problem, network::PROXY_REMEDY)
                }
                _ => Check::failed("key", problem, key_remedy),
            });
        }
    }
    let mut examination = Examination::default();
    let (mut from, mut proxy) = (None, None);
    if let Ok(client) = &client
        && let Ok(url) = client.base_url().parse::<Url>()
    {
        let way = network::walk(&url, steps).await;
        (from, proxy) = (way.from, way.proxy);
        examination.steps = way.steps;
        if unusable.is_none() {
            let is_usable = bank::look_at_context(&mut examination, client, &connection.context).await.is_some();
            if way.is_open && is_usable {
                bank::ask(&mut examination, client).await;
            } else {
                examination.steps.push(Check::skipped("session", "not tried: nothing is sent on such a way"));
            }
        }
    } else {
        examination.steps = steps;
    }
    if let Some(shared) = &connection.shared {
        shared.examine().await.into_iter().for_each(|step| examination.steps.push(step));
    }
    if let Some(custody) = &connection.custody {
        examination.steps.push(custody::look_at(custody).await);
    }
    let steps = &examination.steps.all;

    let circumstances = Circumstances {
        environment,
        was_accepted: examination.context.as_ref().is_some_and(|context| context.device_registered),
        had_context: examination.context.is_some(),
        from,
        proxy: proxy.as_deref(),
    };
    let verdict = verdict(steps, examination.refusal.as_ref(), &circumstances);
    let outcome = if verdict.is_well { Ok(()) } else { Err(Failure::negative("")) };
    after_output(outcome, write(steps, &verdict, invocation.format()))
}

fn write(steps: &[Check], verdict: &Diagnosis, format: OutputFormat) -> std::io::Result<()> {
    match format {
        OutputFormat::Table => write_text(&for_people(verdict)),
        format => write_value(format, &json!({ "steps": steps, "verdict": verdict })),
    }
}

/// The verdict; the steps have been shown.
fn for_people(verdict: &Diagnosis) -> String {
    let mut text = String::new();
    let mut line = |start: &str, words: &str| text = format!("{text}{start}{}\n", clean(words));
    let style = if verdict.is_well { "1;32" } else { "1;31" };
    line(&format!("\n\x1b[{style}mVerdict:\x1b[0m "), &verdict.summary);
    for left in &verdict.left {
        line("  possible:   ", left);
    }
    for out in &verdict.ruled_out {
        line("  ruled out:  ", out);
    }
    if let Some(next) = &verdict.next {
        line("  next:       ", next);
    }
    text
}
