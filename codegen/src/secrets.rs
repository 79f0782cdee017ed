//! Writes the names of the members that are secrets.

use std::collections::BTreeSet;

use proc_macro2::TokenStream;
use quote::quote;

use super::document::Document;

pub(crate) fn generate(document: &Document) -> TokenStream {
    let mut names = BTreeSet::new();
    for (_, schema) in document.schemas() {
        let properties = schema["properties"].as_object().into_iter().flatten();
        let secret = properties.filter(|(_, schema)| schema["format"] == "password");
        names.extend(secret.map(|(name, _)| name));
    }
    quote! {
        /// The names of the members that are secrets, in any object.
        pub(crate) const SECRET_MEMBERS: &[&str] = &[#(#names),*];
    }
}
