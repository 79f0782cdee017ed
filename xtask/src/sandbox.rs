//! bunq on loopback as a process, for clients in other languages.

use std::time::Duration;

use anyhow::Result;
use bunq_partner::sandbox::{Pace, Sandbox};

/// How the sandbox is to behave.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The port on 127.0.0.1; 0 is any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Move provisions on by time, a step for each so many milliseconds, instead of by each read
    #[arg(long, value_name = "MILLISECONDS")]
    step: Option<u64>,
    /// Keep bunq's rate limits
    #[arg(long)]
    rate_limits: bool,
}

#[tokio::main]
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let pace = arguments.step.map_or(Pace::EachRead, |step| Pace::Every(Duration::from_millis(step)));
    let builder = Sandbox::builder().port(arguments.port).pace(pace).rate_limits(arguments.rate_limits);
    let sandbox = builder.start().await?;
    println!("{}", serde_json::json!({"base_url": sandbox.base_url(), "api_key": sandbox.api_key().expose()}));
    tokio::signal::ctrl_c().await?;
    Ok(())
}
