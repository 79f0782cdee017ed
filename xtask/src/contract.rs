//! Clients in other languages, generated from the document, against the sandbox; and the document itself against it.
//!
//! What is installed, generated and built stands under `contract/` in the target folder; what an installation is made
//! of is pinned in `xtask/contract/`, and it is made anew when that changes.

mod place;
mod table;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use bunq_partner::sandbox::{CreationAnswer, Sandbox, SandboxBuilder, SignatureForm};
use tokio::runtime::Runtime;

use self::place::Place;
use self::table::{Row, Table};
use crate::root;

const DOCUMENT: &str = "openapi/bunq-partner.yaml";
const VECTORS: &str = "openapi/vectors";

const INSTALL: &str = "install";
const GENERATE: &str = "generate";
const TYPE_CHECK: &str = "type check";
const CONFORM: &str = "conform";

/// The steps that a driver prints, in its order.
const DRIVEN: [&str; 6] = ["vectors", "authenticate", "create", "follow", "close", "verify"];

/// How many provisions there are for schemathesis, which uses each once.
const PROVISIONS: usize = 10_000;

/// How much to try.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The most requests of a kind that schemathesis makes of each operation
    #[arg(long, default_value_t = 20)]
    max_examples: u32,
    /// What schemathesis' choices start from
    #[arg(long, default_value_t = 1)]
    seed: u32,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let sandboxes = Sandboxes { runtime: Runtime::new()? };
    let rows = [typescript(&sandboxes), python(&sandboxes), schemathesis(&sandboxes, &arguments)];
    let table = Table::new([&[INSTALL, GENERATE, TYPE_CHECK], DRIVEN.as_slice(), &[CONFORM]].concat(), rows);
    println!("\n{table}");
    if !table.is_ok() {
        bail!("the document, its clients and the sandbox do not agree: the first failure of each row is told above");
    }
    Ok(())
}

fn typescript(sandboxes: &Sandboxes) -> Row {
    Row::of("TypeScript", |row| {
        let place = row.step(INSTALL, || {
            let place = Place::new("typescript")?;
            place.install("package-lock.json", || place.run("npm", &["ci", "--no-audit", "--no-fund"], &[]))?;
            Ok(place)
        })?;
        row.step(GENERATE, || {
            let document = root().join(DOCUMENT);
            place.run("openapi-typescript", &[path(&document)?, "--output", "schema.d.ts"], &[])
        })?;
        row.step(TYPE_CHECK, || place.run("tsc", &[], &[]))?;
        sandboxes.drive(row, &place, "node", "built/driver.js")
    })
}

fn python(sandboxes: &Sandboxes) -> Row {
    Row::of("Python", |row| {
        let place = row.step(INSTALL, install_python)?;
        row.step(GENERATE, || {
            let document = root().join(DOCUMENT);
            let made = ["--output-path", "bunq_partner", "--meta", "none", "--overwrite", "--fail-on-warning"];
            let generate = [&["generate", "--path", path(&document)?], made.as_slice()].concat();
            place.run("openapi-python-client", &generate, &[])?;
            place.write("bunq_partner/py.typed", "")
        })?;
        row.step(TYPE_CHECK, || place.run("mypy", &["driver.py"], &[]))?;
        sandboxes.drive(row, &place, "python", "driver.py")
    })
}

/// Requests of all kinds that the document allows and forbids, and the answers against the document.
fn schemathesis(sandboxes: &Sandboxes, arguments: &Arguments) -> Row {
    Row::of("schemathesis", |row| {
        let place = row.step(INSTALL, install_python)?;
        row.step(CONFORM, || {
            let sandbox = sandboxes.start(Sandbox::builder())?;
            let (document, seed) = (root().join(DOCUMENT), arguments.seed.to_string());
            let most = arguments.max_examples.to_string();
            // The stateful phase guesses the links between operations, and takes an item of an answer for its id.
            let phases = ["--phases", "examples,coverage,fuzzing"];
            let arguments = ["run", path(&document)?, "--url", sandbox.base_url(), "--seed", &seed];
            let arguments = [arguments.as_slice(), &["--max-examples", &most, "--no-color"], &phases].concat();
            let (key, provisions) = (sandbox.api_key(), sandbox.populate(PROVISIONS));
            let provisions: Vec<_> = provisions.iter().map(ToString::to_string).collect();
            let environment = [
                ("BUNQ_BASE_URL", sandbox.base_url()),
                ("BUNQ_API_KEY", key.expose()),
                ("BUNQ_PROVISIONS", &provisions.join(",")),
                ("SCHEMATHESIS_HOOKS", "hooks"),
            ];
            place.run("schemathesis", &arguments, &environment)
        })
    })
}

fn install_python() -> Result<Place> {
    let place = Place::new("python")?;
    place.install("requirements.txt", || {
        place.run("python3", &["-m", "venv", "--clear", "venv"], &[])?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
        place.run("python", &install, &[])
    })?;
    Ok(place)
}

/// Where bunq is played.
struct Sandboxes {
    runtime: Runtime,
}

impl Sandboxes {
    fn start(&self, builder: SandboxBuilder) -> Result<Sandbox> {
        self.runtime.block_on(builder.start()).context("the sandbox does not start")
    }

    /// Runs a driver against bunq's two ways: of today, and the older ones that a client has to accept too.
    fn drive(&self, row: &mut Row, place: &Place, program: &str, driver: &str) -> Result<()> {
        let older = Sandbox::builder().signature_form(SignatureForm::WithHeaders);
        let mut outcomes = Vec::new();
        for builder in [Sandbox::builder(), older.creation_answer(CreationAnswer::Provision)] {
            let sandbox = self.start(builder)?;
            let (key, vectors) = (sandbox.api_key(), root().join(VECTORS));
            let environment = [
                ("BUNQ_BASE_URL", sandbox.base_url()),
                ("BUNQ_API_KEY", key.expose()),
                ("BUNQ_VECTORS", path(&vectors)?),
            ];
            outcomes.push(place.read(program, &[driver], &environment)?);
        }
        for step in DRIVEN {
            row.step(step, || match outcomes.iter().find(|outcome| !outcome.has_done(step)) {
                Some(outcome) => bail!("the driver stopped ({})", outcome.status),
                None => Ok(()),
            })?;
        }
        match outcomes.iter().find(|outcome| !outcome.status.success()) {
            Some(outcome) => bail!("the driver has failed in the end ({})", outcome.status),
            None => Ok(()),
        }
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not text", path.display()))
}
