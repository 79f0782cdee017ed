//! Options that would do nothing: those that change what is done are refused, and those of showing never.

use bunq_partner_sandbox::Sandbox;

use crate::common::{Folder, program, program_with_session, ran};

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_would_do_nothing_is_refused() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let file = folder.file("file", "");
    let file = file.to_str().unwrap();
    let own =
        |option: &str| format!("error: {option} is for commands that call a bank: this one is a sandbox of its own\n");
    for (words, said) in [
        (vec!["close", "7", "--timeout", "1h"], "--timeout does nothing without --wait".to_owned()),
        (vec!["close", "7", "8", "--timeout", "1h"], "--wait".into()),
        (vec!["close", "--from", file, "--timeout", "1h"], "'--from <FILE>' cannot be used with".into()),
        (vec!["close", "--journal", file], "--journal does nothing without --from".into()),
        (vec!["close", "7", "--journal", file], "--journal does nothing without --from".into()),
        (vec!["demo", "--env", "production"], own("--env")),
        (vec!["demo", "--profile", "test"], own("--profile")),
        (vec!["demo", "--base-url", sandbox.base_url()], own("--base-url")),
        (vec!["sandbox", "--env", "production"], own("--env")),
        (vec!["sandbox", "--context", file], own("--context")),
        (vec!["sandbox", "--api-key-file", file], own("--api-key-file")),
        (vec!["sandbox", "--rehearse", "10"], own("--rehearse")),
        (vec!["sandbox", "--sandbox"], own("--sandbox")),
    ] {
        let mut command = program(&folder);
        command.env("BUNQ_API_KEY", sandbox.api_key().expose());
        // A variable is for all commands, and for no bank here.
        command.env("BUNQ_BASE_URL", sandbox.base_url());
        let (out, err, code) = ran(command.args(&words));
        assert!(out.is_empty() && err.contains(&said) && code == 2, "{words:?}: {code} {out}{err}");
    }
    assert!(sandbox.call_log().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn options_of_showing_are_taken_everywhere() {
    test_timeout::start();
    let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
    let id = sandbox.populate(1)[0].to_string();
    let plain = program_with_session(&folder, &sandbox).await;
    let shown = ["--columns", "id", "--no-header", "--color", "never"];
    for words in [
        vec!["whoami"],
        vec!["list", "--output", "json"],
        vec!["list", "--output", "jsonl", "--yes"],
        vec!["get", &id],
        vec!["close", &id, "--dry-run"],
        vec!["doctor"],
    ] {
        let mut command = crate::common::by(std::process::Command::new("env"), &plain);
        let (out, err, code) = ran(command.args(&words).args(shown));
        assert!(!out.is_empty() && code == 0, "{words:?}: {code} {err}");
    }
    for words in [&["config", "path"][..], &["man"], &["completions", "bash"], &["help", "close"], &["demo"]] {
        let mut command = program(&folder);
        let variables = [("BUNQ_ENV", "production"), ("BUNQ_API_KEY", "key")];
        let (out, err, code) = ran(command.envs(variables).args(words).args(shown).args(["--verbose", "--yes"]));
        assert!(!out.is_empty() && code == 0, "{words:?}: {code} {err}");
    }
    // Help is about the command that has the options.
    let (out, _, code) = ran(program(&folder).args(["--env", "production", "help", "close"]));
    assert!(out.starts_with("Close provisions") && code == 0, "{out}");
}
