//! The headers that a caller gives. The transport sets all others, so that no caller can forget or forge one.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use serde_json::Value;

use super::document::{Document, Operation, reference};
use super::envelope::{name_of, parameters};
use super::names::rust_name;
use super::texts;

/// The headers that the transport adds to requests.
const OF_TRANSPORT: [&str; 8] = [
    "Cache-Control",
    "User-Agent",
    "X-Bunq-Client-Authentication",
    "X-Bunq-Client-Request-Id",
    "X-Bunq-Client-Signature",
    "X-Bunq-Geolocation",
    "X-Bunq-Language",
    "X-Bunq-Region",
];

/// The headers that OpenAPI ignores as parameters.
const IGNORED: [&str; 3] = ["Accept", "Authorization", "Content-Type"];

/// Whether the transport adds a header of this name to requests.
pub fn is_of_transport(name: &str) -> bool {
    is_one_of(&OF_TRANSPORT, name)
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|other| other.eq_ignore_ascii_case(name))
}

/// A header that a caller gives.
pub(crate) struct Header<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameter: &'a Value,
}

impl<'a> Header<'a> {
    /// The argument of the method.
    pub(crate) fn argument(&self) -> String {
        let name = ["X-Bunq-", "X-"].iter().find_map(|prefix| self.name.strip_prefix(prefix));
        rust_name(name.unwrap_or(self.name))
    }

    /// The schema of its text, by its name.
    pub(crate) fn text(&self) -> Option<&'a str> {
        reference(&self.parameter["schema"]).map(name_of)
    }

    /// The type of its text.
    pub(crate) fn ty(&self) -> TokenStream {
        let name = format_ident!("{}", self.text().unwrap_or_default());
        quote!(crate::types::#name)
    }
}

/// The headers of an operation that a caller gives.
pub(crate) fn given<'a>(document: &'a Document, operation: &Operation<'a>) -> impl Iterator<Item = Header<'a>> {
    let headers = parameters(document, operation).filter(|parameter| parameter["in"] == "header");
    headers.filter_map(|parameter| {
        let name = parameter["name"].as_str()?;
        (!is_of_transport(name)).then_some(Header { name, parameter })
    })
}

/// What is wrong with the headers of an operation.
pub(crate) fn problem(document: &Document, operation: &Operation<'_>) -> Option<String> {
    given(document, operation).find_map(|header| {
        let name = header.name;
        if is_one_of(&IGNORED, name) {
            return Some(format!("OpenAPI ignores a header parameter called `{name}`: remove it"));
        }
        if header.parameter["required"] == true {
            return Some(format!("its header `{name}` is the caller's, who may leave it out: set `required: false`"));
        }
        let is_checked =
            |text| texts::checked(document).any(|(name, schema)| name == text && schema["pattern"].is_string());
        (!header.text().is_some_and(is_checked)).then(|| {
            format!("its header `{name}` is the caller's: refer to a text with a pattern, which has no line break")
        })
    })
}

/// The function that checks the headers of a call by name.
pub(crate) fn check(document: &Document) -> TokenStream {
    let arms = document.operations().into_iter().flat_map(|operation| {
        let id = operation.id;
        let headers: Vec<_> = given(document, &operation).collect();
        headers.into_iter().map(move |header| {
            let (name, ty) = (header.name, header.ty());
            quote!((#id, #name) => <#ty as ::std::str::FromStr>::from_str(text).map(drop),)
        })
    });
    let arms: Vec<_> = arms.collect();
    quote! {
        /// Checks the text of a header that a caller gives.
        fn check_header(operation: &Operation, name: &str, text: &str) -> Result<(), crate::types::InvalidValue> {
            match (operation.id, name) {
                #(#arms)*
                _ => Ok(()),
            }
        }
    }
}
