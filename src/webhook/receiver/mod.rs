//! Takes bunq's calls: checks them, keeps what may be kept of them, and answers.

mod place;
mod service;

pub use self::service::{Receiver, ReceiverBuilder};
