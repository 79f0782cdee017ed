//! The papers of a user: files, documents that are made of them, and what bunq asks of the user.

mod attachments;
mod documents;
mod inquiries;
#[cfg(test)]
mod tests;

pub use self::attachments::{Attachments, DownloadedAttachment, NewAttachment};
pub use self::documents::{Documents, LinkedDocument};
pub(crate) use self::inquiries::InDoubtAnswers;
pub use self::inquiries::{Inquiries, InquiryList, InquiryReview};
