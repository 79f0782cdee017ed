//! Proves that the previous version of the program and this one share a database: builds the previous one of its own sources, and runs
//! the test that has both.

use std::fs;

use anyhow::Result;

use crate::{git, path, run as command, run_in, spec, target};

const MIGRATIONS: &str = "postgres/migrations";

/// The last version whose schema others may have, as long as there is no release.
const PREVIOUS: &str = "270f9923c013a40451f73233758ba43a9fbbe072";

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// The git revision of the previous version [default: the last release, else the last version before the first]
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
}

/// Takes the environment in which the tests of this version are built.
pub(crate) fn run(arguments: Arguments, environment: &[(&str, &str)]) -> Result<()> {
    let Some(revision) = arguments.revision.map_or_else(default_revision, |revision| Ok(Some(revision)))? else {
        println!("previous: left out, because git has neither a release with a schema nor {PREVIOUS} here");
        return Ok(());
    };
    let folder = target().join("previous");
    let (sources, built) = (folder.join("sources"), folder.join("target"));
    if sources.exists() {
        fs::remove_dir_all(&sources)?;
    }
    fs::create_dir_all(&sources)?;
    let archive = folder.join("sources.tar");
    command("git", &["archive", "--output", path(&archive)?, &revision], &[])?;
    // With the times of the commit, cargo would not see that a file has changed.
    run_in(&sources, "tar", &["--touch", "-xf", path(&archive)?], &[])?;
    // In a folder of its own: of two crates with one name and version, cargo takes what was built last. What a newer compiler warns of is
    // no matter here.
    let build = ["build", "--locked", "--package", "bunq-partner-cli", "--features", "postgres"];
    run_in(&sources, "cargo", &build, &[("CARGO_TARGET_DIR", path(&built)?), ("RUSTFLAGS", "")])?;
    // `--tests` takes what is built already.
    let test = ["test", "--workspace", "--all-features", "--tests", "--", "--ignored", "the_previous_version"];
    command("cargo", &test, &[environment, &[("CI", "1"), ("BUNQ_PARTNER_PREVIOUS", path(&folder)?)]].concat())
}

/// The last release, or the previous version. `None` if git does not have it.
fn default_revision() -> Result<Option<String>> {
    let has_schema = |revision: &String| git(&["ls-tree", revision, MIGRATIONS]).is_ok_and(|tree| !tree.is_empty());
    let release = spec::last_release()?.filter(has_schema);
    // A copy without its history has none.
    Ok(release.or_else(|| Some(PREVIOUS.to_owned()).filter(has_schema)))
}
