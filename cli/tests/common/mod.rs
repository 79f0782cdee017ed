//! What the tests share: those of the library's that serve here too, and the program.

#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used, clippy::panic)]

#[cfg(unix)]
pub mod bulk;
#[path = "../../../tests/common/mod.rs"]
mod library;
#[cfg(unix)]
pub mod terminal;
pub mod variables;

use std::ffi::OsStr;
use std::io::Write as _;
use std::process::{Command, Stdio};

use bunq_partner_sandbox::Sandbox;

pub use library::*;

/// Says what is not tried here, in the output of the tests too: what `eprintln!` writes is captured.
pub fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "not tried here: {what}");
}

/// The program, with an environment that names no key, no proxy and no folder but this one.
pub fn program(folder: &Folder) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunq-partner"));
    for name in variables::SETTINGS.into_iter().chain(variables::OTHERS) {
        command.env_remove(name);
    }
    command.env("XDG_STATE_HOME", &folder.0).env("XDG_CONFIG_HOME", &folder.0).stdin(Stdio::null());
    command
}

/// The program for a bank, with its key.
pub fn program_for(folder: &Folder, sandbox: &Sandbox) -> Command {
    let mut command = program(folder);
    command.env("BUNQ_API_KEY", sandbox.api_key().expose()).args(["--base-url", sandbox.base_url()]);
    command
}

/// The program for a bank, with a session that is open: a key of its own would take longer than everything else.
pub async fn program_with_session(folder: &Folder, sandbox: &Sandbox) -> Command {
    let context = folder.path("context.json");
    let client = sandbox.client().context_store(bunq_partner::FileStore::new(&context)).build().unwrap();
    client.open_session().await.unwrap();
    let mut command = program_for(folder, sandbox);
    command.arg("--context").arg(context);
    command
}

/// The program for a bank, with its session and with the user of a provision, whose session is open too, in the custody `users`.
#[cfg(unix)]
pub async fn program_with_user(folder: &Folder, sandbox: &Sandbox, id: bunq_partner::ProvisionId) -> Command {
    user_in_custody(folder, sandbox, id).await;
    let mut command = program_for(folder, sandbox);
    command.current_dir(&folder.0).args(["--context", "context.json"]);
    command
}

/// Activates the user of a provision, whose token is in the custody `users` then, as the session of the partner is in its context.
pub async fn user_in_custody(
    folder: &Folder,
    sandbox: &Sandbox,
    id: bunq_partner::ProvisionId,
) -> bunq_partner::UserClient {
    let users = folder.own_folder("users");
    let context = bunq_partner::FileStore::new(folder.path("context.json"));
    let client = sandbox.client().context_store(context).custody(bunq_partner::FileCustody::new(&users));
    let client = client.build().unwrap();
    client.open_session().await.unwrap();
    client.users().activate(id).await.unwrap()
}

/// Another command as this one, to which arguments can be added.
pub fn again(command: &Command) -> Command {
    with_another(command.get_program(), command)
}

/// The same of another program.
pub fn with_another(program: impl AsRef<OsStr>, command: &Command) -> Command {
    let mut another = Command::new(program);
    another.args(command.get_args()).stdin(Stdio::null());
    if let Some(folder) = command.get_current_dir() {
        another.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => another.env(name, value),
            None => another.env_remove(name),
        };
    }
    another
}

/// What a program has written, and its exit code. What it says names nothing that is called in Rust.
pub fn ran(command: &mut Command) -> (String, String, i32) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(!names_code(&err), "{err}");
    (out, err, output.status.code().unwrap())
}

/// Whether a text names a method or a path of Rust, such as `Client::builder` or `client.api()`.
pub fn names_code(text: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let between = |sign| {
        let pairs = text.match_indices(sign).map(|(at, sign)| (&text[..at], &text[at + sign.len()..]));
        pairs.map(|(before, after)| (is_word(before.chars().next_back()), is_word(after.chars().next())))
    };
    between("()").any(|(before, _)| before) || between("::").any(|(before, after)| before && after)
}

/// Another command that starts the program as `plain` would: with its arguments, and in its environment.
pub fn by(mut command: Command, plain: &Command) -> Command {
    command.arg(plain.get_program()).args(plain.get_args()).stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// A command that hears the signals of a test: it does not inherit that they are ignored, as from a test run that is in the background of
/// a script. `env` elsewhere than in the coreutils cannot undo that: there the command is started as it is.
#[cfg(unix)]
pub fn hearing(plain: &Command) -> Command {
    let (program, options) = HEARING.split_first().unwrap();
    let mut command = Command::new(program);
    command.args(options);
    by(command, plain)
}

/// The words in front of a command that hears the signals of a test.
#[cfg(unix)]
pub static HEARING: std::sync::LazyLock<Vec<&str>> = std::sync::LazyLock::new(|| {
    let words = ["env", "--default-signal=INT,TERM,HUP"];
    let tried = Command::new(words[0]).args([words[1], "true"]).stderr(Stdio::null()).status();
    words[..if tried.is_ok_and(|status| status.success()) { 2 } else { 1 }].to_vec()
});

/// A script of bash in which `"$0" "$@"` is the program with its arguments.
pub fn in_shell(plain: &Command, script: &str) -> Command {
    let mut shell = Command::new("bash");
    shell.args(["-c", script]);
    by(shell, plain)
}
