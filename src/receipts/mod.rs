//! Receipts: bunq's signed responses to calls that change something, stored so that they can be checked years later.
//!
//! A [`ReceiptFile`] observes the exchanges of a client and writes them. A [`ReceiptReader`] checks them offline. This
//! module makes no calls.

mod file;
mod reader;
mod receipt;

pub use self::file::ReceiptFile;
pub use self::reader::{InvalidReceipt, ReceiptReader};
pub use self::receipt::Receipt;
