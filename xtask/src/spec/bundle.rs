//! `spec bundle`: makes the document from its sources.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use bunq_partner_codegen::Document;
use bunq_partner_codegen::bundle::Bundle;

use super::DOCUMENT;

/// Writes the document of the repository at `root`.
pub(crate) fn write(root: &Path) -> Result<()> {
    let bundle = Bundle::read(root).map_err(|problem| anyhow!("{problem}"))?;
    let text = bundle.text();
    let document = Document::parse(&text).map_err(|diagnostic| anyhow!("{}", bundle.shown(&diagnostic)))?;
    fs::write(root.join(DOCUMENT), text).with_context(|| format!("{DOCUMENT} cannot be written"))?;
    println!("{DOCUMENT}: {} operations, {} schemas", document.operations().len(), document.schemas().count());
    Ok(())
}
