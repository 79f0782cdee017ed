//! The papers of a user: files, and documents that are made of them.

mod attachments;
mod documents;
#[cfg(test)]
mod tests;

pub use self::attachments::{Attachments, DownloadedAttachment, NewAttachment};
pub use self::documents::{Documents, LinkedDocument};
