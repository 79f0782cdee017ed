//! Tests clients in other languages, generated from the document, and the document itself, against the sandbox.
//!
//! Everything installed, generated or built goes to `contract/` in the target folder.

mod sandbox_process;
mod sent_once;
mod table;

use anyhow::{Result, bail};
use serde_json::json;

use self::sandbox_process::{Access, SandboxProcess};
use self::table::{Row, Table};
use crate::spec::DOCUMENT;
use crate::tool_folder::ToolFolder;
use crate::{path, root};

/// The folder of the document and the vectors.
const OPENAPI: &str = "openapi";

const INSTALL: &str = "install";
const GENERATE: &str = "generate";
const TYPE_CHECK: &str = "type check";
const SENT_ONCE: &str = "sent once";
const CONFORM: &str = "conform";

/// The steps that a driver prints, in this order.
const DRIVEN: [&str; 7] = ["vectors", "authenticate", "files", "create", "follow", "close", "verify"];

/// The number of provisions for schemathesis, which uses each once.
const PROVISIONS: &str = "10000";

/// The forms of bunq's responses that a client must accept: the current ones and the older ones.
const WAYS: [&[&str]; 2] = [&[], &["--bank-profile", "xtask/contract/older_profile.json"]];

/// The sandbox that schemathesis calls: a request that the document allows is not refused because of an earlier one.
const CONFORMING: [&str; 4] = ["--provisions", PROVISIONS, "--bank-profile", "xtask/contract/several_clients.json"];

/// The user that schemathesis acts for, and the number of its inquiries, each of which it answers once.
const SEEDED_USER: &str = "b1d0a9f8-6f3e-4f0e-9a55-0d7f8f6f2c11";
const INQUIRIES: usize = 2000;

/// The file of the tool folder with what that sandbox begins with.
const SEED: &str = "seed.json";

/// How much schemathesis sends.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The most requests of a kind that schemathesis makes of each operation
    #[arg(long, default_value_t = 20)]
    max_examples: u32,
    /// The seed of schemathesis' choices
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let rows = [typescript(), python(), schemathesis(&arguments)];
    let table = Table::new([&[INSTALL, GENERATE, TYPE_CHECK], DRIVEN.as_slice(), &[SENT_ONCE, CONFORM]].concat(), rows);
    println!("\n{table}");
    if !table.is_ok() {
        bail!("the document, its clients and the sandbox do not agree: the first failure of each row is printed above");
    }
    Ok(())
}

fn typescript() -> Row {
    Row::of("TypeScript", |row| {
        let folder = row.step(INSTALL, || {
            let folder = ToolFolder::new("contract/typescript")?;
            folder.install("package-lock.json", || folder.run("npm", &["ci", "--no-audit", "--no-fund"], &[]))?;
            Ok(folder)
        })?;
        row.step(GENERATE, || {
            let document = root().join(DOCUMENT);
            folder.run("openapi-typescript", &[path(&document)?, "--output", "schema.d.ts"], &[])
        })?;
        row.step(TYPE_CHECK, || folder.run("tsc", &[], &[]))?;
        drive(row, &folder, "node", "built/driver.js")
    })
}

fn python() -> Row {
    Row::of("Python", |row| {
        let folder = row.step(INSTALL, install_python)?;
        row.step(GENERATE, || {
            let document = root().join(DOCUMENT);
            let made = ["--output-path", "bunq_partner", "--meta", "none", "--overwrite", "--fail-on-warning"];
            let generate = [&["generate", "--path", path(&document)?], made.as_slice()].concat();
            folder.run("openapi-python-client", &generate, &[])?;
            folder.write("bunq_partner/py.typed", "")
        })?;
        row.step(TYPE_CHECK, || folder.run("mypy", &["driver.py"], &[]))?;
        drive(row, &folder, "python", "driver.py")
    })
}

/// Sends requests of all kinds that the document allows and forbids, and checks the responses against the document.
fn schemathesis(arguments: &Arguments) -> Row {
    Row::of("schemathesis", |row| {
        let folder = row.step(INSTALL, install_python)?;
        row.step(CONFORM, || {
            let inquiry = json!({ "entries": [{ "type": "USER_PERSON_SOURCE_OF_FUND" }] });
            let user = json!({ "inquiries": vec![inquiry; INQUIRIES] });
            let seed = json!([{ "status": "ACTIVE", "external_uuid": SEEDED_USER, "user": user }]);
            folder.write(SEED, &seed.to_string())?;
            let seed = folder.join(SEED);
            let sandbox = SandboxProcess::start(&[&CONFORMING[..], &["--seed", path(&seed)?]].concat())?;
            let (document, openapi, seed) = (root().join(DOCUMENT), root().join(OPENAPI), arguments.seed.to_string());
            let most = arguments.max_examples.to_string();
            let arguments = ["run", path(&document)?, "--url", &sandbox.access.base_url, "--seed", &seed];
            let arguments = [arguments.as_slice(), &["--max-examples", &most, "--no-color"]].concat();
            let openapi = path(&openapi)?;
            let more = [("SCHEMATHESIS_HOOKS", "hooks"), ("BUNQ_OPENAPI", openapi), ("SEEDED_USER", SEEDED_USER)];
            folder.run("schemathesis", &arguments, &environment(&sandbox, &more))
        })
    })
}

fn install_python() -> Result<ToolFolder> {
    let folder = ToolFolder::new("contract/python")?;
    folder.install("requirements.txt", || {
        folder.run("python3", &["-m", "venv", "--clear", "--without-pip", "venv"], &[])?;
        // The machine's own pip. Python compiles what it imports, which is a part of what is installed.
        let (venv, pins) = (folder.join("venv"), folder.join("requirements.txt"));
        let install = ["-m", "pip", "--python", path(&venv)?, "install", "--quiet", "--no-compile"];
        crate::run("python3", &[&install[..], &["--disable-pip-version-check", "-r", path(&pins)?]].concat(), &[])
    })?;
    Ok(folder)
}

/// Runs a driver against each form of bunq's responses, and against banks that do not respond.
fn drive(row: &mut Row, folder: &ToolFolder, program: &str, driver: &str) -> Result<()> {
    let openapi = root().join(OPENAPI);
    let mut outcomes = Vec::new();
    for way in WAYS {
        let sandbox = SandboxProcess::start(way)?;
        let environment = environment(&sandbox, &[("BUNQ_OPENAPI", path(&openapi)?)]);
        outcomes.push(folder.read(program, &[driver], &environment)?);
    }
    for step in DRIVEN {
        row.step(step, || match outcomes.iter().find(|outcome| !outcome.has_done(step)) {
            Some(outcome) => bail!("the driver stopped ({})", outcome.status),
            None => Ok(()),
        })?;
    }
    match outcomes.iter().find(|outcome| !outcome.status.success()) {
        Some(outcome) => bail!("the driver has failed in the end ({})", outcome.status),
        None => row.step(SENT_ONCE, || sent_once::check(folder, program, driver, path(&openapi)?)),
    }
}

/// The environment variables of a process that calls the sandbox.
fn environment<'a>(sandbox: &'a SandboxProcess, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let Access { base_url, api_key } = &sandbox.access;
    [&[("BUNQ_BASE_URL", base_url.as_str()), ("BUNQ_API_KEY", api_key)], more].concat()
}
