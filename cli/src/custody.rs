//! The custody of a command: what is kept of users, so that it can act for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunq_partner::{Custody, CustodyEntry, CustodyFilter, Error, FileCustody, MemoryCustody};
use futures_util::stream::{Stream, TryStreamExt as _, iter, try_unfold};

use super::arguments::{CustodyOptions, DryRun};
use super::exit::Failure;
use super::postgres::SharedStores;
use super::settings::Bank;

/// Whether a command acts for users in custody.
#[derive(Clone, Copy)]
pub(super) enum CustodyUse<'a> {
    /// It does not.
    Unused,
    /// It does, and is refused without a custody.
    Needed(CustodyFolder<'a>),
    /// It uses one if there is one.
    Optional(CustodyFolder<'a>),
    /// It closes users, and removes from the profile's custody what is kept of them.
    Released,
}

/// The folder that was typed, if one was, and the option that takes it.
#[derive(Clone, Copy)]
pub(super) struct CustodyFolder<'a> {
    pub(super) option: &'static str,
    pub(super) folder: Option<&'a Path>,
}

impl<'a> From<&'a CustodyOptions> for CustodyFolder<'a> {
    fn from(options: &'a CustodyOptions) -> Self {
        Self { option: "--custody", folder: options.custody.as_deref() }
    }
}

impl<'a> CustodyUse<'a> {
    /// That of a command which needs none to show its requests.
    pub(super) fn of(options: &'a CustodyOptions, DryRun { dry_run }: DryRun) -> Self {
        if dry_run { Self::Unused } else { Self::Needed(options.into()) }
    }
}

/// Where the custody of a command is.
pub(super) enum CustodyPlace {
    /// It uses none.
    Nowhere,
    Memory,
    Folder(PathBuf),
    /// In the database that machines share.
    Database,
}

impl CustodyPlace {
    /// The folder that was typed, or else that of the profile, or else the database. The sandbox of this program ends with it, and so do
    /// the tokens of its users, which are kept in memory.
    pub(super) fn of(usage: CustodyUse<'_>, bank: &Bank) -> Result<Self, Failure> {
        let (typed, is_needed) = match usage {
            CustodyUse::Unused => return Ok(Self::Nowhere),
            CustodyUse::Needed(typed) => (Some(typed), true),
            CustodyUse::Optional(typed) => (Some(typed), false),
            CustodyUse::Released => (None, false),
        };
        let named = typed.and_then(|CustodyFolder { option, folder }| Some((option, folder?)));
        let (folder, has_database) = match (bank, named) {
            (Bank::Internal, None) if is_needed => return Ok(Self::Memory),
            (Bank::Internal, None) => return Ok(Self::Nowhere),
            (Bank::Internal, Some((option, _))) => {
                let failure = Failure::usage(format!("--sandbox and {option} FOLDER cannot be given together"));
                return Err(
                    failure.with_hint("leave out one of them: the tokens of that sandbox are worth nothing after it")
                );
            }
            (Bank::At(_), Some((_, folder))) => (Some(folder), false),
            (Bank::At(settings), None) => (settings.custody.value.as_deref(), settings.postgres.is_some()),
        };
        match (folder, typed) {
            (Some(folder), _) => Ok(Self::Folder(folder.to_owned())),
            (None, _) if has_database => Ok(Self::Database),
            (None, Some(CustodyFolder { option, .. })) if is_needed => {
                let failure = Failure::usage("no custody is named, which has the tokens of users");
                Err(failure.with_hint(format!(
                    "give {option} FOLDER, or set `custody` in a profile: a folder of yours alone (`mkdir -m 700 FOLDER`)"
                )))
            }
            (None, _) => Ok(Self::Nowhere),
        }
    }

    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Nowhere | Self::Memory | Self::Database => None,
        }
    }

    /// Nothing of it is read yet. There is none if it is in a database that could not be reached.
    pub(super) fn custody(&self, shared: Option<&SharedStores>) -> Option<Arc<dyn Custody>> {
        match self {
            Self::Database => shared.map(SharedStores::custody),
            Self::Nowhere => None,
            Self::Memory => Some(Arc::new(MemoryCustody::new())),
            Self::Folder(folder) => Some(Arc::new(FileCustody::new(folder))),
        }
    }
}

/// What is in a custody of each user, with ascending ids, as it is read.
pub(super) fn entries(custody: &dyn Custody, filter: CustodyFilter) -> impl Stream<Item = Result<CustodyEntry, Error>> {
    let pages = try_unfold(None, move |after| async move {
        let page = custody.list(filter, after).await?;
        let last = page.last().map(|entry| entry.provision_id);
        Ok::<_, Error>(last.map(|last| (iter(page.into_iter().map(Ok)), Some(last))))
    });
    pages.try_flatten()
}
