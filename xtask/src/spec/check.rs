//! `spec check`: all checks of the document, with all findings at once.

use anyhow::Result;

use super::{DOCUMENT, examples, rules, text};
use crate::{redocly, root};
use bunq_partner_codegen::bundle::Bundle;
use bunq_partner_codegen::document::Document;
use bunq_partner_codegen::validate::diagnostics;

/// Returns true if there are no findings.
pub(crate) fn run() -> Result<bool> {
    let text = text()?;
    let bundle = match Bundle::read(&root()).and_then(|bundle| bundle.check(&text).map(|()| bundle)) {
        Ok(bundle) => bundle,
        Err(problem) => {
            eprintln!("{problem}");
            return Ok(false);
        }
    };
    let (findings, checked) = match Document::read(&text) {
        Ok(document) => {
            let mut findings = diagnostics(&document);
            // Broken references prevent the validation of examples.
            let examples = if findings.is_empty() { examples::check(&document) } else { Vec::new() };
            findings.extend(rules::check(&document));
            let checked = examples.len();
            findings.extend(examples.into_iter().filter_map(Result::err));
            let (operations, schemas) = (document.operations().len(), document.schemas().count());
            (findings, format!("{operations} operations, {schemas} schemas, {checked} examples"))
        }
        Err(fault) => (vec![fault], "it cannot be read".into()),
    };
    for finding in &findings {
        eprintln!("{}", bundle.shown(finding));
    }
    let linted = redocly::lint(DOCUMENT)?;
    let lint = if linted { "Redocly finds nothing" } else { "Redocly finds more, see above" };
    println!("{DOCUMENT}: {checked}; findings: {}; {lint}", findings.len());
    Ok(findings.is_empty() && linted)
}
