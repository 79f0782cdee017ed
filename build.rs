//! Turns `openapi/bunq-partner.yaml` into Rust in `OUT_DIR`. The crate `bunq-partner-codegen` does the work.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bunq_partner_codegen::bundle::{DOCUMENT, SOURCES, check};

fn main() -> ExitCode {
    for input in [DOCUMENT, SOURCES] {
        // cargo runs the script at each build for a path that does not exist.
        if Path::new(input).exists() {
            println!("cargo::rerun-if-changed={input}");
        }
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let built = check(Path::new("")).and_then(|()| bunq_partner_codegen::build(Path::new(DOCUMENT), &out));
    let Err(error) = built else { return ExitCode::SUCCESS };
    for line in error.lines() {
        println!("cargo::error={line}");
    }
    ExitCode::FAILURE
}
