//! Makes the API reference for every language, and the documentation of the crate.

use std::fs;

use anyhow::{Context as _, Result, bail};
use bunq_partner_codegen::lines::line_of;
use bunq_partner_codegen::{Document, provenance};
use serde_json::Value;

use crate::{redocly, root, spec};

const GUIDE: &str = "openapi/guide.md";
const WITH_GUIDE: &str = "target/docs/with-guide.yaml";
const PAGE: &str = "target/docs/reference.html";

pub(crate) fn run() -> Result<()> {
    with_guide()?;
    redocly::build_docs(WITH_GUIDE, PAGE)?;
    // With the examples, the dependencies have the features of the tests, and are those that are linted already.
    let doc = ["doc", "--workspace", "--no-deps", "--all-features", "--lib", "--examples"];
    crate::run("cargo", &doc, &[("RUSTDOCFLAGS", "--deny warnings")])?;
    println!("{PAGE} and target/doc/bunq_partner/index.html");
    Ok(())
}

/// Writes the document of the page.
fn with_guide() -> Result<()> {
    let guide = fs::read_to_string(root().join(GUIDE))?;
    let page = with_more(&spec::text()?, &spec::document()?, &guide)?;
    let path = root().join(WITH_GUIDE);
    fs::create_dir_all(path.parent().context("it has no folder")?)?;
    Ok(fs::write(path, page)?)
}

/// The text of the document, in whose descriptions are the guide, what is not certain, and where each operation is known from.
fn with_more(text: &str, document: &Document, guide: &str) -> Result<String> {
    let (_, sections) = guide.split_once("\n## ").context("the guide has no sections")?;
    let beginning = format!("## {sections}\n## What is not certain\n\n{}", spec::questions(document));
    let operations = document.operations();
    let known = operations.iter().map(|operation| (operation.pointer(), provenance::lines(operation).join("\n")));
    let added: Vec<_> = [("/info".to_owned(), beginning)].into_iter().chain(known).collect();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    // They are in the order of the document. From its end, those that are left keep their lines.
    for (part, added) in added.iter().rev() {
        let pointer = format!("{part}/description");
        let description = document.root.pointer(&pointer).and_then(Value::as_str);
        let (Some(description), Some(number)) = (description, line_of(text, &pointer)) else {
            bail!("{part} has no description");
        };
        let indent = indent(&lines[number - 1]);
        let inside = lines[number..].iter().take_while(|line| line.trim().is_empty() || self::indent(line) > indent);
        let end = number + inside.count();
        let margin = " ".repeat(indent);
        let whole = format!("{}\n\n{added}", description.trim_end());
        let block = whole.lines().map(|line| format!("{margin}  {line}"));
        let block: Vec<_> = [format!("{margin}description: |")].into_iter().chain(block).collect();
        lines.splice(number - 1..end, block);
    }
    Ok(lines.join("\n") + "\n")
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_all_of_the_document_and_what_is_not_certain() {
        test_timeout::start();
        let text = spec::text().unwrap();
        // Descriptions are written in either form.
        let text = text.replacen(
            "description: |\n        Returns one device",
            "description: >-\n        Returns one device",
            1,
        );
        let document = Document::parse(&text).unwrap();
        let page = Document::parse(&with_more(&text, &document, "# Guide\n\nOn it.\n\n## First\n\nA text.\n").unwrap());
        let page = page.unwrap();
        let info = page.root["info"]["description"].as_str().unwrap();
        assert!(info.contains("\n\n## First\n\nA text.\n\n## What is not certain\n\n| Operation |"), "{info}");
        assert!(info.contains("| all |  | Which refusals are signed? |"), "{info}");
        let row = "| `delete_session` | bunq's public API only | What does the response hold? |";
        assert!(info.contains(row), "{info}");
        assert!(!info.contains("On it."), "{info}");
        for operation in document.operations() {
            let pointer = format!("{}/description", operation.pointer());
            let [was, is] = [&document, &page].map(|document| document.root.pointer(&pointer).unwrap().clone());
            let [was, is] = [&was, &is].map(|text| text.as_str().unwrap().trim_end());
            assert_eq!(is, format!("{was}\n\n{}", provenance::lines(&operation).join("\n")));
        }
        assert_eq!(page.operations().len(), document.operations().len());
        assert_eq!(page.root["components"], document.root["components"]);
    }
}
