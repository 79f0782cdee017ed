//! The names that the document gives to parameters, members and items, and what becomes of them in Rust.

use std::collections::BTreeSet;

use bunq_partner_codegen::{Diagnostic, Document};
use syn::visit::{self, Visit};

/// A document of one operation, with these parts: the path, more members of the operation, and the properties of its item's object.
fn document(path: &str, operation: &str, properties: &str) -> String {
    format!(
        "openapi: 3.0.3
info: {{title: Things, version: 1.0.0}}
paths:
  {path}:
    post:
      operationId: list_things
      summary: List the things
      description: Lists them.
      x-bunq-auth: session
      x-bunq-user: partner
      x-bunq-idempotent: true
      x-bunq-rate-limit: {{calls: 3, seconds: 3}}
      security: [{{sessionToken: []}}]
      responses:
        '200':
          description: The things.
          content: {{application/json: {{schema: {{$ref: '#/components/schemas/ThingResponse'}}}}}}
        4XX: {{description: Refused.}}
        5XX: {{description: Failed.}}
{operation}
components:
  schemas:
    ThingResponse:
      type: object
      required: [Response]
      properties:
        Response: {{type: array, items: {{$ref: '#/components/schemas/ThingItem'}}}}
        Pagination: {{$ref: '#/components/schemas/Pagination'}}
    Pagination: {{type: object, description: Links., properties: {{older_url: {{type: string, description: A link.}}}}}}
    ThingItem:
      type: object
      properties:
        Thing: {{allOf: [{{$ref: '#/components/schemas/Thing'}}]}}
        Thing1: {{allOf: [{{$ref: '#/components/schemas/Thing'}}]}}
        Thing_1: {{allOf: [{{$ref: '#/components/schemas/Thing'}}]}}
        Self: {{allOf: [{{$ref: '#/components/schemas/Thing'}}]}}
    ThingRequest: {{type: object, description: A thing., properties: {{type: {{type: string, description: A kind.}}}}}}
    Thing:
      type: object
      description: A thing.
      properties: {{{properties}}}
"
    )
}

/// The generated file `name`, without white space.
fn generated(text: &str, name: &str) -> Result<String, Diagnostic> {
    let files = bunq_partner_codegen::generate(&Document::parse(text)?)?;
    let file = files.iter().find(|file| file.name == name).unwrap();
    Ok(file.code.split_whitespace().collect())
}

const LIST: &str = "      x-bunq-result: {list: Thing}\n";
const PAGE: &str = "      x-bunq-result: {page: Thing}\n";
const BODY: &str =
    "      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/ThingRequest'}}}}\n";

/// The parameters of an operation, each by its place and its name.
fn parameters(all: &[(&str, &str)]) -> String {
    let all = all.iter().map(|(place, name)| match *place {
        "list" => format!(
            "        - {{name: '{name}', in: query, explode: false, schema: {{type: array, items: {{type: string}}}}}}\n"
        ),
        "path" => format!("        - {{name: '{name}', in: path, required: true, schema: {{type: integer}}}}\n"),
        _ => format!("        - {{name: '{name}', in: {place}, schema: {{type: integer}}}}\n"),
    });
    format!("      parameters:\n{}", all.collect::<String>())
}

/// The keywords of Rust, those that it has reserved too.
const KEYWORDS: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final fn for \
                        gen if impl in let loop macro match mod move mut override priv pub ref return self static struct super trait \
                        true try type typeof unsafe unsized use virtual where while yield";

#[test]
fn a_keyword_is_the_name_of_a_parameter_and_of_a_member() {
    test_timeout::start();
    for keyword in KEYWORDS.split(' ') {
        for (place, taken) in [
            ("list", format!("joined(query.{keyword}_.iter()")),
            ("query", format!("(query.{keyword}_)")),
            ("path", format!("{keyword}_:i64")),
        ] {
            let path = if place == "path" { format!("/things/{{{keyword}}}") } else { "/things".into() };
            let operation = format!("{LIST}{}", parameters(&[(place, keyword)]));
            let properties = format!("'{keyword}': {{type: integer, description: A member.}}");
            let text = document(&path, &operation, &properties);
            let methods =
                generated(&text, "methods.rs").unwrap_or_else(|refused| panic!("{keyword} {place}: {refused}"));
            assert!(methods.contains(&taken), "{keyword} {place}: {methods}");
            let types = generated(&text, "types.rs").unwrap();
            assert!(types.contains(&format!("pub{keyword}_:")), "{keyword}: {types}");
            // Its name on the wire is its own.
            let client = generated(&text, "client.rs").unwrap();
            assert!(place == "path" || client.contains(&format!("\"{keyword}\",&{keyword}_")), "{keyword}: {client}");
        }
    }
}

#[test]
fn names_that_are_no_identifiers_are_made_one() {
    test_timeout::start();
    let query = parameters(&[
        ("query", "first-name"),
        ("query", "2fa"),
        ("list", "kinds[]"),
        ("query", "body"),
        ("list", "query"),
    ]);
    let methods = generated(&document("/things", &format!("{LIST}{query}"), ""), "methods.rs").unwrap();
    for passed in
        ["query.first_name", "query._2fa", "joined(query.kinds.iter()", "query.body", "joined(query.query.iter()"]
    {
        assert!(methods.contains(passed), "{passed}: {methods}");
    }
}

