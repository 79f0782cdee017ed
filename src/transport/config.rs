//! The settings of the transport.

use std::sync::Arc;
use std::time::Duration;

use super::http_config::{CONNECT_TIMEOUT, HttpConfig};
use super::observer::ExchangeObserver;
use super::shutdown::Shutdown;
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
    pub(crate) observer: Option<Arc<dyn ExchangeObserver>>,
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
            observer: None,
            shutdown: Shutdown::default(),
        }
    }
}
