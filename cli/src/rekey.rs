//! `rekey`: seals anew, for this API key, what another one has sealed.

use bunq_partner::{ApiKeySealer, ErrorKind};
use serde_json::Value;

use super::arguments::{OutputFormat, RekeyOptions};
use super::connection;
use super::exit::{Failure, after_output};
use super::invocation::Invocation;
use super::output::{Field, Record, lines, warn, write_text, write_value};

pub(super) async fn run(invocation: &Invocation, options: &RekeyOptions) -> Result<(), Failure> {
    let (old, warning) = connection::old_key(options.old_api_key_file.as_deref()).await?;
    let left = invocation.connection.take_over_context(&old)?;
    for text in warning.into_iter().chain(left) {
        warn(invocation.format(), &text);
    }
    let rekeyed = invocation.connection.keeping().rekey(ApiKeySealer::new(old)).await?;
    let count = rekeyed.refused.len();
    let refused: Vec<Failure> = rekeyed.refused.into_iter().map(Failure::from).collect();
    let fields = vec![Field::new("resealed", 0, rekeyed.resealed), Field::new("unchanged", 0, rekeyed.unchanged)];
    let listed = Value::Array(refused.iter().map(Failure::json).collect());
    let record = Record { fields, more: [("refused".to_owned(), listed)].into_iter().collect() };
    let written = match invocation.format() {
        OutputFormat::Table => {
            refused.iter().for_each(|failure| warn(OutputFormat::Table, failure.message()));
            write_text(&lines(&record))
        }
        format => write_value(format, &record.json()),
    };
    let outcome = match count {
        0 => Ok(()),
        1 => Err(Failure::of_kind(ErrorKind::Context, "1 text is left as it is: neither key opens it".to_owned())),
        count => {
            let problem = format!("{count} texts are left as they are: neither key opens them");
            Err(Failure::of_kind(ErrorKind::Context, problem))
        }
    };
    after_output(outcome, written.map_err(Failure::from))
}
