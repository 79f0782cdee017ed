mod failures;
mod fleet;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use futures_util::future::{FutureExt as _, join_all};
use tokio::time::{sleep, sleep_until};

use super::super::queue::MAX_PREPARED_AT_ONCE;
use super::*;
use crate::error::{CallMetadata, Remedy, Sent};
use crate::operation::RateLimit;
use crate::sync::lock;
use crate::transport::rate_limit::memory::MemoryPermits;
use crate::transport::rate_limit::store::{PermitStore, Settlement};
use crate::transport::rate_limit::{LimitScope, NoPermit, Role};
use crate::types::ProvisionId;

const INTERVAL: Duration = Duration::from_secs(30);
const LIFE: Duration = Duration::from_secs(4 * 3600);

/// The bank, as far as sessions go, and the turns of a client.
struct Bank {
    limits: Arc<RateLimits>,
    turns: Turns,
    began: Instant,
    is_down: AtomicBool,
    exchange: Duration,
    /// The user whose sessions fail.
    failing: Option<u64>,
    attempts: AtomicU64,
    opened: Mutex<Vec<(u64, Duration)>>,
}

impl Bank {
    fn new(exchange: Duration, failing: Option<u64>) -> Self {
        Self::sharing(None, exchange, failing)
    }

    /// A client of those that share limits.
    fn sharing(store: Option<Arc<dyn PermitStore>>, exchange: Duration, failing: Option<u64>) -> Self {
        let limits = Arc::new(RateLimits::new(true, HashMap::new(), LimitScope::default(), store));
        let caller = limits.caller("bank".into(), "key".into(), Role::Partner);
        let turns = Turns::new(Arc::clone(&limits), &caller, Duration::from_secs(30));
        let (is_down, attempts, opened) = (AtomicBool::default(), AtomicU64::default(), Mutex::default());
        Self { limits, turns, began: Instant::now(), is_down, exchange, failing, attempts, opened }
    }

    /// One exchange within the limit.
    async fn exchange(&self, of: u64) -> Result<(), Error> {
        self.exchange_by(of, None).await
    }

    /// The same of a session that must be open by then.
    async fn exchange_by(&self, of: u64, due: Option<Instant>) -> Result<(), Error> {
        let caller = self.limits.caller("bank".into(), "key".into(), Role::User);
        // An attempt of a user waits no longer than this for its permit.
        let longest = if of == 0 { INTERVAL * 4 } else { Duration::from_secs(5) };
        let (rank, deadline) = (self.limits.next_rank().due(due), Instant::now() + longest);
        let place = self.limits.approach(&Operation::CREATE_SESSION, rank, false, deadline, &caller);
        let no_permit = |no_permit| match no_permit {
            NoPermit::TooLate(wait) => {
                let error =
                    Error::new(ErrorKind::RateLimited, Sent::No, "no permit in time").with_retry_after(Some(wait));
                error.with_metadata(CallMetadata::new(&Operation::CREATE_SESSION, 0))
            }
            NoPermit::Failed(error) => error,
        };
        let permit = place.await.map_err(no_permit)?.unwrap().permit().await.map_err(no_permit)?;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        sleep(self.exchange).await;
        permit.settle(Settlement::Admitted).await;
        if self.is_down.load(Ordering::Relaxed) || self.failing == Some(of) {
            return Err(Error::new(ErrorKind::Server, Sent::Responded, "down"));
        }
        lock(&self.opened).push((of, self.began.elapsed()));
        Ok(())
    }

    async fn partner(&self) {
        let _turn = self.turns.partner();
        self.exchange(0).await.unwrap();
        self.turns.partner_is_due(None);
    }

    async fn open(&self, id: u64, life: Duration) -> Result<(), Error> {
        let look = async || match self.is_down.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Server, Sent::Responded, "down")),
            false => Ok(()),
        };
        let wanted = self.wanted(id, life, self.turns.ticket());
        let exchange = || self.exchange_by(id, Some(wanted.deadline));
        self.turns.open_alone(wanted, nothing, exchange, look, |_| ()).await
    }

    /// The first session of a user, whose credential lives for so long.
    fn wanted(&self, id: u64, life: Duration, ticket: u64) -> Wanted<'static> {
        wanted(id, ticket, self.began + life)
    }

    fn opened(&self) -> Vec<u64> {
        lock(&self.opened).iter().map(|(id, _)| *id).collect()
    }
}

