//! Completes the data types that progenitor makes: the enums, the checked texts, what is public, and what drift and
//! secrets need.

use std::collections::BTreeSet;

use proc_macro2::Literal;
use quote::{ToTokens, format_ident};
use serde_json::{Value, json};
use syn::visit_mut::{self, VisitMut};

use super::callbacks::{Callback, callbacks};
use super::direction::{Directions, follow_references};
use super::document::{Diagnostic, Document};
use super::envelope::{Envelope, is_id, item_schema, name_of};
use super::fields::{first_argument, forget_derived, inside_option, says, wire_name};
use super::names::{rust_name, visibility};
use super::policy::Policy;
use super::{both_ways, enums, ids, refusals, texts};

/// The bound of a list in a response for which the document says none.
const MAX_ITEMS: u64 = 1000;

/// Puts `types` in the form in which the crate includes them, and adds `more` of them.
pub(crate) fn complete(
    document: &Document,
    types: &mut Vec<syn::Item>,
    more: Vec<syn::Item>,
) -> Result<(), Diagnostic> {
    let public = public_schemas(document)?;
    let directions = Directions::of(&document.root);
    let sent_otherwise = both_ways::sent_otherwise(document, &directions);
    // The generator's error of conversions, which no type here has.
    types.retain(|item| !matches!(item, syn::Item::Mod(module) if module.ident == "error"));
    let objects = types.iter().filter_map(|item| match item {
        syn::Item::Struct(item) if matches!(item.fields, syn::Fields::Named(_)) => Some(item.ident.to_string()),
        syn::Item::Enum(item) => Some(item.ident.to_string()),
        _ => None,
    });
    let objects: BTreeSet<_> = objects.collect();
    let (mut constructors, mut readers) = (Vec::new(), Vec::new());
    for item in types.iter_mut() {
        let ident = match item {
            syn::Item::Struct(item) => item.ident.to_string(),
            syn::Item::Enum(item) => item.ident.to_string(),
            _ => continue,
        };
        let direction = directions.of_component("schemas", &ident);
        let is_only_sent = direction.request && !direction.response;
        let mut tidy =
            Tidy { document, objects: &objects, is_only_sent, sent_otherwise: &sent_otherwise, readers: Vec::new() };
        tidy.visit_item_mut(item);
        readers.extend(tidy.readers);
        if let syn::Item::Struct(item) = item {
            if both_ways::keeps_unknown(&document.root["components"]["schemas"][&ident]) {
                both_ways::add_unknown(item);
            }
            if sent_otherwise.contains(&ident) {
                readers.extend(both_ways::generate(document, item, &sent_otherwise));
            }
            readers.extend(hiding_debug(document, item));
            if direction.request {
                constructors.extend(constructor(item, public.contains(&ident)));
            }
        }
        let (attributes, vis) = match item {
            syn::Item::Struct(item) => (&mut item.attrs, &mut item.vis),
            syn::Item::Enum(item) => (&mut item.attrs, &mut item.vis),
            _ => continue,
        };
        *vis = visibility(public.contains(&ident));
        attributes.insert(0, syn::parse_quote!(#[cfg_attr(feature = "schemars", derive(::schemars::JsonSchema))]));
        attributes.insert(0, syn::parse_quote!(#[non_exhaustive]));
    }
    types.extend(constructors);
    types.extend(readers);
    types.extend(more);
    types.extend(enums::generate(document, &public)?);
    types.extend(texts::generate(document, &public)?);
    types.extend(ids::generate(document)?);
    types.extend(refusals::generate(document, &public)?);
    Ok(())
}

/// The schemas that the public methods take or return, directly or not, and those of every request and every callback.
fn public_schemas(document: &Document) -> Result<BTreeSet<String>, Diagnostic> {
    let mut pointers = BTreeSet::new();
    let mut add = |value: &Value| follow_references(&document.root, value, &mut pointers);
    for operation in document.operations() {
        add(&operation.value["requestBody"]);
        if Policy::read(&operation)?.managed {
            continue;
        }
        let parameters = [&document.root["paths"][operation.path]["parameters"], &operation.value["parameters"]];
        parameters.into_iter().for_each(&mut add);
        add(&operation.value["x-bunq-content-type"]);
        add(&operation.value["x-bunq-refusal"]);
        let envelope = Envelope::read(document, &operation)?;
        if let Some((_, item)) = item_schema(document, &operation) {
            // The method returns the id that an `Id` holds, as one of its kind.
            let contents = envelope.items().filter(|name| !is_id(document, item, name));
            contents.for_each(|name| add(&item["properties"][name]));
        }
        add(&json!({ "$ref": envelope.of.map(|kind| format!("#/components/schemas/{kind}")) }));
    }
    callbacks(&document.root).iter().filter_map(Callback::body).for_each(&mut add);
    let names = pointers.iter().filter(|pointer| pointer.starts_with("/components/schemas/"));
    Ok(names.map(|pointer| name_of(pointer).to_owned()).collect())
}

/// The way to make a request's struct outside of the crate, which `#[non_exhaustive]` closes: from what it must have.
fn constructor(item: &syn::ItemStruct, is_public: bool) -> Option<syn::Item> {
    let visibility = visibility(is_public);
    let syn::Fields::Named(fields) = &item.fields else { return None };
    let is_optional = |field: &&syn::Field| field.attrs.iter().any(|attribute| says(attribute, "skip_serializing_if"));
    let (optional, required): (Vec<_>, Vec<_>) = fields.named.iter().partition(is_optional);
    let names: Vec<_> = required.iter().map(|field| &field.ident).collect();
    let types = required.iter().map(|field| &field.ty);
    let others = optional.iter().map(|field| &field.ident);
    let name = &item.ident;
    Some(syn::parse_quote! {
        impl #name {
            /// With the members that it must have; the others are absent.
            #visibility fn new(#(#names: #types),*) -> Self {
                Self { #(#names,)* #(#others: ::std::default::Default::default(),)* }
            }
        }
    })
}

/// The way to a member that all shapes of a body have.
pub(crate) fn accessor(types: &[syn::Item], body: &syn::Ident, member: &str) -> Option<syn::Item> {
    let shapes = types.iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == *body => Some(&item.variants),
        _ => None,
    })?;
    let variants = shapes.iter().map(|variant| &variant.ident);
    let field = format_ident!("{}", rust_name(member));
    let held =
        shapes.iter().map(|shape| shape.fields.iter().next().map(|field| field.ty.to_token_stream().to_string()));
    let mut member_types = held.map(|shape| {
        types.iter().find_map(|item| match item {
            syn::Item::Struct(item) if Some(item.ident.to_string()) == shape => item
                .fields
                .iter()
                .find(|field| wire_name(field).is_some_and(|name| name == member))
                .map(|field| &field.ty),
            _ => None,
        })
    });
    let ty = member_types.next().flatten()?;
    if !member_types.all(|other| other == Some(ty)) {
        return None;
    }
    let doc = format!("Its `{member}`, whatever its shape.");
    Some(syn::parse_quote! {
        impl #body {
            #[doc = #doc]
            pub fn #field(&self) -> &#ty {
                match self {
                    #(Self::#variants(body) => &body.#field,)*
                }
            }
        }
    })
}

