//! Receipts: bunq's signed responses, checked offline.

use std::path::Path;
use std::time::Duration;

use bunq_partner::{
    BoxFuture, Exchange, ExchangeObserver, MemoryCustody, Operation, Receipt, ReceiptFile, ReceiptReader, SignatureForm,
};
use bunq_partner_sandbox::{CreationResponse, Fault, Injection, Sandbox};
use futures_util::future::try_join;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use crate::common::{Folder, at_once, person};

fn read(path: &Path) -> Vec<Result<Receipt, String>> {
    check(&std::fs::read(path).unwrap())
}

fn check(bytes: &[u8]) -> Vec<Result<Receipt, String>> {
    ReceiptReader::new(bytes).map(|receipt| receipt.map_err(|invalid| invalid.to_string())).collect()
}

fn all_valid(bytes: &[u8]) -> bool {
    check(bytes).iter().all(Result::is_ok)
}

/// Makes a close and a creation, with their receipts.
async fn receipts(form: SignatureForm, response: CreationResponse) -> (Sandbox, Folder, std::path::PathBuf) {
    let sandbox = Sandbox::builder().signature_form(form).creation_response(response).start().await.unwrap();
    let folder = Folder::new();
    let path = folder.path("receipts");
    let file = ReceiptFile::open(&path).await.unwrap();
    let client = sandbox.client().observer(file.clone()).build().unwrap();
    let [id] = sandbox.populate(1)[..] else { panic!() };
    let closing = client.provisions().close(id).await.unwrap();
    let created = client.provisions().create(person()).await.unwrap();
    assert!(file.failure().is_none());
    let known: Vec<_> = read(&path).into_iter().map(|receipt| receipt.unwrap().response_id).collect();
    assert_eq!(known, [closing.response_id().map(str::to_owned), created.response_id().map(str::to_owned)]);
    (sandbox, folder, path)
}

