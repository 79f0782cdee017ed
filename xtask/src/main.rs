//! `cargo xtask`: the project's own chores, one subcommand each.
//!
//! Each is a module with a `run`. A subcommand installs what it needs from other ecosystems, at the versions pinned
//! here.

mod ci;
mod contract;
mod copy;
mod docs;
mod endpoint;
mod expand;
mod layers;
mod new_command;
mod package;
mod previous;
mod redocly;
mod spec;
mod stage;
mod test_timeouts;
mod tool_folder;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run everything that must hold before a change lands
    ///
    /// Needs Rust, git, Node 20.19 or later with npm, Python 3.11 with pip, zsh, fish, PostgreSQL and PgBouncer; it installs what it
    /// needs of their packages, and the last four where there is apt-get.
    Ci,
    /// Test clients of the document in TypeScript and Python, and the document itself, against the sandbox
    Contract(contract::Arguments),
    /// Make the reference from the document, as one page of HTML, and the documentation of the crate
    Docs,
    /// Add operations to a copy of the document, which are called without a line of Rust in the crate, and a command to a copy of the
    /// program, which does not compile before it declares what it changes
    Endpoint,
    /// Print the Rust that the build generates from the document
    ///
    /// Its public names and signatures are in codegen/tests/codegen/snapshots/codegen__outline__outline.snap, for review.
    Expand,
    /// Check that imports go down the layers of the crate, and that there are no circles
    Layers,
    /// Check what is published: licences, the README's snippets, the program, and that the packages need no generator and work
    Package,
    /// Build the program of the previous version, and have it share a database with this one
    Previous(previous::Arguments),
    /// Check the document, or say what changed in it
    #[command(subcommand)]
    Spec(spec::Task),
    /// Write what is published, the library with its generated text and without the generator, to target/publish
    Stage(stage::Arguments),
    /// Check that every test starts its timeout, so that none hangs `cargo test`
    TestTimeouts,
}

/// 0 for success, 1 if a check has findings, 2 if the task failed.
fn main() -> ExitCode {
    match run_task(Arguments::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run_task(task: Task) -> Result<bool> {
    match task {
        Task::Ci => ci::run(),
        Task::Contract(arguments) => contract::run(arguments),
        Task::Docs => docs::run(),
        Task::Endpoint => endpoint::run(),
        Task::Expand => expand::run(),
        Task::Layers => layers::run(),
        Task::Package => package::run(),
        Task::Previous(arguments) => previous::run(arguments, &[]),
        Task::Spec(task) => return spec::run(task),
        Task::Stage(arguments) => stage::run(arguments),
        Task::TestTimeouts => test_timeouts::run(),
    }
    .map(|()| true)
}

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// The folder that cargo builds in.
fn target() -> PathBuf {
    root().join(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from))
}

/// Turns a path into an argument of a command.
fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("the path {} is not text", path.display()))
}

/// Runs a command in the repository. Fails if the command fails.
fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    run_in(&root(), program, arguments, environment)
}

fn run_in(folder: &Path, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let shown = format!("{program} {}", arguments.join(" "));
    eprintln!("$ {shown}");
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(folder)
        .status()
        .with_context(|| format!("`{program}` cannot be run: is it installed?"))?;
    if !status.success() {
        bail!("`{shown}` has failed ({status})");
    }
    Ok(())
}

/// What git writes to standard output, in the repository.
fn git(arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).current_dir(root()).output().context("git cannot be run")?;
    if !output.status.success() {
        bail!("`git {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
