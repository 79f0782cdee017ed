//! Everything that must hold before a change lands, the quick things first, and what each of them takes.

mod cost;
mod features;
mod programs;

use anyhow::{Result, bail};

use self::cost::Cost;
use crate::package::Step;
use crate::{docs, endpoint, layers, package, path, previous, run as command, spec, target, test_timeouts};

/// All but those of the packages, which come last.
const STEPS: [Step; 18] = [
    ("format", || command("cargo", &["fmt", "--all", "--check"], &[])),
    ("document", document),
    ("layers", layers::run),
    ("test-timeouts", test_timeouts::run),
    ("features", features::check),
    ("lint the library", || lint(&["--package", "bunq-partner"])),
    ("lint", || lint(&["--workspace", "--all-features"])),
    ("docs", docs::run),
    // The README's two commands, its example and two more, which the second has built; they stay on loopback, whatever the
    // environment holds.
    ("demo", || command("cargo", &["run", "--", "demo"], &[])),
    ("programs", programs::install),
    // With CI, a test for which one of these programs is missing fails.
    ("tests", || command("cargo", &["test", "--workspace", "--all-features"], &[LINT[0], LINT[1], ("CI", "1")])),
    ("example", || example("close_provision")),
    ("example of users", || example("act_as_user")),
    ("example of webhooks", || example("webhooks")),
    ("nights", nights),
    ("previous", || previous::run(previous::Arguments::default(), &LINT)),
    ("endpoint", endpoint::run),
    ("contract", || command("cargo", &["xtask", "contract"], &[])),
];

pub(crate) fn run() -> Result<()> {
    let start = Cost::so_far();
    let mut table = vec![format!("{:20}{:>8}{:>8}", "step", "CPU s", "wall s")];
    table.push(start.line("the build of xtask", start.before_the_build()));
    let outcome = STEPS.iter().chain(&package::STEPS).try_for_each(|(name, step)| {
        let before = Cost::so_far();
        let outcome = step();
        table.push(Cost::so_far().line(name, before));
        outcome
    });
    table.push(Cost::so_far().line("all", start.before_the_build()));
    println!("\n{}", table.join("\n"));
    outcome
}

fn document() -> Result<()> {
    if !spec::check()? {
        bail!("the document is not as it should be");
    }
    if let Some(release) = spec::last_release()?
        && !spec::since_release(&release)?
    {
        bail!("the document breaks what holds since {release}: undo that, or raise its version for a breaking change");
    }
    Ok(())
}

/// What `cargo clippy` sets too: clippy compiles the crates of the workspace. It builds them here, where `cargo clippy` only checks
/// them, so that the crates of the registry are built once for the lints and the tests, and the tests run what was linted.
const LINT: [(&str, &str); 2] = [("RUSTC_WORKSPACE_WRAPPER", "clippy-driver"), ("RUSTFLAGS", "--deny warnings")];

fn lint(packages: &[&str]) -> Result<()> {
    command("cargo", &[&["test", "--no-run", "--all-targets"], packages].concat(), &LINT)
}

/// An example of the sandbox, as a user runs it.
fn example(name: &str) -> Result<()> {
    command("env", &["-u", "BUNQ_API_KEY", path(&target().join("debug/examples").join(name))?], &[])
}

/// Nights of thousands, killed twenty times. `--tests` takes what is built already; `--test` would build it for fewer features.
fn nights() -> Result<()> {
    let nights = ["test", "--workspace", "--all-features", "--tests", "--", "--ignored", "survive_twenty_kills"];
    command("cargo", &nights, &LINT)
}
