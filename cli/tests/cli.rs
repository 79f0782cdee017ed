//! The program as a user runs it: `tests/cmd` has what it prints, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, unreachable_pub)]
#[path = "common/variables.rs"]
mod variables;

/// `TRYCMD=overwrite cargo test --package bunq-partner-cli --test cli` writes what the program prints now.
#[test]
fn what_the_program_prints() {
    test_timeout::start();
    // README and `docs/` name files from the root of the repository.
    std::env::set_current_dir("..").unwrap();
    #[cfg(unix)]
    for key in ["key.txt", "production_key.txt", "damaged.json"] {
        // Git keeps no such modes.
        use std::os::unix::fs::PermissionsExt as _;
        let path = format!("cli/tests/cmd/errors.in/{key}");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let state = std::env::temp_dir().join(format!("bunq-partner-{}", bunq_partner::Uuid::new_v4()));
    let cases = trycmd::TestCases::new();
    cases.env("XDG_STATE_HOME", state.display().to_string()).env("NO_PROXY", "*");
    cases.env("XDG_CONFIG_HOME", state.display().to_string());
    for name in variables::SETTINGS {
        cases.env(name, "");
    }
    cases.case("cli/tests/cmd/*.trycmd").case("README.md").case("docs/*.md");
    cases.run();
    let _ = std::fs::remove_dir_all(state);
}
