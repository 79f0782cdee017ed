//! Writes what bunq adds to the refusals of an operation, which its `x-bunq-refusal` names: an enum of the kinds that the document
//! knows, which keeps the others.

use std::collections::BTreeSet;

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::document::{Diagnostic, Document, Operation, members, reference};
use super::envelope::{member_schema, name_of};
use super::names::{rust_variant, visibility};

pub(crate) const EXTENSION: &str = "x-bunq-refusal";

/// The schema of what bunq adds to the refusals of an operation, by its name.
pub(crate) fn name_in<'a>(operation: &Operation<'a>) -> Option<&'a str> {
    reference(&operation.value[EXTENSION]).map(name_of)
}

/// The schemas whose types this module writes instead of the generator.
pub(crate) fn names(document: &Document) -> BTreeSet<&str> {
    document.operations().iter().filter_map(name_in).collect()
}

/// One kind of what is added.
struct Kind<'a> {
    name: &'a str,
    variant: Ident,
    ty: Ident,
    description: &'a str,
}

pub(crate) fn generate(document: &Document, public: &BTreeSet<String>) -> Result<Vec<syn::Item>, Diagnostic> {
    let mut items = Vec::new();
    for name in names(document) {
        let schema = &document.root["components"]["schemas"][name];
        let kinds: Vec<_> = members(&schema["properties"])
            .filter_map(|(name, property)| {
                let (ty, _) = member_schema(document, schema, name)?;
                let description = property["description"].as_str().unwrap_or_default();
                let (variant, ty) = (format_ident!("{}", rust_variant(name)), format_ident!("{ty}"));
                Some(Kind { name, variant, ty, description })
            })
            .collect();
        let description = schema["description"].as_str().unwrap_or_default();
        let code = write(&format_ident!("{name}"), description, &kinds, &visibility(public.contains(name)));
        let file: syn::File = syn::parse2(code).map_err(|error| Diagnostic::of_schema(name, error))?;
        items.extend(file.items);
    }
    Ok(items)
}

fn write(ident: &Ident, description: &str, kinds: &[Kind<'_>], visibility: &syn::Visibility) -> TokenStream {
    let names: Vec<_> = kinds.iter().map(|kind| kind.name).collect();
    let variants: Vec<_> = kinds.iter().map(|kind| &kind.variant).collect();
    let types: Vec<_> = kinds.iter().map(|kind| &kind.ty).collect();
    let docs = kinds.iter().map(|kind| kind.description);
    let fields: Vec<_> = (0..kinds.len()).map(|index| format_ident!("kind_{index}")).collect();
    quote! {
        #[doc = #description]
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(clippy::large_enum_variant)]
        #[non_exhaustive]
        #visibility enum #ident {
            #(#[doc = #docs] #variants(crate::types::#types),)*
            /// Another kind, or one that is not what the document describes, as bunq sent it.
            Unknown(crate::types::OpenValue),
        }

        impl ::serde::Serialize for #ident {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> ::std::result::Result<S::Ok, S::Error> {
                match self {
                    #(Self::#variants(kind) => serializer.collect_map([(#names, kind)]),)*
                    Self::Unknown(value) => value.serialize(serializer),
                }
            }
        }

        impl<'de> ::serde::Deserialize<'de> for #ident {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                #[derive(::serde::Deserialize)]
                struct Known {
                    #(
                        #[serde(rename = #names, default, deserialize_with = "crate::types::object_or_null")]
                        #fields: ::std::option::Option<crate::types::#types>,
                    )*
                }
                let value = crate::types::OpenValue::of_any_length(deserializer)?;
                Ok(match crate::types::from_json(value.as_json().as_bytes()) {
                    #(Ok(Known { #fields: Some(kind), .. }) => Self::#variants(kind),)*
                    _ => Self::Unknown(value),
                })
            }
        }

        #[cfg(feature = "schemars")]
        impl ::schemars::JsonSchema for #ident {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!(#ident).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({"type": "object", "description": #description})
            }
        }
    }
}
