//! Writes the table of operations, which has the calling rules from the document's `x-bunq-*` members.

use std::collections::BTreeSet;

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use serde_json::{Value, json};

use super::bytes;
use super::direction::follow_references;
use super::document::{Diagnostic, Document, Operation, members};
use super::envelope::{Envelope, ResultShape, bodies, given_parameters, query_parameters};
use super::names::constant;
use super::policy::{Auth, Policy, SessionOf};
use super::users::PathUser;
use super::{headers, ids};

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
        let headers = headers::given(document, &operation).map(|header| header.parameter);
        let mut parameters: Vec<_> = taken_by_name(document, &operation).chain(headers).cloned().collect();
        for chosen in parameters.iter_mut().filter(|parameter| PathUser::of(parameter).is_some()) {
            chosen["required"] = false.into();
        }
        let (summary, body) = (&operation.value["summary"], bodies(document, &operation));
        (operation.id.to_owned(), json!({ "summary": summary, "parameters": parameters, "body": body }))
    });
    Value::Object(described.collect())
}

/// The parameters of a call by name.
fn taken_by_name<'a>(document: &'a Document, operation: &Operation<'a>) -> impl Iterator<Item = &'a Value> {
    given_parameters(document, operation).filter(|parameter| PathUser::of(parameter) != Some(PathUser::Session))
}

fn row(document: &Document, operation: &Operation<'_>) -> Result<TokenStream, Diagnostic> {
    let Operation { id, method, path, value } = operation;
    let method = method.to_uppercase();
    let Policy { auth, session_of, idempotent, managed, calls, seconds } = Policy::read(operation)?;
    let auth = match auth {
        Auth::None => quote!(Auth::None),
        Auth::Installation => quote!(Auth::Installation),
        Auth::Session => quote!(Auth::Session),
    };
    let session_of = match session_of {
        None => quote!(None),
        Some(SessionOf::Partner) => quote!(Some(SessionOf::Partner)),
        Some(SessionOf::User) => quote!(Some(SessionOf::User)),
        Some(SessionOf::Either) => quote!(Some(SessionOf::Either)),
    };
    let path_user = match PathUser::in_path(document, operation) {
        None => quote!(None),
        Some(PathUser::Session) => quote!(Some(PathUser::Session)),
        Some(PathUser::Chosen) => quote!(Some(PathUser::Chosen)),
    };
    let ids =
        taken_by_name(document, operation).filter(|parameter| ids::kind_of(document, &parameter["schema"]).is_some());
    let ids = ids.filter_map(|parameter| parameter["name"].as_str());
    let seconds = u64::from(seconds);
    let query = query_parameters(document, operation).into_iter().filter_map(|parameter| parameter["name"].as_str());
    let has_body = value.get("requestBody").is_some();
    let shape = Envelope::read(document, operation)?.shape;
    let (has_result, returns_bytes) = (!matches!(shape, ResultShape::Nothing), matches!(shape, ResultShape::Bytes));
    let headers = headers::given(document, operation).map(|header| header.name);
    let personal = personal(document, operation);
    let sent = bytes::are_sent(document, operation).then(|| bytes::content_types(document, operation));
    let content_types = sent.into_iter().flatten().map(|content_type| {
        let first_bytes = content_type.first_bytes.iter().map(|bytes| Literal::byte_string(bytes));
        let name = content_type.name;
        quote!(ContentType { name: #name, first_bytes: &[#(#first_bytes),*] })
    });
    Ok(quote! {
        Operation {
            id: #id,
            method: #method,
            path: #path,
            auth: #auth,
            session_of: #session_of,
            path_user: #path_user,
            ids: &[#(#ids),*],
            query: &[#(#query),*],
            headers: &[#(#headers),*],
            personal: &[#(#personal),*],
            has_body: #has_body,
            content_types: &[#(#content_types),*],
            has_result: #has_result,
            returns_bytes: #returns_bytes,
            idempotent: #idempotent,
            managed: #managed,
            rate_limit: RateLimit { calls: #calls, per: ::std::time::Duration::from_secs(#seconds) },
        }
    })
}

/// The names of what a caller gives that is about a person: members of the body, and headers.
fn personal<'a>(document: &'a Document, operation: &Operation<'a>) -> BTreeSet<&'a str> {
    let mut pointers = BTreeSet::new();
    follow_references(&document.root, &operation.value["requestBody"], &mut pointers);
    let schemas = pointers.into_iter().filter_map(|pointer| document.root.pointer(&pointer));
    let properties = schemas.flat_map(|schema| members(&schema["properties"]));
    let headers = headers::given(document, operation).map(|header| (header.name, &header.parameter["schema"]));
    properties.chain(headers).filter(|(_, schema)| is_personal(document, schema)).map(|(name, _)| name).collect()
}

/// Whether a schema, or one that it is made of, says that its value is about a person.
fn is_personal(document: &Document, schema: &Value) -> bool {
    let schema = document.resolve(schema);
    let parts = ["allOf", "anyOf"].into_iter().filter_map(|name| schema[name].as_array()).flatten();
    schema["x-bunq-personal"] == true || parts.into_iter().any(|part| is_personal(document, part))
}
