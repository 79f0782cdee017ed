//! What a file of 16 MiB costs: peak memory, CPU time, and how long the thread of the runtime is held.

#[path = "common/bare.rs"]
mod bare;
mod common;

use bare::{Bare, Keys};
use bunq_partner::types::{AttachmentContentType, AttachmentId};
use bunq_partner::{Client, Environment, Operation};
use bunq_partner_sandbox::{CallLogEntry, Fault, Injection, RawResponse, Sandbox};
use bytes::Bytes;
use common::{API_KEY, Result, Server, Spread, another, cpu_time, longest_hold, peak_memory, role, runtime, serve};

const SMALL: usize = 1024;
const LARGE: usize = 16 * 1024 * 1024;
const ROUNDS: usize = 5;
const CONTENT_TYPE: AttachmentContentType = AttachmentContentType::ImageGif;

fn main() -> Result<()> {
    let Some(role) = role() else { return Ok(()) };
    match role.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", size, cut] => runtime()?.block_on(server(size.parse()?, cut.parse()?)),
        ["upload", base_url, size] => runtime()?.block_on(upload(base_url, size.parse()?)),
        ["download", base_url, size] => runtime()?.block_on(download(base_url, size.parse()?)),
        _ => memory().and_then(|()| runtime()?.block_on(time())),
    }
}

/// A file of this size, whose pages are in memory.
fn file(size: usize) -> Bytes {
    let mut file = b"GIF89a".to_vec();
    file.resize(size, 0x2c);
    file.into()
}

/// Takes files, and returns one of this size. It cuts the connections of so many uploads before.
async fn server(size: usize, cut: u32) -> Result<()> {
    let sandbox = Sandbox::builder().api_key(API_KEY.into()).start().await?;
    let at_uploads = |fault| Injection::new(fault).on(&Operation::CREATE_ATTACHMENT).carried_out(false);
    if cut > 0 {
        sandbox.inject(at_uploads(Fault::Drop).times(cut));
    }
    // The files are not kept.
    sandbox.inject(at_uploads(Fault::Status(500)).always());
    let file = file(size);
    sandbox.before_signing(move |call: &CallLogEntry, response: &mut RawResponse| {
        let answer = match call.path.rsplit('/').next() {
            Some("content") => file.to_vec(),
            Some("attachment") => br#"{"Response":[{"Id":{"id":1}}]}"#.to_vec(),
            _ => return,
        };
        (response.status, response.body) = (200, answer);
    });
    serve(sandbox).await
}

fn client(base_url: &str) -> Result<Client> {
    let builder = Client::builder(Environment::Sandbox).base_url(base_url).api_key(API_KEY).without_rate_limits();
    Ok(builder.build()?)
}

async fn send(client: &Client, file: Bytes) -> Result<()> {
    drop(client.api().create_attachment(CONTENT_TYPE, file, None).await?);
    Ok(())
}

async fn receive(client: &Client) -> Result<usize> {
    let id = AttachmentId::try_from(1_u64)?;
    Ok(client.api().get_attachment_content(id).await?.len())
}

/// Sends one file, and prints the peak memory of the process.
async fn upload(base_url: &str, size: usize) -> Result<()> {
    send(&client(base_url)?, file(size)).await?;
    println!("{}", peak_memory()?);
    Ok(())
}

/// Receives one file, and prints the peak memory of the process.
async fn download(base_url: &str, size: usize) -> Result<()> {
    if receive(&client(base_url)?).await? != size {
        return Err("it is another file".into());
    }
    println!("{}", peak_memory()?);
    Ok(())
}

fn memory() -> Result<()> {
    println!("Peak memory of a process that sends or receives one file, {ROUNDS} processes each\n");
    println!("                                1 KiB   16 MiB   more, x the size");
    for (name, role, cut) in
        [("sent", "upload", 0), ("sent, after a cut connection", "upload", 1), ("received", "download", 0)]
    {
        let peaks = [SMALL, LARGE].map(|size| {
            let peaks = (0..ROUNDS).map(|_| peak(role, size, cut)).collect::<Result<Vec<_>>>()?;
            Spread::of(peaks)
        });
        let [small, large] = peaks;
        let (small, large) = (small?.median, large?.max);
        let times = (large - small) * 1024.0 / LARGE as f64;
        println!("{name:<28}{small:>9.0}{large:>9.0}{times:>12.2}");
    }
    Ok(())
}

/// The peak memory of one process, in KiB.
fn peak(role: &str, size: usize, cut: u32) -> Result<f64> {
    let server = Server::start(&["serve", &size.to_string(), &cut.to_string()])?;
    let output = another(&[role, &server.base_url, &size.to_string()])?.output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(str::from_utf8(&output.stdout)?.trim().parse()?)
}

const FILES: usize = 20;

async fn time() -> Result<()> {
    let server = Server::start(&["serve", &LARGE.to_string(), "0"])?;
    let (bare, client) = (Bare::open(&server.base_url).await?, client(&server.base_url)?);
    let (file, user, keys) = (file(LARGE), client.user().await?.id, Keys::generate()?);
    let (sent, received) = (format!("/user/{user}/attachment"), format!("/user/{user}/attachment/1/content"));
    let mut figures = [(); 6].map(|()| Vec::new());
    // The first round is the warm-up.
    for round in 0..=FILES {
        let signature = keys.sign(&file)?;
        for (side, figures) in figures.iter_mut().enumerate() {
            let before = cpu_time()?;
            match side {
                0 => drop(keys.sign(&file)?),
                1 => bare.upload(&sent, CONTENT_TYPE.as_str(), file.clone()).await?,
                2 => send(&client, file.clone()).await?,
                3 => keys.verify(&file, signature.as_bytes())?,
                4 => drop(bare.download(&received).await?),
                _ => drop(receive(&client).await?),
            }
            let spent = (cpu_time()? - before).as_secs_f64() * 1e3;
            if round > 0 {
                figures.push(spent);
            }
        }
    }
    println!("\nCPU time of a file of 16 MiB, {FILES} each, alternately, in ms\n");
    println!("                              median       min       max");
    let names = [
        "SHA-256 and RSA, signing",
        "sent by bare reqwest",
        "sent by bunq-partner",
        "SHA-256 and RSA, verifying",
        "received by bare reqwest",
        "received by bunq-partner",
    ];
    for (name, figures) in names.into_iter().zip(figures) {
        let Spread { median, min, max } = Spread::of(figures)?;
        println!("{name:<26}{median:>10.2}{min:>10.2}{max:>10.2}");
    }

    println!(
        "\nHow long the thread of the runtime is held at most while a file of 16 MiB is sent or received, in ms\n"
    );
    println!("          median       min       max");
    let mut held = [Vec::new(), Vec::new()];
    for _ in 0..FILES {
        held[0].push(longest_hold(send(&client, file.clone())).await?);
        held[1].push(longest_hold(async { receive(&client).await.map(drop) }).await?);
    }
    for (name, held) in ["sent", "received"].into_iter().zip(held) {
        let Spread { median, min, max } = Spread::of(held)?;
        println!("{name:<8}{median:>8.2}{min:>10.2}{max:>10.2}");
    }
    Ok(())
}