impl Turns {
    /// Opens a session that nobody else opens.
    async fn open_alone<T, P, O, L>(
        &self,
        wanted: Wanted<'_>,
        prepare: impl Fn() -> P + Send + Sync,
        open: impl Fn() -> O + Send + Sync,
        look: impl Fn() -> L + Send,
        failed: impl Fn(&Error) + Send,
    ) -> Result<T, Error>
    where
        P: Future<Output = Result<(), Error>> + Send,
        O: Future<Output = Result<T, Error>> + Send,
        L: Future<Output = Result<(), Error>> + Send,
    {
        let prepare = || prepare().map(|prepared| prepared.map(ControlFlow::Continue));
        let open = || open().map(|opened| opened.map(ControlFlow::Continue));
        self.open(wanted, prepare, open, look, failed).await
    }
}

/// A refusal of this operation for its rate.
fn limited(operation: &'static Operation) -> Error {
    let error = Error::new(ErrorKind::RateLimited, Sent::Responded, "others have used the limit up");
    error.with_metadata(CallMetadata::new(operation, 1))
}

/// Prepares a session that needs nothing.
async fn nothing() -> Result<(), Error> {
    Ok(())
}

/// The first session of a user.
fn wanted(id: u64, ticket: u64, deadline: Instant) -> Wanted<'static> {
    static IS_NOT: AtomicBool = AtomicBool::new(false);
    static USUAL: Mutex<Stands> = Mutex::new(Stands::Usual);
    let id = ProvisionId::try_from(id).unwrap();
    let (is_renewal, is_prepared, is_withdrawn, stands) = (false, true, &IS_NOT, &USUAL);
    Wanted { id, ticket, deadline, is_renewal, is_prepared, is_withdrawn, stands }
}

/// As many credentials as fit into their life, beside the session of the partner, which is renewed in the middle, are all in time;
/// with one more, that one alone is refused, at once.
#[tokio::test(start_paused = true)]
async fn as_many_as_fit_are_all_in_time_and_one_more_is_refused_at_once() {
    test_timeout::start();
    for exchange in [Duration::ZERO, Duration::from_millis(200)] {
        let bank = Bank::new(exchange, None);
        bank.partner().await;
        let began = bank.began.elapsed();
        bank.turns.partner_is_due(Some(Renewals { next: Instant::now() + LIFE / 2, every: LIFE }));
        // Each takes the interval and its exchange; the first waits for the window of the partner's.
        let each = (INTERVAL + exchange).as_millis();
        // An exchange was never measured before the first.
        let fit = u64::try_from((LIFE - began).as_millis() / each).unwrap() - 1;
        let renewal = async {
            sleep_until(bank.began + LIFE / 2).await;
            bank.partner().await;
        };
        let mut of_one = Vec::new();
        let users = async {
            // The first tells how long an exchange takes.
            bank.open(1, LIFE).await.unwrap();
            let others = (2..=fit).map(|id| bank.open(id, LIFE));
            let one_more = async {
                tokio::task::yield_now().await;
                let at = Instant::now();
                let error = bank.open(fit + 1, LIFE).await.unwrap_err();
                (error, at.elapsed())
            };
            let (others, one_more) = tokio::join!(join_all(others), one_more);
            of_one.push(one_more);
            others
        };
        let ((), others) = tokio::join!(renewal, users);
        assert!(others.iter().all(Result::is_ok), "{:?}", others.iter().find(|outcome| outcome.is_err()));
        let (error, after) = of_one.remove(0);
        assert_eq!((error.kind(), error.sent()), (ErrorKind::RateLimited, Sent::No), "{error}");
        assert_eq!((error.remedy(), after), (Some(Remedy::ResetToken), Duration::ZERO));
        assert!(error.to_string().contains("cannot be opened in time: with those before it"), "{error}");
        let expected: Vec<u64> = (1..=fit).collect();
        let opened = bank.opened();
        assert_eq!(opened.iter().copied().filter(|id| *id != 0).collect::<Vec<_>>(), expected);
        assert!(lock(&bank.opened).iter().all(|(_, at)| *at <= LIFE + exchange));
        // The renewal had its turn when it was due, and not at the end.
        let at = opened.iter().rposition(|id| *id == 0).unwrap();
        assert!((238..=242).contains(&at), "{at}");
    }
}

