//! `spec diff`: says what changed in the document, and whom the change breaks.

mod change;
mod parts;
mod schema;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use self::change::{Change, Impact};
use super::{DOCUMENT, text};
use crate::git;
use bunq_partner_codegen::document::Document;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The revision to compare with [default: the last release tag, else HEAD]
    rev: Option<String>,
    /// Print the changes as JSON
    #[arg(long)]
    json: bool,
}

/// Returns true if no change is breaking.
pub(crate) fn run(arguments: &Arguments) -> Result<bool> {
    let rev = match &arguments.rev {
        Some(rev) => rev.clone(),
        None => last_release()?.unwrap_or_else(|| "HEAD".into()),
    };
    let changes = parts::compare(&before(&rev)?, &now()?);
    let breaking = changes.iter().any(Change::is_breaking);
    if arguments.json {
        println!("{:#}", json!({"since": rev, "breaking": breaking, "changes": changes}));
    } else {
        print(&rev, &changes);
    }
    Ok(!breaking)
}

/// Returns true if no change since a release is breaking, or if the document's version announces it.
pub(crate) fn since_release(rev: &str) -> Result<bool> {
    let (old, new) = (before(rev)?, now()?);
    let changes = parts::compare(&old, &new);
    print(rev, &changes);
    Ok(!changes.iter().any(Change::is_breaking) || compatible_with(&old) != compatible_with(&new))
}

/// The newest release tag before HEAD.
pub(crate) fn last_release() -> Result<Option<String>> {
    // `git describe` fails if there is no tag, which is not an error here.
    let tag = git(&["describe", "--tags", "--abbrev=0", "--match", "v[0-9]*"]).ok();
    Ok(tag.map(|tag| tag.trim().to_string()))
}

fn before(rev: &str) -> Result<Document> {
    let text = git(&["show", &format!("{rev}:{DOCUMENT}")])?;
    let document = Document::read(&text).map_err(|diagnostic| anyhow!("{}", diagnostic.in_file(DOCUMENT, &text)));
    document.with_context(|| format!("the document of {rev} cannot be read"))
}

fn now() -> Result<Document> {
    let text = text()?;
    Document::parse(&text).map_err(|diagnostic| anyhow!("{}", diagnostic.in_file(DOCUMENT, &text)))
}

/// The part of the version that a breaking change must raise.
fn compatible_with(document: &Document) -> Vec<&str> {
    let version = document.root["info"]["version"].as_str().unwrap_or_default();
    version.split('.').take(if version.starts_with("0.") { 2 } else { 1 }).collect()
}

fn print(rev: &str, changes: &[Change]) {
    for change in changes {
        println!("{change}");
    }
    let count = |impact| changes.iter().filter(|change| change.wire.max(change.rust) == impact).count();
    let [breaking, additive, editorial] = [Impact::Breaking, Impact::Additive, Impact::Editorial].map(count);
    println!("{DOCUMENT} since {rev}: {breaking} breaking, {additive} additive, {editorial} editorial");
}

#[cfg(test)]
mod tests;
