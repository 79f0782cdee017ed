//! The peak memory of a process that streams few or many provisions, and of one that gets the worst response of the
//! largest size.

mod common;

use bunq_partner::{Client, Environment, Operation, PageSize, RetryPolicy, types};
use bunq_partner_sandbox::Sandbox;
use common::{API_KEY, Result, Server, Spread, another, peak_memory, role, runtime, serve};
use futures_util::TryStreamExt;

/// A call of each operation, which codegen writes.
#[allow(clippy::unwrap_used, clippy::panic)]
mod calls {
    use bunq_partner::{Error, Response};

    include!(concat!(env!("OUT_DIR"), "/calls.rs"));

    /// Printing the response would count.
    async fn shown<T>(call: impl Future<Output = Result<Response<T>, Error>>) -> Result<String, Error> {
        call.await.map(|_| String::new())
    }
}

const FEW: usize = 1_000;
const MANY: usize = 100_000;
const ROUNDS: usize = 5;

fn main() -> Result<()> {
    let Some(role) = role() else { return Ok(()) };
    match role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", count] => runtime()?.block_on(server(count.parse()?)),
        ["stream", base_url, count] => runtime()?.block_on(stream(base_url, count.parse()?)),
        ["serve-worst", operation, shape] => runtime()?.block_on(worst_server(operation, shape)),
        ["call", base_url, operation] => runtime()?.block_on(call(base_url, operation)),
        _ => measure().and_then(|()| measure_worst()),
    }
}

async fn server(count: usize) -> Result<()> {
    let sandbox = Sandbox::builder().api_key(API_KEY.into()).start().await?;
    sandbox.populate(count);
    serve(sandbox).await
}

/// Streams all provisions, and prints the peak memory of the process.
async fn stream(base_url: &str, count: usize) -> Result<()> {
    let client =
        Client::builder(Environment::Sandbox).base_url(base_url).api_key(API_KEY).without_rate_limits().build()?;
    let provisions = client.provisions().list().count(PageSize::MAX).stream();
    let seen = provisions.try_fold(0, async |seen, _| Ok(seen + 1)).await?;
    if seen != count {
        return Err(format!("{seen} provisions were seen of {count}").into());
    }
    println!("{}", peak_memory()?);
    Ok(())
}

fn measure() -> Result<()> {
    let mut peaks = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (count, peaks) in [FEW, MANY].into_iter().zip(&mut peaks) {
            peaks.push(peak(&count.to_string())?);
        }
    }
    println!("Peak memory of a process that streams provisions, {ROUNDS} processes each\n");
    println!("provisions  median, KiB       min       max");
    let [few, many] = peaks.map(Spread::of);
    let (few, many) = (few?, many?);
    for (count, Spread { median, min, max }) in [(FEW, few), (MANY, many)] {
        println!("{count:>10}{median:>13.0}{min:>10.0}{max:>10.0}");
    }
    println!("\n{:+.1} %", (many.median / few.median - 1.0) * 100.0);
    Ok(())
}

/// The peak memory of one process, in KiB.
fn peak(count: &str) -> Result<f64> {
    let server = Server::start(&["serve", count])?;
    let output = another(&["stream", &server.base_url, count])?.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(str::from_utf8(&output.stdout)?.trim().parse()?)
}

/// The largest response that the client reads by default, in KiB.
const LARGEST: usize = 4 * 1024;

