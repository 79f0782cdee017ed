//! The runtime that a call runs in.

use tokio::runtime::{Handle, Id};

use crate::error::Error;

/// Refuses a call outside of a Tokio runtime, where its timers and connections would panic. Whether the runtime has
/// timers and connections cannot be asked; without them Tokio panics, and says what to switch on.
pub(crate) fn check() -> Result<(), Error> {
    current().map(drop)
}

/// Which of the runtimes that live it is. Calls of others share what there is but for tasks and connections, which end with
/// their runtime, and stand still when it is not run.
pub(crate) fn current() -> Result<Id, Error> {
    let problem = "there is no Tokio runtime here: call it within `#[tokio::main]`, or within the `block_on` of a runtime that is built with `enable_all`";
    Handle::try_current().map(|runtime| runtime.id()).map_err(|_| Error::internal(problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_missed() {
        test_timeout::start();
        assert!(check().unwrap_err().to_string().contains("`#[tokio::main]`"));
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(async { check().unwrap() });
    }
}
