//! Checks the timeouts of the tests: each test must start its timeout before anything else, so that none hangs `cargo
//! test`.
//!
//! It reads the tokens of every file, because `syn` does not parse the inside of `proptest!`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::root;

/// The first statement of a test.
const START: &str = "test_timeout::start();";

pub(crate) fn run() -> Result<()> {
    let mut found = Found::default();
    read_folder(&root(), &mut found)?;
    for (file, test) in &found.without {
        eprintln!("{file}: the test {test} does not begin with `{START}`");
    }
    println!("test-timeouts: {} tests, {} findings", found.tests, found.without.len());
    if !found.without.is_empty() {
        bail!("a test without a timeout may hang: see above");
    }
    Ok(())
}

#[derive(Default)]
struct Found {
    tests: usize,
    /// The file and the name of each test that starts no timeout.
    without: Vec<(String, String)>,
}

fn read_folder(folder: &Path, found: &mut Found) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a file has a name")?;
        if path.is_dir() {
            if !name.starts_with('.') && !["node_modules", "target"].contains(&name) {
                read_folder(&path, found)?;
            }
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
            let file = path.strip_prefix(root())?.display().to_string();
            read_text(&file, &text, found)?;
        }
    }
    Ok(())
}

fn read_text(file: &str, text: &str, found: &mut Found) -> Result<()> {
    let parse = |text: &str| text.parse::<TokenStream>().map_err(|error| anyhow!("{file} is not Rust: {error}"));
    let start = parse(START)?.into_iter().map(|token| token.to_string()).collect::<Vec<_>>();
    read_tokens(file, parse(text)?, &start, found);
    Ok(())
}

fn read_tokens(file: &str, tokens: TokenStream, start: &[String], found: &mut Found) {
    let mut tokens = tokens.into_iter().peekable();
    // The test whose body has not come yet, with its name once that is known.
    let mut test: Option<Option<String>> = None;
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Ident(ident) if ident == "fn" => {
                if let (Some(name), Some(next)) = (&mut test, tokens.peek()) {
                    *name = Some(next.to_string());
                }
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket && is_test(group.stream()) => {
                test = Some(None);
            }
            TokenTree::Group(group) => {
                if group.delimiter() == Delimiter::Brace
                    && let Some(name) = test.take().flatten()
                {
                    found.tests += 1;
                    let first = group.stream().into_iter().take(start.len()).map(|token| token.to_string());
                    if !first.eq(start.iter().cloned()) {
                        found.without.push((file.to_owned(), name));
                    }
                }
                read_tokens(file, group.stream(), start, found);
            }
            _ => {}
        }
    }
}

/// Whether an attribute makes a function a test: `test`, `tokio::test(start_paused = true)`.
fn is_test(attribute: TokenStream) -> bool {
    let path = attribute.into_iter().take_while(|token| matches!(token, TokenTree::Ident(_) | TokenTree::Punct(_)));
    path.last().is_some_and(|last| last.to_string() == "test")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The number of tests, and the names of those that start no timeout.
    fn found(text: &str) -> (usize, Vec<String>) {
        let mut found = Found::default();
        read_text("a.rs", text, &mut found).unwrap();
        (found.tests, found.without.into_iter().map(|(_, test)| test).collect())
    }

    #[test]
    fn a_test_without_a_timeout_is_found() {
        test_timeout::start();
        for text in [
            "#[test] fn t() { test_timeout::start(); a(); }",
            "#[test] #[ignore = \"{}\"] #[cfg(unix)] fn t() -> Result<[u8; 2], E> { test_timeout::start(); }",
            "mod m { #[cfg(unix)] #[tokio::test(start_paused = true)] pub async fn t() { test_timeout::start(); } }",
            "proptest! { #![a(b)] #[test] fn t(a in \"[a-z]{1,2}\", b in any::<[u8; 2]>()) { test_timeout::start(); } }",
        ] {
            assert_eq!(found(text), (1, vec![]), "{text}");
            for other in ["", "let _ = test_timeout::start();", "a();", "// test_timeout::start();\n"] {
                let text = text.replace("test_timeout::start();", other);
                assert_eq!(found(&text), (1, vec!["t".to_owned()]), "{text}");
            }
        }
        let others =
            "#[cfg(test)] mod tests { fn t() {} } /** #[test] */ fn u() {} const V: &str = \"#[test] fn v() {}\";";
        assert_eq!(found(others), (0, vec![]));
    }
}
