//! What fails, for a while or for good, counts where it should and holds up nobody else.

use super::*;

/// After an outage of 20 minutes those that can still be saved are, in the order of their deadlines, and the others are told at once.
#[tokio::test(start_paused = true)]
async fn after_an_outage_those_that_can_be_saved_are() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    let outage = async {
        sleep(Duration::from_secs(3600)).await;
        bank.is_down.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(20 * 60)).await;
        bank.is_down.store(false, Ordering::Relaxed);
        bank.began.elapsed()
    };
    // Half of them have a life of four hours, the others of two; there is no time to spare for either.
    let life = |id: u64| if id > 240 { LIFE } else { LIFE / 2 };
    let users = join_all((1..=480).map(|id| {
        let bank = &bank;
        async move {
            let outcome = bank.open(id, life(id)).await;
            (id, outcome, bank.began.elapsed())
        }
    }));
    let (over, users) = tokio::join!(outage, users);
    let (saved, lost): (Vec<_>, Vec<_>) = users.into_iter().partition(|(_, outcome, _)| outcome.is_ok());
    // The 40 slots of the outage, of each of two lives.
    assert!((39..=42).contains(&lost.len()), "{}: {lost:?}", lost.len());
    assert!(lost.iter().all(|(_, _, at)| *at <= over + INTERVAL), "{lost:?}");
    assert!(saved.iter().all(|(id, _, at)| *at <= life(*id)));
    let opened = bank.opened();
    assert!(opened.is_sorted_by_key(|id| (life(*id), *id)), "{opened:?}");
    assert_eq!(opened.len(), saved.len());
}

/// A credential that bunq always fails costs six turns, and no other is lost for it while there is time.
#[tokio::test(start_paused = true)]
async fn a_bad_credential_holds_up_nobody() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, Some(3));
    let users = join_all((1..=100).map(|id| bank.open(id, LIFE))).await;
    let failed: Vec<_> = users.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].0, failed[0].1.as_ref().unwrap_err().kind()), (2, ErrorKind::Server));
    assert_eq!(bank.opened().len(), 99);
    assert_eq!(bank.attempts.load(Ordering::Relaxed), 99 + 6);
    assert_eq!(bank.turns.waiting(), 0);
}

/// The partner's key was revoked, or its store is damaged: that says nothing of bunq, and failures count as if it had answered.
#[tokio::test(start_paused = true)]
async fn a_call_that_the_partner_cannot_make_shows_no_outage() {
    test_timeout::start();
    for kind in [ErrorKind::Unauthorized, ErrorKind::Context] {
        let bank = Bank::new(Duration::ZERO, None);
        let open = |id: u64| {
            let bank = &bank;
            let attempt = move || async move {
                if id <= 4 {
                    sleep(INTERVAL).await;
                    return Err(Error::new(ErrorKind::Server, Sent::Responded, "broken"));
                }
                bank.exchange(id).await
            };
            let look = move || async move { Err(Error::new(kind, Sent::No, "the partner's own trouble")) };
            let wanted = bank.wanted(id, LIFE, bank.turns.ticket());
            async move { bank.turns.open_alone(wanted, nothing, attempt, look, |_| ()).await }
        };
        let users = join_all((1..=20).map(open)).await;
        assert!(users[..4].iter().all(|user| user.as_ref().is_err_and(|error| error.kind() == ErrorKind::Server)));
        assert_eq!(bank.opened(), (5..=20).collect::<Vec<u64>>());
    }
}

