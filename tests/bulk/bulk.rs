//! Many provisions at once, with a journal, interrupted at any point.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bunq_partner::{
    BulkOperation, BulkRequest, Client, ErrorKind, FileJournal, Journal, JournalStart, MemoryJournal, NewProvision,
    Operation, ProvisionId, RowRecord, RowState, Shutdown, Uuid,
};
use bunq_partner_sandbox::{Fault, Injection, Sandbox};
use futures_util::{StreamExt, TryStreamExt, stream};
use proptest::prelude::*;

use crate::common::{Folder, at_once, calls, id, person};

fn close_all(client: &Client, ids: &[ProvisionId]) -> bunq_partner::Bulk {
    client.provisions().close_all(stream::iter(ids.to_vec()))
}

fn create_all(client: &Client, new: &[NewProvision]) -> bunq_partner::Bulk {
    client.provisions().create_all(stream::iter(new.to_vec()))
}

async fn outcomes(bulk: bunq_partner::Bulk) -> Vec<RowRecord> {
    let mut rows: Vec<_> = bulk.stream().try_collect().await.unwrap();
    rows.sort_by_key(|row| row.row);
    rows
}

/// Why the journal is refused.
async fn refusal(bulk: bunq_partner::Bulk) -> String {
    let error = bulk.stream().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Storage);
    error.to_string()
}

fn states(rows: &[RowRecord]) -> HashMap<RowState, usize> {
    rows.iter().fold(HashMap::new(), |mut states, row| {
        *states.entry(row.state).or_default() += 1;
        states
    })
}

fn status(sandbox: &Sandbox, id: ProvisionId) -> String {
    sandbox.provision(id).unwrap()["status"].as_str().unwrap().to_owned()
}

/// Plays faults at every `every`th call of an operation, one after the other.
fn plague(sandbox: &Sandbox, operation: &Operation, every: u32, up_to: u32) {
    let faults = [
        Fault::Drop,
        Fault::Status(500),
        Fault::Truncated,
        Fault::RateLimited,
        Fault::UnsignedStatus(503),
        Fault::Replayed,
        Fault::MissingSignature,
        Fault::LateArrival(Duration::from_millis(30)),
        Fault::SessionLost,
    ];
    for (turn, call) in (every..up_to).step_by(every as usize).enumerate() {
        sandbox.inject(Injection::new(faults[turn % faults.len()]).on(operation).after(call));
    }
}

/// A client that does not pause after a refusal, and waits only as long as a late arrival takes.
fn hasty(sandbox: &Sandbox) -> Client {
    sandbox.client().retry(at_once()).late_arrival(Duration::from_millis(60)).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_row_has_one_outcome() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let mut ids = sandbox.populate(100);
    let unknown = id(99_999);
    ids.push(unknown);
    let rows = outcomes(close_all(&client, &ids)).await;
    assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), (1..=101).collect::<Vec<_>>());
    assert_eq!(states(&rows), [(RowState::Accepted, 100), (RowState::Failed, 1)].into());
    assert!(rows[..100].iter().all(|row| row.response_id.is_some() && row.id == Some(ids[row.row as usize - 1])));
    let refused = &rows[100];
    assert_eq!(
        (refused.id, refused.error_kind.as_deref(), refused.status),
        (Some(unknown), Some("NotFound"), Some(404))
    );
    assert_eq!(refused.error.as_ref().unwrap().kind(), ErrorKind::NotFound);
    assert!(ids[..100].iter().all(|id| status(&sandbox, *id) == "CANCELLED"));
    // A second run has nothing left to do, and makes no change.
    let again = outcomes(close_all(&client, &ids[..3])).await;
    assert_eq!(states(&again), [(RowState::Already, 3)].into());
}

