//! The fields of the library's spans and events, by their names.

use std::fmt::Debug;
use std::time::Duration;

use tracing::field::{Field, Visit};

/// The fields of a span that are used.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) operation: String,
    pub(super) method: String,
    pub(super) template: String,
    pub(super) status: Option<i64>,
    pub(super) request_id: Option<String>,
    pub(super) response_id: Option<String>,
    /// The kind of the failure.
    pub(super) error: Option<String>,
    /// How many attempts there were before.
    pub(super) resend_count: Option<i64>,
    pub(super) reason: String,
    pub(super) seconds: Option<f64>,
    /// The headers, each on a line.
    pub(super) request: Option<String>,
    pub(super) response: Option<String>,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = value.to_owned();
        match field.name() {
            "bunq.operation" => self.operation = value,
            "http.request.method" => self.method = value,
            "url.template" => self.template = value,
            "bunq.request_id" => self.request_id = Some(value),
            "bunq.response_id" => self.response_id = Some(value),
            "error.type" => self.error = Some(value),
            "bunq.wait.reason" => self.reason = value,
            "request" => self.request = Some(value),
            "response" => self.response = Some(value),
            _ => {}
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match field.name() {
            "http.response.status_code" => self.status = Some(value),
            "http.request.resend_count" => self.resend_count = Some(value),
            _ => {}
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if field.name() == "bunq.wait.seconds" {
            self.seconds = Some(value);
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
}

/// How long a call has waited since its last attempt.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waited {
    pub(super) permit: Duration,
    pub(super) session: Duration,
    pub(super) retry: Duration,
}
