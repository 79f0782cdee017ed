//! `webhooks listen`: bunq's calls as they come, and what bunq says of what they are about.
//!
//! The receiver is the library's, with the server of its guide ([`server`]) around it. What it keeps is told as it comes ([`heard`]), what it
//! hands on as it is read, and everything else is counted ([`counts`]). Nothing of a body, and no path, is in a line ([`lines`]).

mod counts;
mod heard;
mod lines;
mod place;
mod server;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bunq_partner::webhook::{
    Changes, FileHintJournal, Hint, HintJournal, HintJournalBounds, MemoryHintJournal, Receiver,
};
use bunq_partner::{Environment, Error, ErrorKind};
use futures_util::StreamExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;

use self::counts::Counts;
use self::heard::Heard;
pub(crate) use self::lines::columns;
use self::lines::{Line, Lines};
use self::place::Place;
use super::super::arguments::ListenOptions;
use super::super::exit::Failure;
use super::super::interrupt::{listen, until_interrupted};
use super::super::invocation::Invocation;

/// How many calls may be kept and not shown yet. More wait for their answer.
const UNSHOWN: usize = 256;

/// How often what has no line of its own is counted.
const COUNTED: Duration = Duration::from_secs(1);

/// All that is ready before the first call.
struct Ready {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    receiver: Receiver<Heard>,
    calls: mpsc::Receiver<Hint>,
    changes: Changes,
}

pub(super) async fn run(invocation: &Invocation, options: &ListenOptions) -> Result<(), Failure> {
    let Ready { listener, tls, receiver, mut calls, mut changes } =
        until_interrupted(None, prepare(invocation, options)).await?;
    let (stopped, mut lines, mut counts) = (listen()?, Lines::new(invocation), Counts::default());
    let ended = tokio::select! {
        biased;
        () = stopped => Failure::interrupted(None),
        failed = show(&mut lines, &mut counts, &mut calls, &mut changes, &receiver) => failed,
        never = server::serve(listener, tls, receiver.clone()) => match never {},
    };
    // What was answered is shown, unless nobody reads it.
    let _ = rest(&mut lines, &mut counts, &mut calls, &changes, &receiver);
    counts.say(invocation.format());
    Err(ended)
}

/// Shows what comes, until that fails.
async fn show(
    lines: &mut Lines<'_>,
    counts: &mut Counts,
    calls: &mut mpsc::Receiver<Hint>,
    changes: &mut Changes,
    receiver: &Receiver<Heard>,
) -> Failure {
    let mut ticks = interval(COUNTED);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let done = tokio::select! {
            Some(hint) = calls.recv() => lines.add(&Line::call(&hint)).map_err(Failure::from),
            change = changes.next() => match change {
                Some(change) => async {
                    // The calls that it is about came before.
                    add_calls(lines, calls)?;
                    lines.add(&Line::change(change.object()))?;
                    Ok(change.done().await?)
                }
                .await,
                None => Err(Failure::of_kind(ErrorKind::Internal, "nothing is read any more")),
            },
            _ = ticks.tick() => counts.add(lines, receiver.numbers(), changes.numbers()).map_err(Failure::from),
        };
        if let Err(failure) = done {
            return failure;
        }
    }
}

fn add_calls(lines: &mut Lines<'_>, calls: &mut mpsc::Receiver<Hint>) -> std::io::Result<()> {
    for _ in 0..calls.len() {
        let Ok(hint) = calls.try_recv() else { break };
        lines.add(&Line::call(&hint))?;
    }
    Ok(())
}

/// Shows what is left after the end.
fn rest(
    lines: &mut Lines<'_>,
    counts: &mut Counts,
    calls: &mut mpsc::Receiver<Hint>,
    changes: &Changes,
    receiver: &Receiver<Heard>,
) -> std::io::Result<()> {
    add_calls(lines, calls)?;
    counts.add(lines, receiver.numbers(), changes.numbers())?;
    lines.end()
}

/// Refuses what cannot be, before anything is sent, and says where it listens.
async fn prepare(invocation: &Invocation, options: &ListenOptions) -> Result<Ready, Failure> {
    let address = options.listen.unwrap_or(Ipv4Addr::LOCALHOST.into());
    let tls = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => Some(server::acceptor(invocation, certificate, key).await?),
        _ => None,
    };
    check_address(address, tls.is_some(), invocation.connection.environment, options)?;
    let place = Place::find(invocation, options.url.url_file.as_deref()).await?;
    let builder = Receiver::builder(invocation.connection.environment, place.segment.clone()).folder(&place.folder);
    let builder = builder.trusted_proxies(&options.trusted_proxies);
    let builder = if options.ranges.is_empty() { builder } else { builder.from(&options.ranges) };
    let (heard, calls) = mpsc::channel(UNSHOWN);
    let journal: Arc<dyn HintJournal> = match &options.hints {
        Some(file) => Arc::new(FileHintJournal::open(file, HintJournalBounds::default()).await?),
        None => Arc::new(MemoryHintJournal::new(HintJournalBounds::default())?),
    };
    let receiver = builder.build(Heard::new(journal, heard)).map_err(as_typed)?;
    let changes = invocation.client()?.changes(&receiver).start()?;
    let wanted = SocketAddr::new(address, options.port);
    let listener = TcpListener::bind(wanted).await.map_err(|error| {
        Failure::local(format_args!("calls cannot be taken at {wanted}"), &error).with_hint(
            "--listen takes an address of this machine, and --port one that is free: without it, one is found",
        )
    })?;
    let bound = listener.local_addr().map_err(|error| Failure::local("the address is not known", &error))?;
    place.tell(invocation, if tls.is_some() { "https" } else { "http" }, bound);
    Ok(Ready { listener, tls, receiver, calls, changes })
}

/// Refuses an address where no call could come, or anybody could read it.
fn check_address(
    address: IpAddr,
    has_certificate: bool,
    environment: Environment,
    options: &ListenOptions,
) -> Result<(), Failure> {
    let is_loopback = address.to_canonical().is_loopback();
    if !is_loopback && !has_certificate {
        let problem = format!("--listen {address}: calls would come without TLS, with live keys in them");
        return Err(Failure::usage(problem).with_hint(
            "give --certificate and --key, or listen on loopback behind a proxy that ends TLS: bunq calls HTTPS alone",
        ));
    }
    let is_closed = options.trusted_proxies.is_empty() && options.ranges.is_empty();
    if is_loopback && is_closed && environment == Environment::Production {
        let problem = "in production calls are taken from bunq's addresses alone, and none of them reaches loopback";
        return Err(Failure::usage(problem).with_hint(
            "if a proxy of this machine hands calls on, and adds who calls to X-Forwarded-For: --trusted-proxy 127.0.0.1",
        ));
    }
    Ok(())
}

/// A failure of the receiver's, with the setting as it was typed.
fn as_typed(error: Error) -> Failure {
    let (setting, typed) = match error.field() {
        Some("from") => ("from", "--from"),
        Some("trusted_proxies") => ("trusted_proxies", "--trusted-proxy"),
        Some("segment") => ("segment", "the last part of the URL's path"),
        Some("folder") => ("folder", "the URL's path"),
        _ => return error.into(),
    };
    let failure = Failure::from(error);
    let problem = failure.message().replacen(setting, typed, 1);
    failure.saying(problem)
}
