//! `probe`: how bunq's sandbox behaves where no document says it.
//!
//! [`interview`] asks, [`users`] about users, and [`visit`] removes what that makes. [`exchange`] sends, and [`caller`] says what is an answer. The result is a
//! report that can be sent to this project, and a profile that the sandbox of this program can be started with.

mod answer;
mod caller;
mod exchange;
mod interview;
mod users;
mod visit;

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use bunq_partner::files;
use bunq_partner::jiff::Timestamp;
use serde_json::{Value, json};

use self::answer::{Fact, signatures};
use self::caller::Caller;
use self::interview::Interview;
use self::visit::Visit;
use super::arguments::{OutputFormat, ProbeOptions};
use super::exit::{Failure, after_output};
use super::folders::try_to_store;
use super::interrupt::until_interrupted;
use super::invocation::Invocation;
use super::output::{write_text, write_value};
use super::words::{clean, escaped};

/// What `--save` writes.
const REPORT: &str = "report.md";
const REPORT_JSON: &str = "report.json";
const PROFILE: &str = "profile.json";

pub(super) async fn run(invocation: &Invocation, options: &ProbeOptions) -> Result<(), Failure> {
    let connection = &invocation.connection;
    if let Some(folder) = &options.save {
        check(folder)?;
    }
    let client = connection.built(connection.builder())?;
    let (base_url, api_key) = (client.base_url(), connection.api_key.clone());
    let caller = Caller::new(&client, api_key, connection.may_be_bunqs(), connection.rehearse)?;
    let mut interview = Interview::new(Visit::new(caller));
    let asked = until_interrupted(None, interview.ask_all(options.create)).await;
    if asked.as_ref().is_err_and(Failure::is_interruption) {
        invocation.note("interrupted: what was made at the bank is removed; interrupt again to leave it");
    }
    // What was made is removed whatever came of the questions.
    let cleaned = until_interrupted(None, interview.remove_all()).await;
    let left = interview.left();
    let cleaned = if left.is_empty() { Ok(()) } else { cleaned.and(Err(Failure::doubt("not all could be removed"))) };

    let mut written = Ok(());
    if asked.is_ok() {
        let all = left.iter().map(|(what, _)| what.clone()).chain(interview.stays()).collect();
        let json = report(base_url, &interview, all);
        written = write(invocation.format(), options.save.as_deref(), &json, &interview.facts);
    }
    let stays = interview.stays();
    let outcome = asked.and_then(|()| interview.finish()).and(cleaned);
    after_output(outcome.map_err(|failure| naming(failure, left, stays)), written)
}

/// A failure that names what is left at the bank, and how to remove it.
fn naming(failure: Failure, left: Vec<(String, String)>, stays: Vec<String>) -> Failure {
    let (mut what, ways): (Vec<_>, Vec<_>) = left.into_iter().unzip();
    what.extend(stays);
    if what.is_empty() {
        return failure;
    }
    let problem = format!("{}; left at the bank: {}", failure.message(), what.join(", "));
    failure.saying(problem).or_hint((!ways.is_empty()).then(|| ways.join("; ")))
}

fn write(format: OutputFormat, folder: Option<&Path>, json: &Value, facts: &[Fact]) -> Result<(), Failure> {
    let page = page(json, facts)?;
    // What the bank has answered is not lost if it cannot be saved.
    let saved = folder.map_or(Ok(()), |folder| save_all(folder, &page, json));
    match format {
        OutputFormat::Table => write_text(&page)?,
        format => write_value(format, json)?,
    }
    saved
}

fn report(base_url: &str, interview: &Interview, left: Vec<String>) -> Value {
    let Interview { facts, profile, .. } = interview;
    json!({
        "bank": base_url,
        "date": Timestamp::now().strftime("%Y-%m-%d").to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "facts": facts,
        "signatures": signatures(facts),
        "left": left,
        "profile": profile,
    })
}

fn page(report: &Value, facts: &[Fact]) -> Result<String, Failure> {
    let text = |name: &str| report[name].as_str().unwrap_or_default();
    let mut page = format!(
        "# How {} behaves\n\nAsked on {} by bunq-partner {}. No key and no token is in this report; what bunq says \
         is in bunq's words, so look it over before you send it.\n\n\
         | Question | Answer | Status | Signed | bunq says |\n|---|---|---|---|---|\n",
        text("bank"),
        text("date"),
        text("version")
    );
    for Fact { question, answer, status, signature, message } in facts {
        let message = message.as_deref().unwrap_or_default();
        let (status, signature) = (status.map(|status| status.to_string()), signature.unwrap_or_default());
        let status = status.unwrap_or_default();
        let [answer, message] = [answer.as_str(), message].map(|text| clean(text).replace('|', "\\|"));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {question} | {answer} | {status} | {signature} | {message} |");
    }
    for left in report["left"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(page, "\nLeft at the bank: {}.", clean(left));
    }
    let profile = pretty(&report["profile"])?;
    Ok(page + &format!("\nThe profile, for `bunq-partner sandbox --bank-profile FILE`:\n\n```json\n{profile}```\n"))
}

fn pretty(json: &Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(json).map_err(|error| Failure::local("the report", &error.into()))?;
    Ok(escaped(&text) + "\n")
}

/// Refuses a folder in which nothing can be made, and what cannot be replaced, before anything is sent.
fn check(folder: &Path) -> Result<(), Failure> {
    if !folder.is_dir() {
        let problem = if folder.exists() { "it is not a folder" } else { "there is no such folder: make it first" };
        return Err(Failure::usage(format!("--save {}: {problem}", folder.display())));
    }
    for path in [REPORT, REPORT_JSON, PROFILE].map(|name| folder.join(name)) {
        match files::open_kept(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::usage(format!("--save: {}: {error}", path.display())));
            }
            _ => {}
        }
    }
    try_to_store(folder).map_err(|error| Failure::usage(format!("--save {}: {error}", folder.display())))
}

fn save_all(folder: &Path, page: &str, json: &Value) -> Result<(), Failure> {
    save(folder, REPORT, page)?;
    save(folder, REPORT_JSON, &pretty(json)?)?;
    save(folder, PROFILE, &pretty(&json["profile"])?)
}

fn save(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    files::replace_kept(&path, text.as_bytes()).map_err(|error| Failure::local(path.display(), &error))
}
