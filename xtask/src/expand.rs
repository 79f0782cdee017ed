//! Prints the generated Rust that the build uses.

use std::io::{Write as _, stdout};

use anyhow::{Context as _, Result, anyhow};
use bunq_partner_codegen::{Document, GeneratedFile};

use crate::spec;

const PARTS: [(&str, &str); 5] = [
    ("types.rs", "The data types, in src/types"),
    ("secrets.rs", "The names of secrets, in src/types/secret.rs"),
    ("operations.rs", "The table of operations, in src/operation.rs"),
    ("methods.rs", "The typed methods, in src/api/mod.rs"),
    ("client.rs", "The client, in src/api/client.rs"),
];

pub(crate) fn run() -> Result<()> {
    let files = generated()?;
    let mut out = stdout().lock();
    for (name, what) in PARTS {
        let file = files.iter().find(|file| file.name == name).with_context(|| format!("nothing generates {name}"))?;
        // A pager that is closed early closes the pipe.
        if writeln!(out, "// {what}.\n\n{}", file.code).is_err() {
            break;
        }
    }
    Ok(())
}

/// What the build script writes.
pub(crate) fn generated() -> Result<Vec<GeneratedFile>> {
    let text = spec::text()?;
    let files = Document::parse(&text).and_then(|document| bunq_partner_codegen::generate(&document));
    files.map_err(|diagnostic| anyhow!(diagnostic.in_file(spec::DOCUMENT, &text)))
}
