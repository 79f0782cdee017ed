//! `cargo xtask`: the project's own chores, one subcommand each.
//!
//! Each is a module with a `run`. What they need of other ecosystems is pinned here and installed by the subcommand
//! that needs it.

mod ci;
mod contract;
mod sandbox;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run everything that must hold before a change lands
    Ci,
    /// Prove clients of the document in TypeScript and Python, and the document itself, against the sandbox
    Contract(contract::Arguments),
    /// Run bunq on loopback until interrupted; prints where it is and its API key as a line of JSON
    Sandbox(sandbox::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Ci => ci::run(),
        Task::Contract(arguments) => contract::run(arguments),
        Task::Sandbox(arguments) => sandbox::run(arguments),
    }
}

/// The folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// Runs a command in the repository; fails if it does.
fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let shown = format!("{program} {}", arguments.join(" "));
    eprintln!("$ {shown}");
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root())
        .status()
        .with_context(|| format!("`{program}` cannot be run: is it installed?"))?;
    if !status.success() {
        bail!("`{shown}` has failed ({status})");
    }
    Ok(())
}
