//! Makes the HTTP client and its data types with progenitor.

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proc_macro2::TokenStream;
use progenitor::{GenerationSettings, Generator, TypeImpl};
use quote::ToTokens as _;
use serde_json::{Map, Value, json};
use syn::visit_mut::{self, VisitMut};

use super::document::{Diagnostic, Document, for_each_object, members};
use super::lower::lower;
use super::replacements::{REPLACEMENTS, REQUEST_SECRET, RESPONSE_SECRET};
use super::types::name_variants;
use super::{both_ways, enums, ids, refusals, texts};

/// What progenitor makes, in the two parts that the crate includes in different modules.
pub(crate) struct Generated {
    pub(crate) types: Vec<syn::Item>,
    pub(crate) client: Vec<syn::Item>,
}

pub(crate) fn generate(document: &Document) -> Result<Generated, Diagnostic> {
    let lowered = lower(document);
    let code = attempt(document, &lowered).map_err(|problem| culprit(document, &lowered, problem))?;
    let file: syn::File = syn::parse2(code).map_err(|error| Diagnostic::new("generated client", error))?;
    let (mut types, mut client) = (None, Vec::new());
    for item in file.items {
        match item {
            syn::Item::Mod(module) if module.ident == "types" => types = module.content.map(|(_, items)| items),
            syn::Item::Impl(mut item) => {
                // The constructor panics, and nothing calls it.
                item.items.retain(|item| !matches!(item, syn::ImplItem::Fn(method) if method.sig.ident == "new"));
                client.push(syn::Item::Impl(item));
            }
            item => client.push(item),
        }
    }
    let mut types = types.ok_or_else(|| Diagnostic::new("generated client", "it has no module `types`"))?;
    name_variants(&mut types);
    Ok(Generated { types, client })
}

