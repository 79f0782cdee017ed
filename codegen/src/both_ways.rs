//! What is both sent and received: it is read as tolerantly as any response, and what bunq has added to it is sent again.
//!
//! A type of requests writes out what it holds, and a type of responses redacts. A type that keeps unknown members does both: by
//! itself it redacts those that have the name of a secret, and within a request it is written as it came.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::format_ident;
use serde_json::Value;
use syn::visit::{self, Visit};

use super::direction::{Directions, follow_references};
use super::document::{Document, members};
use super::fields::{forget_derived, wire_name};

pub(crate) const EXTENSION: &str = "x-bunq-keep-unknown";

/// The field of the members that the document does not know.
pub(crate) const FIELD: &str = "unknown";

/// Whether a schema says that its unknown members are kept.
pub(crate) fn keeps_unknown(schema: &Value) -> bool {
    schema[EXTENSION] == true
}

/// The schemas whose values are written otherwise within a request than by themselves: those that keep unknown members, and what has
/// such a member and goes both ways.
pub(crate) fn sent_otherwise(document: &Document, directions: &Directions) -> BTreeSet<String> {
    let keeps = |schema: &Value| {
        let mut pointers = BTreeSet::new();
        follow_references(&document.root, schema, &mut pointers);
        keeps_unknown(schema) || pointers.iter().filter_map(|pointer| document.root.pointer(pointer)).any(keeps_unknown)
    };
    let both = document.schemas().filter(|(name, _)| directions.of_component("schemas", name).is_both());
    both.filter(|(_, schema)| keeps(schema)).map(|(name, _)| name.to_owned()).collect()
}

/// Whether a type is one of these, or holds one.
pub(crate) fn holds(ty: &syn::Type, names: &BTreeSet<String>) -> bool {
    struct Holds<'a>(&'a BTreeSet<String>, bool);
    impl<'ast> Visit<'ast> for Holds<'_> {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.1 |= self.0.contains(&segment.ident.to_string());
            visit::visit_path_segment(self, segment);
        }
    }
    let mut holds = Holds(names, false);
    holds.visit_type(ty);
    holds.1
}

/// Writes a member as it is sent.
pub(crate) fn send(field: &mut syn::Field) {
    field.attrs.push(syn::parse_quote!(#[serde(serialize_with = "crate::types::sent")]));
}

/// Adds to a type the field of its unknown members.
pub(crate) fn add_unknown(item: &mut syn::ItemStruct) {
    if let syn::Fields::Named(fields) = &mut item.fields {
        let field = format_ident!("{FIELD}");
        fields.named.push(syn::parse_quote! {
            #[serde(flatten, skip_serializing_if = "crate::types::UnknownMembers::is_empty")]
            #[cfg_attr(feature = "schemars", schemars(skip))]
            #field: crate::types::UnknownMembers
        });
    }
}

/// Writes how a type that is sent otherwise is sent, and how one that keeps unknown members is read.
pub(crate) fn generate(document: &Document, item: &mut syn::ItemStruct, names: &BTreeSet<String>) -> Vec<syn::Item> {
    let ident = item.ident.clone();
    let name = ident.to_string();
    let schema = &document.root["components"]["schemas"][&name];
    let wire = format_ident!("{name}OnWire");
    let keeps = keeps_unknown(schema);
    let mut fields = item.fields.clone();
    for field in &mut fields {
        field.attrs.retain(|attribute| attribute.path().is_ident("serde"));
        if wire_name(field).is_some_and(|name| name == FIELD) && keeps {
            field.attrs.push(syn::parse_quote!(#[serde(skip_deserializing)]));
            field.attrs.push(syn::parse_quote!(#[serde(serialize_with = "crate::types::UnknownMembers::sent")]));
        } else if holds(&field.ty, names) {
            send(field);
        }
    }
    let read: TokenStream = if keeps { quote::quote!(::serde::Deserialize,) } else { quote::quote!() };
    let mut items: Vec<syn::Item> = vec![
        syn::parse_quote! {
            #[derive(#read ::serde::Serialize)]
            #[serde(remote = #name)]
            struct #wire #fields
        },
        syn::parse_quote! {
            impl crate::types::Sent for #ident {
                fn serialize_sent<S: ::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::std::result::Result<S::Ok, S::Error> {
                    #wire::serialize(self, serializer)
                }
            }
        },
    ];
    if keeps {
        forget_derived(item, "Deserialize");
        let (known, field) = (members(&schema["properties"]).map(|(name, _)| name), format_ident!("{FIELD}"));
        items.push(syn::parse_quote! {
            impl crate::types::Keeps for #ident {
                const KNOWN: &'static [&'static str] = &[#(#known),*];

                fn read_known<'de, D: ::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::std::result::Result<Self, D::Error> {
                    #wire::deserialize(deserializer)
                }

                fn keep(&mut self, unknown: crate::types::UnknownMembers) {
                    self.#field = unknown;
                }
            }
        });
        items.push(syn::parse_quote! {
            impl<'de> ::serde::Deserialize<'de> for #ident {
                fn deserialize<D: ::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::std::result::Result<Self, D::Error> {
                    crate::types::keeping(deserializer)
                }
            }
        });
    }
    items
}