/// A run whose rows are all final, including failed ones, does not wait and makes no call.
#[tokio::test(start_paused = true)]
async fn a_journal_makes_a_second_run_free() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let mut ids = sandbox.populate(20);
    ids.push(id(99_999));
    let new: Vec<_> = (0..20).map(|_| person()).collect();
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_PROVISION).after(7));
    let known =
        |rows: &[RowRecord]| rows.iter().map(|row| (row.row, row.state, row.response_id.clone())).collect::<Vec<_>>();
    let bulks: [&dyn Fn() -> bunq_partner::Bulk; 2] = [&|| close_all(&client, &ids), &|| create_all(&client, &new)];
    for bulk in bulks {
        let journal = MemoryJournal::new();
        let first = outcomes(bulk().journal(journal.clone())).await;
        assert_eq!(states(&first)[&RowState::Failed], 1);
        sandbox.take_call_log();
        let began = tokio::time::Instant::now();
        let second = outcomes(bulk().journal(journal)).await;
        assert!(sandbox.call_log().is_empty());
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(known(&first), known(&second));
    }
}

/// The bank, the key, the operation, the input and each row are compared with the journal before anything is sent.
#[tokio::test(start_paused = true)]
async fn the_journal_of_something_else_is_refused() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(3);
    let journal = MemoryJournal::new();
    outcomes(close_all(&client, &ids).input("a").journal(journal.clone())).await;
    sandbox.take_call_log();
    let (other, other_client) = crate::common::start().await;
    let of = |name: &str| {
        let which = match name {
            "bank" => format!(" ({})", sandbox.base_url()),
            "operation" => " (update_provision)".to_owned(),
            _ => String::new(),
        };
        format!("the journal is that of another {name}{which}: give the {name} it was begun with, or another journal")
    };
    assert_eq!(refusal(close_all(&client, &ids).input("b").journal(journal.clone())).await, of("input"));
    assert_eq!(refusal(close_all(&other_client, &ids).input("a").journal(journal.clone())).await, of("bank"));
    assert_eq!(refusal(create_all(&client, &[person()]).input("a").journal(journal.clone())).await, of("operation"));
    let key = bunq_partner::Client::builder(bunq_partner::Environment::Sandbox).base_url(sandbox.base_url());
    let stranger = key.api_key("sandbox_another").build().unwrap();
    assert_eq!(refusal(close_all(&stranger, &ids).input("a").journal(journal.clone())).await, of("API key"));
    let swapped = [ids[1], ids[0], ids[2]];
    let problem = "row 1 of the input is not that of the journal: give the input that the journal was begun with";
    assert_eq!(refusal(close_all(&client, &swapped).input("a").journal(journal)).await, problem);
    assert!(sandbox.call_log().is_empty() && other.call_log().is_empty());
}

/// Rows that were sent when a run was cut off are searched for by pages, never with more pages than rows in doubt.
#[tokio::test(start_paused = true)]
async fn rows_in_doubt_are_searched_for_together() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(60);
    let journal = MemoryJournal::new();
    outcomes(close_all(&client, &ids).journal(journal.clone())).await;
    // The outcomes of these are unknown. bunq has carried out all but the last.
    for row in [3, 4, 5, 40] {
        let sent = journal.last(row).await.unwrap().unwrap();
        let sent: RowRecord = serde_json::from_value(serde_json::json!({
            "row": row, "at": sent.at, "state": "sent", "kind": sent.key.kind, "key": sent.key.key
        }))
        .unwrap();
        journal.append(sent).await.unwrap();
    }
    sandbox.take_call_log();
    let rows = outcomes(close_all(&client, &ids).journal(journal)).await;
    assert_eq!(states(&rows), [(RowState::Accepted, 56), (RowState::Found, 4)].into());
    let calls = sandbox.call_log();
    assert_eq!(calls.len(), 1, "{calls:?}");
    let query = calls[0].query.as_deref().unwrap();
    assert!(query.contains(&format!("older_id={}", ids[39].get() + 1)), "{query}");
}

