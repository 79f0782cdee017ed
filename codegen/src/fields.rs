//! Reads and changes the attributes and types of generated structs and their fields.

use quote::ToTokens as _;
use syn::punctuated::Punctuated;

/// Takes a trait out of those that a type derives.
pub(crate) fn forget_derived(item: &mut syn::ItemStruct, name: &str) {
    for attribute in item.attrs.iter_mut().filter(|attribute| attribute.path().is_ident("derive")) {
        let derived = attribute.parse_args_with(Punctuated::<syn::Path, syn::Token![,]>::parse_terminated);
        let kept =
            derived.into_iter().flatten().filter(|path| path.segments.last().is_none_or(|last| last.ident != name));
        let kept = kept.map(|path| path.to_token_stream());
        *attribute = syn::parse_quote!(#[derive(#(#kept),*)]);
    }
}

/// The name of a member in JSON.
pub(crate) fn wire_name(field: &syn::Field) -> Option<String> {
    let mut name = field.ident.as_ref()?.to_string();
    for attribute in field.attrs.iter().filter(|attribute| says(attribute, "rename")) {
        // What else the attribute says may have no value.
        let _ = attribute.parse_nested_meta(|meta| {
            let value = meta.value().and_then(|value| value.parse::<syn::LitStr>());
            if let (true, Ok(renamed)) = (meta.path.is_ident("rename"), value) {
                name = renamed.value();
            }
            Ok(())
        });
    }
    Some(name)
}

/// Whether an attribute is serde's and says `what`.
pub(crate) fn says(attribute: &syn::Attribute, what: &str) -> bool {
    attribute.path().is_ident("serde") && attribute.to_token_stream().to_string().contains(what)
}

/// The `T` of an `Option<T>`.
pub(crate) fn inside_option(ty: &syn::Type) -> Option<&syn::Type> {
    first_argument(ty, "Option")
}

/// The `T` of a `name<T, …>`.
pub(crate) fn first_argument<'a>(ty: &'a syn::Type, name: &str) -> Option<&'a syn::Type> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == name)?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}
