//! What is published: the licences of all that it needs, the packages, and the README's snippets as a reader pastes them.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use crate::{root, run as command, run_in, target};

const CARGO_DENY: &str = "0.20.2";

pub(crate) fn run() -> Result<()> {
    licences()?;
    snippets()?;
    // Builds the crates from their packages.
    command("cargo", &["publish", "--dry-run", "--allow-dirty", "--workspace", "--all-features"], &[])
}

fn licences() -> Result<()> {
    let tools = target().join("tools");
    let root = tools.to_str().context("the path is not text")?;
    // An optimized build takes three times as long, and its run no less.
    let install = ["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug", "--root", root];
    command("cargo", &install, &[])?;
    let deny = tools.join("bin/cargo-deny");
    let deny = deny.to_str().context("the path is not text")?;
    command(deny, &["--log-level", "error", "check", "licenses", "bans", "sources"], &[])
}

/// Pastes each snippet into a crate of its own, which has the dependencies that the README names.
fn snippets() -> Result<()> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let folder = target().join("snippets");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("src/bin"))?;
    fs::write(folder.join("Cargo.toml"), "[package]\nname = \"snippets\"\nedition = \"2024\"\n\n[workspace]\n")?;
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;

    let mut modules = String::new();
    let mut count = 0;
    for (number, snippet) in blocks(&readme, "```rust").enumerate() {
        if snippet.contains("fn main()") {
            fs::write(folder.join(format!("src/bin/snippet_{number}.rs")), snippet)?;
        } else {
            fs::write(folder.join(format!("src/snippet_{number}.rs")), snippet)?;
            writeln!(modules, "mod snippet_{number};")?;
        }
        count += 1;
    }
    fs::write(folder.join("src/lib.rs"), format!("#![allow(dead_code)]\n{modules}"))?;

    let adding = blocks(&readme, "```sh").find(|block| block.contains("cargo add")).context("nothing is added")?;
    let target = target();
    let target = [("CARGO_TARGET_DIR", target.to_str().context("the path is not text")?)];
    let repository = root();
    let repository = ["--path", repository.to_str().context("the path is not text")?];
    for line in adding.lines() {
        let words: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().skip(1).collect();
        let is_own = words.contains(&"bunq-partner");
        let words = [words.as_slice(), if is_own { repository.as_slice() } else { &[] }].concat();
        run_in(&folder, "cargo", &words, &target)?;
    }
    run_in(&folder, "cargo", &["check", "--quiet", "--all-targets"], &target)?;
    println!("snippets: {count} of the README compile in a crate of their own");
    Ok(())
}

/// The contents of the blocks that begin with this fence.
fn blocks<'a>(text: &'a str, fence: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(fence).skip(1).filter_map(|block| block.split_once('\n')?.1.split("\n```").next())
}