/// A session of the partner that lasts for minutes is opened many times while a credential lives, and takes a turn each time.
#[tokio::test(start_paused = true)]
async fn all_renewals_of_the_partner_are_counted() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    let every = Duration::from_secs(300);
    let renew = async || {
        bank.partner().await;
        bank.turns.partner_is_due(Some(Renewals { next: Instant::now() + every, every }));
    };
    renew().await;
    let renewals = async {
        loop {
            sleep(every).await;
            renew().await;
        }
    };
    let users = join_all((1..=480).map(|id| {
        let bank = &bank;
        async move { (bank.open(id, LIFE).await, bank.began.elapsed()) }
    }));
    let users = tokio::select! {
        users = users => users,
        () = renewals => unreachable!(),
    };
    let (opened, refused): (Vec<_>, Vec<_>) = users.into_iter().partition(|(outcome, _)| outcome.is_ok());
    assert!(refused.iter().all(|(_, at)| at.is_zero()), "whoever was admitted is in time: {refused:?}");
    // One of ten turns, or a little more, is the partner's.
    assert!((425..=435).contains(&opened.len()), "{}", opened.len());
}

/// Whoever gives up, or is not polled, holds up nobody.
#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_or_not_polled_holds_up_nobody() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    bank.partner().await;
    let mut stuck = Box::pin(bank.open(1, LIFE));
    let mut dropped = Box::pin(bank.open(2, LIFE));
    let third = bank.open(3, LIFE);
    // The first is next, and waits for the window.
    assert!(futures_util::poll!(&mut stuck).is_pending() && futures_util::poll!(&mut dropped).is_pending());
    drop(dropped);
    third.await.unwrap();
    assert_eq!(bank.opened(), [0, 3]);
    stuck.await.unwrap();
    assert_eq!(bank.opened(), [0, 3, 1]);
    // One that has its turn, and is not polled.
    let (wanted, has_turn) = (bank.wanted(4, LIFE, bank.turns.ticket()), AtomicBool::default());
    let open = || {
        has_turn.store(true, Ordering::Relaxed);
        std::future::pending()
    };
    let never = bank.turns.open_alone::<(), _, _, _>(wanted, nothing, open, async || Ok(()), |_| ());
    let mut never = Box::pin(never);
    while !has_turn.load(Ordering::Relaxed) {
        assert!(futures_util::poll!(&mut never).is_pending());
        sleep(Duration::from_secs(1)).await;
    }
    bank.open(5, LIFE).await.unwrap();
    assert_eq!(bank.opened(), [0, 3, 1, 5]);
}

/// Those of users wait for the partner's, although they were there before it.
#[tokio::test(start_paused = true)]
async fn the_session_of_the_partner_goes_before_all() {
    test_timeout::start();
    let bank = Bank::new(Duration::from_millis(50), None);
    bank.open(9, LIFE).await.unwrap();
    let renewal = async {
        sleep(Duration::from_secs(1)).await;
        bank.partner().await;
    };
    tokio::join!(
        renewal,
        join_all((1..=3).map(|id| {
            let bank = &bank;
            async move { _ = bank.open(id, LIFE).await }
        }))
    );
    assert_eq!(bank.opened(), [9, 0, 1, 2, 3]);
}

/// One that would make another late that was admitted before is refused, although it would itself be in time.
#[tokio::test(start_paused = true)]
async fn what_was_admitted_stays_so() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    bank.partner().await;
    let (first, second) = (bank.open(2, INTERVAL * 2), async {
        tokio::task::yield_now().await;
        let error =
            bank.open(1, INTERVAL).await.and(bank.open(3, INTERVAL + Duration::from_secs(1)).await).unwrap_err();
        error.to_string()
    });
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok(), "{first:?}");
    assert!(second.contains("provision 3"), "{second}");
    assert_eq!(bank.opened(), [0, 1, 2]);
}

