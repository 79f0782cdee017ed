//! Receipts: bunq's signed responses to what changes something, kept so that they can be checked years later.
//!
//! A [`ReceiptFile`] sees the exchanges of a client and writes them; [`ReceiptReader`] checks them, offline. This module makes no
//! call.

mod file;
mod reader;
mod receipt;

pub use self::file::ReceiptFile;
pub use self::reader::{InvalidReceipt, ReceiptReader};
pub use self::receipt::Receipt;
