//! Writes the table of operations, which has the calling rules from the document's `x-bunq-*` members.

use proc_macro2::TokenStream;
use quote::quote;
use serde_json::{Value, json};

use super::document::{Diagnostic, Document, Operation};
use super::envelope::{Envelope, ResultShape, bodies, given_parameters, query_parameters};
use super::names::constant;
use super::policy::{Auth, Policy};

pub(crate) fn generate(document: &Document) -> Result<TokenStream, Diagnostic> {
    let operations = document.operations();
    let names: Vec<_> = operations.iter().map(|operation| constant(operation.id)).collect();
    let docs = operations.iter().map(|operation| {
        let summary = operation.value["summary"].as_str().unwrap_or_default();
        format!("`{} {}`: {summary}", operation.method.to_uppercase(), operation.path)
    });
    let rows = operations.iter().map(|operation| row(document, operation)).collect::<Result<Vec<_>, _>>()?;
    Ok(quote! {
        impl Operation {
            #(#[doc = #docs] pub const #names: Operation = #rows;)*

            /// Every operation of the document.
            pub const ALL: &'static [Operation] = &[#(Self::#names),*];
        }
    })
}

/// What the document says of each operation to those that call it by name.
pub(crate) fn descriptions(document: &Document) -> Value {
    let described = document.operations().into_iter().map(|operation| {
        let parameters: Vec<_> = given_parameters(document, &operation).collect();
        let (summary, body) = (&operation.value["summary"], bodies(document, &operation));
        (operation.id.to_owned(), json!({ "summary": summary, "parameters": parameters, "body": body }))
    });
    Value::Object(described.collect())
}

fn row(document: &Document, operation: &Operation<'_>) -> Result<TokenStream, Diagnostic> {
    let Operation { id, method, path, value } = operation;
    let method = method.to_uppercase();
    let Policy { auth, idempotent, managed, calls, seconds } = Policy::read(operation)?;
    let auth = match auth {
        Auth::None => quote!(Auth::None),
        Auth::Installation => quote!(Auth::Installation),
        Auth::Session => quote!(Auth::Session),
    };
    let seconds = u64::from(seconds);
    let query = query_parameters(document, operation).into_iter().filter_map(|parameter| parameter["name"].as_str());
    let has_body = value.get("requestBody").is_some();
    let has_result = !matches!(Envelope::read(document, operation)?.shape, ResultShape::Nothing);
    Ok(quote! {
        Operation {
            id: #id,
            method: #method,
            path: #path,
            auth: #auth,
            query: &[#(#query),*],
            has_body: #has_body,
            has_result: #has_result,
            idempotent: #idempotent,
            managed: #managed,
            rate_limit: RateLimit { calls: #calls, per: ::std::time::Duration::from_secs(#seconds) },
        }
    })
}
