//! Writes the checked texts, and the JSON Schema of the types of plain values.
//!
//! A string schema with a pattern or bounds becomes a type that no invalid text can be converted to. The pattern and
//! the bounds are checked as JSON Schema defines them; `x-bunq-visible` excludes what no pattern reaches, and `x-bunq-rule` states all of
//! it in words, for errors.

use std::collections::BTreeSet;

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};
use serde_json::{Map, Value};

use super::direction::Directions;
use super::document::{Diagnostic, Document, members};
use super::names::{snake_case, visibility};
use super::patterns::{self, Table};
use super::replacements::{REPLACEMENTS, REQUEST_SECRET, RESPONSE_SECRET, is_replaced};

/// The keywords of a plain value that go into its JSON Schema.
const KEYWORDS: [&str; 8] =
    ["type", "format", "pattern", "minLength", "maxLength", "minimum", "maximum", "description"];

/// The schemas that become checked texts.
pub(crate) fn checked(document: &Document) -> impl Iterator<Item = (&str, &Value)> {
    let is_bounded =
        |schema: &Value| ["pattern", "minLength", "maxLength"].iter().any(|name| schema.get(name).is_some());
    document
        .schemas()
        .filter(move |(name, schema)| schema["type"] == "string" && is_bounded(schema) && !is_replaced(name))
}

pub(crate) fn generate(document: &Document, public: &BTreeSet<String>) -> Result<Vec<syn::Item>, Diagnostic> {
    let mut items = Vec::new();
    let directions = Directions::of(&document.root);
    for (name, schema) in checked(document) {
        let pattern = pattern(schema).map_err(|problem| Diagnostic::of_schema(name, problem))?;
        let rule = rule(schema, &field_of(document, name), pattern);
        let goes_both_ways = directions.of_component("schemas", name).is_both();
        items.extend(parsed(name, text(name, schema, &rule, public.contains(name), goes_both_ways))?);
        items.extend(parsed(name, json_schema(name, schema))?);
    }
    for (name, path) in REPLACEMENTS {
        let schema = &document.root["components"]["schemas"][name];
        if path.starts_with("crate::") && !schema.is_null() {
            items.extend(parsed(name, json_schema(name, schema))?);
        }
    }
    for (name, _) in [REQUEST_SECRET, RESPONSE_SECRET] {
        let schema = serde_json::json!({"type": "string", "format": "password"});
        items.extend(parsed(name, json_schema(name, &schema))?);
    }
    Ok(items)
}

fn parsed(name: &str, code: TokenStream) -> Result<Vec<syn::Item>, Diagnostic> {
    let file: syn::File = syn::parse2(code).map_err(|error| Diagnostic::of_schema(name, error))?;
    Ok(file.items)
}

/// The JSON Schema of the type of a plain value.
pub(crate) fn json_schema(name: &str, schema: &Value) -> TokenStream {
    let kept = members(schema).filter(|(name, _)| KEYWORDS.contains(name));
    let schema = Value::Object(kept.map(|(name, value)| (name.to_owned(), value.clone())).collect::<Map<_, _>>());
    let (ident, schema) = (format_ident!("{name}"), schema.to_string());
    let schema: TokenStream = schema.parse().unwrap_or_default();
    quote! {
        #[cfg(feature = "schemars")]
        impl ::schemars::JsonSchema for crate::types::#ident {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                #name.into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!(#schema)
            }
        }
    }
}

/// The name of a value of the schema in errors: the name of its property if it has exactly one, otherwise its own.
fn field_of(document: &Document, name: &str) -> String {
    let target = format!("#/components/schemas/{name}");
    let refers = |property: &Value| {
        let alternatives = ["allOf", "anyOf"].iter().filter_map(|keyword| property[keyword].as_array()).flatten();
        alternatives.chain([property]).any(|schema| schema["$ref"] == target.as_str())
    };
    let properties = document.schemas().flat_map(|(_, schema)| members(&schema["properties"]));
    let names: BTreeSet<_> = properties.filter(|(_, property)| refers(property)).map(|(name, _)| name).collect();
    match names.iter().next() {
        Some(only) if names.len() == 1 => (*only).to_owned(),
        _ => snake_case(name),
    }
}

