//! The layers of the library: imports go down. In every crate of the repository: there are no circles.
//!
//! Reads every path in `src/` and in the generated files, follows re-exports to the module that defines the item,
//! and reports each import that goes up, each circle of files, and each import through `lib.rs`. Tests are left out.
//! What one crate may use of another is its `Cargo.toml`'s matter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use bunq_partner_codegen::GeneratedFile;
use syn::visit::{self, Visit};

use crate::{expand, root};

/// The layers of the library, lowest first. What stands in one line may import each other.
const LAYERS: [&[&str]; 27] = [
    &["sync", "text", "variables"],
    &["types"],
    &["files"],
    &["operation"],
    &["error"],
    &["environment"],
    &["api_key"],
    &["retry"],
    &["transport"],
    &["wire"],
    &["receipts"],
    &["api"],
    &["session"],
    &["custody"],
    &["sealing"],
    &["feed"],
    &["reconcile"],
    &["oauth"],
    &["notifications"],
    &["provisions"],
    &["onboarding"],
    &["identity"],
    &["papers"],
    &["users"],
    &["bulk"],
    &["webhook"],
    &["builder", "client"],
];

/// The modules of the library that decide whether something is attempted again, or hold a setting of it: no other imports `retry`.
const DECIDING: [&str; 7] =
    ["builder", "bulk::outage", "bulk::run", "reconcile", "reconcile::checks", "transport", "transport::config"];

/// The path of a module from the root of the crate.
type ModulePath = Vec<String>;

/// One file, with the generated code that it includes.
#[derive(Default)]
struct Module {
    /// Each path that is used, from the root of the crate.
    uses: BTreeSet<ModulePath>,
    /// What a re-exported name stands for.
    exports: BTreeMap<String, ModulePath>,
}

type Crate = BTreeMap<ModulePath, Module>;

pub(crate) fn run() -> Result<()> {
    let generated = expand::generated()?;
    let mut has_findings = false;
    for folder in crates()? {
        let mut modules = Crate::new();
        read_folder(&folder.join("src"), &Vec::new(), &generated, &mut modules)?;
        let (name, layers) = match folder.strip_prefix(root()) {
            Ok(name) if !name.as_os_str().is_empty() => (name.display().to_string(), None),
            _ => ("the library".to_owned(), Some(&LAYERS[..])),
        };
        let (findings, imports) = check(&modules, layers);
        for finding in &findings {
            eprintln!("{name}: {finding}");
        }
        println!("layers of {name}: {} files, {imports} imports, {} findings", modules.len(), findings.len());
        has_findings |= !findings.is_empty();
    }
    if has_findings {
        bail!("an import goes up or in a circle: see above, and ARCHITECTURE.md");
    }
    Ok(())
}

