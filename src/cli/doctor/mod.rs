//! `doctor`: why bunq says no, step by step, and a verdict.
//!
//! The way to the bank is walked first; where it is not private, no key is sent. [`network`] and [`bank`] look, [`verdict`]
//! decides.

mod bank;
mod network;
mod step;
mod verdict;

use reqwest::Url;
use serde_json::json;

use self::bank::Examination;
use self::network::Way;
use self::step::{State, Step};
use self::verdict::{Circumstances, Verdict, verdict};
use super::arguments::Format;
use super::exit::{Failure, after_output};
use super::invocation::Invocation;
use super::output::{write_text, write_value};
use super::words::clean;

pub(super) async fn run(invocation: &Invocation) -> Result<(), Failure> {
    let connection = &invocation.connection;
    let client = connection.client();
    let environment = connection.environment();
    let mut steps = match &client {
        Ok(client) => vec![
            Step::ok("bank", format!("{environment} at {}", client.base_url())),
            Step::ok("key", format!("it has the form of a key of {environment}")),
        ],
        Err(failure) if failure.message().starts_with("base_url") => {
            vec![Step::failed("bank", failure.message(), "give another --base-url")]
        }
        Err(failure) => {
            vec![Step::failed("key", failure.message(), "give the key of this environment, or the right --env")]
        }
    };
    let mut examination = Examination::default();
    let mut way = None;
    if let Ok(client) = &client
        && let Ok(url) = client.base_url().parse::<Url>()
    {
        let walked: Way = network::walk(&url, connection.is_loopback()).await;
        steps.extend(walked.steps.iter().cloned());
        let context = connection.context.as_deref();
        let is_usable = bank::look_at_context(&mut examination, client, context).await.is_some();
        if walked.is_open && is_usable {
            bank::ask(&mut examination, client).await;
        } else {
            examination.steps.push(Step::skipped("session", "not tried: nothing is sent on such a way"));
        }
        way = Some(walked);
    }
    steps.append(&mut examination.steps);

    let context = connection.context.as_ref().map(|file| file.display().to_string());
    let circumstances = Circumstances {
        environment,
        was_accepted: examination.context.as_ref().is_some_and(|context| context.device_registered),
        had_context: examination.context.is_some(),
        from: way.as_ref().and_then(|way| way.from),
        proxy: way.as_ref().and_then(|way| way.proxy.as_deref()),
        context: context.as_deref(),
    };
    let verdict = verdict(&steps, examination.refusal.as_ref(), &circumstances);
    let outcome = if verdict.is_well { Ok(()) } else { Err(Failure::found()) };
    after_output(outcome, write(&steps, &verdict, invocation.format()))
}

fn write(steps: &[Step], verdict: &Verdict, format: Format) -> std::io::Result<()> {
    match format {
        Format::Table => write_text(&for_people(steps, verdict)),
        format => write_value(format, &json!({ "steps": steps, "verdict": verdict })),
    }
}

fn for_people(steps: &[Step], verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut line = |start: &str, words: &str| text = format!("{text}{start}{}\n", clean(words));
    for Step { name, state, saw, remedy } in steps {
        let mark = match state {
            State::Ok => "\x1b[32m ok \x1b[0m",
            State::Warning => "\x1b[33mwarn\x1b[0m",
            State::Failed => "\x1b[31mFAIL\x1b[0m",
            State::Skipped => "\x1b[2m -  \x1b[0m",
        };
        line(&format!("{mark}  {name:<12}  "), saw);
        if let Some(remedy) = remedy {
            line(&format!("{:20}", ""), remedy);
        }
    }
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
