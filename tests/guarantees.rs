//! Every test that `docs/guarantees.md` names exists.

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
    let files: Vec<_> = ["tests", "src", "cli/tests", "cli/src", "sandbox/tests", "sandbox/src"]
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