/// The folders of the library and of the crates beside it.
fn crates() -> Result<Vec<PathBuf>> {
    let mut folders = vec![root()];
    for entry in fs::read_dir(root())? {
        let folder = entry?.path();
        if folder.join("Cargo.toml").exists() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

/// What is wrong with the imports of a crate, and how many it has. Without layers, only circles are wrong.
fn check(modules: &Crate, layers: Option<&[&[&str]]>) -> (Vec<String>, usize) {
    let layer = |path: &ModulePath| layers?.iter().position(|names| names.contains(&path[0].as_str()));
    let mut findings = Vec::new();
    let mut edges: BTreeMap<&ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
    for (path, module) in modules.iter().filter(|(path, _)| !path.is_empty()) {
        for used in &module.uses {
            if modules.get(&Vec::new()).is_some_and(|root| root.exports.contains_key(&used[0])) {
                findings.push(format!("{} imports {} through lib.rs", name(path), used.join("::")));
                continue;
            }
            let target = resolve(modules, used);
            if !target.is_empty() && target != *path {
                edges.entry(path).or_default().insert(target);
            }
        }
    }
    for (from, targets) in &edges {
        for to in targets {
            let is_deciding = from[0] == "retry" || DECIDING.contains(&name(from).as_str());
            if layers.is_some() && to[0] == "retry" && !is_deciding {
                findings.push(format!(
                    "{} imports {}: it is none of those that decide on attempts",
                    name(from),
                    name(to)
                ));
            }
            match (layer(from), layer(to)) {
                (Some(above), Some(below)) if above < below => {
                    findings.push(format!("{} imports {}, which is above it", name(from), name(to)));
                }
                (None, _) if layers.is_some() => {
                    findings.push(format!("{} is in no layer: add it to the layers", name(from)))
                }
                _ => {}
            }
        }
    }
    let may_be_in_one =
        |path: &ModulePath| layers.is_some_and(|layers| layer(path).is_none_or(|layer| layers[layer].len() > 1));
    for start in edges.keys().filter(|start| !may_be_in_one(start)) {
        if let Some(circle) = circle(&edges, start, &mut vec![(*start).clone()]) {
            findings.push(format!("a circle: {}", circle.iter().map(name).collect::<Vec<_>>().join(" -> ")));
        }
    }
    (findings, edges.values().map(BTreeSet::len).sum())
}

fn name(path: &ModulePath) -> String {
    path.join("::")
}

/// A circle that begins and ends with `start`, the first of its members.
fn circle(
    edges: &BTreeMap<&ModulePath, BTreeSet<ModulePath>>,
    start: &ModulePath,
    way: &mut Vec<ModulePath>,
) -> Option<Vec<ModulePath>> {
    for next in edges.get(way.last()?).into_iter().flatten().filter(|next| *next >= start) {
        if next == start {
            return Some([way.clone(), vec![start.clone()]].concat());
        }
        if !way.contains(next) {
            way.push(next.clone());
            let found = circle(edges, start, way);
            if found.is_some() {
                return found;
            }
            way.pop();
        }
    }
    None
}

/// The module that defines the item of a path.
fn resolve(modules: &Crate, path: &[String]) -> ModulePath {
    let mut at = ModulePath::new();
    for (index, segment) in path.iter().enumerate() {
        let child = [at.clone(), vec![segment.clone()]].concat();
        if modules.contains_key(&child) {
            at = child;
        } else if let Some(target) = modules.get(&at).and_then(|module| module.exports.get(segment)) {
            return resolve(modules, &[target.clone(), path[index + 1..].to_vec()].concat());
        } else {
            break;
        }
    }
    at
}

fn read_folder(folder: &Path, path: &ModulePath, generated: &[GeneratedFile], modules: &mut Crate) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let file = entry?.path();
        let stem = file.file_stem().and_then(|stem| stem.to_str()).context("a file has a name")?;
        let below = [path.clone(), vec![stem.to_owned()]].concat();
        if stem == "tests" {
            continue;
        }
        if file.is_dir() {
            read_folder(&file, &below, generated, modules)?;
            continue;
        }
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let module = if ["mod", "lib"].contains(&stem) { path.clone() } else { below };
        let mut reader = Reader { path: module.clone(), generated, found: Module::default() };
        let text = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        reader.read(&text).with_context(|| format!("{} is not Rust", file.display()))?;
        modules.insert(module, reader.found);
    }
    Ok(())
}

struct Reader<'a> {
    path: ModulePath,
    generated: &'a [GeneratedFile],
    found: Module,
}

impl Reader<'_> {
    fn read(&mut self, text: &str) -> Result<()> {
        self.visit_file(&syn::parse_file(text)?);
        Ok(())
    }

    /// A path that begins with `crate`, `self` or `super`, from the root of the crate.
    fn absolute(&self, segments: &[String]) -> Option<ModulePath> {
        let (first, rest) = segments.split_first()?;
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.path.clone(),
            "super" => self.path[..self.path.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        let supers = rest.iter().take_while(|segment| *segment == "super").count();
        base.truncate(base.len().checked_sub(supers)?);
        base.extend(rest[supers..].iter().cloned());
        (!base.is_empty()).then_some(base)
    }

    fn import(&mut self, tree: &syn::UseTree, prefix: &[String], is_exported: bool) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        let (path, shown) = match tree {
            syn::UseTree::Path(path) => return self.import(&path.tree, &with(&path.ident), is_exported),
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|tree| self.import(tree, prefix, is_exported));
            }
            syn::UseTree::Name(name) if name.ident == "self" => (prefix.to_vec(), prefix.last().cloned()),
            syn::UseTree::Name(name) => (with(&name.ident), Some(name.ident.to_string())),
            syn::UseTree::Rename(rename) => (with(&rename.ident), Some(rename.rename.to_string())),
            syn::UseTree::Glob(_) => (prefix.to_vec(), None),
        };
        // In a crate's root, `use api::Api` is `use self::api::Api`.
        let path = if self.path.is_empty() { [vec!["self".to_owned()], path].concat() } else { path };
        let Some(path) = self.absolute(&path) else { return };
        if let (Some(shown), true) = (shown, is_exported) {
            self.found.exports.insert(shown, path);
        } else {
            self.found.uses.insert(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Meta>().is_ok_and(|meta| mentions_test(&meta))
        };
        if !attributes.iter().any(is_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.import(&item.tree, &[], !matches!(item.vis, syn::Visibility::Inherited));
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        let text = item.mac.tokens.to_string();
        if item.mac.path.is_ident("include")
            && let Some((_, file)) = text.split_once("\"/")
            && let Some((name, _)) = file.split_once('"')
            && let Some(file) = self.generated.iter().find(|file| file.name == name)
        {
            // Code that syn cannot parse does not compile either.
            let _ = self.read(&file.code);
        }
    }

    /// `pub(super)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.found.uses.extend(self.absolute(&segments));
        visit::visit_path(self, path);
    }
}

