//! `probe`: how bunq's sandbox behaves where no document says it.
//!
//! [`interview`] asks, with the requests of [`exchange`]; the result is a report that can be sent to this project, and a profile that the sandbox of this program
//! can be started with.

mod answer;
mod exchange;
mod interview;

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use bunq_partner::files;
use bunq_partner::jiff::Timestamp;
use bunq_partner_sandbox::Profile;
use serde_json::{Value, json};

use self::answer::{Fact, signatures};
use self::interview::Interview;
use super::arguments::{OutputFormat, ProbeOptions};
use super::exit::Failure;
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
    let mut interview = Interview::new(&client, connection.api_key.clone(), connection.may_be_bunqs())?;
    let outcome = interview.ask_all(options.create).await;
    interview.end().await;
    outcome?;
    let Interview { facts, profile, .. } = interview;

    let json = report(client.base_url(), &facts, &profile);
    let page = page(&json, &facts)?;
    if let Some(folder) = &options.save {
        save(folder, REPORT, &page)?;
        save(folder, REPORT_JSON, &pretty(&json)?)?;
        save(folder, PROFILE, &pretty(&json["profile"])?)?;
    }
    match invocation.format() {
        OutputFormat::Table => write_text(&page)?,
        format => write_value(format, &json)?,
    }
    Ok(())
}

fn report(base_url: &str, facts: &[Fact], profile: &Profile) -> Value {
    json!({
        "bank": base_url,
        "date": Timestamp::now().strftime("%Y-%m-%d").to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "facts": facts,
        "signatures": signatures(facts),
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
        let [answer, message] = [answer.as_str(), message].map(|text| clean(text).replace('|', "\\|"));
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| {question} | {answer} | {status} | {signature} | {message} |");
    }
    let profile = pretty(&report["profile"])?;
    Ok(page + &format!("\nThe profile, for `bunq-partner sandbox --bank-profile FILE`:\n\n```json\n{profile}```\n"))
}

fn pretty(json: &Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(json).map_err(|error| Failure::local("the report", &error.into()))?;
    Ok(escaped(&text) + "\n")
}

/// Refuses what cannot be replaced, before anything is sent.
fn check(folder: &Path) -> Result<(), Failure> {
    if !folder.is_dir() {
        return Err(Failure::usage(format!("--save {}: there is no such folder: make it first", folder.display())));
    }
    for path in [REPORT, REPORT_JSON, PROFILE].map(|name| folder.join(name)) {
        match files::open_kept(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::usage(format!("--save: {}: {error}", path.display())));
            }
            _ => {}
        }
    }
    Ok(())
}

fn save(folder: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let path = folder.join(name);
    files::replace_kept(&path, text.as_bytes()).map_err(|error| Failure::local(path.display(), &error))
}
