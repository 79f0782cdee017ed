//! Proves that a new endpoint needs only its text in the document: adds a tag with its operations to a copy of the document's sources,
//! and calls them without a line of Rust in the crate.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::copy::copy_sources;
use crate::{new_command, path, root, run_in, spec, target};
use bunq_partner_codegen::bundle::SOURCES;

const ADDED: &str = "xtask/endpoint";

/// What the copy needs beside the sources: the generator, and a place in which xtask does nothing.
const GENERATOR: [&str; 3] = ["build.rs", "codegen", "xtask/Cargo.toml"];

pub(crate) fn run() -> Result<()> {
    let copy = target().join("endpoint");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    copy_sources(&GENERATOR, &copy)?;
    // In the copy, xtask does nothing.
    write(&copy.join("xtask/src/main.rs"), "fn main() {}\n")?;
    let added = |name: &str| fs::read_to_string(root().join(ADDED).join(name)).context("what is added cannot be read");
    let sources = copy.join(SOURCES);
    let frame = sources.join("document.yaml");
    write(&frame, &insert(&fs::read_to_string(&frame)?, "\ntags:\n", &added("tag.yaml")?)?)?;
    write(&sources.join("tags/added.yaml"), &added("added.yaml")?)?;
    spec::bundle(&copy)?;
    write(&copy.join("tests/new_endpoint.rs"), &added("new_endpoint.rs")?)?;
    // The copy shares the artifacts of the dependencies. Their versions tell its crates from the originals.
    for folder in ["", "cli", "codegen", "postgres", "sandbox", "test-timeout"] {
        let manifest = copy.join(folder).join("Cargo.toml");
        let text = fs::read_to_string(&manifest)?;
        let version = text.lines().find(|line| line.starts_with("version = ")).context("a crate has a version")?;
        write(&manifest, &text.replace(version, "version = \"0.0.0-copy\""))?;
    }
    let target = target();
    // With the features of the tests that ran before, so that their artifacts can be reused.
    let test = ["test", "--workspace", "--all-features", "--test", "new_endpoint"];
    run_in(&copy, "cargo", &test, &[("CARGO_TARGET_DIR", path(&target)?)])?;
    new_command::run(&copy, path(&target)?)
}

fn insert(text: &str, after: &str, added: &str) -> Result<String> {
    let Some((before, rest)) = text.split_once(after) else { bail!("the document has no {after:?}") };
    Ok([before, after, added, rest].concat())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().context("a file is in a folder")?)?;
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
