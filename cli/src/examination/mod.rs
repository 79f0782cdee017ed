//! Examinations: what is looked at step by step, and the network path to a server.

pub(crate) mod network;
pub(crate) mod step;