/// Whatever a run was doing when it was cut off, and whatever failed: all are closed, and each row is accounted for
/// once.
#[tokio::test(start_paused = true)]
async fn closing_goes_on_wherever_it_was_cut_off() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = hasty(&sandbox);
    let ids = sandbox.populate(300);
    plague(&sandbox, &Operation::UPDATE_PROVISION, 11, 1000);
    plague(&sandbox, &Operation::LIST_PROVISIONS, 3, 100);
    let folder = Folder::new();
    let path = folder.path("journal");
    for cut in 0..12 {
        let bulk = close_all(&client, &ids).journal(FileJournal::open(&path).await.unwrap());
        let mut rows = std::pin::pin!(bulk.stream());
        let mut count = 0;
        while let Some(row) = rows.next().await {
            row.unwrap();
            count += 1;
            if count > cut * 25 {
                break;
            }
        }
    }
    let rows =
        settled(|| async { outcomes(close_all(&client, &ids).journal(FileJournal::open(&path).await.unwrap())).await })
            .await;
    assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row.state.is_done()), "{:?}", states(&rows));
    assert!(ids.iter().all(|id| status(&sandbox, *id) != "ACTIVE"));
}

/// Runs until no row is unfinished.
async fn settled<F: Future<Output = Vec<RowRecord>>>(run: impl Fn() -> F) -> Vec<RowRecord> {
    for _ in 0..20 {
        let rows = run().await;
        if rows.iter().all(|row| row.state.is_final()) {
            return rows;
        }
    }
    panic!("rows stay unfinished");
}

/// Checks each row against the bank: there is one user, or there are several and the row says so.
fn check_created(sandbox: &Sandbox, new: &[NewProvision], rows: &[RowRecord]) {
    let mut made: HashMap<Uuid, Vec<ProvisionId>> = HashMap::new();
    for id in sandbox.provision_ids() {
        let provision = sandbox.provision(id).unwrap();
        let uuid = provision["external_uuid"].as_str().unwrap().parse().unwrap();
        made.entry(uuid).or_default().push(id);
    }
    assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), (1..=new.len() as u64).collect::<Vec<_>>());
    for (row, new) in rows.iter().zip(new) {
        assert_eq!(row.external_uuid(), Some(new.external_uuid));
        match &made[&new.external_uuid][..] {
            [only] => assert!(row.state.is_done() && row.id == Some(*only), "{row:?} {only}"),
            several => assert_eq!(row.error_kind.as_deref(), Some("Duplicate"), "{row:?} {several:?}"),
        }
    }
    assert_eq!(made.len(), new.len());
}

