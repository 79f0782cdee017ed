//! The environment variables that the program reads.

/// Its settings.
pub const SETTINGS: [&str; 7] = [
    "BUNQ_API_KEY",
    "BUNQ_ENV",
    "BUNQ_BASE_URL",
    "BUNQ_PROFILE",
    "BUNQ_PARTNER_POSTGRES",
    "BUNQ_WEBHOOK_URL",
    "BUNQ_LOG",
];

/// What the platform, a proxy or a terminal sets.
pub const OTHERS: [&str; 10] = [
    "NO_COLOR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "TZ",
];