/// Whether it waits already, or is told before it does.
#[tokio::test(start_paused = true)]
async fn a_replaced_credential_waits_no_longer() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    bank.partner().await;
    let is_withdrawn = AtomicBool::default();
    let wanted = Wanted { is_withdrawn: &is_withdrawn, ..bank.wanted(1, LIFE, bank.turns.ticket()) };
    let replaced = async {
        tokio::task::yield_now().await;
        is_withdrawn.store(true, Ordering::Relaxed);
        bank.turns.withdraw(wanted.ticket);
    };
    let open = || bank.turns.open_alone(wanted, nothing, || bank.exchange(1), async || Ok(()), |_| ());
    let (opened, ()) = tokio::join!(open(), replaced);
    for opened in [opened, open().await] {
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::CredentialSpent);
    }
    assert_eq!((bank.turns.waiting(), bank.opened()), (0, vec![0]));
}

/// Whoever has a session that is only renewed loses nothing, and needs no other credential.
#[tokio::test(start_paused = true)]
async fn a_renewal_that_cannot_be_in_time_is_told_when_a_place_is_free() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    bank.partner().await;
    let renewal = Wanted { is_renewal: true, ..bank.wanted(9, INTERVAL * 2, bank.turns.ticket()) };
    let renew = async {
        tokio::task::yield_now().await;
        bank.turns.open_alone(renewal, nothing, || bank.exchange(9), async || Ok(()), |_| ()).await
    };
    let (first, second, refused) = tokio::join!(bank.open(1, INTERVAL), bank.open(2, INTERVAL * 2), renew);
    assert!(first.is_ok() && second.is_ok());
    let error = refused.unwrap_err();
    assert_eq!((error.kind(), error.remedy()), (ErrorKind::RateLimited, None), "{error}");
    assert_eq!(error.retry_after(), Some(INTERVAL * 3));
    assert!(error.to_string().contains("its credential stays valid"), "{error}");
}

/// The clock of a process that was suspended goes on. What is late by then is told, and not sent.
#[tokio::test(start_paused = true)]
async fn after_a_suspension_nothing_is_sent_for_what_is_late() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    let hour = Duration::from_secs(3600);
    // The lives of half of them end while the process is suspended.
    let life = |id: u64| if id <= 50 { hour } else { 3 * hour };
    let users = join_all((1..=100).map(|id| bank.open(id, life(id))));
    let suspended = async {
        sleep(INTERVAL * 10 + Duration::from_secs(1)).await;
        tokio::time::advance(hour).await;
    };
    let (users, ()) = tokio::join!(users, suspended);
    let lost: Vec<_> = (1..=100).zip(&users).filter(|(_, outcome)| outcome.is_err()).map(|(id, _)| id).collect();
    assert_eq!(lost, (12..=50).collect::<Vec<u64>>());
    assert!(lock(&bank.opened).iter().all(|(id, at)| *at <= life(*id)));
    assert_eq!(bank.attempts.load(Ordering::Relaxed), 61);
}

/// Those with the same deadline go by their ids, in whatever order they came.
#[tokio::test(start_paused = true)]
async fn what_expires_together_goes_by_its_ids() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    bank.partner().await;
    let users = join_all((1..=20).rev().map(|id| bank.open(id, LIFE))).await;
    assert!(users.iter().all(Result::is_ok));
    assert_eq!(bank.opened(), (0..=20).collect::<Vec<u64>>());
}