fn mentions_test(meta: &syn::Meta) -> bool {
    match meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => {
            list.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
        }
        syn::Meta::NameValue(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate of modules, each with the paths that it uses and the names that it re-exports.
    #[allow(clippy::type_complexity)]
    fn modules(modules: &[(&str, &[&str], &[(&str, &str)])]) -> Crate {
        let path = |text: &str| text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        modules
            .iter()
            .map(|(name, uses, exports)| {
                let uses = uses.iter().map(|used| path(used)).collect();
                let exports = exports.iter().map(|(name, target)| ((*name).to_owned(), path(target))).collect();
                (path(name), Module { uses, exports })
            })
            .collect()
    }

    fn library(modules: &Crate) -> (Vec<String>, usize) {
        check(modules, Some(&LAYERS))
    }

    #[test]
    fn imports_go_down() {
        test_timeout::start();
        let (findings, imports) = library(&modules(&[
            ("error", &["types::Secret"], &[]),
            ("types", &[], &[]),
            ("api", &["error::Error"], &[]),
        ]));
        assert_eq!((findings, imports), (vec![], 2));
        let (findings, _) = library(&modules(&[("error", &["api::Api"], &[]), ("api", &[], &[])]));
        assert_eq!(findings, ["error imports api, which is above it"]);
        let (findings, _) = library(&modules(&[("attic", &["error::Error"], &[]), ("error", &[], &[])]));
        assert_eq!(findings, ["attic is in no layer: add it to the layers"]);
    }

    #[test]
    fn a_re_export_hides_nothing() {
        test_timeout::start();
        let (findings, _) = library(&modules(&[
            ("types", &[], &[("Response", "api::response::Response")]),
            ("error", &["types::Response"], &[]),
            ("api", &[], &[]),
            ("api::response", &[], &[]),
        ]));
        assert_eq!(findings, ["error imports api::response, which is above it"]);
        let (findings, _) = library(&modules(&[("", &[], &[("Error", "error::Error")]), ("api", &["Error"], &[])]));
        assert_eq!(findings, ["api imports Error through lib.rs"]);
    }

    #[test]
    fn circles_are_found_within_a_layer_too() {
        test_timeout::start();
        let (findings, _) = library(&modules(&[
            ("api", &["api::pages::pages"], &[]),
            ("api::pages", &["api::response::Response"], &[]),
            ("api::response", &["api::Api"], &[]),
        ]));
        assert_eq!(findings, ["a circle: api -> api::pages -> api::response -> api"]);
        let (findings, _) =
            library(&modules(&[("builder", &["client::Client"], &[]), ("client", &["builder::ClientBuilder"], &[])]));
        assert_eq!(findings, [""; 0], "these two may import each other");
    }

    #[test]
    fn a_crate_without_layers_has_no_circles_either() {
        test_timeout::start();
        let crate_of = |uses: &'static [&str]| modules(&[("queries", uses, &[]), ("names", &["queries::Query"], &[])]);
        assert_eq!(check(&crate_of(&[]), None), (vec![], 1));
        let (findings, _) = check(&crate_of(&["names::name"]), None);
        assert_eq!(findings, ["a circle: names -> queries -> names"]);
    }
}
