//! What is promised of the source as text: every test that `docs/guarantees.md` names exists, and messages name no Rust.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// All Rust files in a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn the_named_tests_exist() {
    test_timeout::start();
    let guarantees = include_str!("../docs/guarantees.md");
    let files: Vec<_> = ["tests", "src", "cli/tests", "cli/src", "sandbox/tests", "sandbox/src", "postgres/tests"]
        .into_iter()
        .flat_map(|folder| files(Path::new(folder)))
        .collect();
    let named: Vec<_> = guarantees.split('`').filter_map(|text| text.split_once("::")).collect();
    let named: Vec<_> =
        named.into_iter().filter(|(file, test)| test.contains('_') && file.starts_with(char::is_lowercase)).collect();
    assert!(named.len() > 30, "only {} tests are named", named.len());
    for (file, test) in named.into_iter().filter(|(file, _)| *file != "file") {
        let is_there = files.iter().any(|path| {
            let text = || fs::read_to_string(path).unwrap();
            path.file_stem().is_some_and(|stem| stem == file) && text().contains(&format!("fn {test}("))
        });
        assert!(is_there, "`docs/guarantees.md` names {file}::{test}, which is not there");
    }
}

/// The texts of errors are read by users of the program too, who have no methods. What a program can do is a `Remedy`.
#[test]
fn messages_name_nothing_of_rust() {
    test_timeout::start();
    let exempt = ["error/kind.rs", "transport/runtime.rs"];
    let is_searched = |path: &&PathBuf| {
        let path = path.to_str().unwrap();
        !path.contains("tests") && !exempt.iter().any(|exempt| path.ends_with(exempt))
    };
    let files = files(Path::new("src"));
    let sources: Vec<_> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let methods: Vec<_> = sources.iter().flat_map(|source| source.lines()).filter_map(public_method).collect();
    assert!(methods.len() > 200, "only {} methods are found", methods.len());
    let mut seen = 0;
    for path in files.iter().filter(is_searched) {
        let source = fs::read_to_string(path).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        // A backtick is in a text or in a comment. What the compiler says is read by those who write Rust.
        let is_of_rust = |line: &&str| ["//", "#[must_use"].iter().any(|start| line.trim_start().starts_with(start));
        for line in code.lines().filter(|line| !is_of_rust(line)) {
            for quoted in line.split('`').skip(1).step_by(2) {
                seen += 1;
                let is_code = quoted.contains("::") || quoted.contains("()") || methods.contains(&quoted);
                assert!(!is_code, "{}: a message names `{quoted}`: make it a `Remedy`", path.display());
            }
        }
    }
    assert!(seen > 30, "only {seen} words are quoted in messages");
}

/// The method that a line declares for users of the library.
fn public_method(line: &str) -> Option<&str> {
    let declared = line.trim_start().strip_prefix("pub ")?;
    let declared = declared.strip_prefix("async ").unwrap_or(declared).strip_prefix("fn ")?;
    declared.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}
