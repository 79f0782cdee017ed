//! The custody of a command: what is kept of users, so that it can act for them.

use std::sync::Arc;

use bunq_partner::{Custody, CustodyEntry, CustodyFilter, Error, FileCustody, MemoryCustody};
use futures_util::stream::{Stream, TryStreamExt as _, iter, try_unfold};

use super::arguments::{CustodyOptions, DryRun};
use super::exit::Failure;
use super::settings::Bank;

/// Whether a command acts for users in custody.
#[derive(Clone, Copy)]
pub(super) enum CustodyUse<'a> {
    /// It does not.
    Unused,
    /// It does, and is refused without a custody.
    Needed(&'a CustodyOptions),
    /// It reports what is wrong with one, if there is one.
    Examined(&'a CustodyOptions),
}

impl<'a> CustodyUse<'a> {
    /// That of a command which needs none to show its requests.
    pub(super) fn of(options: &'a CustodyOptions, DryRun { dry_run }: DryRun) -> Self {
        if dry_run { Self::Unused } else { Self::Needed(options) }
    }
}

/// Returns the custody of a command that uses one: the folder that was typed, or else that of the profile. The sandbox of this program
/// ends with it, and so do the tokens of its users, which are kept in memory.
pub(super) fn of(usage: CustodyUse<'_>, bank: &Bank) -> Result<Option<Arc<dyn Custody>>, Failure> {
    let (options, is_needed) = match usage {
        CustodyUse::Unused => return Ok(None),
        CustodyUse::Needed(options) => (options, true),
        CustodyUse::Examined(options) => (options, false),
    };
    let folder = match (bank, &options.custody) {
        (Bank::Internal, None) => return Ok(is_needed.then(|| Arc::new(MemoryCustody::new()) as Arc<dyn Custody>)),
        (Bank::Internal, Some(_)) => {
            let failure = Failure::usage("--sandbox and --custody cannot be given together");
            return Err(
                failure.with_hint("leave out one of them: the tokens of that sandbox are worth nothing after it")
            );
        }
        (Bank::At(_), Some(typed)) => Some(typed),
        (Bank::At(settings), None) => settings.custody.value.as_ref(),
    };
    match folder {
        Some(folder) => Ok(Some(Arc::new(FileCustody::new(folder)))),
        None if is_needed => {
            let hint =
                "give --custody FOLDER, or set `custody` in a profile: a folder of yours alone (`mkdir -m 700 FOLDER`)";
            Err(Failure::usage("no custody is named, which has the tokens of users").with_hint(hint))
        }
        None => Ok(None),
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
