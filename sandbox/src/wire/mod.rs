//! From the request to the response: the server, the exchange with its faults and limits, and the log of calls. Nothing here
//! knows a single resource.

pub(crate) mod call;
pub(crate) mod call_log;
mod drift;
pub(crate) mod exchange;
pub(crate) mod fault;
mod fault_value;
pub(crate) mod injection;
pub(crate) mod limits;
pub(crate) mod notation;
pub(crate) mod response;
pub(crate) mod routes;
pub(crate) mod server;
mod web_page;