/// An outage at the beginning costs its own turns, and what it lasts for beyond the last deadline costs the rest; each is told by its
/// deadline, and nothing is sent for one that is late.
#[tokio::test(start_paused = true)]
async fn an_outage_at_the_beginning_or_the_end_costs_its_own_turns() {
    test_timeout::start();
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (begin, end) in [(minutes(0), minutes(20)), (LIFE - minutes(20), LIFE + minutes(20))] {
        let bank = Bank::new(Duration::ZERO, None);
        let outage = async {
            sleep_until(bank.began + begin).await;
            bank.is_down.store(true, Ordering::Relaxed);
            sleep_until(bank.began + end).await;
            bank.is_down.store(false, Ordering::Relaxed);
        };
        let users = join_all((1..=480).map(|id| {
            let bank = &bank;
            async move { (bank.open(id, LIFE).await, bank.began.elapsed()) }
        }));
        let ((), users) = tokio::join!(outage, users);
        let lost = users.iter().filter(|(outcome, _)| outcome.is_err()).count();
        assert!((39..=42).contains(&lost), "{begin:?}: {lost}");
        assert!(users.iter().all(|(_, at)| *at <= LIFE), "{begin:?}");
        // Nor has anybody been overtaken.
        assert!(bank.opened().is_sorted(), "{begin:?}: {:?}", bank.opened());
    }
}

/// Whose lock somebody else has lets others go, and is told so when it cannot be in time any more.
#[tokio::test(start_paused = true)]
async fn a_lock_that_somebody_else_has_holds_up_one_session() {
    test_timeout::start();
    for released_at in [LIFE / 2, LIFE * 2] {
        let bank = Bank::new(Duration::ZERO, None);
        let hold = || async {
            if bank.began.elapsed() >= released_at {
                return Ok(());
            }
            sleep(Duration::from_secs(5)).await;
            Err(Error::busy("its lock was not released"))
        };
        let open = || async {
            hold().await?;
            bank.exchange(1).await
        };
        let wanted = bank.wanted(1, LIFE, bank.turns.ticket());
        let locked = bank.turns.open_alone(wanted, hold, open, async || Ok(()), |_| ());
        let others = join_all((2..=100).map(|id| bank.open(id, LIFE)));
        let (locked, others) = tokio::join!(locked, others);
        assert!(others.iter().all(Result::is_ok), "{others:?}");
        match released_at < LIFE {
            true => locked.unwrap(),
            false => assert_eq!(locked.unwrap_err().kind(), ErrorKind::Busy),
        }
        assert!(bank.opened()[..90].iter().is_sorted(), "{:?}", bank.opened());
        // It has had its turn once.
        assert!(lock(&bank.opened)[90].1 < INTERVAL * 91, "{:?}", bank.opened);
    }
}

/// No session waits in vain for a store that comes back, and it is not asked for each that waits.
#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_ends_no_wait() {
    test_timeout::start();
    let seconds = Duration::from_secs;
    let (context, permits) = (|| Error::unavailable("it is away"), || Error::permits("it is away"));
    let cases: [(_, fn() -> Error); 4] =
        [(seconds(2), context), (seconds(600), context), (seconds(600), permits), (LIFE * 2, context)];
    for (comes_back_at, away) in cases {
        let (bank, asked) = (Bank::new(Duration::ZERO, None), AtomicU64::default());
        let load = || async {
            if bank.began.elapsed() >= comes_back_at {
                return Ok(());
            }
            asked.fetch_add(1, Ordering::Relaxed);
            Err(away())
        };
        let users = join_all((1..=100).map(|id| {
            let (bank, load) = (&bank, &load);
            // Some have been prepared before.
            let wanted = Wanted { is_prepared: id % 2 == 0, ..bank.wanted(id, LIFE, bank.turns.ticket()) };
            let open = move || async move {
                load().await?;
                bank.exchange(id).await
            };
            async move { bank.turns.open_alone(wanted, load, open, load, |_| ()).await }
        }));
        let users = users.await;
        match comes_back_at < LIFE {
            true => assert!(users.iter().all(Result::is_ok) && bank.opened().is_sorted(), "{users:?}"),
            false => assert_eq!(users[0].as_ref().unwrap_err().kind(), ErrorKind::Context),
        }
        let pauses = comes_back_at.min(LIFE).as_secs() / STORE_PAUSE.as_secs();
        let asked = asked.load(Ordering::Relaxed);
        assert!(asked <= (pauses + 1) * 2, "{asked} in {comes_back_at:?}");
    }
}

