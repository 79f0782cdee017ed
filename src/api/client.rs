//! The generated client. It builds the requests and sends nothing.

use super::calls::Api;

#[allow(clippy::all, dead_code, unused_imports, missing_docs, unreachable_pub)]
mod generated {
    use crate::types;

    include!(concat!(env!("OUT_DIR"), "/client.rs"));
}

impl Api {
    /// The client that builds the requests of the typed methods.
    pub(super) fn requests(&self) -> generated::Client {
        let transport = self.transport();
        generated::Client::new_with_client(transport.base_url(), transport.http())
    }
}
