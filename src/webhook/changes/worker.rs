//! The task of [`Changes`](super::Changes): takes hints in, has objects read and marked when they are due, and looks by itself.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join4, pending, select};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::intake::Intake;
use super::look::{Look, Looking};
use super::object::Ask;
use super::reads::Reads;
use super::shared::Shared;
use crate::notifications::Notifications;
use crate::sync::lock;
use crate::transport::credentials::BoxFuture;
use crate::transport::shutdown::Gate;

/// How long the journal and the custody are left alone after one could not be read.
const PAUSE: Duration = Duration::from_secs(1);

/// All that the task needs beside what it shares.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) reads: Reads,
    pub(super) intake: Intake,
    pub(super) notifications: Notifications,
    /// Held by the task.
    pub(super) last_look: tokio::sync::Mutex<Look>,
    /// Counts the hints that the receiver has kept.
    pub(super) arrivals: watch::Receiver<u64>,
    pub(super) look_interval: Duration,
    pub(super) gate: Gate,
}

impl Worker {
    /// Works until the client is shut down.
    pub(super) async fn run(self: Arc<Self>) {
        // The task before may have ended with its runtime, in the middle of something.
        lock(&self.shared.objects).begin_again(Instant::now());
        let work = async {
            self.take_over().await;
            join4(self.take_hints(), self.look(), self.hear_of_sessions(), self.do_jobs()).await;
        };
        select(pin!(work), pin!(self.gate.shut())).await;
    }

    async fn take_hints(&self) {
        let mut arrivals = self.arrivals.clone();
        let mut read_anew = Instant::now() + self.look_interval;
        loop {
            // Those that come from here on are not missed.
            arrivals.borrow_and_update();
            if read_anew <= Instant::now() {
                self.shared.read_anew();
                read_anew = Instant::now() + self.look_interval;
            }
            let taken = self.intake.take_all(&self.shared).await;
            if let Err(error) = &taken {
                tracing::warn!(%error, "hints are not taken from the journal yet");
            }
            let arrived = async {
                if arrivals.changed().await.is_err() {
                    // The receiver is gone. Another may still fill the journal.
                    pending::<()>().await;
                }
            };
            let next = if taken.is_err() { read_anew.min(Instant::now() + PAUSE) } else { read_anew };
            select(pin!(arrived), pin!(sleep_until(next))).await;
        }
    }

    /// The marks are taken over before others are made.
    async fn take_over(&self) {
        let mut last = self.last_look.lock().await;
        let mut looking = self.looking(&mut last);
        while let Err(error) = looking.take_over().await {
            tracing::warn!(%error, "what was handed on before is not taken from the journal yet");
            sleep(PAUSE).await;
        }
    }

    async fn look(&self) {
        let mut last = self.last_look.lock().await;
        loop {
            let (start, interval) = (Instant::now(), self.look_interval);
            self.shared.forget_again().await;
            let followed = self.looking(&mut last).look().await;
            // They are read one by one, so that they hold up no call.
            for (number, key) in (0..).zip(&followed) {
                sleep_until(start + interval.mul_f64(f64::from(number) / followed.len() as f64)).await;
                self.shared.find(key.clone(), Ask::default());
            }
            sleep_until(start + interval).await;
        }
    }

    fn looking<'a>(&'a self, last: &'a mut Look) -> Looking<'a> {
        let Self { shared, intake, reads, notifications, .. } = self;
        Looking { shared, intake, reads, notifications, last }
    }

    async fn hear_of_sessions(&self) {
        let mut opened = self.reads.users.opened_sessions();
        loop {
            match opened.recv().await {
                Ok(id) => self.shared.opened(Some(id)),
                Err(RecvError::Lagged(_)) => self.shared.opened(None),
                Err(RecvError::Closed) => return pending().await,
            }
        }
    }

    async fn do_jobs(&self) {
        let shared = &self.shared;
        let mut running: FuturesUnordered<BoxFuture<'_, ()>> = FuturesUnordered::new();
        loop {
            let mut done = Vec::new();
            let due = {
                let (mut objects, now) = (lock(&shared.objects), Instant::now());
                while let Some(job) = objects.begin(now, &mut done) {
                    running.push(Box::pin(shared.work(&self.reads, job)));
                }
                if !objects.is_crowded() {
                    shared.has_room.notify_one();
                }
                objects.measure();
                objects.next_due()
            };
            if !done.is_empty() {
                running.push(Box::pin(shared.forget(done)));
            }
            shared.taker.wake();
            let due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            let (changed, due) = (pin!(shared.changed.notified()), pin!(due));
            let woken = select(changed, due);
            match running.is_empty() {
                true => _ = woken.await,
                false => _ = select(running.next(), woken).await,
            }
        }
    }
}
