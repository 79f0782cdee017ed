//! Where an operation is known from, and what about it is not certain: read from the document, and written for readers.

use proc_macro2::TokenStream;
use quote::quote;
use serde_json::Value;

use super::document::{Diagnostic, Document, Operation};

const KNOWN_FROM: &str = "x-bunq-known-from";

/// The questions, on an operation, or on `info` if they are about all operations.
pub(crate) const QUESTIONS: &str = "x-bunq-questions";

/// The places that an operation may be known from, in words. Only the first is what bunq documents for partners.
const PLACES: [(&str, &str); 3] = [
    ("partner-documents", "bunq's partner documents"),
    ("public-api", "bunq's public API only"),
    ("wild", "the wild: others have seen it, bunq does not document it"),
];

/// What is wrong with what a document says of where operations are known from, and of what is not certain. Only the linter reports it;
/// the generator leaves out what it cannot read.
pub fn problems(document: &Document) -> Vec<Diagnostic> {
    let mut problems: Vec<_> = problem_of_questions(&document.root["info"])
        .map(|problem| Diagnostic::at(format!("/info/{QUESTIONS}"), "info", problem))
        .into_iter()
        .collect();
    for operation in document.operations() {
        let mut find = |member: &str, problem: String| {
            let place = format_args!("operation `{}`", operation.id).to_string();
            problems.push(Diagnostic::at(format!("{}/{member}", operation.pointer()), place, problem));
        };
        match place(operation.value) {
            None => {
                let names: Vec<_> = PLACES.iter().map(|(name, _)| *name).collect();
                find(KNOWN_FROM, format!("say where it is known from: set {KNOWN_FROM} to {}", names.join(" or ")));
            }
            Some((name, _)) if *name != PLACES[0].0 && operation.value.get(QUESTIONS).is_none() => {
                find(
                    KNOWN_FROM,
                    format!("it is not in bunq's partner documents: write what bunq has to answer under {QUESTIONS}"),
                );
            }
            Some(_) => {}
        }
        if let Some(problem) = problem_of_questions(operation.value) {
            find(QUESTIONS, problem);
        }
    }
    problems
}

fn problem_of_questions(part: &Value) -> Option<String> {
    let value = part.get(QUESTIONS)?;
    let Some(questions) = value.as_array().filter(|questions| !questions.is_empty()) else {
        return Some(format!("{QUESTIONS} is a list of texts: write a question an item, or remove it"));
    };
    let is_question = |question: &&Value| {
        question.as_str().is_some_and(|text| text.len() > 1 && text.ends_with('?') && !text.contains('\n'))
    };
    let other = questions.iter().find(|question| !is_question(question))?;
    Some(format!("{other} under {QUESTIONS} is no question: write it in one line that ends with `?`"))
}

fn place(operation: &Value) -> Option<&'static (&'static str, &'static str)> {
    PLACES.iter().find(|(name, _)| operation[KNOWN_FROM] == *name)
}

fn questions(part: &Value) -> impl Iterator<Item = &str> {
    part[QUESTIONS].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Where an operation is known from and what bunq has to answer, as lines of Markdown. Empty if the document does not say it.
pub fn lines(operation: &Operation<'_>) -> Vec<String> {
    let Some((_, words)) = place(operation.value) else { return Vec::new() };
    let mut lines = vec![format!("Known from: {words}.")];
    let mut questions = questions(operation.value).peekable();
    if questions.peek().is_some() {
        lines.extend([String::new(), "What bunq has to answer:".into(), String::new()]);
        lines.extend(questions.map(|question| format!("- {question}")));
    }
    lines
}

/// All that is not certain, as a table in Markdown: the operation, as `name` writes it; where it is known from; the question.
pub fn table(document: &Document, name: impl Fn(&Operation<'_>) -> String) -> String {
    let row =
        |name: &str, words: &str, question: &str| format!("| {name} | {words} | {} |\n", question.replace('|', "\\|"));
    let mut table = String::from("| Operation | Known from | What bunq has to answer |\n|---|---|---|\n");
    table.extend(questions(&document.root["info"]).map(|question| row("all", "", question)));
    for operation in document.operations() {
        let (name, words) = (name(&operation), place(operation.value).map_or("", |(_, words)| words));
        table.extend(questions(operation.value).map(|question| row(&name, words, question)));
    }
    table
}

/// The page of the Rust documentation with the table.
pub(crate) fn page(document: &Document) -> TokenStream {
    let table = table(document, |operation| match operation.value["x-bunq-managed"] {
        // The client makes the call by itself, and has no method that is public.
        Value::Bool(true) => format!("`{}`", operation.id),
        _ => format!("[`{0}`](crate::Api::{0})", operation.id),
    });
    let lines = table.lines().map(|line| format!(" {line}"));
    quote! {
        /// What is not certain about bunq's API, and what bunq has to answer.
        ///
        /// The document follows one reading of each; the documentation of the operation says which.
        ///
        #(#[doc = #lines])*
        pub mod questions {}
    }
}
