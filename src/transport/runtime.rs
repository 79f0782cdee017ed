//! The runtime that a call runs in.

use tokio::runtime::Handle;

use crate::error::Error;

/// Refuses a call outside of a Tokio runtime, where its timers and connections would panic.
pub(crate) fn check() -> Result<(), Error> {
    let problem = "there is no Tokio runtime here: call it within `#[tokio::main]`, or within `Runtime::block_on`";
    Handle::try_current().map(drop).map_err(|_| Error::internal(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_missed() {
        assert!(check().unwrap_err().to_string().contains("`#[tokio::main]`"));
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async { check().unwrap() });
    }
}