/// Gives the variants of a body of several shapes the names of their types, where the generator has none.
pub(crate) fn name_variants(types: &mut [syn::Item]) {
    let enums = types.iter().filter_map(|item| match item {
        syn::Item::Enum(item) => Some(item),
        _ => None,
    });
    let renamed = enums.flat_map(|item| item.variants.iter().map(move |variant| (item, variant)));
    let renamed = renamed.filter(|(_, variant)| variant.ident.to_string().starts_with("Variant"));
    let names: Vec<_> = renamed
        .filter_map(|(item, variant)| {
            let syn::Type::Path(held) = &variant.fields.iter().next()?.ty else { return None };
            Some((item.ident.clone(), variant.ident.clone(), held.path.segments.last()?.ident.clone()))
        })
        .collect();
    for item in types {
        let ident = match &*item {
            syn::Item::Enum(item) => Some(item.ident.clone()),
            syn::Item::Impl(item) => match &*item.self_ty {
                syn::Type::Path(path) => path.path.get_ident().cloned(),
                _ => None,
            },
            _ => None,
        };
        let own = names.iter().filter(|(name, ..)| Some(name) == ident.as_ref());
        Rename(own.map(|(_, from, to)| (from.clone(), to.clone())).collect()).visit_item_mut(item);
    }
}

struct Rename(Vec<(syn::Ident, syn::Ident)>);

impl VisitMut for Rename {
    fn visit_ident_mut(&mut self, ident: &mut syn::Ident) {
        if let Some((_, to)) = self.0.iter().find(|(from, _)| from == ident) {
            *ident = to.clone();
        }
    }
}

