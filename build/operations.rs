//! Writes the table of operations: what the document says of each with `x-bunq-*`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::document::{Document, Fault, Operation};
use super::policy::{Auth, Policy};

pub(crate) fn generate(document: &Document) -> Result<TokenStream, Fault> {
    let operations = document.operations();
    let names: Vec<_> = operations.iter().map(|operation| format_ident!("{}", operation.id.to_uppercase())).collect();
    let docs = operations.iter().map(|operation| {
        let summary = operation.value["summary"].as_str().unwrap_or_default();
        format!("`{} {}`: {summary}", operation.method.to_uppercase(), operation.path)
    });
    let rows = operations.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    Ok(quote! {
        impl Operation {
            #(#[doc = #docs] pub const #names: Operation = #rows;)*

            /// Every operation of the document.
            pub const ALL: &'static [Operation] = &[#(Self::#names),*];
        }
    })
}

fn row(operation: &Operation<'_>) -> Result<TokenStream, Fault> {
    let Operation { id, method, path, .. } = operation;
    let method = method.to_uppercase();
    let Policy { auth, idempotent, calls, seconds } = Policy::read(operation)?;
    let auth = match auth {
        Auth::None => quote!(Auth::None),
        Auth::Installation => quote!(Auth::Installation),
        Auth::Session => quote!(Auth::Session),
    };
    let seconds = u64::from(seconds);
    Ok(quote! {
        Operation {
            id: #id,
            method: #method,
            path: #path,
            auth: #auth,
            idempotent: #idempotent,
            rate_limit: RateLimit { calls: #calls, per: ::std::time::Duration::from_secs(#seconds) },
        }
    })
}
