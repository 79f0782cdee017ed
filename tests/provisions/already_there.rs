//! Creating users that bunq already has: one or many, with a new journal, a lost one, or none.

use std::time::Duration;

use bunq_partner::jiff::civil::date;
use bunq_partner::{
    Acceptance, Bulk, Client, ErrorKind, Journal, JournalStart, MemoryJournal, NewProvision, Operation, Provision,
    ProvisionId, RowRecord, RowState,
};
use bunq_partner_sandbox::{Fault, Injection, Pace, Sandbox};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::common::{at_once, person};

/// The strictest bank: a second request makes a second user.
async fn start() -> (Sandbox, Client) {
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let client = sandbox.client().retry(at_once()).late_arrival(Duration::from_millis(5)).build().unwrap();
    (sandbox, client)
}

fn persons(count: usize) -> Vec<NewProvision> {
    std::iter::repeat_with(person).take(count).collect()
}

fn create_all(client: &Client, new: &[NewProvision]) -> Bulk {
    client.provisions().create_all(stream::iter(new.to_vec()))
}

async fn outcomes(bulk: Bulk) -> Vec<RowRecord> {
    let mut rows: Vec<_> = bulk.stream().try_collect().await.unwrap();
    rows.sort_by_key(|row| row.row);
    rows
}

async fn created(client: &Client, new: &NewProvision) -> ProvisionId {
    client.provisions().create(new.clone()).await.unwrap().id()
}

fn states(rows: &[RowRecord]) -> Vec<RowState> {
    rows.iter().map(|row| row.state).collect()
}

/// The number of listings without a status filter, which only searches make; polls filter.
fn looks(sandbox: &Sandbox) -> usize {
    let lists = sandbox.take_call_log().into_iter().filter(|call| call.path.ends_with("/partner-user-provision"));
    lists.filter(|call| call.method == "GET" && !call.query.as_deref().unwrap_or_default().contains("status=")).count()
}

/// The time when bunq created a provision.
fn created_at(sandbox: &Sandbox, id: ProvisionId) -> bunq_partner::Timestamp {
    sandbox.provision(id).unwrap()["created"].as_str().unwrap().parse().unwrap()
}

/// A journal that an earlier run has begun and that has lost all of its rows.
async fn without_rows(journal: &MemoryJournal) -> MemoryJournal {
    let JournalStart::Begun(header) = journal.start().await.unwrap() else { panic!("it was not begun") };
    let begun = MemoryJournal::new();
    begun.begin(header).await.unwrap();
    begun
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_lost_makes_no_user_twice() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let new = persons(30);
    let first = outcomes(create_all(&client, &new[..20]).journal(MemoryJournal::new())).await;
    assert_eq!(states(&first), [RowState::Accepted; 20]);
    let second = outcomes(create_all(&client, &new).journal(MemoryJournal::new())).await;
    assert_eq!(states(&second), [[RowState::Already; 20].as_slice(), &[RowState::Accepted; 10]].concat());
    assert_eq!(sandbox.provision_ids().len(), 30);
    for (second, first) in second.iter().zip(&first) {
        let created = created_at(&sandbox, first.id.unwrap());
        assert_eq!((second.id, second.created), (first.id, Some(created.as_jiff())));
    }
}

/// A user from the journal's own run counts as created by it. An older user does not, even if it is searched for only
/// now.
#[tokio::test(start_paused = true)]
async fn what_the_own_journal_has_sent_is_found() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let new = persons(3);
    let older = created(&client, &new[2]).await;
    let journal = MemoryJournal::new();
    outcomes(create_all(&client, &new[..2]).journal(journal.clone())).await;
    for journal in [without_rows(&journal).await, journal] {
        let rows = outcomes(create_all(&client, &new).journal(journal)).await;
        assert!(rows[..2].iter().all(|row| row.state.is_done() && row.state != RowState::Already), "{rows:?}");
        assert_eq!((rows[2].state, rows[2].id), (RowState::Already, Some(older)));
    }
    assert_eq!(sandbox.provision_ids().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn only_one_provision_that_is_going_is_taken() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let (new, mut ids) = (persons(6), Vec::new());
    for new in &new {
        ids.push(created(&client, new).await);
    }
    let [_, closed, failed, twice, again, old] = ids[..] else { panic!() };
    let second = created(&client, &new[3]).await;
    for id in [closed, again] {
        client.provisions().close(id).await.unwrap().await.unwrap();
    }
    assert!(sandbox.fail(failed));
    let other = created(&client, &new[4]).await;
    let _closing = client.provisions().close(old).await.unwrap();
    // With few other users, pages suffice. With many, the search also reads single provisions.
    for others in [0, 3000] {
        sandbox.populate(others);
        let rows = outcomes(create_all(&client, &new).journal(MemoryJournal::new())).await;
        assert_eq!(
            states(&rows),
            [
                RowState::Already,
                RowState::Failed,
                RowState::Failed,
                RowState::Failed,
                RowState::Already,
                RowState::Failed
            ]
        );
        let error = |row: usize| rows[row].error.as_ref().unwrap();
        for (row, id) in [(1, closed), (2, failed), (5, old)] {
            assert_eq!((error(row).kind(), rows[row].id), (ErrorKind::Unattainable, Some(id)));
            assert!(error(row).to_string().contains(&format!("provision {id}")), "{}", error(row));
        }
        assert_eq!(error(3).kind(), ErrorKind::Duplicate);
        assert!([twice, second].iter().all(|id| error(3).to_string().contains(&id.to_string())), "{}", error(3));
        assert_eq!(rows[4].id, Some(other));
        assert_eq!(sandbox.provision_ids().len(), 8 + others);
    }
}

