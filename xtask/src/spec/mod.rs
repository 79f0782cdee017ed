//! The chores of the document: checking it, and showing what changed in it.

mod bundle;
mod check;
mod diff;
mod examples;
mod rules;

use std::io::{Write as _, stdout};

use anyhow::{Context as _, Result, anyhow};
use bunq_partner_codegen::{Document, provenance};
use clap::Subcommand;

pub(crate) use bundle::write as bundle;
pub(crate) use bunq_partner_codegen::bundle::DOCUMENT;
pub(crate) use check::run as check;
pub(crate) use diff::{last_release, since_release};

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Make the document, openapi/bunq-partner.yaml, from its sources in openapi/sources
    ///
    /// What cannot be put together, or is no document that a client can be generated from, is refused with its file and line.
    Bundle,
    /// Check the document by Redocly's rules and the project's own, and its examples against its schemas
    ///
    /// Each finding is one line with the place; the exit status is 1 if there is one, 2 if it could not be checked.
    Check,
    /// Print what is not certain, as a table: the questions that bunq has to answer
    Questions,
    /// Say what changed in the document since a git revision: breaking, additive or editorial
    ///
    /// Each change is judged for what goes over the wire, and for code that uses the crate. The exit status is 1 if
    /// something is breaking, 2 if it could not be compared.
    Diff(diff::Arguments),
}

/// Returns true if there are no findings.
pub(crate) fn run(task: Task) -> Result<bool> {
    match task {
        Task::Bundle => bundle(&crate::root()).map(|()| true),
        Task::Check => check(),
        Task::Questions => {
            let questions = questions(&document()?);
            // A pager that is closed early closes the pipe.
            let _ = stdout().write_all(questions.as_bytes());
            Ok(true)
        }
        Task::Diff(arguments) => diff::run(&arguments),
    }
}

/// What is not certain, as a table in Markdown.
pub(crate) fn questions(document: &Document) -> String {
    provenance::table(document, |operation| format!("`{}`", operation.id))
}

/// The document, which is valid.
pub(crate) fn document() -> Result<Document> {
    let text = text()?;
    Document::parse(&text).map_err(|diagnostic| anyhow!(diagnostic.in_file(DOCUMENT, &text)))
}

pub(crate) fn text() -> Result<String> {
    let path = crate::root().join(DOCUMENT);
    std::fs::read_to_string(&path).with_context(|| format!("{DOCUMENT} cannot be read"))
}
