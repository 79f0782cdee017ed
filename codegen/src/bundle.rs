//! Bundles the sources of the document into the one file that everything generates from.
//!
//! Lines are copied, not written anew: comments and style of the sources stay, and the same sources give the same bytes. Each line of
//! the bundle knows where it comes from, so that findings name the source.

mod blocks;
mod operations;

use std::collections::HashMap;
use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use serde_json::Value;

use self::blocks::{Member, Problem, Row, split};
use self::operations::Shared;
use super::document::{Diagnostic, Document, METHODS};
use super::lines::line_of;
use super::validate::for_each_part;

/// The path of the document in the repository: the bundle.
pub const DOCUMENT: &str = "openapi/bunq-partner.yaml";

/// The folder of the sources in the repository.
pub const SOURCES: &str = "openapi/sources";

/// What makes the bundle.
const REMEDY: &str = "run `cargo xtask spec bundle`";

/// The source of what belongs to no tag.
const FRAME: &str = "document.yaml";

/// The source of what operations have in common.
const SHARED: &str = "operations.yaml";

/// The folder of the sources of one tag each.
const TAGS: &str = "tags";

/// The first lines of the bundle.
const HEADER: [&str; 2] = ["# Made from openapi/sources by `cargo xtask spec bundle`: change the sources.", ""];

/// A file of the sources.
struct Source {
    name: Rc<str>,
    text: String,
    root: Value,
    rows: Vec<Row>,
}

/// The document, made of its sources.
#[derive(Debug)]
pub struct Bundle {
    rows: Vec<Row>,
}

/// Checks that the bundle in the repository at `root` is what its sources make. Without sources, as in a package, there is nothing to
/// check.
///
/// # Errors
///
/// What is wrong with the sources, or the first line that differs, and what to do.
pub fn check(root: &Path) -> Result<(), String> {
    if !root.join(SOURCES).exists() {
        return Ok(());
    }
    Bundle::read(root)?.check(&fs::read_to_string(root.join(DOCUMENT)).unwrap_or_default())
}

impl Bundle {
    /// Reads the sources in the repository at `root`.
    ///
    /// # Errors
    ///
    /// The first problem, with file and line.
    pub fn read(root: &Path) -> Result<Self, String> {
        let frame = Source::read(root, FRAME)?;
        let shared = Source::read(root, SHARED)?;
        if !frame.root["paths"].is_null() {
            return Err(frame.at("/paths", "an operation belongs to a tag: move it to the file of its tag"));
        }
        let mut tags = Vec::new();
        for (index, tag) in frame.root["tags"].as_array().into_iter().flatten().enumerate() {
            let tag = tag["name"].as_str().unwrap_or_default();
            let refused =
                |problem: String| frame.at(&format!("/tags/{index}"), format_args!("the tag `{tag}` {problem}"));
            let file =
                file_of(tag).ok_or_else(|| refused("names a file: give it a name of letters and spaces".into()))?;
            if !root.join(SOURCES).join(&file).exists() {
                return Err(refused(format!("has no operations: write {SOURCES}/{file}, or remove the tag")));
            }
            tags.push((tag.to_owned(), Source::read(root, &file)?));
        }
        let sources = [&frame, &shared].into_iter().chain(tags.iter().map(|(_, source)| source));
        refuse_others(root, &sources.map(|source| &*source.name).collect::<Vec<_>>())?;
        assemble(&frame, &shared, &tags)
    }

    /// The text of the bundle.
    pub fn text(&self) -> String {
        self.lines().flat_map(|line| [line, "\n"]).collect()
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        HEADER.into_iter().chain(self.rows.iter().map(|row| row.text.as_str()))
    }

    /// Checks that `text` is this bundle.
    ///
    /// # Errors
    ///
    /// The first line that differs, and what to do.
    pub fn check(&self, text: &str) -> Result<(), String> {
        if self.lines().eq(text.lines()) {
            return Ok(());
        }
        let same = self.lines().zip(text.lines()).take_while(|(one, other)| one == other).count();
        let place = self.place(same + 1).unwrap_or_else(|| SOURCES.into());
        Err(format!("{DOCUMENT}:{}: it is not what its sources make, see {place}: {REMEDY}", same + 1))
    }