/// A shape of the largest response: its name, whether it is a refusal, its beginning, the part that is repeated to fill
/// it, and its end.
type Shape = (&'static str, bool, String, String, String);

fn shapes() -> Vec<Shape> {
    let provision = r#"{"Response":[{"PartnerUserProvision":{"id":1,"status":"ACTIVE","#;
    let page = r#"{}],"Pagination":{"future_url":null,"newer_url":null,"older_url":null}}"#;
    // As many objects as a page may have, each as short as possible.
    let image = format!(r#"{{"urls":[{}]}}"#, ["{}"; 10].join(","));
    let avatar = format!(r#"{{"avatar":{{"image":[{}]}}}}"#, vec![image; 10].join(","));
    let full = format!(
        r#"{{"PartnerUserProvision":{{"id":1,"status":"A","products":[{}],"label_user":{avatar},"oauth_request":{{"scope":[{}],"user_alias_created":{avatar}}},"credential":{{"token_value":"x"}},"X":"{}"}}}},"#,
        [r#""""#; 50].join(","),
        [r#""""#; 50].join(","),
        "x".repeat(5_000),
    );
    let text = "xxxxxxxx";
    let of = |name, is_refusal, start: &str, repeated: &str, end: &str| {
        (name, is_refusal, start.to_owned(), repeated.to_owned(), end.to_owned())
    };
    vec![
        of("empty items", false, r#"{"Response":[{}"#, ",{}", "]}"),
        of("unknown items", false, r#"{"Response":[{"X":[0"#, ",{}", "]}]}"),
        of("empty provisions", false, r#"{"Response":[{"X":{}}"#, r#",{"PartnerUserProvision":{}}"#, "]}"),
        of("full provisions", false, r#"{"Response":["#, &full, page),
        of("empty texts", false, &format!(r#"{provision}"oauth_request":{{"scope":[""#), r#"",""#, r#""]}}}]}"#),
        of(
            "a deep text",
            false,
            &format!(
                r#"{provision}"oauth_request":{{"user_alias_created":{{"avatar":{{"image":[{{"urls":[{{"url":"\n"#
            ),
            text,
            r#""}]}]}}}}}]}"#,
        ),
        of("a long status", false, r#"{"Response":[{"PartnerUserProvision":{"id":1,"status":"\n"#, text, r#""}}]}"#),
        of(
            "an open value",
            false,
            &format!(r#"{provision}"credential":{{"token_value":null,"permitted_device":{{"a":[0"#),
            ",{}",
            "]}}}}]}",
        ),
        of("a long token", false, r#"{"Response":[{"Token":{"token":"\n"#, text, r#""}}]}"#),
        of("empty errors", true, r#"{"Error":[{}"#, ",{}", "]}"),
        of("an open error", true, r#"{"Error":[{"error_additional_parameter":[0"#, ",{}", "]}]}"),
        of("a long error", true, r#"{"Error":[{"error_description":"\n"#, text, r#""}]}"#),
    ]
}

/// Responds to every call of one operation with the largest response of one shape, signed correctly.
async fn worst_server(operation: &str, shape: &str) -> Result<()> {
    let operation = Operation::by_id(operation).ok_or("no such operation")?;
    let (_, is_refusal, start, repeated, end) = shapes().swap_remove(shape.parse()?);
    let room = LARGEST * 1024 - start.len() - end.len();
    let body = format!("{start}{}{end}", repeated.repeat(room / repeated.len()));
    let sandbox = Sandbox::builder().api_key(API_KEY.into()).start().await?;
    let path = operation.path.split('{').next().unwrap_or_default();
    sandbox.before_signing(move |call, response| {
        if call.method == operation.method && call.path.trim_start_matches("/v1").starts_with(path) {
            response.status = if is_refusal { 400 } else { 200 };
            response.body = body.clone().into();
        }
    });
    serve(sandbox).await
}

/// Makes one call, and prints the peak memory of the process.
async fn call(base_url: &str, operation: &str) -> Result<()> {
    let builder = Client::builder(Environment::Sandbox).base_url(base_url).api_key(API_KEY).without_rate_limits();
    let client = builder.retry(RetryPolicy::default().max_attempts(1)).build()?;
    let operation = Operation::by_id(operation).ok_or("no such operation")?;
    // Most of the calls fail.
    if calls::call_with_examples(&client.api(), operation, |_| None).await.is_none() {
        // The client makes it by itself.
        drop(client.open_session().await);
        if operation == &Operation::DELETE_SESSION {
            drop(client.end_session().await);
        }
    }
    println!("{}", peak_memory()?);
    Ok(())
}

fn measure_worst() -> Result<()> {
    println!("\nPeak memory of one call whose response has {LARGEST} KiB, above that of a small response\n");
    println!("operation                             KiB    x its size  of what");
    for operation in Operation::ALL {
        let small = peak_of_call(operation, None)?;
        let mut worst = (0.0, "");
        for (index, (name, ..)) in shapes().into_iter().enumerate() {
            let above = peak_of_call(operation, Some(index))? - small;
            if above > worst.0 {
                worst = (above, name);
            }
        }
        println!("{:<35}{:>6.0}{:>14.1}  {}", operation.id, worst.0, worst.0 / LARGEST as f64, worst.1);
    }
    Ok(())
}

/// The peak memory of a process that makes one call, in KiB.
fn peak_of_call(operation: &Operation, shape: Option<usize>) -> Result<f64> {
    let server = match shape {
        Some(shape) => Server::start(&["serve-worst", operation.id, &shape.to_string()])?,
        None => Server::start(&["serve", "1"])?,
    };
    let output = another(&["call", &server.base_url, operation.id])?.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(str::from_utf8(&output.stdout)?.trim().parse()?)
}