#[tokio::test]
async fn a_receipt_has_what_bunq_has_signed() {
    test_timeout::start();
    for form in [SignatureForm::Body, SignatureForm::WithHeaders] {
        let (sandbox, _folder, path) = receipts(form, CreationResponse::Id).await;
        let id = sandbox.provision_ids()[0];
        let receipts: Vec<_> = read(&path).into_iter().map(Result::unwrap).collect();
        let closed = &receipts[0];
        assert_eq!((closed.operation.as_str(), closed.status, closed.signature_form), ("update_provision", 200, form));
        assert_eq!(closed.body.as_deref(), Some(&*format!(r#"{{"Response":[{{"Id":{{"id":{id}}}}}]}}"#)));
        let call = &sandbox.call_log().into_iter().find(|call| call.method == "PUT").unwrap();
        let sent = call.headers.iter().find(|(name, _)| name == "x-bunq-client-request-id").map(|(_, id)| id.clone());
        assert_eq!(closed.request_id, sent);
        assert_eq!(receipts[1].operation, "create_provision");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

/// A response with a credential is stored as a digest, which bunq's signature still verifies.
#[tokio::test]
async fn no_credential_is_in_a_receipt() {
    test_timeout::start();
    for form in [SignatureForm::Body, SignatureForm::WithHeaders] {
        let sandbox = Sandbox::builder().signature_form(form).start().await.unwrap();
        sandbox.before_signing(|call, response| {
            if call.method == "POST" && call.path.ends_with("provision") {
                let mut body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
                body["Response"][0]["Note"] = serde_json::json!({"credential": {"token_value": "planted-token"}});
                response.body = body.to_string().into();
            }
        });
        let folder = Folder::new();
        let path = folder.path("receipts");
        let file = ReceiptFile::open(&path).await.unwrap();
        let client = sandbox.client().observer(file.clone()).build().unwrap();
        let _ = client.provisions().create(person()).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("planted-token") && !text.contains(sandbox.api_key().expose()), "{text}");
        let [Ok(receipt)] = &read(&path)[..] else { panic!("{text}") };
        assert!(receipt.body.is_none() && receipt.signed_sha256.as_ref().is_some_and(|digest| digest.len() == 64));
        assert!(!receipt.shows_body());
        let digest = receipt.signed_sha256.as_deref().unwrap();
        let other = digest.replacen(&digest[..1], if digest.starts_with('0') { "1" } else { "0" }, 1);
        assert!(!all_valid(text.replace(digest, &other).as_bytes()));
    }
}

/// What users change has receipts too, which say whose they are.
#[tokio::test]
async fn a_users_call_leaves_a_receipt_with_nothing_about_the_user() {
    test_timeout::start();
    const PERSONAL: [&str; 2] = ["Quetzalcoatl", "1903-07-19"];
    for form in [SignatureForm::Body, SignatureForm::WithHeaders] {
        let sandbox = Sandbox::builder().signature_form(form).start().await.unwrap();
        let folder = Folder::new();
        let path = folder.path("receipts");
        let file = ReceiptFile::open(&path).await.unwrap();
        let client = sandbox.client().custody(MemoryCustody::new()).observer(file.clone()).build().unwrap();
        let mut expected = Vec::new();
        for id in sandbox.populate(2) {
            let user = client.users().activate(id).await.unwrap();
            let _ = user.onboarding().start().await.unwrap();
            let person = json!({ "first_name": PERSONAL[0], "date_of_birth": PERSONAL[1] });
            user.api().update_user_person(&serde_json::from_value(person).unwrap()).await.unwrap();
            // Nothing is changed by these.
            let _ = user.onboarding().find().await.unwrap();
            user.end_session().await.unwrap();
            expected.extend([(id, "create_user_onboarding", true), (id, "update_user_person", false)]);
        }
        let _ = client.provisions().close(sandbox.provision_ids()[0]).await.unwrap();
        assert!(file.failure().is_none());

        let receipts: Vec<_> = read(&path).into_iter().map(Result::unwrap).collect();
        let (closing, of_users) = receipts.split_last().unwrap();
        assert_eq!((closing.operation.as_str(), closing.for_user), ("update_provision", None));
        let told = of_users.iter().map(|one| (one.for_user.unwrap(), one.operation.as_str(), one.shows_body()));
        assert_eq!(told.collect::<Vec<_>>(), expected);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!PERSONAL.iter().any(|personal| text.contains(personal)), "{text}");
    }
}

/// A change of any byte is found, even where bunq has signed nothing.
#[tokio::test]
async fn a_changed_byte_is_found_wherever_it_is() {
    test_timeout::start();
    for form in [SignatureForm::Body, SignatureForm::WithHeaders] {
        let (_sandbox, _folder, path) = receipts(form, CreationResponse::Id).await;
        let whole = std::fs::read(&path).unwrap();
        assert!(all_valid(&whole));
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 1;
            assert!(!all_valid(&changed), "{place}: {}", String::from_utf8_lossy(&changed));
        }
    }
}

/// Lines with new digests, as a forger would make them. bunq's signature cannot be remade.
fn forged(lines: &[serde_json::Value]) -> Vec<u8> {
    let mut previous = String::new();
    let mut bytes = Vec::new();
    for line in lines {
        let mut line = line.clone();
        line.as_object_mut().unwrap().remove("digest");
        // In the field order of the format.
        let receipt: Receipt = serde_json::from_value(line).unwrap();
        let json = serde_json::to_string(&receipt).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, format!("{previous}{json}").as_bytes());
        previous = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.extend(format!("{},\"digest\":\"{previous}\"}}\n", json.strip_suffix('}').unwrap()).bytes());
    }
    bytes
}

#[tokio::test]
async fn what_bunq_has_not_signed_is_refused() {
    test_timeout::start();
    let (_sandbox, _folder, path) = receipts(SignatureForm::WithHeaders, CreationResponse::Id).await;
    let (_other, _other_folder, other) = receipts(SignatureForm::WithHeaders, CreationResponse::Id).await;
    let lines = |path: &Path| -> Vec<serde_json::Value> {
        std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (own, foreign) = (lines(&path), lines(&other));
    assert!(all_valid(&forged(&own)), "the forgery itself");
    let with = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut lines = own.clone();
        change(&mut lines);
        check(&forged(&lines))
            .into_iter()
            .map(|receipt| receipt.map(|_| ()).map_err(|error| error.to_string()))
            .collect::<Vec<_>>()
    };
    let not_valid = Err("line 1: its signature is not valid".to_owned());
    let body = own[0]["body"].as_str().unwrap().replace("100", "900");
    assert_eq!(with(&|lines| lines[0]["body"] = body.clone().into()), [not_valid.clone(), Ok(())]);
    assert_eq!(with(&|lines| lines[0]["status"] = 201.into()), [not_valid.clone(), Ok(())]);
    assert_eq!(with(&|lines| lines[0]["headers"][0][1] = "x".into()), [not_valid.clone(), Ok(())]);
    assert_eq!(with(&|lines| lines[0]["public_key"] = foreign[0]["public_key"].clone()), [not_valid.clone(), Ok(())]);
    let swapped = with(&|lines| {
        let first = lines[0]["signature"].take();
        lines[0]["signature"] = lines[1]["signature"].take();
        lines[1]["signature"] = first;
    });
    assert_eq!(swapped, [not_valid, Err("line 2: its signature is not valid".to_owned())]);
    for id in ["request_id", "response_id"] {
        let ids = with(&|lines| lines[0][id] = "another".into());
        assert_eq!(ids[0], Err("line 1: its ids are not those that are signed".to_owned()));
    }

    // A receipt that another bank has signed correctly.
    let key = own[0]["public_key"].as_str().unwrap();
    let checked: Vec<_> =
        ReceiptReader::new(&*forged(&[own[0].clone(), foreign[0].clone()])).public_key(key).unwrap().collect();
    assert!(checked[0].is_ok());
    assert_eq!(checked[1].as_ref().unwrap_err().to_string(), "line 2: it is signed with another key than bunq's");
}

/// The same signed bytes, written so that the receipt seems to say something else.
#[tokio::test]
async fn signed_bytes_can_be_read_in_only_one_way() {
    test_timeout::start();
    let (_sandbox, _folder, path) = receipts(SignatureForm::WithHeaders, CreationResponse::Id).await;
    let line: serde_json::Value =
        serde_json::from_str(std::fs::read_to_string(&path).unwrap().lines().next().unwrap()).unwrap();
    let [request, response] = [0, 1].map(|header| line["headers"][header].clone());
    let (id, other_id) = (request[1].as_str().unwrap(), response[1].as_str().unwrap());
    let body = line["body"].as_str().unwrap();
    let message = format!("200\nX-Bunq-Client-Request-Id: {id}\nX-Bunq-Client-Response-Id: {other_id}\n\n{body}");
    let headers = |headers: serde_json::Value| {
        let mut line = line.clone();
        line["headers"] = headers;
        line["request_id"] = "another".into();
        line["response_id"] = "another".into();
        line
    };
    let told = "line 1: its headers are not written as bunq signs them";
    let in_another_case = json!([[request[0].as_str().unwrap().to_lowercase(), id], response]);
    for (line, problem) in [
        (headers(in_another_case), told),
        (headers(json!([["X-BUNQ-CLIENT-REQUEST-ID", id], response])), told),
        (headers(json!([["X-Bunq-Client-Request-Id", format!("{id}\nX-Bunq-Client-Response-Id: {other_id}")]])), told),
        (headers(json!([["X-Bunq-Client-Request-Id: ", id], response])), told),
        (headers(json!([[format!("X-Bunq-Client-Request-Id: {id}\nX-Bunq-Client-Response-Id"), other_id]])), told),
        (headers(json!([response, request])), told),
        (headers(json!([request, response, ["X-Bunq-Server-Signature", "x"]])), told),
        (headers(json!([["Content-Type", "application/json"], request, response])), told),
        (headers(json!([request, [response[0], format!("{other_id}\r")]])), told),
        (headers(json!([request, response])), "line 1: its ids are not those that are signed"),
        (headers(json!([request])), "line 1: its signature is not valid"),
        (json!({ "headers": [], "body": message, "signature_form": "body" }), "line 1: its body is not JSON"),
        (json!({ "headers": [["X-Bunq-A", format!("1\n\n{body}")]], "body": "" }), "line 1: its body is not JSON"),
    ] {
        let mut changed = headers(json!([]));
        changed.as_object_mut().unwrap().extend(line.as_object().unwrap().clone());
        assert_eq!(check(&forged(&[changed.clone()])), [Err(problem.to_owned())], "{changed}");
    }
    assert!(all_valid(&forged(&[line])));
}

/// Banks that sign no ids, or several, or ids that are too long to be recorded.
#[tokio::test]
async fn ids_are_stated_if_they_are_signed() {
    test_timeout::start();
    const NAMES: [&str; 2] = ["X-Bunq-Client-Request-Id", "X-Bunq-Client-Response-Id"];
    type Edit = fn(&mut Vec<(String, String)>);
    let edits: [(Edit, Option<[bool; 2]>); 6] = [
        (|_| (), Some([true, true])),
        (|headers| headers.retain(|(name, _)| name != NAMES[0]), Some([false, true])),
        (|headers| headers.retain(|(name, _)| name != NAMES[1]), Some([true, false])),
        (|headers| headers.retain(|(name, _)| !NAMES.contains(&&**name)), Some([false, false])),
        (|headers| headers.push((NAMES[1].into(), "another".into())), None),
        (
            |headers| {
                headers.retain(|(name, _)| name != NAMES[1]);
                headers.push((NAMES[1].into(), "x".repeat(200)));
            },
            None,
        ),
    ];
    for (edit, expected) in edits {
        let sandbox = Sandbox::builder().signature_form(SignatureForm::WithHeaders).start().await.unwrap();
        let folder = Folder::new();
        let path = folder.path("receipts");
        let client = sandbox.client().observer(ReceiptFile::open(&path).await.unwrap()).build().unwrap();
        client.open_session().await.unwrap();
        sandbox.before_signing(move |_, response| edit(&mut response.headers));
        let _ = client.provisions().close(sandbox.populate(1)[0]).await.unwrap();
        let [Ok(receipt)] = &read(&path)[..] else { panic!("{:?}", read(&path)) };
        assert_eq!(receipt.shows_body(), expected.is_some());
        let stated = [receipt.signed_request_id(), receipt.signed_response_id()];
        assert_eq!(stated.map(|id| id.is_some()), expected.unwrap_or_default());
        let noted = [receipt.request_id.as_deref(), receipt.response_id.as_deref()];
        assert!(stated.iter().zip(noted).all(|(id, noted)| id.is_none() || *id == noted));
    }
}

/// The receipts of two responses, cut off and extended in every way.
#[tokio::test]
async fn nothing_but_an_unfinished_write_is_cut_off() {
    test_timeout::start();
    let (sandbox, folder, path) = receipts(SignatureForm::Body, CreationResponse::Id).await;
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let ended = |bytes: &[u8]| [bytes, b"\n"].concat();
    let open = async |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        ReceiptFile::open(&path).await.map(drop).map_err(|error| error.to_string())
    };
    // A crash at any moment, and a file system that wrote zeros where it stored nothing.
    let places = [0, 1, first - 2, first - 1, first, first + 1, whole.len() - 2, whole.len() - 1];
    for (len, zeros) in (0..whole.len()).map(|len| (len, 0)).chain(places.map(|len| (len, 5000))) {
        open(&[&whole[..len], vec![0; zeros].as_slice()].concat()).await.unwrap();
        let kept = match len {
            // A line that lacks only its line break is kept.
            _ if len == whole.len() - 1 => &whole[..],
            _ if len >= first - 1 => &whole[..first],
            _ => &[],
        };
        assert_eq!(std::fs::read(&path).unwrap(), kept, "{len} bytes and {zeros} zeros");
    }
    assert!(all_valid(&whole[..whole.len() - 1]));

    // Damage by something other than a crash.
    let mut damaged = whole.clone();
    let digest = whole.len() - 10;
    damaged[digest] = b'x';
    let without_end = &whole[..whole.len() - 1];
    let tails: [&[u8]; 7] = [
        b"checked, Monday\n",
        b"checked, Monday",
        b"\n",
        b"{\"bunq_partner_receipt\":x",
        b"{\"bunq_partner_receipt\":1}\n",
        b"\0\0\0checked",
        b"c\0h\0e\0c\0k\0e\0d\0",
    ];
    let noted = tails.iter().flat_map(|tail| [[&whole, *tail].concat(), [without_end, *tail].concat()]);
    let noted = noted.filter(|bytes| *bytes != whole);
    for bytes in noted.chain([damaged.clone(), [&damaged, &whole[..100]].concat(), ended(&whole[..digest])]) {
        let error = open(&bytes).await.unwrap_err();
        assert!(error.contains("is damaged, and not by a write that did not end: keep it as it is"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{error}");
    }

    // The next receipt can be written.
    open(without_end).await.unwrap();
    let file = ReceiptFile::open(&path).await.unwrap();
    let client = sandbox.client().observer(file).build().unwrap();
    let _ = client.provisions().close(sandbox.populate(1)[0]).await.unwrap();
    let receipts = read(&path);
    assert!(receipts.len() == 3 && receipts.iter().all(Result::is_ok), "{receipts:?}");
    drop(folder);
}

#[tokio::test]
async fn a_missing_line_is_found_and_an_incomplete_one_is_cut_off() {
    test_timeout::start();
    let (sandbox, _folder, path) = receipts(SignatureForm::Body, CreationResponse::Id).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let second = text.lines().nth(1).unwrap();
    let problem = "line 1: it was changed, or one before it is missing or in another place";
    assert_eq!(check(format!("{second}\n").as_bytes())[0].as_ref().unwrap_err(), problem);
    assert!(!all_valid(&text.as_bytes()[..text.len() - 2]));

    // As after a crash: the next writer continues after the last complete line.
    std::fs::write(&path, &text.as_bytes()[..text.len() - 7]).unwrap();
    let file = ReceiptFile::open(&path).await.unwrap();
    let client = sandbox.client().observer(file).build().unwrap();
    let ids = sandbox.populate(1);
    let _ = client.provisions().close(ids[0]).await.unwrap();
    let receipts = read(&path);
    assert!(receipts.len() == 2 && receipts.iter().all(Result::is_ok), "{receipts:?}");
    let error = ReceiptFile::open(&path).await.unwrap_err().to_string();
    assert!(error.contains("another process uses it"), "{error}");
}

/// The receipts of a bulk operation with many rows in flight and some lost responses.
#[tokio::test]
async fn each_accepted_row_of_a_bulk_operation_has_a_receipt() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let folder = Folder::new();
    let path = folder.path("receipts");
    let file = ReceiptFile::open(&path).await.unwrap();
    let client = sandbox.client().retry(at_once()).observer(file.clone()).build().unwrap();
    sandbox.inject(Injection::new(Fault::Drop).on(&Operation::UPDATE_PROVISION).after(20).times(5));
    let ids = sandbox.populate(200);
    let rows: Vec<_> = client.provisions().close_all(stream::iter(ids)).stream().try_collect().await.unwrap();
    let accepted = rows.iter().filter_map(|row| row.response_id.clone()).collect::<std::collections::HashSet<_>>();
    let receipts: Vec<_> = read(&path).into_iter().map(|receipt| receipt.unwrap().response_id.unwrap()).collect();
    assert_eq!(accepted.len(), 195);
    assert_eq!(receipts.into_iter().collect::<std::collections::HashSet<_>>(), accepted);
}

#[derive(Debug, Default)]
struct Seen(std::sync::Mutex<Vec<String>>);

impl ExchangeObserver for Seen {
    fn observe<'a>(&'a self, exchange: &'a Exchange) -> BoxFuture<'a, ()> {
        self.0.lock().unwrap().push(format!("{} {}", exchange.operation.id, exchange.status));
        Box::pin(async {})
    }
}

/// An observer sees exactly the verified exchanges.
#[tokio::test]
async fn an_observer_sees_each_verified_exchange() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let seen = std::sync::Arc::new(Seen::default());
    let client = sandbox.client().retry(crate::common::once()).observer(std::sync::Arc::clone(&seen)).build().unwrap();
    client.open_session().await.unwrap();
    let ids = sandbox.populate(1);
    client.provisions().get(ids[0]).await.unwrap();
    for fault in [Fault::MissingSignature, Fault::WrongSignature, Fault::Status(500), Fault::Drop] {
        sandbox.inject(fault);
        client.provisions().get(ids[0]).await.unwrap_err();
    }
    let mut pages = std::pin::pin!(client.provisions().list().pages());
    pages.next().await.unwrap().unwrap();
    let seen = seen.0.lock().unwrap().clone();
    assert_eq!(seen, ["create_device_server 200", "create_session 200", "get_provision 200", "list_provisions 200"]);
}

/// An observer that finishes with one provision only when it has seen another.
#[derive(Debug)]
struct Slow(tokio::sync::Barrier);

impl ExchangeObserver for Slow {
    fn observe<'a>(&'a self, exchange: &'a Exchange) -> BoxFuture<'a, ()> {
        Box::pin(async {
            if exchange.operation == &Operation::GET_PROVISION {
                self.0.wait().await;
            }
        })
    }
}

/// The next call gets its permit while the observer works.
#[tokio::test]
async fn a_slow_observer_takes_nothing_of_the_rate_limit() {
    test_timeout::start();
    let sandbox = Sandbox::start().await.unwrap();
    let client = sandbox.client().rate_limit(&Operation::GET_PROVISION, 1, Duration::from_millis(10));
    let client = client.operation_timeout(Duration::from_secs(60)).observer(Slow(tokio::sync::Barrier::new(2)));
    let client = client.build().unwrap();
    let ids = sandbox.populate(2);
    let provisions = client.provisions();
    try_join(provisions.get(ids[0]), provisions.get(ids[1])).await.unwrap();
}
