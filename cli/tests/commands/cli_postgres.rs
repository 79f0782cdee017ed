//! What machines share in PostgreSQL. Without the feature it is refused.

use std::fs;

use bunq_partner_sandbox::Sandbox;

use crate::common::{Folder, program, program_for, ran};

/// A file of profiles with one, which names a database.
fn profile(folder: &Folder, sandbox: &Sandbox, of_database: &str) {
    fs::create_dir_all(folder.path("bunq-partner")).unwrap();
    folder.file("key", sandbox.api_key().expose());
    let (key, url) = (folder.path("key"), sandbox.base_url());
    let text = format!(
        "[profiles.acme]\nbase_url = \"{url}\"\napi_key_file = {key:?}\n[profiles.acme.postgres]\n{of_database}\n"
    );
    folder.file("bunq-partner/config.toml", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_setting_shows_the_url() {
    test_timeout::start();
    let (folder, sandbox) = (Folder::new(), Sandbox::start().await.unwrap());
    profile(
        &folder,
        &sandbox,
        "url_file = \"url\"\nname = \"production\"\ncounted_by = \"address_and_key\"\naddress = \"nat-1\"",
    );
    folder.file("bunq-partner/url", "postgres://acme:planted@db.example.com/acme");
    for (variable, shown) in [(None, "URL in the file "), (Some("postgres://a:planted@db.example.com/acme"), "URL set")]
    {
        let mut command = program(&folder);
        variable.map(|url| command.env("BUNQ_PARTNER_POSTGRES", url));
        let (out, err, code) = ran(command.args(["--profile", "acme", "config", "show"]));
        assert_eq!((err.as_str(), code), ("", 0));
        assert!(out.contains("production in the database"), "{out}");
        assert!(out.contains(shown) && out.contains("counted by address_and_key, the address is nat-1"), "{out}");
        assert!(!out.contains("planted"), "{out}");
    }
}

#[test]
fn a_migration_needs_a_database() {
    test_timeout::start();
    let folder = Folder::new();
    for (words, problem) in [
        (&["postgres", "migrate"][..], "no database is named"),
        (&["--sandbox", "postgres", "migrate"], "--sandbox keeps nothing in a database"),
    ] {
        let (out, err, code) = ran(program(&folder).args(words));
        assert_eq!((out.as_str(), code), ("", 2), "{err}");
        assert!(err.contains(problem) && err.contains("hint: set BUNQ_PARTNER_POSTGRES, or"), "{err}");
    }
}

#[cfg(not(feature = "postgres"))]
#[tokio::test(flavor = "multi_thread")]
async fn a_program_without_the_feature_says_so() {
    test_timeout::start();
    let (folder, sandbox) = (Folder::new(), Sandbox::start().await.unwrap());
    for (words, problem) in [
        (
            &["list"][..],
            "a database is named (variable BUNQ_PARTNER_POSTGRES), and this program was built without the feature postgres",
        ),
        (
            &["postgres", "migrate"],
            "a database cannot be migrated, and this program was built without the feature postgres",
        ),
    ] {
        let mut command = program_for(&folder, &sandbox);
        let (out, err, code) =
            ran(command.env("BUNQ_PARTNER_POSTGRES", "postgres://a:planted@127.0.0.1/a").args(words));
        assert_eq!((out.as_str(), code), ("", 2), "{err}");
        assert!(err.contains(problem) && err.contains("--features postgres"), "{err}");
        assert!(!err.contains("planted"), "{err}");
    }
    assert!(sandbox.take_call_log().is_empty());
}

#[cfg(feature = "postgres")]
mod with_a_server {
    use std::path::Path;
    use std::process::Command;

    use serde_json::{Value, json};

    use super::*;
    use crate::cli_output::{check, schema, validator};
    use crate::common::{calls, variables, with_key};
    use crate::with_postgres::server::Server;
    use crate::with_postgres::{TestDatabase, or_left_out};

    /// The program on a machine of its own, which has the bank and the URL of the database in variables.
    fn on(machine: &Folder, sandbox: &Sandbox, url: &str) -> Command {
        let mut command = program_for(machine, sandbox);
        command.env("BUNQ_PARTNER_POSTGRES", url).args(["--rehearse", "1000"]);
        command
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn two_machines_share_a_session_and_users() {
        test_timeout::start();
        let Some(test) = TestDatabase::migrated().await else { return };
        let (sandbox, machines) = (Sandbox::start().await.unwrap(), [Folder::new(), Folder::new()]);
        let id = sandbox.populate(1)[0].to_string();
        let run = |machine: usize, words: &[&str]| {
            let (out, err, code) = ran(on(&machines[machine], &sandbox, &test.url()).args(words));
            assert_eq!((err.as_str(), code), ("", 0), "{words:?} {out}");
            out
        };
        let out = run(0, &["whoami"]);
        assert!(out.contains(&format!("the context sandbox in the database {} at 127.0.0.1:", test.name)), "{out}");
        run(0, &["users", "activate", &id]);
        assert!(run(1, &["users", "list"]).contains(&id));
        assert!(run(1, &["users", "show", &id]).contains("activated"));
        run(1, &["whoami"]);
        assert_eq!(calls(&sandbox, "POST", "/installation").len(), 2, "the partner's, and the user's");
        assert_eq!(calls(&sandbox, "POST", "/session-server").len(), 2);
        let members = test.sql("SELECT count(DISTINCT member) FROM bunq_partner.permit_waiters");
        assert_eq!(members, "4", "all commands but `users list` have asked for a permit");
        // A custody in a folder stays one.
        let users = machines[0].own_folder("users");
        let mut command = on(&machines[0], &sandbox, &test.url());
        let (out, err, code) = ran(command.args(["users", "list", "--custody"]).arg(users));
        assert!(!out.contains(&id) && err == "there are none\n" && code == 0, "{out}{err}");
        let (out, err, _) = ran(on(&machines[1], &sandbox, &test.url()).arg("doctor"));
        assert!(out.contains("the context sandbox in the database"), "{out}{err}");
        let step = format!("ok   database      the database {} at 127.0.0.1:", test.name);
        assert!(out.contains(&step) && out.contains("grants what is needed; its clock is right"), "{out}{err}");
        assert!(out.contains("machines      members in the last ten minutes: 5"), "{out}{err}");
        assert!(out.contains("the custody sandbox in the database") && out.contains("can be used"), "{out}{err}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn another_key_is_refused_until_what_is_kept_is_sealed_anew() {
        test_timeout::start();
        let Some(test) = TestDatabase::migrated().await else { return };
        let (sandbox, machines) = (Sandbox::start().await.unwrap(), [Folder::new(), Folder::new()]);
        let id = sandbox.populate(1)[0].to_string();
        let run = |sandbox: &Sandbox, machine: usize, words: &[&str]| {
            ran(on(&machines[machine], sandbox, &test.url()).args(words))
        };
        assert_eq!(run(&sandbox, 0, &["users", "activate", &id]).2, 0);
        let old = machines[0].file("old-key", sandbox.api_key().expose());
        let sandbox = with_key(sandbox, "sandbox_the-new-key").await;

        for words in [&["list"][..], &["users", "activate", &id], &["users", "show", &id]] {
            let (_, err, code) = run(&sandbox, 1, words);
            assert!(err.contains("is sealed under another API key") && err.contains("`bunq-partner rekey`"), "{err}");
            assert_eq!(code, 18, "{words:?}");
        }
        let (out, ..) = run(&sandbox, 1, &["doctor"]);
        assert!(out.contains("is sealed under another API key"), "{out}");
        assert!(calls(&sandbox, "POST", "/session-server").is_empty());

        let (out, err, code) = run(&sandbox, 0, &["rekey", "--old-api-key-file", old.to_str().unwrap()]);
        assert_eq!((err.as_str(), code), ("", 0), "{out}");
        assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["resealed", "2", "unchanged", "0"], "{out}");
        let (out, err, code) = run(&sandbox, 1, &["users", "show", &id]);
        assert!(code == 0 && out.contains("activated"), "{out}{err}");
        assert!(calls(&sandbox, "POST", "/installation").is_empty(), "the installation stays");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_migration_may_be_run_again() {
        test_timeout::start();
        let Some(test) = TestDatabase::empty() else { return };
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let (_, err, code) = ran(on(&folder, &sandbox, &test.owner_url()).arg("list"));
        assert!(err.contains("has no schema bunq_partner: migrate it") && code == 18, "{err}");
        let migrate = |format: &str| {
            let mut command = on(&folder, &sandbox, &test.owner_url());
            let (out, err, code) = ran(command.args(["postgres", "migrate", "--output", format]));
            assert_eq!((err.as_str(), code), ("", 0));
            out
        };
        let out = migrate("table");
        assert!(out.starts_with("the schema bunq_partner is made: it has version "), "{out}");
        assert!(migrate("table").contains("already"));
        let json: Value = serde_json::from_str(&migrate("json")).unwrap();
        check(&validator(&schema(), "migration"), &json, "postgres migrate");
        assert_eq!(json["from"], json["to"]);
        assert_ne!(json["to"], json!(0));
        assert!(sandbox.take_call_log().is_empty());
    }

    /// The README and the guide have the same lines, and a shell runs all but the first, which installs this program.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_five_lines_of_the_readme_set_a_machine_up() {
        test_timeout::start();
        let (readme, guide) = (include_str!("../../../README.md"), include_str!("../../../docs/machines.md"));
        let (_, block) = readme.split_once("## One machine or several").unwrap().1.split_once("```sh\n").unwrap();
        let lines: Vec<_> = block.lines().take_while(|line| *line != "```").collect();
        assert_eq!((lines.len(), guide.contains(&lines.join("\n"))), (5, true), "{lines:?}");
        assert_eq!(lines[0], "cargo install --path cli --features postgres");

        let Some(server) = or_left_out(Server::shared()) else { return };
        server.sql("postgres", "CREATE ROLE owner LOGIN CREATEDB CREATEROLE PASSWORD 'PASSWORD'");
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let script = lines[1..].join("\n").replace("@db.example.com", &format!("@127.0.0.1:{}", server.port()));
        let script = script.replace("PGHOST=db.example.com", &format!("PGHOST=127.0.0.1 PGPORT={}", server.port()));
        let mut shell = Command::new("sh");
        for name in variables::SETTINGS.into_iter().chain(variables::OTHERS) {
            shell.env_remove(name);
        }
        let program = Path::new(env!("CARGO_BIN_EXE_bunq-partner")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        shell
            .env("PATH", path)
            .env("BUNQ_API_KEY", sandbox.api_key().expose())
            .env("BUNQ_BASE_URL", sandbox.base_url());
        shell.env("XDG_STATE_HOME", &folder.0).env("XDG_CONFIG_HOME", &folder.0).current_dir("..");
        let (out, err, code) = ran(shell.arg("-ec").arg(format!("{script}\nbunq-partner whoami")));
        assert!(code == 0 && out.contains("the context sandbox in the database acme at 127.0.0.1:"), "{out}{err}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_fleet_is_shown() {
        test_timeout::start();
        let Some(test) = TestDatabase::migrated().await else { return };
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let show = |format: &str| {
            let mut command = on(&folder, &sandbox, &test.url());
            let (out, err, code) = ran(command.args(["fleet", "status", "--output", format]));
            assert_eq!((err.as_str(), code), ("", 0));
            out
        };
        assert_eq!(
            show("table"),
            "there are no windows\n\nthere are no locks\n\nthere are no members\n\nthere are no shares\n"
        );
        let member = "00000000-0000-4000-8000-000000000001";
        test.sql(&format!(
            "SELECT bunq_partner.take_permit('{member}', '{{a_window}}', 2, 3600000000, 60000000, 0, false, NULL)"
        ));
        let store = bunq_partner_postgres::PostgresStore::new(&test.connect().await, "acme");
        let _lock = bunq_partner::ContextStore::lock(&store).await.unwrap();
        let out = show("table");
        let lines: Vec<Vec<_>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["WINDOW", "HELD", "COUNTING", "WAITING", "CLOSED", "SECONDS", "LIMITS"], "{out}");
        assert_eq!(lines[1].join(" "), "a_window 1 0 0 0 2 in 1 h", "{out}");
        assert!(out.contains(member) && out.contains("context acme"), "{out}");
        let json: Value = serde_json::from_str(&show("json")).unwrap();
        check(&validator(&schema(), "fleet"), &json, "fleet status");
        assert_eq!(json["windows"][0]["limits"], json!([{ "calls": 2, "per_seconds": 3600.0 }]));
        assert_eq!(json["members"][0]["member"], member);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_member_that_is_gone_is_forgotten() {
        test_timeout::start();
        let Some(test) = TestDatabase::migrated().await else { return };
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let run = |words: &[&str]| ran(on(&folder, &sandbox, &test.url()).args(words));
        let permits = bunq_partner_postgres::PostgresPermits::builder(&test.connect().await);
        let permits = permits.lease(std::time::Duration::from_secs(600));
        drop(permits.build_with_share("machine-1", 25).await.unwrap());
        let (_, err, code) = run(&["fleet", "forget", "machine-1"]);
        assert!(err.contains("has heard of the member machine-1 lately") && code == 18, "{err}");
        test.sql("UPDATE bunq_partner.permit_shares SET renewed = renewed - lease");
        let (out, err, _) = run(&["doctor"]);
        let said = "shares that are held back, because their members are not there: machine-1";
        assert!(out.contains(said) && out.contains("bunq-partner fleet forget machine-1"), "{out}{err}");
        let (out, ..) = run(&["fleet", "status"]);
        let last = out.lines().last().unwrap().split_whitespace().take(5).collect::<Vec<_>>().join(" ");
        assert_eq!(last, "machine-1 25 address all true", "{out}");
        let (out, err, code) = run(&["fleet", "status", "--output", "json"]);
        assert_eq!((err.as_str(), code), ("", 0));
        let json: Value = serde_json::from_str(&out).unwrap();
        check(&validator(&schema(), "fleet"), &json, "fleet status");
        assert_eq!(json["shares"][0]["held_back"], true);
        let (out, err, code) = run(&["fleet", "forget", "machine-1", "--output", "json"]);
        assert_eq!((err.as_str(), code), ("", 0));
        let json: Value = serde_json::from_str(&out).unwrap();
        check(&validator(&schema(), "forgotten_member"), &json, "fleet forget");
        assert_eq!(json["member"], "machine-1");
        let (_, err, code) = run(&["fleet", "forget", "machine-1"]);
        assert!(err.contains("knows no member machine-1 with a share: there is none") && code == 18, "{err}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn doctor_says_what_is_wrong_with_the_database() {
        test_timeout::start();
        let Some(test) = TestDatabase::migrated().await else { return };
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        let examined = || {
            let (out, err, code) = ran(on(&folder, &sandbox, &test.url()).arg("doctor"));
            (format!("{out}{err}"), code)
        };
        let member = "00000000-0000-4000-8000-000000000001";
        // Another member waits, and bunq has refused its call with 429.
        test.sql(&format!(
            "SELECT bunq_partner.take_permit('{member}', '{{a_window}}', 2, 3600000000, 60000000, 0, false, NULL);
             SELECT bunq_partner.settle_permit('{member}', '{{a_window}}', 1, false, 3600000000, NULL, NULL, NULL, NULL, NULL)"
        ));
        let (out, code) = examined();
        let step =
            "warn  machines      members in the last ten minutes: 2; locks: 0; closed windows: 1, such as a_window";
        assert!(out.contains(step) && out.contains("`bunq-partner fleet status` shows all") && code == 0, "{out}");
        // The server's clock is ahead.
        test.sql(
            "SET allow_system_table_mods = on;
             CREATE OR REPLACE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql
                 AS $$ SELECT statement_timestamp() + interval '90 min 30 s' $$",
        );
        let (out, code) = examined();
        let step = format!("warn  database      the clock of the database {} at 127.0.0.1:", test.name);
        assert!(out.contains(&step) && out.contains("and that of this machine are 1 h 30 min") && code == 0, "{out}");

        let newest = test.sql("SELECT max(version) FROM bunq_partner.schema_version");
        let lacking = [
            (
                "REVOKE UPDATE ON bunq_partner.permits FROM bunq_partner_service",
                "does not grant the role UPDATE on bunq_partner.permits: run role.sql",
            ),
            (
                "INSERT INTO bunq_partner.schema_version (version, oldest_reader, applied_by) VALUES (99, 99, 'later')",
                "has version 99 of the schema, which needs a version of bunq-partner-postgres that knows version 99",
            ),
            (&*format!("DELETE FROM bunq_partner.schema_version WHERE version >= {newest}"), "is needed: migrate it"),
        ];
        for (sql, problem) in lacking {
            test.sql(sql);
            let (out, code) = examined();
            assert!(out.contains("FAIL  database") && out.contains(problem) && code == 1, "{out}");
        }
        assert!(!examined().0.contains("planted"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_database_that_is_away_is_named_without_its_password() {
        test_timeout::start();
        let (sandbox, folder) = (Sandbox::start().await.unwrap(), Folder::new());
        profile(&folder, &sandbox, "url_file = \"url\"");
        folder.file("bunq-partner/url", "postgres://acme:planted@127.0.0.1:1/acme");
        for (words, expected) in [(["list"], 18), (["doctor"], 1)] {
            let (out, err, code) = ran(program(&folder).args(["--profile", "acme"]).args(words));
            let said = format!("{out}{err}");
            assert!(code == expected && said.contains("the database acme at 127.0.0.1:1 cannot be reached"), "{said}");
            assert!(!said.contains("planted"), "{said}");
        }
        assert!(calls(&sandbox, "POST", "/installation").is_empty());
    }
}
