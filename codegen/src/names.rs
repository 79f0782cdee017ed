//! Turns names of the document into names in Rust.

use heck::{ToPascalCase as _, ToSnakeCase as _};
use proc_macro2::Ident;
use quote::format_ident;

/// Turns `get_provision`, `no-cache`, `image/png` or `PENDING_FIRST_USE` into `GetProvision`, `NoCache`, `ImagePng` or
/// `PendingFirstUse`.
pub(crate) fn pascal_case(name: &str) -> String {
    let capitalized = |word: &str| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + &rest.to_lowercase()
    };
    name.split(['_', '-', '/']).map(capitalized).collect()
}

/// The name in Rust of a parameter or a member, which progenitor and typify write in the same way.
pub(crate) fn rust_name(name: &str) -> String {
    as_identifier(in_words(name).to_snake_case())
}

/// The same in PascalCase, for a variant.
pub(crate) fn rust_variant(name: &str) -> String {
    as_identifier(in_words(name).to_pascal_case())
}

fn in_words(name: &str) -> String {
    name.replace('\'', "").replace(|c: char| !(c.is_alphanumeric() || c == '_'), "-")
}

/// Makes a keyword, and a name that begins with a digit, an identifier.
fn as_identifier(mut name: String) -> String {
    if !name.starts_with(char::is_alphabetic) {
        name.insert(0, '_');
    }
    // Of edition 2024.
    if name == "gen" || syn::parse_str::<Ident>(&name).is_err() {
        name.push('_');
    }
    name
}

/// Turns `EmailAddress` into `email_address`.
pub(crate) fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// The name of the constant of an operation.
pub(crate) fn constant(operation_id: &str) -> Ident {
    format_ident!("{}", operation_id.to_uppercase())
}

/// The visibility of a type, and of its methods.
pub(crate) fn visibility(is_public: bool) -> syn::Visibility {
    if is_public { syn::parse_quote!(pub) } else { syn::parse_quote!(pub(crate)) }
}
