//! Turns `openapi/bunq-partner.yaml` into the client, its data types and the table of operations.
//!
//! What it makes goes to `OUT_DIR` and is never committed. A document that cannot be turned into a client stops
//! the build with the schema or operation at fault; the work itself is in `build/`.

mod build {
    pub(crate) mod by_hand;
    pub(crate) mod client;
    pub(crate) mod document;
    pub(crate) mod enums;
    pub(crate) mod examples;
    pub(crate) mod faults;
    pub(crate) mod lines;
    pub(crate) mod operations;
    pub(crate) mod policy;
}

use std::path::Path;
use std::process::ExitCode;

use build::document::{Document, Fault};
use proc_macro2::TokenStream;

const DOCUMENT: &str = "openapi/bunq-partner.yaml";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={DOCUMENT}");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rerun-if-changed=build.rs");
    let text = match std::fs::read_to_string(DOCUMENT) {
        Ok(text) => text,
        Err(error) => return fail(&format!("{DOCUMENT}: {error}")),
    };
    generate(&text).map_or_else(|fault| fail(&fault.in_file(DOCUMENT, &text)), |()| ExitCode::SUCCESS)
}

fn fail(message: &str) -> ExitCode {
    for line in message.lines() {
        println!("cargo::error={line}");
    }
    ExitCode::FAILURE
}

fn generate(text: &str) -> Result<(), Fault> {
    let document = Document::parse(text)?;
    write("client.rs", build::client::generate(&document)?)?;
    write("operations.rs", build::operations::generate(&document)?)?;
    write("examples.rs", build::examples::generate(&document)?)
}

fn write(name: &str, code: TokenStream) -> Result<(), Fault> {
    let file = syn::parse2(code).map_err(|error| Fault::new(name, error))?;
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| Fault::new(name, "OUT_DIR is not set"))?;
    std::fs::write(Path::new(&out).join(name), prettyplease::unparse(&file)).map_err(|error| Fault::new(name, error))
}
