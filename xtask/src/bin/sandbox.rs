//! bunq on loopback as a process, for clients in other languages.

use std::time::Duration;

use anyhow::Result;
use bunq_partner::sandbox::{CreationResponse, Pace, Sandbox, SignatureForm};
use clap::{Parser, ValueEnum};

/// Run bunq on loopback until interrupted
///
/// The first line that it prints is JSON, with its `base_url` and the partner's `api_key`.
#[derive(Parser)]
#[command(name = "sandbox", bin_name = "cargo xtask sandbox")]
struct Arguments {
    /// The port on 127.0.0.1; 0 is any that is free
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Move provisions on by time, a step for each so many milliseconds, instead of by each read
    #[arg(long, value_name = "MILLISECONDS")]
    step: Option<u64>,
    /// Keep bunq's rate limits
    #[arg(long)]
    rate_limits: bool,
    /// Begin with so many provisions, all in use
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    provisions: usize,
    /// What the signatures of responses cover
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Signatures::Body)]
    signatures: Signatures,
    /// The response to the creation of a provision
    #[arg(long, value_name = "RESPONSE", value_enum, default_value_t = Creations::Id)]
    creations: Creations,
}

#[derive(Clone, Copy, ValueEnum)]
enum Signatures {
    /// The body
    Body,
    /// In the older form, the status, the headers and the body
    WithHeaders,
}

#[derive(Clone, Copy, ValueEnum)]
enum Creations {
    /// The id
    Id,
    /// The whole provision
    Provision,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let builder = Sandbox::builder()
        .port(arguments.port)
        .pace(arguments.step.map_or(Pace::EachRead, |step| Pace::Every(Duration::from_millis(step))))
        .rate_limits(arguments.rate_limits)
        .signature_form(match arguments.signatures {
            Signatures::Body => SignatureForm::Body,
            Signatures::WithHeaders => SignatureForm::WithHeaders,
        })
        .creation_response(match arguments.creations {
            Creations::Id => CreationResponse::Id,
            Creations::Provision => CreationResponse::Provision,
        });
    let sandbox = builder.start().await?;
    sandbox.populate(arguments.provisions);
    println!("{}", serde_json::json!({"base_url": sandbox.base_url(), "api_key": sandbox.api_key().expose()}));
    tokio::signal::ctrl_c().await?;
    Ok(())
}