/// The strictest bank: a second request makes a second user.
async fn without_deduplication() -> (Sandbox, Client) {
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let client = hasty(&sandbox);
    (sandbox, client)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_created_twice_wherever_it_was_cut_off() {
    test_timeout::start();
    let (sandbox, client) = without_deduplication().await;
    let new: Vec<_> = (0..200).map(|_| person()).collect();
    plague(&sandbox, &Operation::CREATE_PROVISION, 13, 1000);
    plague(&sandbox, &Operation::LIST_PROVISIONS, 5, 100);
    let folder = Folder::new();
    let path = folder.path("journal");
    for cut in 0..8 {
        let bulk = create_all(&client, &new).journal(FileJournal::open(&path).await.unwrap());
        let mut rows = std::pin::pin!(bulk.stream());
        let mut count = 0;
        while let Some(Ok(_)) = rows.next().await {
            count += 1;
            if count > cut * 25 {
                break;
            }
        }
    }
    let rows = settled(|| async {
        outcomes(create_all(&client, &new).journal(FileJournal::open(&path).await.unwrap())).await
    })
    .await;
    check_created(&sandbox, &new, &rows);
}

/// A file system that did not store all that it acknowledged: the journal ends at any byte. The lost part is found at
/// bunq.
#[tokio::test(start_paused = true)]
async fn a_journal_that_ends_at_any_byte_is_enough() {
    test_timeout::start();
    let (sandbox, client) = without_deduplication().await;
    let new: Vec<_> = (0..2).map(|_| person()).collect();
    let folder = Folder::new();
    let path = folder.path("journal");
    let run =
        async |path: &Path| outcomes(create_all(&client, &new).journal(FileJournal::open(path).await.unwrap())).await;
    check_created(&sandbox, &new, &run(&path).await);
    let whole = std::fs::read(&path).unwrap();
    let client = sandbox.client().late_arrival(Duration::ZERO).build().unwrap();
    let run =
        async |path: &Path| outcomes(create_all(&client, &new).journal(FileJournal::open(path).await.unwrap())).await;
    for len in 0..whole.len() {
        // Blocks that were not stored are missing, or contain zeros.
        for rest in [&b""[..], &[0; 40][..]] {
            if !rest.is_empty() && len % 8 != 0 {
                continue;
            }
            std::fs::write(&path, [&whole[..len], rest].concat()).unwrap();
            let rows = run(&path).await;
            check_created(&sandbox, &new, &rows);
        }
    }
    assert_eq!(sandbox.provision_ids().len(), 2);
}

/// If the start of the first run is unknown, a user that was closed earlier does not count as created by it.
#[tokio::test(start_paused = true)]
async fn a_closed_user_of_earlier_times_is_not_found() {
    test_timeout::start();
    let (sandbox, client) = without_deduplication().await;
    let new = vec![person()];
    let made = outcomes(create_all(&client, &new)).await.remove(0).id.unwrap();
    client.provisions().close(made).await.unwrap().await.unwrap();
    let folder = Folder::new();
    let path = folder.file("journal", "");
    let client = sandbox.client().late_arrival(Duration::ZERO).build().unwrap();
    let rows = outcomes(create_all(&client, &new).journal(FileJournal::open(&path).await.unwrap())).await;
    let error = rows[0].error.as_ref().unwrap();
    assert_eq!((rows[0].state, error.kind()), (RowState::Failed, ErrorKind::Unattainable));
    assert_eq!(sandbox.provision_ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_journal_has_one_user_at_a_time_and_only_its_owner_can_use_it() {
    test_timeout::start();
    let folder = Folder::new();
    let path = folder.path("journal");
    let first = FileJournal::open(&path).await.unwrap();
    let error = FileJournal::open(&path).await.unwrap_err().to_string();
    assert!(error.contains("another process uses it"), "{error}");
    drop(first);
    FileJournal::open(&path).await.unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    for foreign in ["id\n123\n", "{\"bunq_partner_journal\":2}\n", "hello"] {
        let path = folder.file("foreign", foreign);
        let error = FileJournal::open(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Storage);
        assert!(
            error.to_string().ends_with("it is not a journal: give the path of one, or of one to be made"),
            "{error}"
        );
        assert_eq!(std::fs::read_to_string(path).unwrap(), foreign);
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_damaged_before_its_end_is_refused() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(500);
    let folder = Folder::new();
    let path = folder.path("journal");
    outcomes(close_all(&client, &ids).journal(FileJournal::open(&path).await.unwrap())).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let damaged = text.replacen("\"row\":2", "\"row\":x", 1);
    std::fs::write(&path, &damaged).unwrap();
    let error = FileJournal::open(&path).await.unwrap_err().to_string();
    assert!(error.ends_with("is damaged, and it is not the last: put back a copy that is whole"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);

    // After a torn write, a later block may be there without an earlier one.
    let torn = text.replacen("\"row\":490", "\0\0\0\0\0\0\0\0\0\0", 1);
    std::fs::write(&path, &torn).unwrap();
    let rows = outcomes(close_all(&client, &ids).journal(FileJournal::open(&path).await.unwrap())).await;
    assert!(rows.len() == 500 && rows.iter().all(|row| row.state.is_done()), "{:?}", states(&rows));
}

/// A row is not decided while checking it fails.
#[tokio::test(start_paused = true)]
async fn a_row_whose_check_fails_is_tried_again() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(1);
    client.provisions().close(ids[0]).await.unwrap().wait().await.unwrap();
    // bunq refuses the second closing, and the check fails for a while.
    sandbox.inject(Injection::new(Fault::UnsignedStatus(503)).on(&Operation::GET_PROVISION).times(9));
    let rows = outcomes(close_all(&client, &ids)).await;
    assert_eq!(rows[0].state, RowState::Already, "{rows:?}");
}

/// A journal may lie unused for a night before bunq fails for a moment.
#[tokio::test(start_paused = true)]
async fn an_input_that_pauses_is_no_outage() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(2);
    let bank = sandbox.clone();
    let slow = stream::iter(ids).then(move |id| {
        let bank = bank.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
            bank.inject(Injection::new(Fault::UnsignedStatus(503)).on(&Operation::UPDATE_PROVISION).times(5));
            id
        }
    });
    let rows = outcomes(client.provisions().close_all(slow)).await;
    assert!(rows.len() == 2 && rows.iter().all(|row| row.state.is_done()), "{rows:?}");
}

/// The next run also waits for an outage at its start.
#[tokio::test(start_paused = true)]
async fn the_searches_of_the_next_run_wait_for_an_outage() {
    test_timeout::start();
    let (sandbox, client) = without_deduplication().await;
    let new: Vec<_> = (0..3).map(|_| person()).collect();
    outcomes(create_all(&client, &new).journal(MemoryJournal::new())).await;
    sandbox.inject(Injection::new(Fault::UnsignedStatus(503)).times(40));
    let rows = outcomes(create_all(&client, &new).journal(MemoryJournal::new())).await;
    check_created(&sandbox, &new, &rows);
    // A network that stays down does not delay a shutdown.
    sandbox.inject(Injection::new(Fault::UnsignedStatus(503)).always());
    let shutdown = Shutdown::default();
    let bulk = create_all(&client, &new).journal(MemoryJournal::new()).shutdown(&shutdown);
    let rows = bulk.stream().try_collect::<Vec<_>>();
    let (rows, ()) = futures_util::future::join(rows, async {
        tokio::time::sleep(Duration::from_secs(600)).await;
        shutdown.begin();
    })
    .await;
    assert!(rows.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_journal_holds_nothing_about_a_person_and_no_secret() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let folder = Folder::new();
    let path = folder.path("journal");
    // bunq's refusal repeats what it was sent.
    sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::CREATE_PROVISION).after(1));
    sandbox.before_signing(|call, response| {
        if response.status == 400 {
            let email = serde_json::from_str::<serde_json::Value>(&call.body).unwrap()["email"].to_string();
            response.body = format!(r#"{{"Error":[{{"error_description":{email}}}]}}"#).into();
        }
    });
    let new: Vec<_> = (0..3).map(|_| person()).collect();
    let rows = outcomes(create_all(&client, &new).journal(FileJournal::open(&path).await.unwrap())).await;
    assert_eq!(states(&rows), [(RowState::Accepted, 2), (RowState::Failed, 1)].into());
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("user@example.com") && !text.contains("+316") && !text.contains(sandbox.api_key().expose()),
        "{text}"
    );
    assert!(text.contains(&new[0].external_uuid.to_string()));
}

/// An input may wait for an outcome before it yields its next row. The run does not hold rows back while it waits for
/// such an input.
#[tokio::test(start_paused = true)]
async fn rows_in_doubt_do_not_wait_for_an_input_that_waits_for_them() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(6);
    let journal = MemoryJournal::new();
    outcomes(close_all(&client, &ids).journal(journal.clone())).await;
    let sent = journal.last(1).await.unwrap().unwrap();
    let key = sent.key;
    let in_doubt = serde_json::json!({"row": 1, "at": sent.at, "state": "sent", "kind": key.kind, "key": key.key});
    journal.append(serde_json::from_value(in_doubt).unwrap()).await.unwrap();
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(2));
    let gate = std::sync::Arc::clone(&places);
    let gated = stream::iter(ids).then(move |id| {
        let gate = std::sync::Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            id
        }
    });
    let bulk = client.provisions().close_all(gated).journal(journal);
    let rows = bulk.stream().inspect(|_| places.add_permits(1)).try_collect::<Vec<_>>();
    let rows = tokio::time::timeout(Duration::from_secs(20), rows).await.expect("it waits for ever").unwrap();
    assert_eq!(states(&rows), [(RowState::Accepted, 5), (RowState::Found, 1)].into());
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_refused_ends_the_run() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let ids = sandbox.populate(50);
    let builder = bunq_partner::Client::builder(bunq_partner::Environment::Sandbox);
    let client = builder.base_url(sandbox.base_url()).api_key("sandbox_wrong").build().unwrap();
    let journal = MemoryJournal::new();
    let rows: Vec<_> = close_all(&client, &ids).journal(journal).stream().collect().await;
    let (last, others) = rows.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().kind(), ErrorKind::Unauthorized);
    assert!(
        others.len() <= 17 && others.iter().all(|row| row.as_ref().unwrap().state == RowState::Unfinished),
        "{others:?}"
    );
}

