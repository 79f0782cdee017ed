//! What a person sees of the calls of a command: a line for each attempt with `-v` ([`log`]), and why the command takes so long
//! ([`hold_up`]).
//!
//! Both read the spans of the library, which `docs/observability.md` describes. They read fields by name, so that nothing is shown
//! that is not meant to be.

mod fields;
mod hold_up;
mod log;

use std::sync::Arc;
use std::time::Instant;

use bunq_partner::environment_variable;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry, SpanRef};

use self::fields::{Fields, Waited};
use self::hold_up::{Activity, HoldUp};
use super::arguments::OutputFormat;
use super::exit::Failure;

/// The environment variable for how much is shown of the calls, as with `-v`.
const LEVEL: &str = "BUNQ_LOG";

/// The target of the library's events with headers.
const HEADERS: &str = "bunq_partner::headers";

/// How much is shown of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verbosity {
    Off,
    Calls,
    Headers,
}

impl Verbosity {
    /// As typed, or else as the environment says.
    fn new(typed: u8, variable: Option<&str>) -> Result<Self, Failure> {
        match (typed, variable.unwrap_or("off")) {
            (0, "off") => Ok(Self::Off),
            (1, _) | (0, "info") => Ok(Self::Calls),
            (2.., _) | (0, "debug") => Ok(Self::Headers),
            (0, other) => Err(Failure::usage(format!("{LEVEL} is off, info or debug, and not `{other}`"))),
        }
    }
}

/// Begins to show the calls of this process. `verbose` is how often `-v` was typed. The caller runs [`HoldUp::watch`] beside the
/// command.
pub(super) fn show(verbose: u8, format: OutputFormat, tells_waits: bool) -> Result<Arc<HoldUp>, Failure> {
    let variable = environment_variable(LEVEL).map(|level| level.to_string_lossy().into_owned());
    let verbosity = Verbosity::new(verbose, variable.as_deref())?;
    let hold_up = Arc::new(HoldUp::new(format));
    let shown = ShownCalls { verbosity, format, hold_up: tells_waits.then(|| Arc::clone(&hold_up)) };
    if tells_waits || verbosity > Verbosity::Off {
        let subscribed = tracing::subscriber::set_global_default(Registry::default().with(shown));
        subscribed.map_err(|error| Failure::local("the calls cannot be shown", &std::io::Error::other(error)))?;
    }
    Ok(hold_up)
}

/// The spans of the library, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Call,
    Attempt,
    Wait,
}

impl Kind {
    fn of(metadata: &Metadata<'_>) -> Option<Self> {
        match metadata.name() {
            "bunq_call" => Some(Self::Call),
            "bunq_attempt" => Some(Self::Attempt),
            "bunq_wait" => Some(Self::Wait),
            _ => None,
        }
    }
}

/// What is stored with a span.
struct Seen {
    began: Instant,
    fields: Fields,
    /// Used for calls only.
    waited: Waited,
}

/// The subscriber of the library's spans.
struct ShownCalls {
    verbosity: Verbosity,
    format: OutputFormat,
    hold_up: Option<Arc<HoldUp>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for ShownCalls {
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.verbosity >= Verbosity::Headers { LevelFilter::DEBUG } else { LevelFilter::INFO })
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let is_headers = metadata.target() == HEADERS && self.verbosity >= Verbosity::Headers;
        is_headers || (metadata.is_span() && *metadata.level() <= Level::INFO && Kind::of(metadata).is_some())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(hold_up) = &self.hold_up {
            match Kind::of(attributes.metadata()) {
                Some(Kind::Attempt) => hold_up.begins(id.into_u64(), Activity::response(operation_of(&span))),
                Some(Kind::Wait) => hold_up.begins(id.into_u64(), Activity::wait(&fields)),
                Some(Kind::Call) | None => {}
            }
        }
        span.extensions_mut().insert(Seen { began: Instant::now(), fields, waited: Waited::default() });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(seen) = span.extensions_mut().get_mut::<Seen>()
        {
            values.record(&mut seen.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(span) = context.event_span(event)
            && let Some(seen) = span.extensions_mut().get_mut::<Seen>()
        {
            event.record(&mut seen.fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(Seen { began, fields, .. }) = span.extensions_mut().remove::<Seen>() else { return };
        match Kind::of(span.metadata()) {
            Some(Kind::Attempt) => {
                if let Some(hold_up) = &self.hold_up {
                    hold_up.attempted(id.into_u64(), fields.error.as_deref());
                }
                let waited = of_call(&span, |call| std::mem::take(&mut call.waited));
                if self.verbosity > Verbosity::Off {
                    log::write(self.format, &fields, began.elapsed(), waited.unwrap_or_default());
                }
            }
            Some(Kind::Wait) => {
                if let Some(hold_up) = &self.hold_up {
                    hold_up.ends(id.into_u64());
                }
                of_call(&span, |Seen { waited, .. }| match fields.reason.as_str() {
                    "permit" => waited.permit += began.elapsed(),
                    "session" => waited.session += began.elapsed(),
                    "retry" => waited.retry += began.elapsed(),
                    _ => {}
                });
            }
            Some(Kind::Call) | None => {}
        }
    }
}

/// What is stored with the call that a span belongs to.
fn of_call<'a, S: LookupSpan<'a>, T>(span: &SpanRef<'a, S>, access: impl FnOnce(&mut Seen) -> T) -> Option<T> {
    let call = span.parent().filter(|parent| Kind::of(parent.metadata()) == Some(Kind::Call))?;
    let mut extensions = call.extensions_mut();
    extensions.get_mut::<Seen>().map(access)
}

fn operation_of<'a, S: LookupSpan<'a>>(attempt: &SpanRef<'a, S>) -> String {
    of_call(attempt, |call| call.fields.operation.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_wins_and_another_word_is_refused() {
        test_timeout::start();
        use Verbosity::{Calls, Headers, Off};
        for (typed, variable, expected) in [
            (0, None, Off),
            (0, Some("off"), Off),
            (0, Some("info"), Calls),
            (0, Some("debug"), Headers),
            (1, Some("off"), Calls),
            (1, Some("debug"), Calls),
            (2, Some("info"), Headers),
            (9, Some("trace"), Headers),
        ] {
            assert_eq!(Verbosity::new(typed, variable).ok(), Some(expected), "{typed} {variable:?}");
        }
        for other in ["trace", "INFO", "1", "bunq_partner=debug"] {
            assert!(Verbosity::new(0, Some(other)).is_err(), "{other}");
        }
    }
}
