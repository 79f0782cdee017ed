//! An error in words, on one line.

use std::fmt;

use super::{CallMetadata, Error, Inner, MAX_FOREIGN_CHARS};
use crate::text::one_line;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { message, metadata, bunq_messages, .. } = &*self.0;
        if let (true, Some(source)) = (self.0.is_told_by_source, &self.0.source) {
            return write!(f, "{message}: {source}");
        }
        if let Some(metadata) = metadata {
            write!(f, "{}: ", metadata.operation.id)?;
        }
        f.write_str(message)?;
        if let Some(remedy) = &self.0.remedy {
            write!(f, ": {remedy}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {}", one_line(&cause(&**source), MAX_FOREIGN_CHARS))?;
        }
        if !bunq_messages.is_empty() {
            let who = if self.0.is_from_bunq { "bunq" } else { "it" };
            write!(f, "; {who} says: {}", bunq_messages.join("; "))?;
        }
        let Some(CallMetadata { attempts, request_id, status, response_id, .. }) = metadata else { return Ok(()) };
        let known = [
            status.map(|status| format!("HTTP status {status}")),
            request_id.as_ref().map(|id| format!("request id {id}")),
            response_id.as_ref().map(|id| format!("response id {id}")),
            (*attempts > 1).then(|| format!("{attempts} attempts")),
        ];
        let known: Vec<_> = known.into_iter().flatten().collect();
        if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.join(", ")) }
    }
}

/// What made a call fail: an error of this crate unchanged, otherwise the innermost cause. The outer errors only say
/// that something failed.
fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    match error.source() {
        Some(inner) if !error.is::<Error>() => cause(inner),
        _ => error.to_string(),
    }
}

impl fmt::Debug for Error {
    /// Prints the line of `Display` first, because a `main` that returns the error prints `Debug`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, sent, source, .. } = &*self.0;
        write!(f, "{self} [{kind:?}, sent: {sent:?}")?;
        if let Some(source) = source {
            write!(f, ", source: {source:?}")?;
        }
        f.write_str("]")
    }
}
