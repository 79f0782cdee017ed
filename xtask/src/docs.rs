//! Makes the API reference for every language, and the documentation of the crate.

use std::fs;

use anyhow::{Context as _, Result};

use crate::spec::DOCUMENT;
use crate::{redocly, root};

const GUIDE: &str = "openapi/guide.md";
const WITH_GUIDE: &str = "target/docs/with-guide.yaml";
const PAGE: &str = "target/docs/reference.html";

pub(crate) fn run() -> Result<()> {
    with_guide()?;
    redocly::build_docs(WITH_GUIDE, PAGE)?;
    // With the examples, the dependencies have the features of the tests, and are those that are linted already.
    let doc = ["doc", "--workspace", "--no-deps", "--all-features", "--lib", "--examples"];
    crate::run("cargo", &doc, &[("RUSTDOCFLAGS", "--deny warnings")])?;
    println!("{PAGE} and target/doc/bunq_partner/index.html");
    Ok(())
}

/// Writes the document with the guide as its description, which is the beginning of the page.
fn with_guide() -> Result<()> {
    let document = fs::read_to_string(root().join(DOCUMENT))?;
    let guide = fs::read_to_string(root().join(GUIDE))?;
    let (info, rest) = document.split_once("\nservers:\n").context("the document has no servers")?;
    let (_, sections) = guide.split_once("\n## ").context("the guide has no sections")?;
    let indented = format!("## {sections}").lines().map(|line| format!("    {line}\n")).collect::<String>();
    let whole = format!("{info}\n{indented}\nservers:\n{rest}");
    let path = root().join(WITH_GUIDE);
    fs::create_dir_all(path.parent().context("it has no folder")?)?;
    fs::write(path, whole)?;
    Ok(())
}
