//! A folder under the target folder where tools of another ecosystem are installed and run. `xtask/` pins what is installed; when
//! the pins change, it is installed again.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, bail};
use wait_timeout::ChildExt as _;

use crate::{root, target};

/// The file that records the lock file of the last installation.
const INSTALLED: &str = "installed";

/// The file with the standard output of a command.
const WRITTEN: &str = "written";

/// The longest time for any command here: a slow machine that installs for the first time.
const LONGEST: Duration = Duration::from_secs(600);

pub(crate) struct ToolFolder {
    folder: PathBuf,
}

impl ToolFolder {
    /// The folder `name`, with the files from the folder of the same name in `xtask/`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let folder = target().join(name);
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        for file in fs::read_dir(root().join("xtask").join(name))? {
            let file = file?;
            if file.file_type()?.is_file() {
                fs::copy(file.path(), folder.join(file.file_name()))?;
            }
        }
        Ok(Self { folder })
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs `install`, unless it has already run for this lock file.
    pub(crate) fn install(&self, lock: &str, install: impl FnOnce() -> Result<()>) -> Result<()> {
        let (stamp, lock) = (self.folder.join(INSTALLED), fs::read(self.folder.join(lock))?);
        if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
            return Ok(());
        }
        install()?;
        Ok(fs::write(stamp, lock)?)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.folder.join(name), text)?)
    }

    /// Runs a command in the folder. Fails if the command fails.
    pub(crate) fn run(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
        let mut command = self.command(program, arguments, environment)?;
        let status = in_time(program, command.stdout(std::io::stderr()))?;
        if !status.success() {
            bail!("`{program}` has failed ({status})");
        }
        Ok(())
    }

    /// Runs a command in the folder and returns its standard output.
    pub(crate) fn read(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Outcome> {
        let mut command = self.command(program, arguments, environment)?;
        // The output goes to a file, because nothing reads a pipe while the command runs.
        let file = self.folder.join(WRITTEN);
        let status = in_time(program, command.stdout(File::create(&file)?))?;
        let written = String::from_utf8_lossy(&fs::read(file)?).into_owned();
        eprint!("{written}");
        Ok(Outcome { status, written })
    }

    /// Runs a command in the folder, whether it succeeds or not, and writes all that it says to a file.
    pub(crate) fn run_into(
        &self,
        file: File,
        program: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<()> {
        let mut command = self.command(program, arguments, environment)?;
        in_time(program, command.stdout(file.try_clone()?).stderr(file)).map(drop)
    }

    fn command(&self, program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command> {
        eprintln!("$ {program} {}", arguments.join(" "));
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.folder).env("PATH", self.search_path()?);
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        Ok(command)
    }

    /// Puts the programs installed here before those of the machine.
    fn search_path(&self) -> Result<OsString> {
        let own = ["node_modules/.bin", "venv/bin"].map(|own| self.folder.join(own));
        let machines = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(own.into_iter().chain(env::split_paths(&machines)))?)
    }
}

/// Runs a command to its end, and stops it if it takes too long.
fn in_time(program: &str, command: &mut Command) -> Result<ExitStatus> {
    let mut process = command.spawn().with_context(|| missing(program))?;
    if let Some(status) = process.wait_timeout(LONGEST)? {
        return Ok(status);
    }
    process.kill()?;
    process.wait()?;
    bail!("`{program}` was ended, for it has not come to its end in {LONGEST:?}");
}

fn missing(program: &str) -> String {
    format!("`{program}` cannot be run: the chores need Node 20 with npm, and Python 3.11 with pip and venv")
}

/// The outcome of a command.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    written: String,
}

impl Outcome {
    /// Whether a line says that `step` is done.
    pub(crate) fn has_done(&self, step: &str) -> bool {
        self.written.lines().any(|line| line.split_once(": ").is_some_and(|(done, _)| done == step))
    }
}
