//! Writes the query of a method as one typed value.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};

use super::document::Diagnostic;
use super::envelope::{ResultShape, query_parameters};
use super::fields::inside_option;
use super::ids;
use super::names::{pascal_case, rust_name, visibility};
use super::signature::Method;

impl Method<'_> {
    /// The query parameters whose values are joined with commas, each with the type of one value.
    pub(crate) fn lists(&self) -> impl Iterator<Item = (syn::Ident, syn::Type)> {
        let parameters = query_parameters(self.document, &self.operation);
        parameters.into_iter().filter(|parameter| parameter["explode"] == false).filter_map(|parameter| {
            let items = &parameter["schema"]["items"];
            let named = items["x-bunq-enum"].as_str().or(ids::kind_of(self.document, items));
            let ty = match (named, items["type"].as_str()) {
                (Some(name), _) => {
                    let name = format_ident!("{name}");
                    syn::parse_quote!(crate::types::#name)
                }
                (None, Some("integer")) => syn::parse_quote!(i64),
                _ => syn::parse_quote!(::std::string::String),
            };
            Some((format_ident!("{}", rust_name(parameter["name"].as_str()?)), ty))
        })
    }

    pub(crate) fn is_cursor(&self, argument: &syn::Ident) -> bool {
        matches!(self.envelope.shape, ResultShape::Page(_)) && (argument == "older_id" || argument == "newer_id")
    }

    /// The expression that passes a query parameter to the generated client.
    pub(crate) fn passed(&self, argument: &syn::Ident, ty: &syn::Type) -> TokenStream {
        if self.is_cursor(argument) {
            return quote!(query.cursor.and_then(crate::types::Cursor::#argument));
        }
        if self.lists().any(|(name, _)| name == *argument) {
            return quote!(joined(query.#argument.iter().map(|value| value.to_string())).as_deref());
        }
        match inside_option(ty).map(|ty| ty.to_token_stream().to_string()).as_deref() {
            Some("i64" | "bool") => quote!(query.#argument),
            Some(":: std :: string :: String") => quote!(query.#argument.as_deref()),
            _ => quote!(query.#argument.as_ref()),
        }
    }

    /// Writes the type of the query, if there is one, and returns its name.
    pub(crate) fn query(&self, types: &mut Vec<syn::Item>) -> Result<Option<syn::Ident>, Diagnostic> {
        let lists: Vec<_> = self.lists().collect();
        if query_parameters(self.document, &self.operation).is_empty() {
            return Ok(None);
        }
        let name = format_ident!("{}Query", pascal_case(self.operation.id));
        let (mut fields, mut setters) = (Vec::new(), Vec::new());
        for (argument, ty) in &self.arguments {
            let parameter = self.parameter(argument).filter(|parameter| parameter["in"] == "query");
            let Some(parameter) = parameter.filter(|_| !self.is_cursor(argument)) else { continue };
            let doc = format!(" {}", parameter["description"].as_str().unwrap_or_default().trim_end());
            if let Some((_, ty)) = lists.iter().find(|(list, _)| list == argument) {
                fields.push(quote!(#[doc = #doc] pub #argument: ::std::vec::Vec<#ty>));
                setters.push(quote! {
                    #[doc = #doc]
                    pub fn #argument(mut self, #argument: impl ::std::iter::IntoIterator<Item = #ty>) -> Self {
                        self.#argument = #argument.into_iter().collect();
                        self
                    }
                });
                continue;
            }
            let Some(ty) = inside_option(ty) else {
                return Err(self.operation.diagnostic(format_args!(
                    "its query parameter `{argument}` is required: a required parameter belongs into the path"
                )));
            };
            fields.push(quote!(#[doc = #doc] pub #argument: ::std::option::Option<#ty>));
            setters.push(quote! {
                #[doc = #doc]
                pub fn #argument(mut self, #argument: #ty) -> Self {
                    self.#argument = Some(#argument);
                    self
                }
            });
        }
        if matches!(self.envelope.shape, ResultShape::Page(_)) {
            let doc = " Where the page begins; the newest page if it is not set.";
            fields.push(quote!(#[doc = #doc] pub cursor: ::std::option::Option<crate::types::Cursor>));
            setters.push(quote! {
                #[doc = #doc]
                pub fn cursor(mut self, cursor: crate::types::Cursor) -> Self {
                    self.cursor = Some(cursor);
                    self
                }
            });
        }
        let visibility = visibility(!self.policy.managed);
        let doc = format!(" The query of `{}`.", self.operation.id);
        types.push(syn::parse_quote! {
            #[doc = #doc]
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            #[non_exhaustive]
            #[must_use = "a query asks nothing by itself"]
            #visibility struct #name { #(#fields),* }
        });
        types.push(syn::parse_quote!(impl #name { #(#setters)* }));
        Ok(Some(name))
    }
}
