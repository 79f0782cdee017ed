//! Stages what is published: the repository without its generator, where the library has the text that the generator makes.
//!
//! So users of the package build no generator. Nothing of the stage is committed; `VERSIONS.md` says how it is published.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use toml_edit::DocumentMut;

use crate::copy::copy_sources;
use crate::spec::DOCUMENT;
use crate::{root, target};

/// What is staged beside the sources.
const PAPERS: [&str; 5] = ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "SECURITY.md", "VERSIONS.md"];

/// The members of the workspace that are left out: the generator, and the chores, which use it.
const LEFT_OUT: [&str; 2] = ["codegen", "xtask"];

/// The folder of the generated files in the library.
pub(crate) const GENERATED: &str = "src/generated";

/// How the library names a generated file, up to its name: in the repository, and on the stage.
const INCLUDED: [&str; 2] = [r#"concat!(env!("OUT_DIR"), ""#, r#"concat!(env!("CARGO_MANIFEST_DIR"), "/src/generated"#];

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Generate from this document
    #[arg(long, value_name = "FILE", requires = "into")]
    document: Option<PathBuf>,
    /// Write to this folder, which must not exist [default: target/publish, which is replaced]
    #[arg(long, value_name = "FOLDER")]
    into: Option<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    let folder = match arguments.into {
        Some(folder) => {
            let document = arguments.document.unwrap_or_else(|| root().join(DOCUMENT));
            write(&document, &folder)?;
            folder
        }
        None => publish()?,
    };
    println!("staged in {}", folder.display());
    Ok(())
}

/// Stages today's repository. Returns the folder, from which it can be published.
pub(crate) fn publish() -> Result<PathBuf> {
    let folder = target().join("publish");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    write(&root().join(DOCUMENT), &folder)?;
    Ok(folder)
}

fn write(document: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.parent().context("the stage is in a folder")?)?;
    fs::create_dir(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    copy_sources(&PAPERS, folder)?;
    fs::copy(document, folder.join(DOCUMENT)).with_context(|| format!("{} cannot be read", document.display()))?;
    include_generated(&folder.join("src"))?;
    let generated = folder.join(GENERATED);
    fs::create_dir(&generated)?;
    bunq_partner_codegen::build(&folder.join(DOCUMENT), &generated).map_err(|problem| anyhow!("{problem}"))?;
    let manifest = folder.join("Cargo.toml");
    fs::write(&manifest, without_generator(&fs::read_to_string(&manifest)?)?)?;
    Ok(())
}

/// Lets the sources include the files on the stage in place of those of the build.
fn include_generated(path: &Path) -> Result<()> {
    if path.is_dir() {
        return fs::read_dir(path)?.try_for_each(|entry| include_generated(&entry?.path()));
    }
    let text = fs::read_to_string(path)?;
    let staged = text.replace(INCLUDED[0], INCLUDED[1]);
    if staged.contains("OUT_DIR") {
        bail!("{} names OUT_DIR, which the package has not, in another way than `{}`", path.display(), INCLUDED[0]);
    }
    Ok(fs::write(path, staged)?)
}

/// Takes out of the manifest of the library what belongs to the generator, and what keeps the library from being published with it.
fn without_generator(manifest: &str) -> Result<String> {
    let mut manifest: DocumentMut = manifest.parse()?;
    let generator = manifest.remove("build-dependencies");
    let private = manifest["package"].as_table_mut().and_then(|package| package.remove("publish"));
    let (Some(_), Some(_), Some(members)) = (generator, private, manifest["workspace"]["members"].as_array_mut())
    else {
        bail!("Cargo.toml has no build dependencies, no `publish = false` or no members: correct this chore");
    };
    members.retain(|member| !member.as_str().is_some_and(|name| LEFT_OUT.contains(&name)));
    Ok(manifest.to_string())
}