/// Rewrites what progenitor makes of each type: the schema in its doc goes, a member that bunq leaves out or sets to
/// null reads as absent, and a redacted secret reads as none.
struct Tidy<'a> {
    document: &'a Document,
    /// The types whose values are JSON objects.
    objects: &'a BTreeSet<String>,
    /// How members are read that need a function of their own.
    readers: Vec<syn::Item>,
    /// What is only sent is strict: null does not stand for an absent member.
    is_only_sent: bool,
    /// The types that are written otherwise within a request than by themselves.
    sent_otherwise: &'a BTreeSet<String>,
}

impl VisitMut for Tidy<'_> {
    fn visit_attributes_mut(&mut self, attributes: &mut Vec<syn::Attribute>) {
        for attribute in attributes {
            // The schema of each type, in full, under its description.
            if let syn::Meta::NameValue(doc) = &mut attribute.meta
                && doc.path.is_ident("doc")
                && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &mut doc.value
                && let Some((description, _)) = text.value().split_once("<details><summary>JSON schema")
            {
                *text = syn::LitStr::new(description.trim_end(), text.span());
            }
        }
    }

    fn visit_item_struct_mut(&mut self, item: &mut syn::ItemStruct) {
        visit_mut::visit_item_struct_mut(self, item);
        // The generator passes over how many items a list must have.
        let schema = item.ident.to_string();
        let described = &self.document.root["components"]["schemas"][&schema];
        if let Some(least) = described["minProperties"].as_u64().map(Literal::u64_unsuffixed) {
            let said = syn::parse_quote!(#[cfg_attr(feature = "schemars", schemars(extend("minProperties" = #least)))]);
            item.attrs.push(said);
        }
        let properties = &described["properties"];
        for field in &mut item.fields {
            let Some(name) = wire_name(field) else { continue };
            let property = &properties[&name];
            // A list that must be there and may be null.
            if property["type"] == "array"
                && property["nullable"] == true
                && !field.attrs.iter().any(|attribute| says(attribute, "default"))
            {
                field.attrs.push(syn::parse_quote!(#[serde(default)]));
            }
            let bounds = [("min", "minItems"), ("max", "maxItems")].into_iter().filter_map(|(bound, member)| {
                let (bound, count) = (format_ident!("{bound}"), Literal::u64_unsuffixed(property[member].as_u64()?));
                Some(quote::quote!(#bound = #count))
            });
            let bounds: Vec<_> = bounds.collect();
            if !bounds.is_empty() {
                field.attrs.push(syn::parse_quote!(#[cfg_attr(feature = "schemars", schemars(length(#(#bounds),*)))]));
            }
            if !self.is_only_sent {
                self.readers.extend(bound_reader(self.objects, &schema, &name, field, property));
            } else if let Some(most) = property["maxItems"].as_u64() {
                let shape = shape(self.objects, &field.ty);
                field.attrs.push(read_list("list", &shape, &Literal::u64_unsuffixed(most)));
            }
        }
    }

    fn visit_variant_mut(&mut self, variant: &mut syn::Variant) {
        if variant.attrs.is_empty()
            && let Some(syn::Type::Path(held)) = variant.fields.iter().next().map(|field| &field.ty)
        {
            let doc = format!("In the shape of [`{}`].", held.to_token_stream());
            variant.attrs.push(syn::parse_quote!(#[doc = #doc]));
        }
        visit_mut::visit_variant_mut(self, variant);
    }

    fn visit_field_mut(&mut self, field: &mut syn::Field) {
        let is = |name: &str| matches!(&field.ty, syn::Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == name));
        if is("Option") {
            field.attrs.retain(|attribute| !says(attribute, "deserialize_with"));
            if self.is_only_sent {
                field.attrs.push(syn::parse_quote!(#[serde(default, deserialize_with = "crate::types::not_null")]));
                let read = inside_option(&field.ty).map(|ty| ty.to_token_stream().to_string()).unwrap_or_default();
                field.attrs.push(syn::parse_quote!(#[cfg_attr(feature = "schemars", schemars(with = #read))]));
            } else if field.ty.to_token_stream().to_string().ends_with(":: Secret >") {
                let read = syn::parse_quote!(#[serde(default, deserialize_with = "crate::types::redacted_as_none")]);
                field.attrs.push(read);
            }
        } else if !self.is_only_sent && is("Vec") && field.attrs.iter().any(|attribute| says(attribute, "default")) {
            let read = format!("::std::option::Option<{}>", field.ty.to_token_stream());
            field.attrs.push(syn::parse_quote!(#[cfg_attr(feature = "schemars", schemars(with = #read))]));
        }
        if self.is_only_sent && both_ways::holds(&field.ty, self.sent_otherwise) {
            both_ways::send(field);
        }
        visit_mut::visit_field_mut(self, field);
    }
}

/// What the value of a member is read as, or each value of a list.
fn shape(objects: &BTreeSet<String>, ty: &syn::Type) -> syn::Ident {
    let value = inside_option(ty).or_else(|| first_argument(ty, "Vec")).unwrap_or(ty);
    let is_object = objects.contains(&value.to_token_stream().to_string());
    format_ident!("{}", if is_object { "Object" } else { "Plain" })
}

/// Reads a list with this function, up to this many values.
fn read_list(function: &str, shape: &syn::Ident, most: &Literal) -> syn::Attribute {
    let path = format!("crate::types::{function}::<crate::types::{shape}, _, _, {most}>");
    syn::parse_quote!(#[serde(deserialize_with = #path)])
}

/// Reads a member of a response as an object if it is one, no further than its list may be long, and a lenient one as absent if its
/// value is odd. Returns the function that a lenient member is read with.
fn bound_reader(
    objects: &BTreeSet<String>,
    schema: &str,
    wire_name: &str,
    field: &mut syn::Field,
    property: &Value,
) -> Option<syn::Item> {
    let said = property["maxItems"].as_u64();
    let most = said.or((property["type"] == "array").then_some(MAX_ITEMS)).map(Literal::u64_unsuffixed);
    let is_lenient = property["x-bunq-lenient"] == true;
    let shape = shape(objects, &field.ty);
    let has_default = field.attrs.iter().any(|attribute| says(attribute, "default"));
    if !is_lenient && most.is_none() {
        if shape == "Object" {
            let is_optional = inside_option(&field.ty).is_some();
            if is_optional && !has_default {
                field.attrs.push(syn::parse_quote!(#[serde(default)]));
            }
            let path = if is_optional { "crate::types::object_or_null" } else { "crate::types::object" };
            field.attrs.push(syn::parse_quote!(#[serde(deserialize_with = #path)]));
        }
        return None;
    }
    field.attrs.retain(|attribute| !says(attribute, "deserialize_with"));
    if let (false, Some(most)) = (is_lenient, &most) {
        let function = if has_default { "list_or_null" } else { "list" };
        field.attrs.push(read_list(function, &shape, most));
        return None;
    }
    // The attribute that is gone may have said it.
    if !field.attrs.iter().any(|attribute| says(attribute, "default")) {
        field.attrs.push(syn::parse_quote!(#[serde(default)]));
    }
    let (ty, name) = (&field.ty, field.ident.as_ref()?.to_string());
    let read: syn::Expr = match most {
        Some(most) => syn::parse_quote!(crate::types::lenient_list::<crate::types::#shape, _, _, #most>),
        None if ty.to_token_stream().to_string().contains("OpenValue") => {
            syn::parse_quote!(crate::types::lenient_open_value)
        }
        None => syn::parse_quote!(crate::types::lenient::<crate::types::#shape, _, _>),
    };
    let (ident, reader) = (format_ident!("{schema}"), format_ident!("read_{}", name.trim_matches('_')));
    let path = format!("{ident}::{reader}");
    let member = format!("{schema}.{wire_name}");
    field.attrs.push(syn::parse_quote!(#[serde(deserialize_with = #path)]));
    Some(syn::parse_quote! {
        impl #ident {
            fn #reader<'de, D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<#ty, D::Error> {
                #read(#member, deserializer)
            }
        }
    })
}

/// The `Debug` of a type with members that do not belong into logs: it does not show them.
fn hiding_debug(document: &Document, item: &mut syn::ItemStruct) -> Option<syn::Item> {
    let ident = item.ident.clone();
    let properties = &document.root["components"]["schemas"][ident.to_string()]["properties"];
    let is_hidden = |field: &syn::Field| {
        let marks = ["x-bunq-personal", "x-bunq-secret-path"];
        wire_name(field).is_some_and(|name| marks.iter().any(|mark| properties[&name][mark] == true))
    };
    if !item.fields.iter().any(is_hidden) {
        return None;
    }
    forget_derived(item, "Debug");
    let shown = item.fields.iter().map(|field| {
        let name = &field.ident;
        let text = name.as_ref().map(ToString::to_string).unwrap_or_default();
        match (is_hidden(field), inside_option(&field.ty)) {
            (false, _) => quote::quote!(.field(#text, &self.#name)),
            (true, Some(_)) => quote::quote!(.field(#text, &self.#name.as_ref().map(|_| format_args!("..")))),
            (true, None) => quote::quote!(.field(#text, &format_args!(".."))),
        }
    });
    let name = ident.to_string();
    Some(syn::parse_quote! {
        impl ::std::fmt::Debug for #ident {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(#name)#(#shown)*.finish()
            }
        }
    })
}
