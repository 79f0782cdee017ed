//! Takes bunq's calls: checks them, keeps what may be kept of them, and answers.

mod builder;
mod certificate;
mod numbers;
mod peer;
mod place;
mod ranges;
mod seldom;
mod service;

pub use self::builder::ReceiverBuilder;
pub use self::numbers::ReceiverNumbers;
pub use self::peer::Peer;
pub use self::service::Receiver;
