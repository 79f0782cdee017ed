//! Where hints are kept until they are done.

mod bounds;
mod entries;
mod file_journal;
mod interface;
mod marks;
mod memory_journal;

pub use self::bounds::HintJournalBounds;
pub use self::file_journal::FileHintJournal;
pub use self::interface::{Appended, EntryId, HintJournal};
pub use self::memory_journal::MemoryHintJournal;
