//! The reference, for every language, and the documentation of the crate.

use anyhow::{Context as _, Result, ensure};

use crate::spec::DOCUMENT;
use crate::{redocly, root};

const PAGE: &str = "target/docs/reference.html";

pub(crate) fn run() -> Result<()> {
    redocly::build_docs(DOCUMENT, PAGE)?;
    let html = std::fs::read_to_string(root().join(PAGE)).with_context(|| format!("{PAGE} cannot be read"))?;
    for outside in ["<script src", "<link href", "<link rel"] {
        ensure!(!html.contains(outside), "{PAGE} loads something from outside: `{outside}`");
    }
    crate::run("cargo", &["doc", "--package", "bunq-partner", "--no-deps", "--all-features"], &[])?;
    println!("{PAGE} and target/doc/bunq_partner/index.html");
    Ok(())
}