/// Two live users with one key are detected although the pages that were read show only one of them.
#[tokio::test(start_paused = true)]
async fn a_second_user_that_is_on_no_page_is_found() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let new = persons(1);
    let first = created(&client, &new[0]).await;
    sandbox.populate(1000);
    let second = created(&client, &new[0]).await;
    let rows = outcomes(create_all(&client, &new).journal(MemoryJournal::new())).await;
    let error = rows[0].error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Duplicate);
    assert!([first, second].iter().all(|id| error.to_string().contains(&id.to_string())), "{error}");
}

/// Few rows in a large bank and many in a small one; users that exist and users that do not; rows that come at once and
/// rows that come one by one.
#[tokio::test(start_paused = true)]
async fn a_search_costs_at_most_twice_the_cheaper_way() {
    test_timeout::start();
    for (before, rows, after, is_slow) in [
        (0, 1, 0, false),
        (0, 1, 1000, false),
        (0, 3, 1400, false),
        (1400, 3, 0, false),
        (700, 7, 700, false),
        (600, 40, 600, false),
        (0, 300, 50, false),
        (0, 1010, 50, false),
        (1400, 7, 0, true),
        (0, 7, 1400, true),
        (600, 40, 0, true),
    ] {
        let (sandbox, client) = start().await;
        sandbox.populate(before);
        let new = persons(rows);
        for new in new.iter().step_by(7) {
            created(&client, new).await;
        }
        sandbox.populate(after);
        let pages = sandbox.provision_ids().len().div_ceil(200).max(1);
        sandbox.take_call_log();
        let input = stream::iter(new).then(move |new| async move {
            if is_slow {
                tokio::task::yield_now().await;
            }
            new
        });
        let records = outcomes(client.provisions().create_all(input).journal(MemoryJournal::new())).await;
        let already = records.iter().filter(|row| row.state == RowState::Already).count();
        assert_eq!(already, rows.div_ceil(7), "{records:?}");
        let looks = looks(&sandbox);
        assert!(looks <= 2 * pages.min(rows), "{looks} calls: {rows} rows, {pages} pages");
        if !is_slow && pages <= rows {
            assert_eq!(looks, pages, "{rows} rows");
        }
    }
}

/// Without a journal, a run searches for existing users only on request.
#[tokio::test(start_paused = true)]
async fn without_a_journal_users_are_adopted_only_on_request() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    let new = persons(3);
    let id = created(&client, &new[1]).await;
    sandbox.take_call_log();
    let rows = outcomes(create_all(&client, &new).adopt(true)).await;
    assert_eq!(states(&rows), [RowState::Accepted, RowState::Already, RowState::Accepted]);
    assert_eq!((rows[1].id, looks(&sandbox), sandbox.provision_ids().len()), (Some(id), 1, 3));
    let rows = outcomes(create_all(&client, &new)).await;
    assert_eq!((states(&rows), looks(&sandbox)), (vec![RowState::Accepted; 3], 0));
    assert_eq!(sandbox.provision_ids().len(), 6);
}

/// A run waits once for requests of an earlier run that may still arrive.
#[tokio::test(start_paused = true)]
async fn a_search_waits_once_for_requests_that_may_still_arrive() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let late = Duration::from_secs(10);
    let client = sandbox.client().retry(at_once()).late_arrival(late).build().unwrap();
    client.open_session().await.unwrap();
    sandbox.populate(1000);
    let new = persons(3);
    let began = tokio::time::Instant::now();
    sandbox.inject(Injection::new(Fault::LateArrival(late / 2)).on(&Operation::CREATE_PROVISION));
    let (earlier, sent) = (client.clone(), new[1].clone());
    let earlier = tokio::spawn(async move { earlier.provisions().create(sent).await });
    while sandbox.call_log().iter().all(|call| call.method != "POST" || !call.path.ends_with("provision")) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The process of the earlier run has ended.
    earlier.abort();
    let rows = outcomes(create_all(&client, &new).journal(MemoryJournal::new())).await;
    assert_eq!(states(&rows), [RowState::Accepted, RowState::Already, RowState::Accepted]);
    assert!(began.elapsed() < 2 * late, "{:?}", began.elapsed());
    assert_eq!(sandbox.provision_ids().len(), 1003);
}

