//! Writes the table of operations: what the document says of each with `x-bunq-*`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use serde_json::Value;

use super::document::{Document, Fault, Operation};

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
    let Operation { id, method, path, value } = operation;
    let method = method.to_uppercase();
    let auth = match value["x-bunq-auth"].as_str() {
        Some("none") => quote!(Auth::None),
        Some("installation") => quote!(Auth::Installation),
        Some("session") => quote!(Auth::Session),
        _ => return Err(operation.fault("set x-bunq-auth to none, installation or session")),
    };
    let idempotent = value["x-bunq-idempotent"]
        .as_bool()
        .ok_or_else(|| operation.fault("set x-bunq-idempotent to true or false"))?;
    let limit = &value["x-bunq-rate-limit"];
    let positive = |member: &str| {
        limit.get(member).and_then(Value::as_u64).and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0)
    };
    let (Some(calls), Some(seconds)) = (positive("calls"), positive("seconds")) else {
        return Err(operation.fault("set x-bunq-rate-limit to {calls, seconds}, both positive integers"));
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
