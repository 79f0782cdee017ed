//! Turns `openapi/bunq-partner.yaml` into Rust in `OUT_DIR`. The crate `bunq-partner-codegen` does the work.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const DOCUMENT: &str = "openapi/bunq-partner.yaml";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    let Err(error) = bunq_partner_codegen::build(Path::new(DOCUMENT), &out) else { return ExitCode::SUCCESS };
    for line in error.lines() {
        println!("cargo::error={line}");
    }
    ExitCode::FAILURE
}
