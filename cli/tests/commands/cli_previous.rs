//! The program of the previous version beside this one, on one database. `cargo xtask previous` builds that program and runs this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bunq_partner::Operation;
use bunq_partner_sandbox::Sandbox;
use serde_json::Value;

use crate::common::{Folder, calls, program_for, ran, with_another};
use crate::with_postgres::TestDatabase;

/// The environment variable that names the folder of the previous version: its sources, and what was built of them.
const PREVIOUS: &str = "BUNQ_PARTNER_PREVIOUS";

/// By how much the windows of the rate limits are shorter than bunq's.
const TIMES: u32 = 20;

/// How many processes of each version run at once.
const AT_ONCE: usize = 4;

/// A machine with one of the two versions.
struct Machine<'a> {
    folder: Folder,
    program: PathBuf,
    sandbox: &'a Sandbox,
    test: &'a TestDatabase,
}

impl<'a> Machine<'a> {
    fn new(program: impl AsRef<Path>, sandbox: &'a Sandbox, test: &'a TestDatabase) -> Self {
        Self { folder: Folder::new(), program: program.as_ref().to_owned(), sandbox, test }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = with_another(&self.program, &program_for(&self.folder, self.sandbox));
        // The owner makes the schema, and the service has the least rights.
        let url = if words[0] == "postgres" { self.test.owner_url() } else { self.test.url() };
        command.env("BUNQ_PARTNER_POSTGRES", url).arg("--rehearse").arg(TIMES.to_string()).args(words);
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let (out, err, code) = ran(&mut self.command(words));
        assert_eq!((err.as_str(), code), ("", 0), "{} {words:?}: {out}", self.program.display());
        out
    }

    /// Makes the schema that it needs, and returns its version.
    fn migrate(&self) -> i64 {
        let said: Value = serde_json::from_str(&self.run(&["postgres", "migrate", "--output", "json"])).unwrap();
        said["to"].as_i64().unwrap()
    }

    /// Checks that it refuses the database with these words, before it sends anything.
    fn refuses(&self, words: &str) {
        let sent = self.sandbox.call_log().len();
        let (out, err, code) = ran(&mut self.command(&["list"]));
        assert_eq!((out.as_str(), code, self.sandbox.call_log().len()), ("", 18, sent), "{err}");
        assert!(err.contains(words), "{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by `cargo xtask previous`, with the program of the previous version"]
async fn the_previous_version_and_this_one_share_a_database() {
    test_timeout::start();
    let previous = PathBuf::from(std::env::var_os(PREVIOUS).unwrap());
    let Some(test) = TestDatabase::empty() else { return };
    let limited = Operation::ALL.iter().fold(Sandbox::builder(), |sandbox, operation| {
        let limit = operation.rate_limit;
        sandbox.rate_limit(operation, limit.calls, limit.per / TIMES)
    });
    let sandbox = limited.start().await.unwrap();
    let ids: Vec<_> = sandbox.populate(5).into_iter().map(|id| id.to_string()).collect();
    let old = Machine::new(previous.join("target/debug/bunq-partner"), &sandbox, &test);
    let new = Machine::new(env!("CARGO_BIN_EXE_bunq-partner"), &sandbox, &test);

    let before = old.migrate();
    test.sql(&fs::read_to_string(previous.join("sources/postgres/role.sql")).unwrap());
    test.sql(&format!("GRANT bunq_partner_service TO {}", test.name));
    old.run(&["whoami"]);
    old.run(&["users", "activate", &ids[0]]);

    let newest = "SELECT version, oldest_reader FROM bunq_partner.schema_version ORDER BY version DESC LIMIT 1";
    assert_eq!(test.sql(newest).split('|').next(), Some(&*before.to_string()));
    let early = ran(&mut new.command(&["list"]));
    let after = new.migrate();
    if before < after {
        let words = format!("has version {before} of the schema, and {after} is needed: migrate it");
        assert!(early.1.contains(&words) && early.2 == 18, "{early:?}");
    }
    let found = test.sql(newest);
    let (_, oldest_reader) = found.split_once('|').unwrap();
    let goes_on = oldest_reader.parse::<i64>().unwrap() <= before;
    let machines = if goes_on { vec![&new, &old] } else { vec![&new] };
    if goes_on {
        old.migrate();
        assert_eq!(test.sql(newest), found, "it does not go back");
    } else {
        old.refuses(&format!("has version {after} of the schema, which needs a version"));
    }

    // In turn, the new one first. What one has written, each of them reads.
    for (number, id) in ids.iter().enumerate().skip(1) {
        machines[(number - 1) % machines.len()].run(&["users", "activate", id]);
        for machine in &machines {
            let listed = machine.run(&["users", "list"]);
            assert!(ids[..=number].iter().all(|id| listed.contains(id)), "{listed}");
            let all = &ids[..=number];
            assert!(all.iter().all(|id| machine.run(&["users", "show", id]).contains("activated")));
        }
    }
    let at_once: Vec<_> = (0..AT_ONCE)
        .flat_map(|_| &machines)
        .map(|machine| machine.command(&["list"]).stdout(Stdio::null()).spawn().unwrap())
        .collect();
    assert!(at_once.into_iter().all(|mut process| process.wait().unwrap().success()));
    assert!(new.run(&["fleet", "status"]).contains("MEMBER"));
    let opened = 1 + ids.len();
    assert_eq!(calls(&sandbox, "POST", "/installation").len(), opened, "the partner's, and those of the users");
    assert_eq!(calls(&sandbox, "POST", "/session-server").len(), opened);
    assert_eq!(sandbox.call_log().iter().filter(|call| call.status == 429).count(), 0);

    // As if a version came that neither of them can read.
    test.sql("INSERT INTO bunq_partner.schema_version VALUES (98, 97, now(), 'a newer version')");
    for machine in machines {
        machine.refuses(
            "has version 98 of the schema, which needs a version of bunq-partner-postgres that knows version 97",
        );
        let (_, err, code) = ran(&mut machine.command(&["postgres", "migrate"]));
        assert!(code == 18 && err.contains("has version 98 of the schema"), "{err}");
    }
}
