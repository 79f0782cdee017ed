//! One operation on its way to become a method: what its signature in progenitor's output says.

use quote::format_ident;
use serde_json::Value;
use syn::visit_mut::{self, VisitMut};

use super::bytes;
use super::client::Generated;
use super::document::{Document, Operation};
use super::envelope::{Envelope, given_parameters};
use super::fields::first_argument;
use super::ids;
use super::names::rust_name;
use super::policy::Policy;
use super::users::PathUser;

/// One operation on its way to become a method.
pub(crate) struct Method<'a> {
    pub(crate) document: &'a Document,
    pub(crate) output: &'a Generated,
    pub(crate) operation: Operation<'a>,
    pub(crate) policy: Policy,
    pub(crate) envelope: Envelope,
    pub(crate) arguments: Vec<(syn::Ident, syn::Type)>,
    /// What a success response is decoded as.
    pub(crate) response: syn::Type,
}

impl Method<'_> {
    /// The parameter of the path or the query that an argument is; none if it is the body.
    pub(crate) fn parameter(&self, argument: &syn::Ident) -> Option<&Value> {
        given_parameters(self.document, &self.operation)
            .find(|parameter| argument == &rust_name(parameter["name"].as_str().unwrap_or_default()))
    }

    pub(crate) fn is_in_path(&self, argument: &syn::Ident) -> bool {
        self.parameter(argument).is_some_and(|parameter| parameter["in"] == "path")
    }

    /// The type of the content type of a body that is bytes.
    pub(crate) fn content_type(&self) -> Option<syn::Type> {
        let name = bytes::name_in(&self.operation).filter(|_| bytes::are_sent(self.document, &self.operation))?;
        let name = quote::format_ident!("{name}");
        Some(syn::parse_quote!(crate::types::#name))
    }

    /// The type in which a caller gives a parameter of the path. `None` if the client fills it in.
    pub(crate) fn given_in_path(&self, argument: &syn::Ident, ty: &syn::Type) -> Option<syn::Type> {
        let parameter = self.parameter(argument)?;
        match PathUser::of(parameter) {
            None => Some(ty.clone()),
            Some(PathUser::Session) => None,
            Some(PathUser::Chosen) => {
                let kind = format_ident!("{}", ids::kind_of(self.document, &parameter["schema"])?);
                Some(syn::parse_quote!(::std::option::Option<crate::types::#kind>))
            }
        }
    }

    /// Whether an argument is the user in the path.
    pub(crate) fn is_users(&self, argument: &syn::Ident) -> bool {
        self.parameter(argument).is_some_and(|parameter| PathUser::of(parameter).is_some())
    }

    /// The type of the body, by its name in `crate::types`.
    pub(crate) fn body_type(&self) -> Option<&syn::Ident> {
        let body = self.arguments.iter().find(|(argument, _)| self.parameter(argument).is_none());
        body.and_then(|(_, ty)| last_name(ty))
    }
}

pub(crate) fn signature(output: &Generated, id: &str) -> Option<syn::Signature> {
    let blocks = output.client.iter().filter_map(|item| match item {
        syn::Item::Impl(item) if item.trait_.is_none() => Some(&item.items),
        _ => None,
    });
    blocks.flatten().find_map(|item| match item {
        syn::ImplItem::Fn(method) if method.sig.ident == id => Some(method.sig.clone()),
        _ => None,
    })
}

/// The arguments of a method but its receiver, as owned types of the crate.
pub(crate) fn arguments(signature: &syn::Signature) -> Vec<(syn::Ident, syn::Type)> {
    let typed = signature.inputs.iter().filter_map(|input| match input {
        syn::FnArg::Typed(typed) => Some(typed),
        syn::FnArg::Receiver(_) => None,
    });
    let named = typed.filter_map(|typed| match &*typed.pat {
        syn::Pat::Ident(name) => Some((name.ident.clone(), (*typed.ty).clone())),
        _ => None,
    });
    named
        .map(|(name, mut ty)| {
            Owned.visit_type_mut(&mut ty);
            (name, ty)
        })
        .collect()
}

/// The last name of a path, as `T` of `crate::types::T`.
pub(crate) fn last_name(ty: &syn::Type) -> Option<&syn::Ident> {
    let syn::Type::Path(path) = ty else { return None };
    path.path.segments.last().map(|last| &last.ident)
}

/// The `T` of the `ResponseValue<T>` that a method of the generator returns, as a type of the crate.
pub(crate) fn response(signature: &syn::Signature) -> Option<syn::Type> {
    let syn::ReturnType::Type(_, output) = &signature.output else { return None };
    let mut response = first_argument(first_argument(output, "Result")?, "ResponseValue")?.clone();
    Owned.visit_type_mut(&mut response);
    Some(response)
}

/// Makes `&'a T` a `T`, `str` a `String`, and `types::T` a `crate::types::T`.
struct Owned;

impl VisitMut for Owned {
    fn visit_type_mut(&mut self, ty: &mut syn::Type) {
        if let syn::Type::Reference(reference) = ty {
            *ty = (*reference.elem).clone();
        }
        visit_mut::visit_type_mut(self, ty);
    }

    fn visit_path_mut(&mut self, path: &mut syn::Path) {
        visit_mut::visit_path_mut(self, path);
        if path.is_ident("str") {
            *path = syn::parse_quote!(::std::string::String);
        } else if path.segments.first().is_some_and(|first| first.ident == "types") {
            *path = syn::parse_quote!(crate::#path);
        }
    }
}
