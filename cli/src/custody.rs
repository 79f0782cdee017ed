//! The custody of a command: what is kept of users, so that it can act for them.

use std::sync::Arc;

use bunq_partner::{Custody, FileCustody, MemoryCustody};

use super::declaration::CustodyUse;
use super::exit::Failure;
use super::settings::Bank;

/// Returns the custody of a command that uses one: the folder that was typed, or else that of the profile. The sandbox of this program
/// ends with it, and so do the tokens of its users, which are kept in memory.
pub(super) fn of(usage: CustodyUse<'_>, bank: &Bank) -> Result<Option<Arc<dyn Custody>>, Failure> {
    let CustodyUse::Needed(options) = usage else { return Ok(None) };
    let folder = match (bank, &options.custody) {
        (Bank::Internal, None) => return Ok(Some(Arc::new(MemoryCustody::new()))),
        (Bank::Internal, Some(_)) => {
            let failure = Failure::usage("--sandbox and --custody cannot be given together");
            return Err(
                failure.with_hint("leave out one of them: the tokens of that sandbox are worth nothing after it")
            );
        }
        (Bank::At(_), Some(typed)) => Some(typed),
        (Bank::At(settings), None) => settings.custody.value.as_ref(),
    };
    let missing = || {
        let hint =
            "give --custody FOLDER, or set `custody` in a profile: a folder of yours alone (`mkdir -m 700 FOLDER`)";
        Failure::usage("no custody is named, which has the tokens of users").with_hint(hint)
    };
    Ok(Some(Arc::new(FileCustody::new(folder.ok_or_else(missing)?))))
}
