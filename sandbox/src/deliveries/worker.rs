//! The task that makes the calls when they are due.

use std::sync::Arc;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::queue::Try;
use super::sending::send;
use crate::lock;
use crate::wire::exchange::SharedState;

/// Starts a task that works without end. When it is ended, the calls on their way are too.
pub(crate) fn start(shared: Arc<SharedState>) -> AbortHandle {
    tokio::spawn(work(shared)).abort_handle()
}

async fn work(shared: Arc<SharedState>) {
    let mut calls = JoinSet::new();
    loop {
        let (due, wait) = {
            let mut state = lock(&shared.state);
            state.look();
            let now = state.bank.clock.now();
            let due = state.deliveries.take_due(now);
            let wait = state.deliveries.next(now).map(|next| next.duration_since(now));
            (due, wait.map(|wait| wait.try_into().unwrap_or_default()))
        };
        for one in due {
            calls.spawn(call(Arc::clone(&shared), one));
        }
        while calls.try_join_next().is_some() {}
        shared.settled.notify_waiters();
        match wait {
            Some(wait) => drop(timeout(wait, shared.wake.notified()).await),
            None => shared.wake.notified().await,
        }
    }
}

async fn call(shared: Arc<SharedState>, one: Try) {
    let pins: Vec<_> = {
        let state = lock(&shared.state);
        state.bank.objects.pinned_chains.of(one.call.owner).map(|chain| chain.content.0.clone()).collect()
    };
    let outcome = send(&shared.tls, &one.call, &pins, one.fault).await;
    {
        let mut state = lock(&shared.state);
        state.finish(one, outcome);
        // The next call of a client says if it has failed.
        let _ = state.save();
    }
    shared.wake.notify_one();
}
