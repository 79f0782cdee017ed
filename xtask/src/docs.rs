//! The reference, for every language, and the documentation of the crate.

use anyhow::Result;

use crate::redocly;
use crate::spec::DOCUMENT;

const PAGE: &str = "target/docs/reference.html";

pub(crate) fn run() -> Result<()> {
    redocly::build_docs(DOCUMENT, PAGE)?;
    let doc = ["doc", "--workspace", "--no-deps", "--all-features"];
    crate::run("cargo", &doc, &[("RUSTDOCFLAGS", "--deny warnings")])?;
    println!("{PAGE} and target/doc/bunq_partner/index.html");
    Ok(())
}