/// A temporary outage costs time, and no row. Time is paused, so the test does not wait.
#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_for() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(40);
    sandbox.inject(Injection::new(Fault::UnsignedStatus(503)).on(&Operation::UPDATE_PROVISION).after(5).times(600));
    sandbox.inject(Injection::new(Fault::UnsignedStatus(503)).on(&Operation::GET_PROVISION).times(100));
    let rows = outcomes(close_all(&client, &ids)).await;
    assert_eq!(states(&rows).keys().filter(|state| !state.is_done()).count(), 0, "{:?}", states(&rows));

    // A lasting outage ends the run; the next run continues with the rows.
    sandbox.inject(Injection::new(Fault::UnsignedStatus(503)).always());
    let ids = sandbox.populate(40);
    let rows: Vec<_> = close_all(&client, &ids).outage_timeout(Duration::from_secs(600)).stream().collect().await;
    let (last, others) = rows.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().kind(), ErrorKind::Server);
    assert!(others.iter().all(|row| row.as_ref().unwrap().state == RowState::Unfinished), "{others:?}");
}

/// Polls a bulk operation until the bank has received a closing, and drops it, as in a crash.
async fn crashed(bulk: bunq_partner::Bulk, sandbox: &Sandbox) {
    // The checks that follow hang.
    let hanging = Fault::Late(Duration::from_secs(3600));
    sandbox.inject(Injection::new(hanging).on(&Operation::GET_PROVISION).always());
    let mut rows = std::pin::pin!(bulk.stream());
    let arrived = async {
        while sandbox.call_log().iter().all(|call| call.method != "PUT") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        row = rows.next() => panic!("{row:?}"),
        () = arrived => {}
    }
    sandbox.clear_injections();
}