/// The turns are those of a client, not of a runtime: each of these has one of its own.
#[test]
fn several_runtimes_share_the_turns() {
    test_timeout::start();
    let limit = HashMap::from([("create_session", RateLimit::new(1, Duration::from_millis(5)))]);
    let limits = Arc::new(RateLimits::new(false, limit, LimitScope::default(), None));
    let caller = limits.caller("bank".into(), "key".into(), Role::Partner);
    let turns = Turns::new(Arc::clone(&limits), &caller, Duration::from_secs(30));
    let going = AtomicU64::default();
    std::thread::scope(|scope| {
        for number in 1..=4_u64 {
            let (turns, limits, going) = (&turns, &limits, &going);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    for round in 0..5 {
                        let wanted = wanted(number * 10 + round, turns.ticket(), Instant::now() + LIFE);
                        let open = async || {
                            assert_eq!(going.fetch_add(1, Ordering::Relaxed), 0);
                            let caller = limits.caller("bank".into(), "key".into(), Role::User);
                            let deadline = Instant::now() + LIFE;
                            let rank = limits.next_rank();
                            let place = limits.approach(&Operation::CREATE_SESSION, rank, false, deadline, &caller);
                            let permit = place.await.unwrap().unwrap().permit().await.unwrap();
                            permit.settle(Settlement::Admitted).await;
                            going.fetch_sub(1, Ordering::Relaxed);
                            Ok(())
                        };
                        turns.open_alone(wanted, nothing, open, async || Ok(()), |_| ()).await.unwrap();
                    }
                });
            });
        }
    });
    assert_eq!(turns.waiting(), 0);
}

/// However many come at once, a few are prepared at a time, in the order of the turns, and all before their turns.
#[tokio::test(start_paused = true)]
async fn a_few_are_prepared_at_once() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    let (at_once, most, prepared) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let users = (1..=60).rev().map(|id| {
        let (bank, at_once, most, prepared) = (&bank, &at_once, &most, &prepared);
        let prepare = move || async move {
            most.fetch_max(at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(Duration::from_secs(1)).await;
            at_once.fetch_sub(1, Ordering::Relaxed);
            lock(prepared).push(id);
            Ok(())
        };
        let open = move || async move {
            assert!(lock(prepared).contains(&id));
            bank.exchange(id).await
        };
        let wanted = Wanted { is_prepared: false, ..bank.wanted(id, LIFE, bank.turns.ticket()) };
        async move { bank.turns.open_alone(wanted, prepare, open, async || Ok(()), |_| ()).await }
    });
    assert!(join_all(users).await.iter().all(Result::is_ok));
    assert_eq!(most.load(Ordering::Relaxed), MAX_PREPARED_AT_ONCE);
    // The first of them had begun when the others came.
    assert!(lock(&prepared)[MAX_PREPARED_AT_ONCE..].is_sorted(), "{prepared:?}");
    assert_eq!(lock(&prepared).len(), 60);
    assert!(bank.opened()[1..].is_sorted(), "{:?}", bank.opened());
}

/// Whatever the preparation waits for.
#[tokio::test(start_paused = true)]
async fn one_that_is_still_prepared_holds_up_those_that_are_ready_for_seconds() {
    test_timeout::start();
    let bank = &Bank::new(Duration::ZERO, None);
    let prepare = || async {
        sleep(INTERVAL * 4).await;
        Ok(())
    };
    let first = Wanted { is_prepared: false, ..bank.wanted(1, LIFE / 2, bank.turns.ticket()) };
    let first = bank.turns.open_alone(first, prepare, || bank.exchange(1), async || Ok(()), |_| ());
    let (first, second) = tokio::join!(first, bank.open(2, LIFE));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(*lock(&bank.opened), [(2, Duration::from_secs(5)), (1, INTERVAL * 4)]);
}

/// What cannot be in time is refused before anything is made for it.
#[tokio::test(start_paused = true)]
async fn nothing_is_made_for_what_is_refused() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    bank.partner().await;
    let is_made = AtomicBool::default();
    let prepare = async || {
        is_made.store(true, Ordering::Relaxed);
        Ok(())
    };
    let wanted = Wanted { is_prepared: false, ..bank.wanted(1, INTERVAL / 2, bank.turns.ticket()) };
    let refused = bank.turns.open_alone(wanted, prepare, || bank.exchange(1), async || Ok(()), |_| ()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::RateLimited);
    assert!(!is_made.load(Ordering::Relaxed));
}
