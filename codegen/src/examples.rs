//! Writes what the crate's tests compare with: the document's examples, and a decoder for each schema.

use proc_macro2::TokenStream;
use quote::quote;
use serde_json::Value;

use super::callbacks::callbacks;
use super::document::{Diagnostic, Document, members, reference};
use super::replacements::REPLACEMENTS;
use super::texts;

pub(crate) fn generate(document: &Document) -> Result<TokenStream, Diagnostic> {
    let names: Vec<_> = document.schemas().map(|(name, _)| name).collect();
    let types: Vec<syn::Path> = names.iter().map(|name| path_of(name)).collect();
    let mut examples = Vec::new();
    for operation in document.operations() {
        let request = [("request", &operation.value["requestBody"])];
        for (place, value) in request.into_iter().chain(members(&operation.value["responses"])) {
            let of_body = of_body(document, &format!("{} {place}", operation.id), value);
            examples.extend(of_body.map_err(|problem| operation.diagnostic(problem))?);
        }
    }
    for callback in callbacks(&document.root) {
        let of_body = callback.body().map(|body| of_body(document, &format!("{} callback", callback.name), body));
        let refused =
            |problem| Diagnostic::at(&callback.pointer, format_args!("callback `{}`", callback.name), problem);
        examples.extend(of_body.transpose().map_err(refused)?.into_iter().flatten());
    }
    let texts = texts::checked(document).map(|(name, schema)| {
        let (path, pattern) = (path_of(name), schema["pattern"].as_str().unwrap_or("^[^]*$"));
        let example = schema["example"].as_str().unwrap_or_default();
        quote!((#name, #pattern, #example, #path::RULE))
    });
    let texts: Vec<_> = texts.collect();
    Ok(quote! {
        /// The document's examples: the JSON pointer, the schema, and the JSON of each.
        pub(crate) const EXAMPLES: &[(&str, &str, &str)] = &[#(#examples),*];

        /// The checked texts: the name, the pattern, an example, and the rule of each.
        pub(crate) const TEXTS: &[(&str, &str, &str, crate::types::TextRule)] = &[#(#texts),*];

        /// The JSON Schema of the type of a schema.
        #[cfg(feature = "schemars")]
        pub(crate) fn schema_of_type(name: &str, generator: schemars::SchemaGenerator) -> Option<schemars::Schema> {
            match name {
                #(#names => Some(generator.into_root_schema_for::<#types>()),)*
                _ => None,
            }
        }

        /// Decodes `json` as `schema` and encodes it again.
        pub(crate) fn round_trip(schema: &str, json: &str) -> Result<serde_json::Value, serde_json::Error> {
            fn through<T: serde::de::DeserializeOwned + serde::Serialize>(
                json: &str,
            ) -> Result<serde_json::Value, serde_json::Error> {
                serde_json::to_value(serde_json::from_str::<T>(json)?)
            }
            match schema {
                #(#names => through::<#types>(json),)*
                other => Err(serde::de::Error::custom(format!("no schema `{other}`"))),
            }
        }
    })
}

/// The examples of a body: the place of each, its schema, and its JSON.
fn of_body(document: &Document, place: &str, body: &Value) -> Result<Vec<TokenStream>, String> {
    let media = &document.resolve(body)["content"]["application/json"];
    let schema = reference(&media["schema"]).and_then(|target| target.rsplit('/').next());
    let examples = members(&media["examples"]).map(|(name, example)| {
        let place = format!("{place} {name}");
        let schema = schema.ok_or("its schema must be a reference")?;
        match &document.resolve(example)["value"] {
            Value::Null => Err(format!("give its example `{name}` a value")),
            value => {
                let json = value.to_string();
                Ok(quote!((#place, #schema, #json)))
            }
        }
    });
    examples.collect()
}

/// The type of a schema.
fn path_of(name: &str) -> syn::Path {
    let replaced = REPLACEMENTS.iter().find(|(replaced, _)| *replaced == name);
    let path = replaced.map_or_else(|| format!("crate::types::{name}"), |(_, path)| (*path).to_owned());
    syn::parse_str(&path).unwrap_or_else(|_| syn::parse_quote!(crate::types))
}