    /// The text of a diagnostic of the bundle, with the source that it is about.
    pub fn shown(&self, diagnostic: &Diagnostic) -> String {
        let place = diagnostic.line(&self.text()).and_then(|line| self.place(line));
        format!("{}: {diagnostic}", place.unwrap_or_else(|| DOCUMENT.into()))
    }

    /// The source of a line of the bundle.
    fn place(&self, line: usize) -> Option<String> {
        Some(self.rows.get(line.checked_sub(HEADER.len() + 1)?)?.place())
    }
}

impl Source {
    fn read(root: &Path, file: &str) -> Result<Self, String> {
        let name = format!("{SOURCES}/{file}");
        let text = fs::read_to_string(root.join(&name)).map_err(|error| format!("{name}: {error}"))?;
        let root = Document::read(&text).map_err(|diagnostic| diagnostic.in_file(&name, &text))?.root;
        if !root.is_object() {
            return Err(format!("{name}: it is no mapping: write its members, as the other sources have them"));
        }
        let name = Rc::<str>::from(name);
        let row = |(index, line): (usize, &str)| Row { text: line.into(), file: Rc::clone(&name), number: index + 1 };
        let rows = text.lines().enumerate().map(row).collect();
        let source = Self { name, text, root, rows };
        let mut outside = None;
        for_each_part(&source.root, &mut |pointer, part| {
            let target = part.get("$ref").filter(|target| !target.as_str().is_some_and(|to| to.starts_with("#/")));
            if let Some(target) = target.filter(|_| outside.is_none()) {
                let target = target.to_string();
                let problem = format!(
                    "`$ref: {}` leads out of the document: the sources are one document, refer to `#/components/…`",
                    target.trim_matches('"')
                );
                outside = Some(source.at(pointer, problem));
            }
        });
        outside.map_or(Ok(source), Err)
    }

    /// A problem of the part at a JSON pointer.
    fn at(&self, pointer: &str, problem: impl Display) -> String {
        line_of(&self.text, pointer)
            .map_or_else(|| format!("{}: {problem}", self.name), |line| format!("{}:{line}: {problem}", self.name))
    }
}

/// The file of a tag: `OAuth client` has `tags/oauth-client.yaml`.
fn file_of(tag: &str) -> Option<String> {
    let is_plain = !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphabetic() || c == ' ');
    is_plain.then(|| format!("{TAGS}/{}.yaml", tag.to_ascii_lowercase().replace(' ', "-")))
}

/// Refuses a file that no tag names: its operations would be left out.
fn refuse_others(root: &Path, known: &[&str]) -> Result<(), String> {
    for folder in [SOURCES.to_owned(), format!("{SOURCES}/{TAGS}")] {
        let entries = fs::read_dir(root.join(&folder)).map_err(|error| format!("{folder}: {error}"))?;
        for entry in entries {
            let name = entry.map_err(|error| format!("{folder}: {error}"))?.file_name();
            let name = format!("{folder}/{}", name.to_string_lossy());
            if [".yaml", ".yml"].iter().any(|ending| name.ends_with(ending)) && !known.contains(&name.as_str()) {
                return Err(format!("{name}: it belongs to no tag: name the tag in {SOURCES}/{FRAME}"));
            }
        }
    }
    Ok(())
}

/// Puts the sources together: the frame, the operations of each tag, and the components of all, by their kind.
fn assemble(frame: &Source, shared: &Source, tags: &[(String, Source)]) -> Result<Bundle, String> {
    let shared = Shared::read(&shared.rows, &shared.root).map_err(refused)?;
    let mut assembly = Assembly { whole: frame.root.clone(), ..Assembly::default() };
    let mut rows = Vec::new();
    for part in split(&frame.rows[0], &frame.rows, 0, &frame.root).map_err(refused)? {
        match part.key {
            "components" => assembly.add_components(&part, &frame.root[part.key])?,
            // What is before the first member is about the file.
            _ if rows.is_empty() => rows.extend([part.line].into_iter().chain(part.body).cloned()),
            _ => rows.extend(part.all().cloned()),
        }
    }
    for (tag, source) in tags {
        for part in split(&source.rows[0], &source.rows, 0, &source.root).map_err(refused)? {
            match part.key {
                "components" => assembly.add_components(&part, &source.root[part.key])?,
                "paths" => assembly.add_paths(&part, &source.root[part.key], &shared, tag)?,
                other => {
                    let problem = format!("`{other}` belongs to no tag: move it to {SOURCES}/{FRAME}, or remove it");
                    return Err(refused((part.line.clone(), problem)));
                }
            }
        }
    }
    append(&mut rows, &[frame.rows[0].with("paths:")]);
    rows.extend(assembly.paths);
    append(&mut rows, &[frame.rows[0].with("components:")]);
    for (index, kind) in assembly.kinds.into_iter().enumerate() {
        let whole: Vec<_> = kind.title.into_iter().chain(kind.body).collect();
        if index == 0 { rows.extend(whole) } else { append(&mut rows, &whole) }
    }
    let bundle = Bundle { rows };
    match Document::read(&bundle.text()) {
        Ok(document) if document.root == assembly.whole => Ok(bundle),
        Ok(_) => Err(format!("{SOURCES}: put together, they say something else: write them as {FRAME} is written")),
        Err(diagnostic) => Err(bundle.shown(&diagnostic)),
    }
}