/// A closing that may still arrive is reported as refused only after a check that begins when it cannot arrive any
/// more.
#[tokio::test(start_paused = true)]
async fn a_closing_on_its_way_is_awaited_before_it_is_refused() {
    test_timeout::start();
    let late = |after| Injection::new(Fault::LateArrival(Duration::from_secs(after)));
    let lost = Injection::new(Fault::Drop).carried_out(false);
    for (first, expected) in [(late(4), RowState::Found), (late(9), RowState::Found), (lost, RowState::Failed)] {
        let sandbox = Sandbox::start().await.unwrap();
        let client = sandbox.client().late_arrival(Duration::from_secs(10)).build().unwrap();
        let (ids, journal) = (sandbox.populate(1), MemoryJournal::new());
        client.open_session().await.unwrap();
        sandbox.inject(first.on(&Operation::UPDATE_PROVISION));
        crashed(close_all(&client, &ids).journal(journal.clone()), &sandbox).await;
        sandbox.inject(Injection::new(Fault::Status(400)).on(&Operation::UPDATE_PROVISION).always());
        let rows = outcomes(close_all(&client, &ids).journal(journal.clone())).await;
        assert_eq!(states(&rows), [(expected, 1)].into());
        let is_closed = sandbox.provision(ids[0]).unwrap()["status"] != "ACTIVE";
        assert_eq!(is_closed, expected == RowState::Found);
    }
}

