//! The folders of the platform: for what the program is told, and for what outlasts a run. And whether files can be made in a folder.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bunq_partner::{environment_variable, files};
use etcetera::BaseStrategy as _;
#[cfg(windows)]
use etcetera::base_strategy::Windows as Home;
#[cfg(not(windows))]
use etcetera::base_strategy::Xdg as Home;

const CONFIG: &str = "XDG_CONFIG_HOME";
const STATE: &str = "XDG_STATE_HOME";

/// The folder of configuration. The error is a text, which ends with what to set.
pub(super) fn config() -> Result<PathBuf, String> {
    folder(CONFIG, |home| home.config_dir())
}

/// The folder for what outlasts a run. The error is a text, which ends with what to set.
pub(super) fn state() -> Result<PathBuf, String> {
    folder(STATE, |home| home.state_dir().unwrap_or_else(|| home.data_dir()))
}

/// The folder that a variable names, or where it is at home. As XDG has it, a relative path is none.
fn folder(variable: &str, at_home: fn(Home) -> PathBuf) -> Result<PathBuf, String> {
    let named =
        environment_variable(variable).map(PathBuf::from).filter(|folder| cfg!(not(windows)) && folder.is_absolute());
    if let Some(folder) = named {
        return Ok(folder);
    }
    let remedy = if cfg!(windows) { "set USERPROFILE".to_owned() } else { format!("set HOME or {variable}") };
    let home = Home::new().map_err(|_| format!("the home directory is not known: {remedy}"))?;
    let folder = at_home(home);
    // It would be looked for in the current folder.
    if !folder.is_absolute() {
        return Err(format!("the folder {} is not an absolute path: {remedy}", folder.display()));
    }
    Ok(folder)
}

/// Fails if nothing can be stored in a folder, as where it is read-only, somebody else's, or full.
pub(super) fn try_to_store(folder: &Path) -> io::Result<()> {
    let trial = folder.join(format!(".bunq-partner-{}", std::process::id()));
    let mut file = files::create_kept(&trial)?;
    let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
    fs::remove_file(&trial)?;
    written
}

/// Fails if a folder is not its owner's alone, or if nothing can be stored there.
pub(super) fn check_custody(folder: &Path) -> io::Result<()> {
    files::check_own_folder(folder)?;
    try_to_store(folder)
}

/// Fails if no file of this path can be stored in its folder.
pub(super) fn try_to_store_file(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    try_to_store(folder.unwrap_or(Path::new(".")))
}
