//! The schemas whose Rust type is written by hand, because reading or writing them takes care.

/// Each schema, and where its type is.
pub(crate) const BY_HAND: [(&str, &str); 11] = [
    ("CountryCode", "crate::contact::CountryCode"),
    ("Date", "::jiff::civil::Date"),
    ("DeviceDescription", "crate::device::DeviceDescription"),
    ("EmailAddress", "crate::contact::EmailAddress"),
    ("PermittedIp", "crate::device::PermittedIp"),
    ("PhoneNumber", "crate::contact::PhoneNumber"),
    ("PointerValue", "crate::contact::PointerValue"),
    ("ProvisionId", "crate::provision_id::ProvisionId"),
    ("Secret", "crate::secret::Secret"),
    ("Timestamp", "crate::timestamp::Timestamp"),
    ("UserName", "crate::contact::UserName"),
];
