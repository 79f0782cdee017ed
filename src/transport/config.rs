//! The settings of the transport, their defaults and their bounds.

use std::time::Duration;

use super::call_budget::MAX_TIMEOUT;
use super::http_config::{CONNECT_TIMEOUT, HttpConfig};
use super::shutdown::Shutdown;
use crate::error::Error;
use crate::retry::RetryPolicy;

/// How bunq is reached, and the limits of every call in time, attempts and size.
#[derive(Debug, Clone)]
pub(crate) struct TransportConfig {
    pub(crate) http: HttpConfig,
    /// The host that may be reached by plain HTTP, as it was given.
    pub(crate) plain_http: Option<String>,
    pub(crate) connect_timeout: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) operation_timeout: Duration,
    pub(crate) max_response_size: usize,
    pub(crate) max_upload_size: usize,
    pub(crate) max_download_size: usize,
    pub(crate) max_refusal_details: usize,
    pub(crate) retry: RetryPolicy,
    pub(crate) shutdown: Shutdown,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            http: HttpConfig::default(),
            plain_http: None,
            connect_timeout: CONNECT_TIMEOUT,
            attempt_timeout: Duration::from_secs(30),
            operation_timeout: Duration::from_secs(120),
            max_response_size: 4 * 1024 * 1024,
            max_upload_size: 16 * 1024 * 1024,
            max_download_size: 16 * 1024 * 1024,
            max_refusal_details: 256 * 1024,
            retry: RetryPolicy::default(),
            shutdown: Shutdown::default(),
        }
    }
}

impl TransportConfig {
    /// Checks the settings, and shortens each timeout to what a clock can hold.
    pub(crate) fn checked(mut self) -> Result<Self, Error> {
        let timeouts = [
            ("connect_timeout", &mut self.connect_timeout),
            ("attempt_timeout", &mut self.attempt_timeout),
            ("operation_timeout", &mut self.operation_timeout),
        ];
        for (name, timeout) in timeouts {
            if timeout.is_zero() {
                return Err(Error::invalid_input(name, "it is zero: set a longer time"));
            }
            *timeout = (*timeout).min(MAX_TIMEOUT);
        }
        // The connect timeout must expire first, so that an attempt without a connection is known not to have been sent.
        self.connect_timeout = self.connect_timeout.min(self.attempt_timeout.mul_f64(0.9));
        let sizes = [
            ("max_response_size", self.max_response_size, "response"),
            ("max_upload_size", self.max_upload_size, "file"),
            ("max_download_size", self.max_download_size, "file"),
        ];
        if let Some((name, _, what)) = sizes.iter().find(|(_, size, _)| *size == 0) {
            return Err(Error::invalid_input(name, format_args!("it is zero: set at least the size of a {what}")));
        }
        if self.retry.max_attempts == 0 {
            return Err(Error::invalid_input("retry.max_attempts", "it is zero: set at least one attempt"));
        }
        Ok(self)
    }
}
