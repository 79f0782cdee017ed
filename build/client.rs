//! Writes the client and its data types with progenitor.
//!
//! The document is written for every language; here it is lowered to what progenitor can do. What it cannot do
//! is done in the crate: the headers, the signatures and the joining of lists in a query.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proc_macro2::{Literal, TokenStream};
use progenitor::{GenerationSettings, Generator, HooksMode, TypeImpl};
use quote::{ToTokens, quote};
use serde_json::{Map, Value, json};
use syn::visit_mut::{self, VisitMut};

use super::by_hand::BY_HAND;
use super::document::{Document, Fault, for_each_object, lower_nullable, members, reference};
use super::enums;

pub(crate) fn generate(document: &Document) -> Result<TokenStream, Fault> {
    let lowered = lower(document.root.clone());
    let code = attempt(document, &lowered).map_err(|problem| culprit(document, &lowered, problem))?;
    let mut file: syn::File = syn::parse2(code).map_err(|error| Fault::new("generated client", error))?;
    Tidy { document }.visit_file_mut(&mut file);
    let types = file.items.iter_mut().find_map(|item| match item {
        syn::Item::Mod(module) if module.ident == "types" => module.content.as_mut(),
        _ => None,
    });
    let (_, items) = types.ok_or_else(|| Fault::new("generated client", "it has no module `types`"))?;
    for item in items.iter_mut() {
        let (syn::Item::Struct(syn::ItemStruct { attrs, .. }) | syn::Item::Enum(syn::ItemEnum { attrs, .. })) = item
        else {
            continue;
        };
        attrs.insert(0, syn::parse_quote!(#[cfg_attr(feature = "schemars", derive(::schemars::JsonSchema))]));
        attrs.insert(0, syn::parse_quote!(#[non_exhaustive]));
    }
    items.extend(enums::generate(document)?);
    for (_, rust) in BY_HAND {
        let path: syn::Path = syn::parse_str(rust).map_err(|error| Fault::new(rust, error))?;
        items.push(syn::parse_quote!(pub use #path;));
    }
    Ok(file.into_token_stream())
}

/// Says the document in the part of OpenAPI that the generator understands.
fn lower(mut root: Value) -> Value {
    for_each_object(&mut root, &mut |object| {
        // Secrets have a type of their own.
        if object.get("type") == Some(&json!("string")) && object.get("format") == Some(&json!("password")) {
            let nullable = object.get("nullable").cloned().unwrap_or(json!(false));
            object.retain(|name, _| name == "description");
            object.insert("nullable".into(), nullable);
            object.insert("allOf".into(), json!([{"$ref": "#/components/schemas/Secret"}]));
        }
        // The generator knows no schema of null alone.
        lower_nullable(object);
        // A list that is null is one that is not there: see `Tidy`.
        if object.get("type") == Some(&json!("array")) {
            object.remove("nullable");
        }
        // Where a list goes into one query parameter, it is joined before it comes to the generated client.
        if object.get("explode") == Some(&json!(false)) {
            object.insert("schema".into(), json!({"type": "string"}));
        }
    });
    root["components"]["schemas"]["Secret"] = json!({"type": "string"});

    // The pipeline puts the headers on, so that no caller can forget or forge one.
    let headers: BTreeSet<String> = members(&root["components"]["parameters"])
        .filter(|(_, parameter)| parameter["in"] == "header")
        .map(|(name, _)| format!("/components/parameters/{name}"))
        .collect();
    for_each_object(&mut root["paths"], &mut |object| {
        if let Some(Value::Array(parameters)) = object.get_mut("parameters") {
            parameters.retain(|parameter| {
                parameter["in"] != "header" && !reference(parameter).is_some_and(|name| headers.contains(name))
            });
        }
    });
    root
}

fn attempt(document: &Document, lowered: &Value) -> Result<TokenStream, String> {
    let api: openapiv3::OpenAPI = serde_json::from_value(lowered.clone()).map_err(|error| error.to_string())?;
    let settings = settings(document);
    catch_unwind(AssertUnwindSafe(|| Generator::new(&settings).generate_tokens(&api)))
        .map_err(|panic| format!("the generator cannot do it: {}", words(&*panic)))?
        .map_err(|error| error.to_string())
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why")
}

fn settings(document: &Document) -> GenerationSettings {
    let mut settings = GenerationSettings::new();
    settings
        .with_hooks(HooksMode::Expected)
        .with_inner_type(quote!(::std::sync::Arc<crate::pipeline::Call>))
        .with_derive("PartialEq")
        .with_derive("Eq");
    for (schema, rust) in BY_HAND {
        settings.with_replacement(schema, rust, std::iter::empty::<TypeImpl>());
    }
    let enums: BTreeSet<_> = enums::names(document).collect();
    for name in &enums {
        settings.with_replacement(name, format!("crate::api::types::{name}"), [TypeImpl::Display].into_iter());
    }
    settings
}

/// Finds out which schema or operation the generator stumbles over, by trying each with no more than it needs.
fn culprit(document: &Document, lowered: &Value, problem: String) -> Fault {
    let with = |schemas: Map<String, Value>, paths: Value| {
        let mut part = lowered.clone();
        part["components"]["schemas"] = Value::Object(schemas);
        part["paths"] = paths;
        attempt(document, &part)
    };

    if let Err(problem) = with(Map::new(), json!({})) {
        return Fault::new("document", problem);
    }
    let mut closures: Vec<_> = members(&lowered["components"]["schemas"])
        .map(|(name, _)| {
            let mut names = BTreeSet::new();
            collect_schemas(lowered, name, &mut names);
            (names, name)
        })
        .collect();
    closures.sort_by_key(|(names, _)| names.len());
    for (names, name) in closures {
        let schemas = &lowered["components"]["schemas"];
        let part = names.iter().map(|name| (name.clone(), schemas[name].clone())).collect();
        if let Err(problem) = with(part, json!({})) {
            return Fault::of_schema(name, problem);
        }
    }

    let all = lowered["components"]["schemas"].as_object().cloned().unwrap_or_default();
    for operation in document.operations() {
        let item = &lowered["paths"][operation.path];
        let mut part = json!({operation.method: item[operation.method]});
        if let Some(parameters) = item.get("parameters") {
            part["parameters"] = parameters.clone();
        }
        if let Err(problem) = with(all.clone(), json!({operation.path: part})) {
            return operation.fault(problem);
        }
    }
    Fault::new("document", problem)
}

/// Adds `name` and every schema that it leads to.
fn collect_schemas(root: &Value, name: &str, names: &mut BTreeSet<String>) {
    if names.insert(name.to_string()) {
        for_each_object(&mut root["components"]["schemas"][name].clone(), &mut |object| {
            let target = object.get("$ref").and_then(Value::as_str).and_then(|target| target.rsplit('/').next());
            if let Some(target) = target {
                collect_schemas(root, target, names);
            }
        });
    }
}

/// Takes from the generated code what a reader would stumble over, and what would stumble over bunq: a member that
/// is always there may one day be missing, and a list may be null.
struct Tidy<'a> {
    document: &'a Document,
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

    fn visit_item_impl_mut(&mut self, item: &mut syn::ItemImpl) {
        // A constructor that panics, and that nobody needs.
        item.items.retain(|item| !matches!(item, syn::ImplItem::Fn(method) if method.sig.ident == "new"));
        visit_mut::visit_item_impl_mut(self, item);
    }

    fn visit_item_struct_mut(&mut self, item: &mut syn::ItemStruct) {
        // The generator passes over how many items a list must have.
        let properties = &self.document.root["components"]["schemas"][item.ident.to_string()]["properties"];
        for field in &mut item.fields {
            let property = field.ident.as_ref().map(|name| &properties[name.to_string()]);
            // A list that must be there and may be null.
            if property.is_some_and(|property| property["type"] == "array" && property["nullable"] == true)
                && !field.attrs.iter().any(|attribute| says(attribute, "default"))
            {
                field.attrs.push(syn::parse_quote!(#[serde(default)]));
            }
            if let Some(least) = property.and_then(|property| property["minItems"].as_u64()) {
                let least = Literal::u64_unsuffixed(least);
                field.attrs.push(syn::parse_quote!(#[cfg_attr(feature = "schemars", schemars(length(min = #least)))]));
            }
        }
        visit_mut::visit_item_struct_mut(self, item);
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
        } else if is("Vec") && field.attrs.iter().any(|attribute| says(attribute, "default")) {
            field.attrs.push(syn::parse_quote!(#[serde(deserialize_with = "crate::api::null_as_empty")]));
            let read = format!("::std::option::Option<{}>", field.ty.to_token_stream());
            field.attrs.push(syn::parse_quote!(#[cfg_attr(feature = "schemars", schemars(with = #read))]));
        }
        visit_mut::visit_field_mut(self, field);
    }
}

/// Whether an attribute is serde's and says `what`.
fn says(attribute: &syn::Attribute, what: &str) -> bool {
    attribute.path().is_ident("serde") && attribute.to_token_stream().to_string().contains(what)
}
