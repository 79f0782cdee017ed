//! What the tests share: those of the library's that serve here too, and the program.

#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used, clippy::panic)]

#[cfg(unix)]
pub mod bulk;
#[path = "../../../tests/common/mod.rs"]
mod library;
#[cfg(unix)]
pub mod terminal;

use bunq_partner_sandbox::Sandbox;

pub use library::*;

/// The program, with an environment that names no key, no proxy and no folder but this one.
pub fn program(folder: &Folder) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bunq-partner"));
    let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"];
    let settings = ["BUNQ_API_KEY", "BUNQ_ENV", "BUNQ_BASE_URL", "BUNQ_PROFILE", "BUNQ_LOG"];
    for name in settings.into_iter().chain(["NO_COLOR", "SSL_CERT_FILE", "SSL_CERT_DIR"]).chain(proxies) {
        command.env_remove(name);
    }
    command.env("XDG_STATE_HOME", &folder.0).env("XDG_CONFIG_HOME", &folder.0).stdin(std::process::Stdio::null());
    command
}

/// The program for a bank, with its key.
pub fn program_for(folder: &Folder, sandbox: &Sandbox) -> std::process::Command {
    let mut command = program(folder);
    command.env("BUNQ_API_KEY", sandbox.api_key().expose()).args(["--base-url", sandbox.base_url()]);
    command
}

/// The program for a bank, with a session that is open: a key of its own would take longer than everything else.
pub async fn program_with_session(folder: &Folder, sandbox: &Sandbox) -> std::process::Command {
    let context = folder.path("context.json");
    let client = sandbox.client().context_store(bunq_partner::FileStore::new(&context)).build().unwrap();
    client.open_session().await.unwrap();
    let mut command = program_for(folder, sandbox);
    command.arg("--context").arg(context);
    command
}

/// What a program has written, and its exit code.
pub fn ran(command: &mut std::process::Command) -> (String, String, i32) {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}