/// The table of a schema's pattern, if it has one, or what is wrong with it.
pub(crate) fn pattern(schema: &Value) -> Result<Option<Table>, String> {
    let pattern = schema["pattern"].as_str().map(patterns::translate).transpose();
    pattern.map_err(|problem| format!("its pattern {problem}"))
}

/// The rule of a text. `field` is its name in errors.
fn rule(schema: &Value, field: &str, pattern: Option<Table>) -> TokenStream {
    let words = schema["x-bunq-rule"].as_str().unwrap_or_default();
    let bound = |keyword: &str| schema[keyword].as_u64().map(Literal::u64_unsuffixed);
    let least = bound("minLength").unwrap_or_else(|| Literal::u64_unsuffixed(0));
    let most = bound("maxLength").map_or_else(|| quote!(usize::MAX), |most| quote!(#most));
    let pattern = pattern.map_or_else(
        || quote!(None),
        |Table { ranges, states }| {
            let unsuffixed = |number: &usize| Literal::usize_unsuffixed(*number);
            let ranges = ranges.iter().map(|(first, class)| {
                let class = unsuffixed(class);
                quote!((#first, #class))
            });
            let states = states.iter().map(|(may_end, after)| {
                let after = after.iter().map(unsuffixed);
                quote!((#may_end, &[#(#after),*]))
            });
            quote! {
                Some(crate::types::Pattern { ranges: &[#(#ranges),*], states: &[#(#states),*] })
            }
        },
    );
    let is_visible = schema["x-bunq-visible"] == true;
    quote! {
        crate::types::TextRule {
            field: #field, words: #words, lengths: #least..=#most, pattern: #pattern, is_visible: #is_visible
        }
    }
}

/// A text that goes both ways is checked when a caller makes it, and not when it is read: bunq may send one that breaks the rule.
fn text(name: &str, schema: &Value, rule: &TokenStream, is_public: bool, goes_both_ways: bool) -> TokenStream {
    let ident = format_ident!("{name}");
    let visibility = visibility(is_public);
    let description = format!(" {}", schema["description"].as_str().unwrap_or_default().trim_end());
    let hidden = if schema["x-bunq-personal"] == true {
        let shown = format!("{name}(..)");
        Some((" Its `Debug` does not show it.", quote!(f.write_str(#shown))))
    } else if schema["x-bunq-secret-path"] == true {
        let shown = quote!(f.debug_tuple(#name).field(&crate::text::url_without_path(&self.0)).finish());
        Some((" Its `Debug` shows the origin alone.", shown))
    } else {
        None
    };
    let (derived, hidden_doc, debug) = match hidden {
        None => (quote!(#[derive(Debug)]), quote!(), quote!()),
        Some((doc, shown)) => {
            let debug = quote! {
                impl ::std::fmt::Debug for #ident {
                    fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                        #shown
                    }
                }
            };
            (quote!(), quote!(#[doc = ""] #[doc = #doc]), debug)
        }
    };
    let (read, reading_doc) = if goes_both_ways {
        let doc =
            " The rule is checked when a text is converted into this type. What bunq sends is read without the check.";
        (quote!(::std::string::String::deserialize(deserializer).map(Self)), quote!(#[doc = ""] #[doc = #doc]))
    } else {
        (quote!(crate::types::checked_text(deserializer)), quote!())
    };
    quote! {
        #[doc = #description]
        #hidden_doc
        #reading_doc
        #derived
        #[derive(Clone, PartialEq, Eq, Hash, ::serde::Serialize)]
        #[serde(into = "String")]
        #visibility struct #ident(pub(crate) String);

        #debug

        impl #ident {
            pub(crate) const RULE: crate::types::TextRule = #rule;

            /// The text itself.
            #visibility fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl ::std::convert::TryFrom<String> for #ident {
            type Error = crate::types::InvalidValue;

            fn try_from(text: String) -> ::std::result::Result<Self, Self::Error> {
                Self::RULE.check(text).map(Self)
            }
        }

        impl<'de> ::serde::Deserialize<'de> for #ident {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                #read
            }
        }

        impl ::std::str::FromStr for #ident {
            type Err = crate::types::InvalidValue;

            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                text.to_owned().try_into()
            }
        }

        impl ::std::convert::From<#ident> for String {
            fn from(text: #ident) -> Self {
                text.0
            }
        }
    }
}
