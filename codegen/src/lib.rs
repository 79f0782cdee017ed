//! Makes the Rust of `bunq-partner` from its OpenAPI document.
//!
//! [`Document::parse`] reads and validates the document; [`generate`] writes the data types, the table of operations,
//! the HTTP client (with progenitor) and one typed method per operation. The build script, the chores and the tests of
//! this crate all call these two. This crate does not know how a request is sent: that is up to the crate that includes
//! the generated files.

mod both_ways;
mod bounds;
pub mod bundle;
mod bytes;
pub mod callbacks;
mod calls;
mod client;
pub mod direction;
mod docs;
pub mod document;
mod enums;
mod envelope;
mod examples;
mod fields;
pub mod headers;
mod ids;
pub mod lines;
mod lower;
mod methods;
mod names;
mod operations;
mod patterns;
mod policy;
pub mod provenance;
mod queries;
mod refusals;
mod replacements;
mod results;
mod secrets;
mod signature;
mod texts;
mod types;
mod users;
pub mod validate;
mod yaml;

use std::fmt;
use std::path::Path;

use proc_macro2::TokenStream;

use direction::Directions;
pub use document::{Diagnostic, Document};

/// One generated file.
#[derive(Debug)]
pub struct GeneratedFile {
    /// Its name in the build's output folder.
    pub name: &'static str,
    /// The formatted Rust.
    pub code: String,
}

/// Writes all Rust that the crate includes.
///
/// # Errors
///
/// The first part of the document that cannot be turned into Rust.
pub fn generate(document: &Document) -> Result<Vec<GeneratedFile>, Diagnostic> {
    let mut output = client::generate(document)?;
    let methods = methods::generate(document, &output)?;
    types::complete(document, &mut output.types, methods.types)?;
    let sent_otherwise = both_ways::sent_otherwise(document, &Directions::of(&document.root));
    client::end_at_requests(&mut output.client, &sent_otherwise)?;
    let types = &output.types;
    let client = &output.client;
    let files = [
        ("types.rs", quote::quote!(#(#types)*)),
        ("secrets.rs", secrets::generate(document)),
        ("operations.rs", operations::generate(document)?),
        ("client.rs", quote::quote!(#(#client)*)),
        ("methods.rs", methods.code),
        ("calls.rs", methods.calls),
        ("examples.rs", examples::generate(document)?),
        ("schemas.rs", schemas(document)),
        ("questions.rs", provenance::page(document)),
    ];
    files.into_iter().map(|(name, code)| Ok(GeneratedFile { name, code: formatted(name, code)? })).collect()
}

/// Reads the document at `path` and writes the generated files into the folder `out`.
///
/// # Errors
///
/// The problem, with file and line if they are known.
pub fn build(path: &Path, out: &Path) -> Result<(), String> {
    let failed = |path: &Path, error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| failed(path, &error))?;
    let files = Document::parse(&text).and_then(|document| generate(&document));
    for file in files.map_err(|diagnostic| diagnostic.in_file(&path.display().to_string(), &text))? {
        let path = out.join(file.name);
        std::fs::write(&path, file.code).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

fn schemas(document: &Document) -> TokenStream {
    let schemas = document.root["components"]["schemas"].to_string();
    let operations = operations::descriptions(document).to_string();
    quote::quote! {
        /// The schemas of the document, as JSON: which members an object must have, and which values an enum has.
        pub const SCHEMAS: &str = #schemas;

        /// What the document says of each operation, as JSON, by its `operationId`: a `summary`, the `parameters` of its path and its
        /// query, and the schemas of the shapes that its `body` can have. They refer to [`SCHEMAS`].
        pub const OPERATIONS: &str = #operations;
    }
}

fn formatted(name: &str, code: TokenStream) -> Result<String, Diagnostic> {
    let mut file = syn::parse2(code).map_err(|error| Diagnostic::new(name, error))?;
    docs::mark_code_as_text(&mut file);
    Ok(prettyplease::unparse(&file))
}