/// Ends each method where its request is built, without the header for the version of the document: the crate sends requests and
/// decodes responses for all operations alike. What is left needs nothing of `progenitor-client`; the module that includes it has
/// `encode_path`, `add_query` and `set_json`.
///
/// A body of one of the types `sent_otherwise` is written as it is sent.
pub(crate) fn end_at_requests(
    client: &mut Vec<syn::Item>,
    sent_otherwise: &BTreeSet<String>,
) -> Result<(), Diagnostic> {
    client.retain(|item| !is_for_sending(item));
    let blocks = client.iter_mut().filter_map(|item| match item {
        syn::Item::Impl(item) => Some(&mut item.items),
        _ => None,
    });
    for item in blocks.flatten() {
        let syn::ImplItem::Fn(method) = item else { continue };
        // The typed method has its description.
        method.attrs.clear();
        if method.sig.asyncness.take().is_none() {
            continue;
        }
        let refused = |what: &str| Diagnostic::new("generated client", format_args!("`{}` {what}", method.sig.ident));
        let statements = &mut method.block.stmts;
        let built =
            statements.iter().enumerate().find_map(|(index, statement)| Some((index, built_request(statement)?)));
        let Some((index, request)) = built else { return Err(refused("builds no request")) };
        statements.truncate(index + 1);
        let is_sent_otherwise = method.sig.inputs.iter().any(|input| match input {
            syn::FnArg::Typed(argument) => both_ways::holds(&argument.ty, sent_otherwise),
            syn::FnArg::Receiver(_) => false,
        });
        let mut builder = Builder { request, is_sent_otherwise, done_later: Vec::new(), has_other_queries: false };
        builder.visit_block_mut(&mut method.block);
        let Builder { request, done_later, has_other_queries, .. } = builder;
        if has_other_queries {
            return Err(refused("has a query of an unknown form"));
        }
        let statements = &mut method.block.stmts;
        statements.retain(|statement| !statement.to_token_stream().to_string().contains("header_map"));
        statements.extend(done_later);
        statements.push(syn::Stmt::Expr(syn::parse_quote!(Ok(#request)), None));
        method.sig.output = syn::parse_quote!(-> Result<::reqwest::Request, Error>);
    }
    Ok(())
}

/// Whether only methods that send their request need this: imports, and the hooks of `progenitor-client`.
fn is_for_sending(item: &syn::Item) -> bool {
    match item {
        syn::Item::Use(_) => true,
        syn::Item::Impl(syn::ItemImpl { trait_: Some((path, _)), .. }) => {
            path.segments.last().is_some_and(|last| last.ident == "ClientInfo" || last.ident == "ClientHooks")
        }
        _ => false,
    }
}

/// Removes from the builder of a request what is done after it: `.headers(…)`, which adds a header that bunq does not know;
/// `.query(&progenitor_client::QueryParam::new("name", &value))`, for which reqwest and progenitor need two crates more; and
/// `.json(&body)`, all of which is compiled again for each type of a body.
struct Builder {
    request: syn::Ident,
    /// Whether its body is written otherwise within the request than by itself.
    is_sent_otherwise: bool,
    /// What is done once the request is built.
    done_later: Vec<syn::Stmt>,
    has_other_queries: bool,
}

impl VisitMut for Builder {
    fn visit_expr_mut(&mut self, expression: &mut syn::Expr) {
        visit_mut::visit_expr_mut(self, expression);
        let syn::Expr::MethodCall(call) = expression else { return };
        let (request, argument) = (&self.request, call.args.first());
        match call.method.to_string().as_str() {
            "headers" => {}
            "query" => match argument.and_then(query_parameter) {
                Some((name, value)) => {
                    self.done_later.push(syn::parse_quote!(add_query(&mut #request, #name, #value)?;));
                }
                None => self.has_other_queries = true,
            },
            "json" => {
                let body: syn::Expr = match argument {
                    Some(syn::Expr::Reference(syn::ExprReference { expr: body, .. })) if self.is_sent_otherwise => {
                        syn::parse_quote!(&crate::types::AsSent(#body))
                    }
                    argument => syn::parse_quote!(#argument),
                };
                self.done_later.push(syn::parse_quote!(set_json(&mut #request, #body)?;));
            }
            _ => return,
        }
        *expression = (*call.receiver).clone();
    }
}

/// The name and the value of `&progenitor_client::QueryParam::new("name", &value)`.
fn query_parameter(argument: &syn::Expr) -> Option<(syn::Expr, syn::Expr)> {
    let syn::Expr::Reference(argument) = argument else { return None };
    let syn::Expr::Call(call) = &*argument.expr else { return None };
    let is_made = call.func.to_token_stream().to_string() == "progenitor_client :: QueryParam :: new";
    let mut values = call.args.iter().cloned();
    let (name, value, None) = (values.next()?, values.next()?, values.next()) else { return None };
    is_made.then_some((name, value))
}

/// The variable that a statement such as `let request = ….build()?;` sets.
fn built_request(statement: &syn::Stmt) -> Option<syn::Ident> {
    let syn::Stmt::Local(syn::Local { pat: syn::Pat::Ident(variable), init: Some(init), .. }) = statement else {
        return None;
    };
    let syn::Expr::Try(attempted) = &*init.expr else { return None };
    match &*attempted.expr {
        syn::Expr::MethodCall(call) if call.method == "build" => Some(variable.ident.clone()),
        _ => None,
    }
}

fn attempt(document: &Document, lowered: &Value) -> Result<TokenStream, String> {
    let api: openapiv3::OpenAPI = serde_json::from_value(lowered.clone()).map_err(|error| error.to_string())?;
    let settings = settings(document);
    catch_unwind(AssertUnwindSafe(|| Generator::new(&settings).generate_tokens(&api)))
        .map_err(|panic| format!("the generator cannot do it: {}", words(&*panic)))?
        .map_err(|error| error.to_string())
}

/// What a panic says.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why")
}

fn settings(document: &Document) -> GenerationSettings {
    let mut settings = GenerationSettings::new();
    settings.with_derive("PartialEq").with_derive("Eq");
    let secrets = [REQUEST_SECRET, RESPONSE_SECRET];
    for (schema, rust) in REPLACEMENTS.iter().chain(&secrets) {
        settings.with_replacement(*schema, *rust, std::iter::empty::<TypeImpl>());
    }
    for name in enums::names(document) {
        settings.with_replacement(name, format!("crate::types::{name}"), [TypeImpl::Display].into_iter());
    }
    for name in refusals::names(document) {
        settings.with_replacement(name, format!("crate::types::{name}"), std::iter::empty::<TypeImpl>());
    }
    for (name, _) in texts::checked(document).chain(ids::kinds(document)) {
        settings.with_replacement(name, format!("crate::types::{name}"), std::iter::empty::<TypeImpl>());
    }
    settings
}

/// Finds the schema or operation that progenitor cannot process, by generating each with only what it refers to.
fn culprit(document: &Document, lowered: &Value, problem: String) -> Diagnostic {
    let with = |schemas: Map<String, Value>, paths: Value| {
        let mut part = lowered.clone();
        part["components"]["schemas"] = Value::Object(schemas);
        part["paths"] = paths;
        attempt(document, &part)
    };

    if let Err(problem) = with(Map::new(), json!({})) {
        return Diagnostic::new("document", problem);
    }
    let mut closures: Vec<_> = members(&lowered["components"]["schemas"])
        .map(|(name, _)| {
            let mut names = BTreeSet::new();
            collect_schemas(lowered, name, &mut names);
            (names, name)
        })
        .collect();
    closures.sort_by_key(|(names, _)| names.len());
    for (names, name) in closures {
        let schemas = &lowered["components"]["schemas"];
        let part = names.iter().map(|name| (name.clone(), schemas[name].clone())).collect();
        if let Err(problem) = with(part, json!({})) {
            return Diagnostic::of_schema(name, problem);
        }
    }

    let all = lowered["components"]["schemas"].as_object().cloned().unwrap_or_default();
    for operation in document.operations() {
        let item = &lowered["paths"][operation.path];
        let mut part = json!({operation.method: item[operation.method]});
        if let Some(parameters) = item.get("parameters") {
            part["parameters"] = parameters.clone();
        }
        if let Err(problem) = with(all.clone(), json!({operation.path: part})) {
            return operation.diagnostic(problem);
        }
    }
    Diagnostic::new("document", problem)
}

/// Adds `name` and every schema that it leads to.
fn collect_schemas(root: &Value, name: &str, names: &mut BTreeSet<String>) {
    if names.insert(name.to_string()) {
        for_each_object(&mut root["components"]["schemas"][name].clone(), &mut |object| {
            let target = object.get("$ref").and_then(Value::as_str).and_then(|target| target.rsplit('/').next());
            if let Some(target) = target {
                collect_schemas(root, target, names);
            }
        });
    }
}

#[cfg(test)]
mod tests;
