//! Writes the enums: open ones (`x-extensible-enum`) for responses and for what goes both ways, closed ones (`enum`) for requests.
//!
//! An open enum keeps a value that the document does not know, so that a value that bunq adds breaks no caller. The
//! generator's own enums cannot do that.

use std::collections::BTreeSet;

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use serde_json::Value;

use super::document::{Diagnostic, Document};
use super::names::{pascal_case, visibility};

/// The schemas whose types this module writes instead of the generator.
pub(crate) fn names(document: &Document) -> impl Iterator<Item = &str> {
    document.schemas().filter(|(_, schema)| values(schema).is_some()).map(|(name, _)| name)
}

pub(crate) fn generate(document: &Document, public: &BTreeSet<String>) -> Result<Vec<syn::Item>, Diagnostic> {
    let mut items = Vec::new();
    for (name, schema) in document.schemas() {
        let Some((values, open)) = values(schema) else { continue };
        let diagnostic = |problem: String| Diagnostic::of_schema(name, problem);
        let variants = variants(schema, values).map_err(diagnostic)?;
        let description = schema["description"].as_str().ok_or_else(|| diagnostic("describe it".into()))?;
        let code = write(&format_ident!("{name}"), description, &variants, open, public.contains(name));
        let file: syn::File = syn::parse2(code).map_err(|error| diagnostic(error.to_string()))?;
        items.extend(file.items);
    }
    Ok(items)
}

fn values(schema: &Value) -> Option<(&Vec<Value>, bool)> {
    let open = schema.get("x-extensible-enum").and_then(Value::as_array).map(|values| (values, true));
    open.or_else(|| schema.get("enum").and_then(Value::as_array).map(|values| (values, false)))
}

struct Variant<'a> {
    ident: Ident,
    value: &'a str,
    description: &'a str,
}

fn variants<'a>(schema: &'a Value, values: &'a [Value]) -> Result<Vec<Variant<'a>>, String> {
    values
        .iter()
        .filter_map(Value::as_str)
        .map(|value| {
            let ident = format_ident!("{}", pascal_case(value));
            let description = schema["x-enum-descriptions"][value]
                .as_str()
                .ok_or_else(|| format!("describe the value `{value}` under x-enum-descriptions"))?;
            Ok(Variant { ident, value, description })
        })
        .collect()
}

fn write(name: &Ident, description: &str, variants: &[Variant<'_>], open: bool, is_public: bool) -> TokenStream {
    let visibility = visibility(is_public);
    let idents: Vec<_> = variants.iter().map(|variant| &variant.ident).collect();
    let values: Vec<_> = variants.iter().map(|variant| variant.value).collect();
    let docs = variants.iter().map(|variant| variant.description);

    let (attributes, unknown, unknown_text, unknown_debug, closed, other) = if open {
        (
            quote!(#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)] #[non_exhaustive]),
            quote! {
                /// A value that the document does not know yet, as bunq sent it.
                Unknown(::std::string::String),
            },
            quote!(Self::Unknown(value) => value,),
            quote!(Self::Unknown(value) => f.debug_tuple("Unknown").field(value).finish(),),
            quote!(),
            quote!({
                crate::types::note_unknown(stringify!(#name), &value);
                Ok(Self::Unknown(value))
            }),
        )
    } else {
        (
            quote!(#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)] #[non_exhaustive]),
            quote!(),
            quote!(),
            quote!(),
            quote!("enum": [#(#values),*]),
            quote!(Err(::serde::de::Error::unknown_variant(&value, &[#(#values),*]))),
        )
    };

    quote! {
        #[doc = #description]
        #attributes
        #visibility enum #name {
            #(#[doc = #docs] #idents,)*
            #unknown
        }

        impl #name {
            /// The values that the document knows.
            #visibility const KNOWN: &'static [Self] = &[#(Self::#idents),*];

            /// The value as it goes over the wire.
            #visibility fn as_str(&self) -> &str {
                match self {
                    #(Self::#idents => #values,)*
                    #unknown_text
                }
            }
        }

        // As it goes over the wire: in an `Option`, the name of a variant would read as `Some(None)`.
        impl ::std::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                match self {
                    #(Self::#idents => f.write_str(#values),)*
                    #unknown_debug
                }
            }
        }

        impl ::std::fmt::Display for #name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        #[cfg(feature = "schemars")]
        impl ::schemars::JsonSchema for #name {
            fn schema_name() -> ::std::borrow::Cow<'static, str> {
                stringify!(#name).into()
            }

            fn json_schema(_: &mut ::schemars::SchemaGenerator) -> ::schemars::Schema {
                ::schemars::json_schema!({"type": "string", "description": #description, #closed})
            }
        }

        impl ::serde::Serialize for #name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> ::std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for #name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> ::std::result::Result<Self, D::Error> {
                let value = ::std::string::String::deserialize(deserializer)?;
                match value.as_str() {
                    #(#values => Ok(Self::#idents),)*
                    _ => #other,
                }
            }
        }
    }
}