#[test]
fn two_names_that_are_one_in_rust_are_refused_with_both() {
    test_timeout::start();
    for (path, operation, properties, problem) in [
        (
            "/things/{type}",
            format!("{LIST}{}", parameters(&[("path", "type"), ("list", "type_")])),
            "",
            "its parameters `type` in the path and `type_` in the query have one name in Rust: rename that in the path",
        ),
        (
            "/things/{id}",
            format!("{LIST}{}", parameters(&[("query", "id"), ("path", "id")])),
            "",
            "its parameters `id` in the query and `id` in the path have one name in Rust: rename that in the path",
        ),
        (
            "/things",
            format!("{LIST}{}", parameters(&[("list", "first-name"), ("query", "firstName")])),
            "",
            "its parameters `first-name` in the query and `firstName` in the query have one name in Rust: leave one out",
        ),
        (
            "/things/{query}",
            format!("{LIST}{}", parameters(&[("path", "query")])),
            "",
            "its parameter `query` has in Rust the name of something in its method: rename it in the path",
        ),
        (
            "/things",
            format!("{LIST}{BODY}{}", parameters(&[("query", "body")])),
            "",
            "its parameter `body` has in Rust the name of its body: leave the parameter out",
        ),
        (
            "/things",
            format!("{LIST}{}", parameters(&[("list", "default")])),
            "",
            "its parameter `default` has in Rust the name of a method of its query: leave the parameter out",
        ),
        (
            "/things",
            format!("{PAGE}{}", parameters(&[("query", "older_id"), ("query", "newer_id"), ("query", "cursor")])),
            "",
            "its parameter `cursor` has in Rust the name of the cursor of its page: leave the parameter out",
        ),
        (
            "/things",
            "      x-bunq-result: {first_of: [Thing1, Thing_1]}\n".into(),
            "",
            "its items `Thing1` and `Thing_1` have one name in Rust: name one of them",
        ),
        (
            "/things",
            format!("{LIST}{}", parameters(&[("query", "a")])),
            "type: {type: string, description: A kind.}, Type: {type: string, description: A kind.}",
            "its properties `Type` and `type` have one name in Rust: rename one",
        ),
    ] {
        let refused = generated(&document(path, &operation, properties), "methods.rs").unwrap_err().to_string();
        assert!(refused.ends_with(problem), "{refused}");
        assert!(refused.starts_with("operation `list_things`: ") || !properties.is_empty(), "{refused}");
    }
}

#[test]
fn names_of_what_is_made_of_an_operation_are_taken() {
    test_timeout::start();
    let text =
        document("/things", &format!("{PAGE}{}", parameters(&[("query", "older_id"), ("query", "newer_id")])), "");
    for (from, to, problem) in [
        (
            "    Thing:\n",
            "    ListThingsQuery: {type: object, description: A.}\n    Thing:\n",
            "the schema `ListThingsQuery` has the name",
        ),
        (
            "    Thing:\n",
            "    Self: {type: object, description: A.}\n    Thing:\n",
            "rename it: the name stands for something else in Rust",
        ),
    ] {
        let refused = generated(&text.replacen(from, to, 1), "types.rs").unwrap_err().to_string();
        assert!(refused.contains(problem), "{refused}");
    }
    let (head, rest) = text.split_once("  /things:\n").unwrap();
    let (operation, components) = rest.split_once("components:\n").unwrap();
    let second = operation.replace("list_things", "list_things_stream");
    let twice = format!("{head}  /things:\n{operation}  /others:\n{second}components:\n{components}");
    let refused = generated(&twice, "methods.rs").unwrap_err().to_string();
    assert_eq!(
        refused,
        "operation `list_things`: the operation `list_things_stream` has the name of a method that is made of it: rename one"
    );
}

#[test]
fn an_item_may_have_the_name_of_a_keyword() {
    test_timeout::start();
    let text = document("/things", "      x-bunq-result: {first_of: [Self, Thing]}\n", "");
    assert!(generated(&text, "types.rs").unwrap().contains("Self_(Thing)"));
}

/// The names of variables and functions in methods, which a parameter with the same name would hide, or be hidden by.
#[derive(Default)]
struct NamesInMethods(BTreeSet<String>);

impl<'a> Visit<'a> for NamesInMethods {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.0.insert(function.sig.ident.to_string());
        self.visit_block(&function.block);
    }

    fn visit_pat_ident(&mut self, variable: &'a syn::PatIdent) {
        // Those that change are named after the items of a result that is made of several, and hide nothing that is used.
        if variable.mutability.is_none() {
            self.0.insert(variable.ident.to_string());
        }
    }

    fn visit_expr_call(&mut self, call: &'a syn::ExprCall) {
        if let syn::Expr::Path(function) = &*call.func {
            self.0.extend(function.path.get_ident().map(ToString::to_string));
        }
        visit::visit_expr_call(self, call);
    }
}

#[test]
fn a_parameter_has_no_name_of_the_code_around_it() {
    test_timeout::start();
    let real = Document::parse(include_str!("../../../openapi/bunq-partner.yaml")).unwrap();
    let files = bunq_partner_codegen::generate(&real).unwrap();
    let methods = files.iter().find(|file| file.name == "methods.rs").unwrap();
    let mut names = NamesInMethods::default();
    for item in &syn::parse_file(&methods.code).unwrap().items {
        let syn::Item::Impl(item) = item else { continue };
        for method in &item.items {
            let syn::ImplItem::Fn(method) = method else { continue };
            names.visit_block(&method.block);
        }
    }
    names.0.retain(|name| name.starts_with(|c: char| c.is_ascii_lowercase()));
    assert!(["exchange", "decode", "requests", "first", "cursor"].iter().all(|name| names.0.contains(*name)));
    for name in names.0 {
        let text = document(&format!("/things/{{{name}}}"), &format!("{LIST}{}", parameters(&[("path", &name)])), "");
        let refused = generated(&text, "methods.rs").err().map(|refused| refused.to_string()).unwrap_or_default();
        let problem =
            format!("its parameter `{name}` has in Rust the name of something in its method: rename it in the path");
        assert!(refused.ends_with(&problem), "{name}: {refused}");
    }
}
