//! Calls that bunq makes by itself come from anybody: whatever their size and depth, they are read or refused. The vectors have the rest.

use std::fmt::Write as _;

use bunq_partner::types::NotificationUrlCall;

/// A call with these members beside the category.
fn call(members: &str) -> serde_json::Result<NotificationUrlCall> {
    serde_json::from_str(&format!("{{\"NotificationUrl\": {{\"category\": \"NOVELTY\", {members}}}}}"))
}

fn inquiry(members: &str) -> serde_json::Result<NotificationUrlCall> {
    call(&format!("\"object\": {{\"UserInformationInquiry\": {{\"id\": 88, {members}}}}}"))
}

#[test]
fn what_is_deep_or_long_is_left_out_or_refused() {
    test_timeout::start();
    const DEPTH: usize = 100_000;
    let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    for members in [format!("\"novelty\": {deep}"), format!("\"object\": {{\"Novelty\": {deep}}}")] {
        assert!(call(&members).is_ok());
    }
    for member in ["title", "all_entry", "time_expiry", "finn_conversation"] {
        let read = inquiry(&format!("\"{member}\": {deep}")).unwrap();
        let read = read.notification_url.object.unwrap().user_information_inquiry.unwrap();
        assert_eq!((read.id, read.title, read.time_expiry), (88_u64.try_into().ok(), None, None));
        assert_eq!(read.finn_conversation, None);
        assert!(read.all_entry.is_empty());
    }

    let entries = |count: usize| {
        let mut entries = "\"all_entry\": [".to_owned();
        for id in 0..count {
            let comma = if id == 0 { "" } else { "," };
            write!(entries, "{comma}{{\"UserInformationInquiryEntry\": {{\"id\": {id}}}}}").unwrap();
        }
        let read = inquiry(&(entries + "]")).unwrap();
        read.notification_url.object.unwrap().user_information_inquiry.unwrap().all_entry.len()
    };
    assert_eq!([entries(100), entries(101), entries(100_000)], [100, 0, 0]);
}

#[test]
fn what_is_personal_or_secret_is_not_shown() {
    test_timeout::start();
    let secrets = r#""credential": {"token_value": "planted"}, "oauth_request": {"authorization_code": "planted",
        "redirect_url": "https://a.example/?code=planted", "client_id": "planted"}"#;
    let provision = call(&format!("\"object\": {{\"PartnerUserProvision\": {{\"id\": 1, {secrets}}}}}")).unwrap();
    let personal = r#""message": "planted", "finn_conversation": {"text": "planted"},
        "all_entry": [{"UserInformationInquiryEntry": {"all_data_submitted": [{"value": "planted"}]}}]"#;
    let asked = inquiry(personal).unwrap();
    for debug in [format!("{provision:?}{provision:#?}"), format!("{asked:?}{asked:#?}")] {
        assert!(!debug.contains("planted"), "{debug}");
    }
    let written = serde_json::to_string(&provision).unwrap();
    assert!(!written.contains("planted") && written.matches("[redacted]").count() == 4, "{written}");
}
