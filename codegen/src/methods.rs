//! Writes one typed method per operation, which has progenitor's client build the request. Path parameters and the body are
//! its arguments, the query is one value, and its result is what `x-bunq-result` says.
//!
//! The signatures are read from progenitor's output, so that each operation is named only in the document.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};

use super::client::Generated;
use super::document::{Diagnostic, Document, Operation};
use super::envelope::{Envelope, ResultShape, bodies};
use super::names::{constant, visibility};
use super::policy::{Policy, SessionOf};
use super::signature::{Method, arguments, last_name, response, signature};
use super::types::accessor;
use super::users::PathUser;
use super::{bounds, calls, headers, provenance, refusals};

/// The methods, and the data types that only they use.
pub(crate) struct Methods {
    pub(crate) code: TokenStream,
    pub(crate) types: Vec<syn::Item>,
    /// The calls for tests.
    pub(crate) calls: TokenStream,
}

pub(crate) fn generate(document: &Document, output: &Generated) -> Result<Methods, Diagnostic> {
    let mut types = accessors(document, output)?;
    let (mut code, mut calls) = (Vec::new(), Vec::new());
    for operation in document.operations() {
        let signature = signature(output, operation.id)
            .ok_or_else(|| operation.diagnostic("the generator makes no method of it"))?;
        let response = response(&signature)
            .ok_or_else(|| operation.diagnostic("the generator's method of it returns no response"))?;
        let policy = Policy::read(&operation)?;
        let envelope = Envelope::read(document, &operation)?;
        let arguments = arguments(&signature);
        let method = Method { document, output, operation, policy, envelope, arguments, response };
        let (written, call) = (method.write(&mut types)?, method.example_call());
        parsed::<syn::ItemImpl>(&method.operation, &quote!(impl Api { #written }))?;
        parsed::<syn::Arm>(&method.operation, &call)?;
        code.push(written);
        calls.push(call);
    }
    let check = headers::check(document);
    Ok(Methods { code: quote!(impl crate::api::Api { #(#code)* } #check), types, calls: calls::generate(&calls) })
}

/// Checks that what is written of an operation is Rust.
fn parsed<T: syn::parse::Parse>(operation: &Operation<'_>, code: &TokenStream) -> Result<(), Diagnostic> {
    let problem =
        |error| operation.diagnostic(format_args!("what is generated of it is not Rust ({error}): rename it"));
    syn::parse2::<T>(code.clone()).map(drop).map_err(problem)
}

impl Method<'_> {
    fn write(&self, types: &mut Vec<syn::Item>) -> Result<TokenStream, Diagnostic> {
        let visibility = visibility(!self.policy.managed);
        let name = format_ident!("{}", self.operation.id);
        let operation = constant(self.operation.id);
        let docs = self.docs();
        let query = self.query(types)?;
        // What the method takes, by value but for the body; what its functions take; what they are given; what the request is built of.
        let (mut parameters, mut borrowed, mut given, mut passed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (argument, ty) in &self.arguments {
            if self.parameter(argument).is_none() {
                parameters.push(quote!(#argument: &#ty));
                borrowed.push(quote!(#argument: &#ty));
                given.push(quote!(#argument));
                passed.push(quote!(#argument));
            } else if self.is_users(argument) {
                let user = self.given_in_path(argument, ty);
                if let Some(ty) = &user {
                    parameters.push(quote!(#argument: #ty));
                    borrowed.push(quote!(#argument: #ty));
                    given.push(quote!(#argument));
                }
                passed.push(match user {
                    Some(_) => quote!(&#argument.map_or_else(|| SESSION_USER.to_owned(), |user| user.to_string())),
                    None => quote!(SESSION_USER),
                });
            } else if self.is_in_path(argument) {
                parameters.push(quote!(#argument: #ty));
                borrowed.push(quote!(#argument: &#ty));
                given.push(quote!(&#argument));
                let is_plain = ty.to_token_stream().to_string() == "i64";
                passed.push(if is_plain { quote!(*#argument) } else { quote!(#argument) });
            } else {
                passed.push(self.passed(argument, ty));
            }
        }
        let (mut asked, mut all_given) = (borrowed.clone(), given.clone());
        let mut request = quote!(requests(api.transport()).#name(#(#passed),*));
        if let Some(bounds) = bounds::of_body(self.document, &self.operation) {
            request = quote!(within_bounds(#request, &#bounds));
        }
        if let Some(content_type) = self.content_type() {
            parameters
                .extend([quote!(content_type: #content_type), quote!(body: impl ::std::convert::Into<::bytes::Bytes>)]);
            asked.extend([quote!(content_type: #content_type), quote!(body: ::bytes::Bytes)]);
            all_given.extend([quote!(content_type), quote!(body.into())]);
            request =
                quote!(with_bytes(#request, api.transport(), &Operation::#operation, content_type.as_str(), body));
        }
        for header in headers::given(self.document, &self.operation) {
            let (argument, ty, name) = (format_ident!("{}", header.argument()), header.ty(), header.name);
            let argument_of = quote!(#argument: ::std::option::Option<&#ty>);
            parameters.push(argument_of.clone());
            asked.push(argument_of);
            all_given.push(quote!(#argument));
            request = quote!(with_header(#request, #name, #argument.map(|text| text.as_str())));
        }
        if let Some(query) = &query {
            parameters.push(quote!(query: crate::types::#query));
            asked.push(quote!(query: crate::types::#query));
            all_given.push(quote!(query));
        }
        // The functions within a method are compiled once, with this crate. Its future is compiled with each program that polls it.
        let exchange = quote! {
            #[inline(never)]
            fn exchange<'a>(api: &'a Api, #(#asked),*) -> BoxFuture<'a, Result<VerifiedResponse, Error>> {
                api.exchange(&Operation::#operation, #request)
            }
            let response = exchange(self, #(#all_given),*).await?;
        };
        let response = &self.response;
        let without_items = match self.envelope.shape {
            ResultShape::Bytes => Some((quote!(ResponseBody), quote!(Ok(Response::of_bytes(response))))),
            ResultShape::Nothing => Some((quote!(()), quote!(self.decode_nothing::<#response>(response)))),
            _ => None,
        };
        if let Some((result, decoded)) = without_items {
            return Ok(quote! {
                #(#[doc = #docs])*
                #visibility async fn #name(&self, #(#parameters),*) -> Result<Response<#result>, Error> {
                    #exchange
                    #decoded
                }
            });
        }
        let (result, unpack) = self.result(&visibility, types)?;
        let stream = self.stream(&visibility, query.as_ref(), &result);
        Ok(quote! {
            #(#[doc = #docs])*
            #visibility async fn #name(&self, #(#parameters),*) -> Result<Response<#result>, Error> {
                #exchange
                #[inline(never)]
                #[allow(unused_variables, reason = "a response need not repeat what was asked")]
                fn decode(api: &Api, response: VerifiedResponse, #(#borrowed),*) -> Result<Response<#result>, Error> {
                    api.decode(response, |envelope: #response| #unpack)
                }
                decode(self, response, #(#given),*)
            }
            #stream
        })
    }

    /// Says whose session the method takes, and which user it is about.
    fn whose(&self) -> Option<String> {
        let session = match self.policy.session_of? {
            SessionOf::Partner => " It takes the session of a partner.",
            SessionOf::User => " It takes the session of a provisioned user.",
            SessionOf::Either => " It takes the session of a partner or of a provisioned user.",
        };
        Some(match PathUser::in_path(self.document, &self.operation) {
            None => session.to_owned(),
            Some(PathUser::Session) => format!("{session} The user in its path is that of the session."),
            Some(PathUser::Chosen) => format!("{session} Without a `user_id` it is about the user of the session."),
        })
    }

    fn docs(&self) -> Vec<String> {
        let Operation { method, path, value, .. } = &self.operation;
        let summary = value["summary"].as_str().unwrap_or_default();
        let description = value["description"].as_str().unwrap_or_default();
        let mut lines = vec![format!(" {summary}: `{} {path}`.", method.to_uppercase()), String::new()];
        lines.extend(description.trim_end().lines().map(|line| format!(" {line}")));
        lines.extend(self.whose().map(|whose| [String::new(), whose]).into_iter().flatten());
        lines.push(String::new());
        lines.extend(provenance::lines(&self.operation).iter().map(|line| format!(" {line}")));
        lines.extend([
            String::new(),
            " # Errors".into(),
            String::new(),
            " See [`ErrorKind`](crate::ErrorKind).".into(),
        ]);
        if let Some(name) = refusals::name_in(&self.operation) {
            let link = format!("[`{name}`](crate::types::{name})");
            lines.push(format!(
                " What bunq adds to a refusal, [`Error::details`](crate::Error::details) reads as {link}."
            ));
        }
        lines
    }
}

/// Accessors for members of bodies with several shapes, one for each check that needs it.
fn accessors(document: &Document, output: &Generated) -> Result<Vec<syn::Item>, Diagnostic> {
    let mut items = Vec::new();
    for operation in document.operations() {
        let envelope = Envelope::read(document, &operation)?;
        if bodies(document, &operation).len() < 2 {
            continue;
        }
        let arguments = signature(output, operation.id).map(|signature| arguments(&signature)).unwrap_or_default();
        let body = arguments.iter().find(|(name, _)| name == "body").and_then(|(_, ty)| last_name(ty));
        for (_, source) in &envelope.repeats {
            let item = body.and_then(|body| accessor(&output.types, body, source));
            items.push(item.ok_or_else(|| {
                operation.diagnostic(format_args!("the shapes of its body have no member `{source}` of one type"))
            })?);
        }
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_rust_names_its_operation() {
        test_timeout::start();
        let value = serde_json::Value::Null;
        let operation = Operation { id: "get_thing", method: "get", path: "/thing", value: &value };
        let refused = parsed::<syn::ItemImpl>(&operation, &quote!(impl Api { fn type() {} })).unwrap_err().to_string();
        assert_eq!(
            refused,
            "operation `get_thing`: what is generated of it is not Rust (expected identifier, found keyword `type`): rename it"
        );
        assert!(parsed::<syn::Arm>(&operation, &quote!("get_thing" => None,)).is_ok());
    }
}
