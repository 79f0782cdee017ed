//! Where hints are kept until they are done.

mod bounds;
mod entries;
mod file_journal;
mod interface;

pub use self::bounds::JournalBounds;
pub use self::file_journal::FileJournal;
pub use self::interface::{Appended, EntryId, Journal};
