//! The schemas whose Rust types are written by hand, because they need care when they are read or written.

/// Each schema, and the path of its type.
pub(crate) const REPLACEMENTS: [(&str, &str); 6] = [
    ("Date", "::jiff::civil::Date"),
    ("EmptyItem", "crate::types::EmptyItem"),
    ("OpenValue", "crate::types::OpenValue"),
    ("PageSize", "crate::types::PageSize"),
    ("PermittedIp", "crate::types::PermittedIp"),
    ("Timestamp", "crate::types::Timestamp"),
];

/// The types of a string with `format: password`: as a member of a request, and as a member of a response.
pub(crate) const REQUEST_SECRET: (&str, &str) = ("RequestSecret", "crate::types::RequestSecret");
pub(crate) const RESPONSE_SECRET: (&str, &str) = ("Secret", "crate::types::Secret");

/// Whether the type of the schema `name` is written by hand.
pub(crate) fn is_replaced(name: &str) -> bool {
    REPLACEMENTS.iter().any(|(replaced, _)| *replaced == name)
}