/// A search may take hours with repeated outages. The outage limit is on the time without any success.
#[tokio::test(start_paused = true)]
async fn a_search_continues_through_outages() {
    test_timeout::start();
    let (sandbox, client) = start().await;
    sandbox.populate(2000);
    let new = persons(12);
    let id = created(&client, &new[4]).await;
    // Each call of the search fails at first. Together, the failures last longer than a single outage may.
    let mut calls = 0;
    sandbox.before_signing(move |call, response| {
        if call.method == "GET" && call.path.ends_with("/partner-user-provision") {
            calls += 1;
            if calls % 20 != 0 {
                response.status = 503;
            }
        }
    });
    let bulk = create_all(&client, &new).outage_timeout(Duration::from_secs(60)).journal(MemoryJournal::new());
    let mut rows = std::pin::pin!(bulk.stream());
    let row = rows.try_next().await.unwrap().unwrap();
    assert_eq!((row.state, row.id), (RowState::Already, Some(id)));
}

/// bunq does not show a user's e-mail address and phone number. Every way to create compares what bunq does show.
#[tokio::test(start_paused = true)]
async fn another_user_is_not_taken_for_the_one_that_is_wanted() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().retry(at_once()).late_arrival(Duration::from_millis(5)).build().unwrap();
    let provisions = client.provisions();
    let country = |code: &str| code.parse().unwrap();
    let there = person().with_transaction_audit(date(1990, 1, 31), country("NL"));
    let id = created(&client, &there).await;
    let key = there.external_uuid;
    // After these reads bunq shows the label.
    for _ in 0..3 {
        provisions.get(id).await.unwrap();
    }
    let (email, phone) = (|| "other@example.com".parse().unwrap(), || "+31600999999".parse().unwrap());

    // A user with another e-mail address and phone number cannot be distinguished from the first.
    let same = NewProvision::person(key, email(), phone()).with_transaction_audit(date(1990, 1, 31), country("NL"));
    for waiter in [provisions.create(same.clone()).await.unwrap(), provisions.ensure(same.clone()).await.unwrap()] {
        assert_eq!((waiter.id(), waiter.acceptance()), (id, Acceptance::Already));
        assert_eq!(waiter.created(), Some(created_at(&sandbox, id)));
    }
    let rows = outcomes(create_all(&client, std::slice::from_ref(&same))).await;
    assert_eq!((rows[0].state, rows[0].created), (RowState::Already, Some(created_at(&sandbox, id).as_jiff())));

    let plain = NewProvision::person(key, email(), phone());
    for (new, difference) in [
        (plain.clone(), "has the products USER_ANONYMOUS_TRANSACTION_AUDIT, USER_VERIFIED (requested: USER_VERIFIED)"),
        (plain.clone().with_transaction_audit(date(1990, 1, 31), country("BE")), "has the country NL (requested: BE)"),
        (NewProvision::company(key, email(), phone(), id), "is a person (requested: a company)"),
    ] {
        let mut errors =
            vec![provisions.create(new.clone()).await.unwrap_err(), provisions.ensure(new.clone()).await.unwrap_err()];
        assert!(errors.iter().all(|error| error.last_seen::<Provision>().map(|seen| seen.id) == Some(id)));
        for bulk in [create_all(&client, std::slice::from_ref(&new)), create_all(&client, &[new]).adopt(true)] {
            let row = outcomes(bulk).await.remove(0);
            assert_eq!((row.state, row.id), (RowState::Failed, Some(id)));
            errors.extend(row.error);
        }
        assert_eq!(errors.len(), 4);
        for error in errors {
            assert_eq!((error.kind(), error.is_doubtful()), (ErrorKind::Unattainable, false));
            let said = format!("that of provision {id}, created {}, which differs", created_at(&sandbox, id).as_jiff());
            assert!(error.to_string().contains(&said) && error.to_string().contains(difference), "{error}");
        }
    }
    // A request whose response is lost does not count as done because a user was created long ago.
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_PROVISION));
    assert!(provisions.create(plain).await.unwrap_err().is_doubtful());
    assert_eq!(sandbox.provision_ids(), [id]);
}

/// Details that bunq shows later are compared later.
#[tokio::test(start_paused = true)]
async fn another_user_is_found_out_as_soon_as_bunq_shows_it() {
    test_timeout::start();
    let sandbox = Sandbox::builder().pace(Pace::Manual).start().await.unwrap();
    let client = sandbox.client().build().unwrap();
    let new = person();
    let id = created(&client, &new).await;
    let mut company = NewProvision::company(new.external_uuid, new.email.clone(), new.phone_number.clone(), id);
    company.products = new.products;
    let waiter = client.provisions().create(company).await.unwrap();
    assert_eq!(waiter.acceptance(), Acceptance::Already);
    let mut changes = std::pin::pin!(waiter.changes());
    assert!(changes.try_next().await.unwrap().is_some());
    assert!(sandbox.advance(id));
    let error = changes.try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.last_seen::<Provision>().map(|seen| seen.id)), (ErrorKind::Unattainable, Some(id)));
    assert!(error.to_string().contains("is a person (requested: a company)"), "{error}");
}
