//! The result of a method: its type, how it is made from the envelope, and what it must repeat.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::document::Diagnostic;
use super::envelope::{ResultShape, bodies, has_pagination, is_id, item_schema, member_schema, requires_pagination};
use super::fields::{inside_option, wire_name};
use super::names::{pascal_case, rust_name, rust_variant};
use super::signature::Method;

impl Method<'_> {
    /// Writes the type of the result, and how it is made from the envelope.
    pub(crate) fn result(
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
                if let [Member { name, field, ty, is_id, .. }] = &members[..] {
                    let checks = self.checks(name)?;
                    let found = quote!(first(envelope.response, |item| item.#field, #expected)?);
                    let found = if *is_id { quote!(of_kind(#found)?) } else { found };
                    return Ok((
                        quote!(crate::types::#ty),
                        quote!({
                            let item: crate::types::#ty = #found;
                            #(#checks)*
                            Ok(item)
                        }),
                    ));
                }
                let (mut variants, mut picks, mut arms) = (Vec::new(), Vec::new(), Vec::new());
                for Member { name, variant, field, ty, is_id } in &members {
                    let doc = format!(" The item `{name}`.");
                    variants.push(quote!(#[doc = #doc] #variant(#ty)));
                    let made = if *is_id { quote!(of_kind(item)?) } else { quote!(item) };
                    picks.push(quote!(item.#field.map(|item| Ok(crate::types::#output::#variant(#made)))));
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
                        let output: Result<_, String> =
                            first(envelope.response, |item| #pick #(.or_else(|| #others))*, #expected)?;
                        let output = output?;
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
                let items = quote!(each(envelope.response, |item| item.#field));
                let links = quote!(links.older_url.as_deref(), links.newer_url.as_deref(), links.future_url.as_deref());
                let page = quote!(crate::types::Page::new);
                match self.envelope.shape {
                    ResultShape::Page(_) => (
                        quote!(crate::types::Page<crate::types::#ty>),
                        if requires_pagination(self.document, &self.operation) {
                            quote!({
                                let links = envelope.pagination;
                                #page(#items, #links)
                            })
                        } else {
                            quote!(match envelope.pagination {
                                Some(links) => #page(#items, #links),
                                None => #page(#items, None, None, None),
                            })
                        },
                    ),
                    _ => {
                        let check = has_pagination(self.document, &self.operation)
                            .then(|| quote!(is_whole(envelope.pagination)?;));
                        (quote!(::std::vec::Vec<crate::types::#ty>), quote!({ #check Ok(#items) }))
                    }
                }
            }
            ResultShape::Nothing | ResultShape::Bytes => {
                return Err(self.operation.diagnostic("its result is made of no item"));
            }
        })
    }

    /// Writes the streams of all pages and of their items.
    pub(crate) fn stream(
        &self,
        visibility: &syn::Visibility,
        query: Option<&syn::Ident>,
        result: &TokenStream,
    ) -> Option<TokenStream> {
        let ResultShape::Page(item) = &self.envelope.shape else { return None };
        let Member { ty, .. } = self.member(item).ok()?;
        let (name, stream) = (format_ident!("{}", self.operation.id), format_ident!("{}_stream", self.operation.id));
        let path = self.arguments.iter().filter(|(argument, _)| self.is_in_path(argument));
        let path: Vec<_> =
            path.filter_map(|(argument, ty)| Some((argument, self.given_in_path(argument, ty)?))).collect();
        let parameters = path.iter().map(|(argument, ty)| quote!(#argument: #ty));
        let clones = path.iter().map(|(argument, _)| quote!(#argument.clone()));
        let pages = format_ident!("{}_pages", self.operation.id);
        let docs = |what: &str, order: &str| {
            [
                format!(" Streams {what} of [`{name}`](Self::{name}), from the page of the query to the oldest. {order}"),
                String::new(),
                " The next page is requested when the stream is polled.".into(),
                String::new(),
                " # Errors".into(),
                String::new(),
                " Those of each call, and [`InvalidResponse`](crate::ErrorKind::InvalidResponse) if bunq leads back to a page".into(),
                " that has been listed. An error ends the stream.".into(),
            ]
        };
        let of_pages =
            docs("all pages", "From a [`Cursor::NewerThan`](crate::types::Cursor::NewerThan) it leads to the newest.");
        let of_items = docs(
            "the items of all pages",
            "From a [`Cursor::NewerThan`](crate::types::Cursor::NewerThan) it leads to the newest, the oldest item first.",
        );
        let methods = [
            (pages, of_pages, quote!(pages), result.clone()),
            (stream, of_items, quote!(items), quote!(crate::types::#ty)),
        ];
        let methods = methods.map(|(stream, docs, streamed, item)| {
            let (parameters, clones) = (parameters.clone(), clones.clone());
            quote! {
                #(#[doc = #docs])*
                #[allow(clippy::clone_on_copy, reason = "a path may have texts and ids")]
                #visibility fn #stream(
                    &self,
                    #(#parameters,)*
                    query: crate::types::#query,
                ) -> impl Stream<Item = Result<#item, Error>> + Send + 'static + use<> {
                    let api = self.clone();
                    #streamed(query.cursor, move |cursor| {
                        let (api, query) = (api.clone(), crate::types::#query { cursor, ..query.clone() });
                        async move { api.#name(#(#clones,)* query).await.map(Response::<#result>::into_inner) }
                    })
                }
            }
        });
        Some(quote!(#(#methods)*))
    }

    /// Writes the checks that an item repeats what the request asked for.
    fn checks(&self, name: &str) -> Result<Vec<TokenStream>, Diagnostic> {
        let item = item_schema(self.document, &self.operation);
        let (schema, _) = item.and_then(|(_, item)| member_schema(self.document, item, name)).ok_or_else(|| {
            self.operation.diagnostic(format_args!("the item `{name}` must be a schema by reference"))
        })?;
        let mut checks = Vec::new();
        let is_id = item.is_some_and(|(_, item)| is_id(self.document, item, name));
        for (member, source) in &self.envelope.repeats {
            let Some(field) = self.field(schema, member) else { continue };
            let ident = &field.ident;
            let received = if is_id {
                quote!(Some(&item))
            } else if inside_option(&field.ty).is_some() {
                quote!(item.#ident.as_ref())
            } else {
                quote!(Some(&item.#ident))
            };
            let argument = format_ident!("{}", rust_name(source));
            let asked = if self.is_in_path(&argument) {
                quote!(#argument)
            } else if bodies(self.document, &self.operation).len() > 1 {
                quote!(body.#argument())
            } else {
                let body = self.body_type().and_then(|body| self.field(&body.to_string(), source));
                let member = body
                    .and_then(|field| field.ident.as_ref())
                    .ok_or_else(|| self.operation.diagnostic(format_args!("its body has no member `{source}`")))?;
                quote!(&body.#member)
            };
            checks.push(quote!(repeats(#source, #received, #asked)?;));
        }
        Ok(checks)
    }

    fn member(&self, name: &str) -> Result<Member, Diagnostic> {
        let unknown = || self.operation.diagnostic(format_args!("the item `{name}` must be a schema by reference"));
        let (item_name, item) = item_schema(self.document, &self.operation).ok_or_else(unknown)?;
        let (schema, _) = member_schema(self.document, item, name).ok_or_else(unknown)?;
        let field = self.field(item_name, name).and_then(|field| field.ident.clone()).ok_or_else(unknown)?;
        let is_id = is_id(self.document, item, name);
        let ty = self.envelope.of.as_deref().filter(|_| is_id).unwrap_or(schema);
        let (variant, ty) = (format_ident!("{}", rust_variant(name)), format_ident!("{ty}"));
        Ok(Member { name: name.to_owned(), variant, field, ty, is_id })
    }

    /// The field of a generated struct whose JSON name is `member`.
    fn field(&self, schema: &str, member: &str) -> Option<&syn::Field> {
        let item = self.output.types.iter().find_map(|item| match item {
            syn::Item::Struct(item) if item.ident == schema => Some(item),
            _ => None,
        })?;
        item.fields.iter().find(|field| wire_name(field).is_some_and(|name| name == member))
    }
}

/// A member of an item.
struct Member {
    name: String,
    variant: syn::Ident,
    field: syn::Ident,
    /// The type of the content, by its name in `crate::types`. Of an `Id` it is the kind of the id.
    ty: syn::Ident,
    is_id: bool,
}