/// A row that is in doubt stays in doubt, whatever fails afterwards.
#[tokio::test(start_paused = true)]
async fn a_row_that_is_given_up_in_doubt_says_so() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let (ids, journal) = (sandbox.populate(1), MemoryJournal::new());
    client.open_session().await.unwrap();
    let close = || close_all(&client, &ids).journal(journal.clone()).outage_timeout(Duration::from_secs(60));
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::UPDATE_PROVISION));
    sandbox.inject(Injection::new(Fault::UnsignedStatus(502)).on(&Operation::GET_PROVISION).always());
    sandbox.inject(Injection::new(Fault::SessionLost).on(&Operation::UPDATE_PROVISION).after(1).always());
    let rows: Vec<_> = close().stream().collect().await;
    let last = journal.last(1).await.unwrap().unwrap();
    assert!(rows.len() == 2 && rows[1].is_err(), "{rows:?}");
    assert!(last.state == RowState::Unfinished && last.is_in_doubt(), "{last:?}");
    sandbox.clear_injections();
    assert_eq!(states(&outcomes(close()).await), [(RowState::Found, 1)].into());
}

/// No session could be opened for it.
#[tokio::test(start_paused = true)]
async fn a_creation_that_was_never_sent_is_not_in_doubt() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    sandbox.inject(Injection::new(Fault::UnsignedStatus(502)).on(&Operation::CREATE_SESSION).always());
    let bulk = create_all(&client, &[person()]).outage_timeout(Duration::from_secs(60));
    let rows: Vec<_> = bulk.stream().collect().await;
    let row = rows[0].as_ref().unwrap();
    assert!(rows.len() == 2 && rows[1].is_err(), "{rows:?}");
    assert!(row.state == RowState::Unfinished && !row.is_in_doubt(), "{row:?}");
    assert!(calls(&sandbox, "POST", "/provision").is_empty());
}

/// A read that fails does not make it the row's own.
#[tokio::test(start_paused = true)]
async fn a_user_that_was_there_stays_so_when_reading_it_back_fails() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let new = person();
    let id = client.provisions().create(new.clone()).await.unwrap().id();
    sandbox.inject(Injection::new(Fault::UnsignedStatus(502)).on(&Operation::GET_PROVISION).times(4));
    let rows = outcomes(create_all(&client, &[new])).await;
    assert_eq!((rows[0].state, rows[0].id), (RowState::Already, Some(id)));
    assert!(calls(&sandbox, "GET", &format!("/{id}")).len() > 4);
}

/// How long a request may still arrive counts from when it was sent, not from each failure that follows.
#[tokio::test(start_paused = true)]
async fn a_creation_in_doubt_is_awaited_from_when_it_was_sent() {
    test_timeout::start();
    let sandbox = Sandbox::builder().deduplicate(false).start().await.unwrap();
    let late_arrival = Duration::from_secs(1000);
    let builder = sandbox.client().retry(crate::common::once()).operation_timeout(3 * late_arrival);
    let client = builder.late_arrival(late_arrival).poll_interval(late_arrival / 4).build().unwrap();
    client.open_session().await.unwrap();
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::CREATE_PROVISION).carried_out(false));
    let began = tokio::time::Instant::now();
    let rows = outcomes(create_all(&client, &[person()])).await;
    assert_eq!(states(&rows), [(RowState::Accepted, 1)].into());
    // Once for the first request, and once before the search for another that it may have created.
    assert!(began.elapsed() < late_arrival * 5 / 2, "{:?}", began.elapsed());
}

