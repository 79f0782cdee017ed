//! Writes one typed method per operation, over the client that progenitor makes: path parameters and the body are its
//! arguments, the query is one value, and what `x-bunq-result` says is its result.
//!
//! The signatures are read from progenitor's output, so that each operation is named in one place, the document.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::visit_mut::{self, VisitMut};

use super::client::Output;
use super::document::{Diagnostic, Document, Operation};
use super::enums::pascal_case;
use super::envelope::{Envelope, ResultShape, bodies, item_schema, member_schema, query_parameters};
use super::policy::Policy;
use super::types::{accessor, visibility};

/// The methods, and the data types that only they need.
pub(crate) struct Methods {
    pub(crate) code: TokenStream,
    pub(crate) types: Vec<syn::Item>,
}

pub(crate) fn generate(document: &Document, output: &Output) -> Result<Methods, Diagnostic> {
    let mut types = accessors(document, output)?;
    let mut code = Vec::new();
    for operation in document.operations() {
        let signature = signature(output, operation.id)
            .ok_or_else(|| operation.diagnostic("the generator makes no method of it"))?;
        let policy = Policy::read(&operation)?;
        let envelope = Envelope::read(document, &operation)?;
        let method = Method { document, output, operation, policy, envelope, arguments: arguments(&signature) };
        code.push(method.write(&mut types)?);
    }
    Ok(Methods { code: quote!(impl crate::api::Api { #(#code)* }), types })
}

fn signature(output: &Output, id: &str) -> Option<syn::Signature> {
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
fn arguments(signature: &syn::Signature) -> Vec<(syn::Ident, syn::Type)> {
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

/// The `T` of an `Option<T>`.
fn inside_option(ty: &syn::Type) -> Option<&syn::Type> {
    let syn::Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// One operation on its way to become a method.
struct Method<'a> {
    document: &'a Document,
    output: &'a Output,
    operation: Operation<'a>,
    policy: Policy,
    envelope: Envelope,
    arguments: Vec<(syn::Ident, syn::Type)>,
}

impl Method<'_> {
    fn write(&self, types: &mut Vec<syn::Item>) -> Result<TokenStream, Diagnostic> {
        let visibility = visibility(!self.policy.managed);
        let name = format_ident!("{}", self.operation.id);
        let docs = self.docs();
        let query = self.query(types)?;
        let (mut parameters, mut passed) = (Vec::new(), Vec::new());
        for (argument, ty) in &self.arguments {
            if argument == "body" {
                parameters.push(quote!(#argument: &#ty));
                passed.push(quote!(#argument));
            } else if self.is_in_path(argument) {
                parameters.push(quote!(#argument: #ty));
                let is_plain = ty.to_token_stream().to_string() == "i64";
                passed.push(if is_plain { quote!(#argument) } else { quote!(&#argument) });
            } else {
                passed.push(self.passed(argument, ty));
            }
        }
        if let Some(query) = &query {
            parameters.push(quote!(query: crate::types::#query));
        }
        if matches!(self.envelope.shape, ResultShape::Bytes) {
            return Ok(quote! {
                #(#[doc = #docs])*
                #visibility async fn #name(&self, #(#parameters),*) -> Result<Response<::bytes::Bytes>, Error> {
                    self.call_for_bytes(async |client: Client| client.#name(#(#passed),*).await).await
                }
            });
        }
        let (result, unpack) = self.result(&visibility, types)?;
        let stream = self.stream(&visibility, query.as_ref(), &result);
        let lists = self
            .lists()
            .map(|(name, _)| quote!(let #name = joined(query.#name.iter().map(|value| value.to_string()));));
        Ok(quote! {
            #(#[doc = #docs])*
            #visibility async fn #name(&self, #(#parameters),*) -> Result<Response<#result>, Error> {
                #(#lists)*
                self.send(
                    async |client: Client| client.#name(#(#passed),*).await,
                    |envelope| #unpack,
                )
                .await
            }
            #stream
        })
    }

    fn docs(&self) -> Vec<String> {
        let Operation { method, path, value, .. } = &self.operation;
        let summary = value["summary"].as_str().unwrap_or_default();
        let description = value["description"].as_str().unwrap_or_default();
        let mut lines = vec![format!(" {summary}: `{} {path}`.", method.to_uppercase()), String::new()];
        lines.extend(description.trim_end().lines().map(|line| format!(" {line}")));
        lines.extend([
            String::new(),
            " # Errors".into(),
            String::new(),
            " See [`ErrorKind`](crate::ErrorKind).".into(),
        ]);
        lines
    }

    fn is_in_path(&self, argument: &syn::Ident) -> bool {
        self.operation.path.contains(&format!("{{{argument}}}"))
    }

    /// The parameters of the query whose values are joined with commas, with the type of a value.
    fn lists(&self) -> impl Iterator<Item = (syn::Ident, syn::Type)> {
        let parameters = query_parameters(self.document, &self.operation);
        parameters.into_iter().filter(|parameter| parameter["explode"] == false).filter_map(|parameter| {
            let items = &parameter["schema"]["items"];
            let ty = match (items["x-bunq-enum"].as_str(), items["type"].as_str()) {
                (Some(name), _) => {
                    let name = format_ident!("{name}");
                    syn::parse_quote!(crate::types::#name)
                }
                (None, Some("integer")) => syn::parse_quote!(i64),
                _ => syn::parse_quote!(::std::string::String),
            };
            Some((format_ident!("{}", parameter["name"].as_str()?), ty))
        })
    }

    fn is_cursor(&self, argument: &syn::Ident) -> bool {
        matches!(self.envelope.shape, ResultShape::Page(_)) && (argument == "older_id" || argument == "newer_id")
    }

    /// How the generated client is given a parameter of the query.
    fn passed(&self, argument: &syn::Ident, ty: &syn::Type) -> TokenStream {
        if self.is_cursor(argument) {
            return quote!(query.cursor.and_then(crate::types::Cursor::#argument));
        }
        if self.lists().any(|(name, _)| name == *argument) {
            return quote!(#argument.as_deref());
        }
        match inside_option(ty).map(|ty| ty.to_token_stream().to_string()).as_deref() {
            Some("i64" | "bool") => quote!(query.#argument),
            Some(":: std :: string :: String") => quote!(query.#argument.as_deref()),
            _ => quote!(query.#argument.as_ref()),
        }
    }

    /// Writes the type of the query, if there is one, and gives its name.
    fn query(&self, types: &mut Vec<syn::Item>) -> Result<Option<syn::Ident>, Diagnostic> {
        let lists: Vec<_> = self.lists().collect();
        let parameters = query_parameters(self.document, &self.operation);
        if parameters.is_empty() {
            return Ok(None);
        }
        let name = format_ident!("{}Query", pascal_case(self.operation.id));
        let (mut fields, mut setters) = (Vec::new(), Vec::new());
        for (argument, ty) in &self.arguments {
            let Some(parameter) =
                parameters.iter().find(|parameter| argument == parameter["name"].as_str().unwrap_or_default())
            else {
                continue;
            };
            if self.is_cursor(argument) {
                continue;
            }
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
                pub fn #argument(mut self, #argument: impl ::std::convert::Into<#ty>) -> Self {
                    self.#argument = Some(#argument.into());
                    self
                }
            });
        }
        if matches!(self.envelope.shape, ResultShape::Page(_)) {
            let doc = " Where the page begins; the newest page if it is not set.";
            fields.push(quote!(#[doc = #doc] pub cursor: ::std::option::Option<crate::types::Cursor>));
            setters.push(quote! {
                #[doc = #doc]
                pub fn cursor(mut self, cursor: impl ::std::convert::Into<crate::types::Cursor>) -> Self {
                    self.cursor = Some(cursor.into());
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

    /// The type of the result, and how it is made of the envelope.
    fn result(
        &self,
        visibility: &syn::Visibility,
        types: &mut Vec<syn::Item>,
    ) -> Result<(TokenStream, TokenStream), Diagnostic> {
        let output = format_ident!("{}Output", pascal_case(self.operation.id));
        let doc = format!(" The result of `{}`.", self.operation.id);
        Ok(match &self.envelope.shape {
            ResultShape::FirstOf(names) => {
                let members = names.iter().map(|name| self.member(name)).collect::<Result<Vec<_>, _>>()?;
                let expected = names.join(" or ");
                if let [Member { name, field, ty, .. }] = &members[..] {
                    let checks = self.checks(name)?;
                    return Ok((
                        quote!(crate::types::#ty),
                        quote!({
                            let item = first(envelope.response, |item| item.#field, #expected)?;
                            #(#checks)*
                            Ok(item)
                        }),
                    ));
                }
                let (mut variants, mut picks, mut arms) = (Vec::new(), Vec::new(), Vec::new());
                for Member { name, variant, field, ty } in &members {
                    let doc = format!(" The item `{name}`.");
                    variants.push(quote!(#[doc = #doc] #variant(#ty)));
                    picks.push(quote!(item.#field.map(crate::types::#output::#variant)));
                    let checks = self.checks(name)?;
                    let item = if checks.is_empty() { quote!(_) } else { quote!(item) };
                    arms.push(quote!(crate::types::#output::#variant(#item) => { #(#checks)* }));
                }
                types.push(syn::parse_quote! {
                    #[doc = #doc]
                    #[derive(Clone, Debug, PartialEq, Eq)]
                    #[allow(clippy::large_enum_variant)]
                    #[non_exhaustive]
                    #visibility enum #output { #(#variants),* }
                });
                let [pick, others @ ..] = &picks[..] else {
                    return Err(self.operation.diagnostic("x-bunq-result names no item"));
                };
                (
                    quote!(crate::types::#output),
                    quote!({
                        let output = first(envelope.response, |item| #pick #(.or_else(|| #others))*, #expected)?;
                        match &output { #(#arms)* }
                        Ok(output)
                    }),
                )
            }
            ResultShape::Together { all, any } => {
                let (mut fields, mut locals, mut values) = (Vec::new(), Vec::new(), Vec::new());
                for (name, is_required) in
                    all.iter().map(|name| (name, true)).chain(any.iter().map(|name| (name, false)))
                {
                    let Member { field, ty, .. } = self.member(name)?;
                    let doc = format!(" The item `{name}`.");
                    locals.push(field.clone());
                    if is_required {
                        fields.push(quote!(#[doc = #doc] pub #field: #ty));
                        values.push(quote!(#field: required(#field, #name)?));
                    } else {
                        fields.push(quote!(#[doc = #doc] pub #field: ::std::option::Option<#ty>));
                        values.push(quote!(#field));
                    }
                }
                types.push(syn::parse_quote! {
                    #[doc = #doc]
                    #[derive(Clone, Debug, PartialEq, Eq)]
                    #[non_exhaustive]
                    #visibility struct #output { #(#fields),* }
                });
                (
                    quote!(crate::types::#output),
                    quote!({
                        #(let mut #locals = None;)*
                        for item in envelope.response {
                            #(#locals = #locals.or(item.#locals);)*
                        }
                        Ok(crate::types::#output { #(#values),* })
                    }),
                )
            }
            ResultShape::List(name) | ResultShape::Page(name) => {
                let Member { field, ty, .. } = self.member(name)?;
                let items = quote!(envelope.response.into_iter().filter_map(|item| item.#field).collect());
                match self.envelope.shape {
                    ResultShape::Page(_) => (
                        quote!(crate::types::Page<crate::types::#ty>),
                        quote!({
                            let links = required(envelope.pagination, "Pagination")?;
                            crate::types::Page::new(#items, links.older_url.as_deref(), links.newer_url.as_deref(), links.future_url.as_deref())
                        }),
                    ),
                    _ => (quote!(::std::vec::Vec<crate::types::#ty>), quote!(Ok(#items))),
                }
            }
            ResultShape::Nothing | ResultShape::Bytes => (
                quote!(()),
                quote!({
                    let _ = envelope;
                    Ok(())
                }),
            ),
        })
    }

    /// The stream over all pages.
    fn stream(
        &self,
        visibility: &syn::Visibility,
        query: Option<&syn::Ident>,
        result: &TokenStream,
    ) -> Option<TokenStream> {
        let ResultShape::Page(item) = &self.envelope.shape else { return None };
        let Member { ty, .. } = self.member(item).ok()?;
        let (name, stream) = (format_ident!("{}", self.operation.id), format_ident!("{}_stream", self.operation.id));
        let path: Vec<_> = self.arguments.iter().filter(|(argument, _)| self.is_in_path(argument)).collect();
        let parameters = path.iter().map(|(argument, ty)| quote!(#argument: #ty));
        let clones = path.iter().map(|(argument, _)| quote!(#argument.clone()));
        let docs = [
            format!(
                " The items of all pages of [`{name}`](Self::{name}), from its first page on; see [`Page`](crate::types::Page)."
            ),
            String::new(),
            " # Errors".into(),
            String::new(),
            " Those of each call. An error ends the stream.".into(),
        ];
        Some(quote! {
            #(#[doc = #docs])*
            #visibility fn #stream(
                &self,
                #(#parameters,)*
                query: crate::types::#query,
            ) -> impl Stream<Item = Result<crate::types::#ty, Error>> + Send + 'static + use<> {
                let api = self.clone();
                items(query.cursor, move |cursor| {
                    let (api, query) = (api.clone(), crate::types::#query { cursor, ..query.clone() });
                    async move { api.#name(#(#clones,)* query).await.map(Response::<#result>::into_inner) }
                })
            }
        })
    }

    /// The checks that an item repeats what was asked about.
    fn checks(&self, name: &str) -> Result<Vec<TokenStream>, Diagnostic> {
        let item = item_schema(self.document, &self.operation);
        let (schema, _) = item.and_then(|(_, item)| member_schema(self.document, item, name)).ok_or_else(|| {
            self.operation.diagnostic(format_args!("the item `{name}` must be a schema by reference"))
        })?;
        let mut checks = Vec::new();
        for (member, source) in &self.envelope.repeats {
            let Some(field) = self.field(schema, member) else { continue };
            let ident = &field.ident;
            let answered = if inside_option(&field.ty).is_some() {
                quote!(item.#ident.as_ref())
            } else {
                quote!(Some(&item.#ident))
            };
            let argument = format_ident!("{source}");
            let asked = if self.is_in_path(&argument) {
                quote!(&#argument)
            } else if bodies(self.document, &self.operation).len() > 1 {
                quote!(body.#argument())
            } else {
                quote!(&body.#argument)
            };
            checks.push(quote!(repeats(#source, #answered, #asked)?;));
        }
        Ok(checks)
    }

    fn member(&self, name: &str) -> Result<Member, Diagnostic> {
        let unknown = || self.operation.diagnostic(format_args!("the item `{name}` must be a schema by reference"));
        let (item_name, item) = item_schema(self.document, &self.operation).ok_or_else(unknown)?;
        let (schema, _) = member_schema(self.document, item, name).ok_or_else(unknown)?;
        let field = self.field(item_name, name).and_then(|field| field.ident.clone()).ok_or_else(unknown)?;
        let (variant, ty) = (format_ident!("{name}"), format_ident!("{schema}"));
        Ok(Member { name: name.to_owned(), variant, field, ty })
    }

    /// The field of a generated struct that is called `member` in JSON.
    fn field(&self, schema: &str, member: &str) -> Option<&syn::Field> {
        let item = self.output.types.iter().find_map(|item| match item {
            syn::Item::Struct(item) if item.ident == schema => Some(item),
            _ => None,
        })?;
        item.fields.iter().find(|field| {
            let renamed = field.attrs.iter().any(|attribute| {
                attribute.path().is_ident("serde")
                    && attribute.to_token_stream().to_string().contains(&format!("\"{member}\""))
            });
            renamed || field.ident.as_ref().is_some_and(|ident| ident == member)
        })
    }
}

/// A member of an item.
struct Member {
    name: String,
    variant: syn::Ident,
    field: syn::Ident,
    /// The type of what it holds, by its name in `crate::types`.
    ty: syn::Ident,
}

/// The ways to members of bodies of several shapes, for each check that needs one.
fn accessors(document: &Document, output: &Output) -> Result<Vec<syn::Item>, Diagnostic> {
    let mut items = Vec::new();
    for operation in document.operations() {
        let envelope = Envelope::read(document, &operation)?;
        if bodies(document, &operation).len() < 2 {
            continue;
        }
        let body = signature(output, operation.id).into_iter().flat_map(|signature| arguments(&signature));
        let body = body.filter(|(name, _)| name == "body").find_map(|(_, ty)| match ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.clone()),
            _ => None,
        });
        for (_, source) in &envelope.repeats {
            let item = body.as_ref().and_then(|body| accessor(&output.types, body, source));
            items.push(item.ok_or_else(|| {
                operation.diagnostic(format_args!("the shapes of its body have no member `{source}` of one type"))
            })?);
        }
    }
    Ok(items)
}