/// A refusal because of the limit says nothing of a credential, however often it comes.
#[tokio::test(start_paused = true)]
async fn a_limit_that_others_have_used_up_counts_against_nobody() {
    test_timeout::start();
    let bank = Bank::new(Duration::ZERO, None);
    let attempts = AtomicU64::default();
    let open = |id: u64| {
        let (bank, attempts) = (&bank, &attempts);
        let attempt = move || async move {
            // Nine of ten.
            if attempts.fetch_add(1, Ordering::Relaxed) % 10 != 9 {
                sleep(INTERVAL).await;
                return Err(limited(&Operation::CREATE_SESSION));
            }
            bank.exchange(id).await
        };
        let wanted = bank.wanted(id, LIFE, bank.turns.ticket());
        async move { bank.turns.open_alone(wanted, nothing, attempt, async || Ok(()), |_| ()).await }
    };
    let users = join_all((1..=40).map(open)).await;
    assert!(users.iter().all(Result::is_ok), "{users:?}");
    assert_eq!(bank.opened(), (1..=40).collect::<Vec<u64>>());
}

/// It waits as long as bunq says, or a second, and others go meanwhile; one that cannot be in time then is told at once.
#[tokio::test(start_paused = true)]
async fn what_is_refused_for_its_rate_waits() {
    test_timeout::start();
    for (said, pause) in [(None, 1), (Some(7), 7)] {
        let bank = Bank::new(Duration::ZERO, None);
        let (refusals, opened) = (AtomicU64::new(3), Mutex::new(None));
        let prepare = || async {
            if refusals.fetch_sub(1, Ordering::Relaxed) == 0 {
                return Ok(());
            }
            Err(limited(&Operation::CREATE_DEVICE_SERVER).with_retry_after(said.map(Duration::from_secs)))
        };
        let open = || async {
            *lock(&opened) = Some(bank.began.elapsed().as_secs());
            Ok(())
        };
        let wanted = Wanted { is_prepared: false, ..bank.wanted(1, LIFE, bank.turns.ticket()) };
        let first = bank.turns.open_alone(wanted, prepare, open, async || Ok(()), |_| ());
        let (first, second) = tokio::join!(first, bank.open(2, LIFE));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!((*lock(&opened), bank.opened()), (Some((pause * 3).max(30)), vec![2]));

        let bank = Bank::new(Duration::ZERO, None);
        let refused = async || Err(limited(&Operation::CREATE_DEVICE_SERVER).with_retry_after(Some(LIFE)));
        let wanted = Wanted { is_prepared: false, ..bank.wanted(1, LIFE / 2, bank.turns.ticket()) };
        let error =
            bank.turns.open_alone(wanted, refused, || bank.exchange(1), async || Ok(()), |_| ()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent(), bank.began.elapsed()),
            (ErrorKind::RateLimited, Sent::No, Duration::ZERO)
        );
        assert!(error.to_string().contains("cannot be opened in time"), "{error}");
    }
    // A refusal of sessions is about all.
    let bank = Bank::new(Duration::ZERO, None);
    let refused = AtomicBool::default();
    let attempt = async || match refused.swap(true, Ordering::Relaxed) {
        false => Err(limited(&Operation::CREATE_SESSION).with_retry_after(Some(INTERVAL))),
        true => bank.exchange(1).await,
    };
    let wanted = bank.wanted(1, LIFE, bank.turns.ticket());
    let first = bank.turns.open_alone(wanted, nothing, attempt, async || Ok(()), |_| ());
    let (first, second) = tokio::join!(first, bank.open(2, LIFE));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(bank.opened(), [1, 2]);
    assert_eq!(lock(&bank.opened)[0].1, INTERVAL);
}