/// A proxy's refusal says nothing about the key, whatever its status.
#[tokio::test(start_paused = true)]
async fn a_proxy_that_refuses_the_session_for_a_while_ends_nothing() {
    test_timeout::start();
    for status in [401, 403, 404] {
        let (sandbox, client) = crate::common::start().await;
        let ids = sandbox.populate(5);
        sandbox.inject(Injection::new(Fault::UnsignedStatus(status)).on(&Operation::CREATE_SESSION).times(30));
        let rows = outcomes(close_all(&client, &ids)).await;
        assert_eq!(states(&rows), [(RowState::Accepted, 5)].into(), "{status}");
    }
}

/// A row that always fails delays no other row.
#[tokio::test(start_paused = true)]
async fn a_row_that_always_fails_is_given_up() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(60);
    let poisoned = ids[7];
    sandbox.before_signing(move |call, response| {
        if call.path.ends_with(&format!("/{poisoned}")) {
            response.status = 500;
            response.body = br#"{"Error":[{"error_description":"No."}]}"#.to_vec();
        }
    });
    let rows = outcomes(close_all(&client, &ids)).await;
    assert_eq!(states(&rows), [(RowState::Accepted, 59), (RowState::Unfinished, 1)].into());
    assert_eq!((rows[7].error_kind.as_deref(), rows[7].status), (Some("Server"), Some(500)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No bytes cause a panic. Bytes are overwritten only if they are the beginning of a journal.
    #[test]
    fn no_bytes_are_taken_for_a_journal(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
        test_timeout::start();
        let folder = Folder::new();
        let path = folder.file("journal", "");
        std::fs::write(&path, &bytes).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let opened = runtime.block_on(FileJournal::open(&path));
        let stored = bytes.iter().rposition(|byte| *byte != 0).map_or(&[][..], |last| &bytes[..=last]);
        let is_beginning = br#"{"bunq_partner_journal":"#.starts_with(stored);
        prop_assert!(opened.is_err() || is_beginning);
        if opened.is_err() {
            prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}

/// A version that comes later may do more in bulk.
#[tokio::test(start_paused = true)]
async fn a_journal_of_another_operation_is_refused_by_its_name() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let ids = sandbox.populate(1);
    let journal = MemoryJournal::new();
    outcomes(close_all(&client, &ids).journal(journal.clone())).await;
    let JournalStart::Begun(mut header) = journal.start().await.unwrap() else { panic!("it was not begun") };
    header.operation = "list_provisions".into();
    let (problem, advice) = ("which this version does not do in bulk", "go on with the version that began it");
    let expected = format!("the journal is of `list_provisions`, {problem}: {advice}");
    assert_eq!(header.bulk_operation().unwrap_err().to_string(), expected);
    journal.begin(header).await.unwrap();
    sandbox.take_call_log();
    assert_eq!(refusal(close_all(&client, &ids).journal(journal)).await, expected);
    assert!(sandbox.call_log().is_empty());
}

/// What cannot be a row of the operation is not left out in silence.
#[tokio::test(start_paused = true)]
async fn a_request_of_another_operation_ends_the_run() {
    test_timeout::start();
    let (sandbox, client) = crate::common::start().await;
    let id = sandbox.populate(1)[0];
    let requests = [BulkRequest::Close(id), BulkRequest::Create(Box::new(person().into()))];
    let bulk = client.provisions().bulk(BulkOperation::Close, stream::iter(requests));
    let rows: Vec<_> = bulk.stream().collect().await;
    let [Ok(closed), Err(error)] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((closed.row, closed.state), (1, RowState::Accepted));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let expected = "row 2: it is a row of `create_provision`, but the operation is `update_provision`";
    assert_eq!(error.to_string(), expected);
}