fn refused((row, problem): Problem) -> String {
    format!("{}: {problem}", row.place())
}

/// What is put together of all sources.
#[derive(Default)]
struct Assembly {
    paths: Vec<Row>,
    kinds: Vec<Kind>,
    /// What the lines say. The bundle is held against it.
    whole: Value,
    /// The places of the names that were seen.
    seen: HashMap<String, String>,
}

impl Assembly {
    fn see(&mut self, name: String, row: &Row) -> Result<(), String> {
        let here = row.place();
        match self.seen.insert(name.clone(), here.clone()) {
            Some(there) => Err(format!("{here}: {name} stands at {there} too: rename or remove one")),
            None => Ok(()),
        }
    }

    fn add_components(&mut self, components: &Member<'_>, value: &Value) -> Result<(), String> {
        for kind in split(components.line, components.body, 2, value).map_err(refused)? {
            let named = &value[kind.key];
            for component in split(kind.line, kind.body, 4, named).map_err(refused)? {
                self.see(format!("`#/components/{}/{}`", kind.key, component.key), component.line)?;
                self.whole["components"][kind.key][component.key] = named[component.key].clone();
            }
            append_kind(&mut self.kinds, &kind);
        }
        Ok(())
    }

    fn add_paths(&mut self, paths: &Member<'_>, value: &Value, shared: &Shared<'_>, tag: &str) -> Result<(), String> {
        let mut rows = Vec::new();
        for path in split(paths.line, paths.body, 2, value).map_err(refused)? {
            self.see(format!("path `{}`", path.key), path.line)?;
            let mut item = value[path.key].clone();
            rows.extend(path.lead.iter().chain([path.line]).cloned());
            for member in split(path.line, path.body, 4, &value[path.key]).map_err(refused)? {
                let operation = &value[path.key][member.key];
                if METHODS.contains(&member.key) {
                    let id = operation["operationId"].as_str().unwrap_or_default();
                    self.see(format!("operation `{id}`"), member.line)?;
                    let (lines, whole) = shared.complete(&member, operation, tag).map_err(refused)?;
                    rows.extend(lines);
                    item[member.key] = whole;
                } else {
                    rows.extend(member.all().cloned());
                }
            }
            self.whole["paths"][path.key] = item;
        }
        append(&mut self.paths, &rows);
        Ok(())
    }
}

/// The components of a kind, of all sources.
struct Kind {
    title: Vec<Row>,
    body: Vec<Row>,
}

fn append_kind(kinds: &mut Vec<Kind>, added: &Member<'_>) {
    match kinds.iter_mut().find(|kind| kind.title.last().is_some_and(|row| row.text == added.line.text)) {
        Some(kind) => append(&mut kind.body, added.body),
        None => {
            let comments = added.lead.iter().filter(|row| !row.is_empty());
            kinds.push(Kind { title: comments.chain([added.line]).cloned().collect(), body: added.body.to_vec() });
        }
    }
}

/// Appends rows, after an empty one.
fn append(to: &mut Vec<Row>, rows: &[Row]) {
    while to.pop_if(|row| row.is_empty()).is_some() {}
    if let (false, Some(row)) = (to.is_empty(), rows.first()) {
        to.push(row.with(""));
    }
    to.extend_from_slice(rows);
}
