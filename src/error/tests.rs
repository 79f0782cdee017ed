use super::*;

fn refused(kind: ErrorKind, operation: &'static Operation, status: u16, is_from_bunq: bool) -> Error {
    let metadata = CallMetadata { status: Some(status), ..CallMetadata::new(operation, 1) };
    let says = ["Insufficient authentication.".to_owned()];
    Error::new(kind, Sent::Responded, "").with_metadata(metadata).with_refusal(is_from_bunq, &says, None)
}

/// `[bunq's own, from elsewhere]` for each failure.
#[test]
fn what_may_have_been_carried_out() {
    test_timeout::start();
    use ErrorKind::*;
    for (kind, sent, expected) in [
        (Connect, Sent::No, [false; 2]),
        (RateLimited, Sent::No, [false; 2]),
        (InvalidInput, Sent::No, [false; 2]),
        (Connection, Sent::Maybe, [true; 2]),
        (Timeout, Sent::Maybe, [true; 2]),
        (Server, Sent::Responded, [true; 2]),
        (Signature, Sent::Responded, [true; 2]),
        (InvalidResponse, Sent::Responded, [true; 2]),
        (RateLimited, Sent::Responded, [false, true]),
        (Maintenance, Sent::Responded, [false, true]),
        (Unauthorized, Sent::Responded, [false, true]),
        (NotFound, Sent::Responded, [false, true]),
        (Rejected, Sent::Responded, [false, true]),
        (Forbidden, Sent::Responded, [false, true]),
    ] {
        assert_eq!([true, false].map(|own| may_have_run(kind, sent, own)), expected, "{kind:?} {sent:?}");
    }
}

#[test]
fn reads_and_waits_leave_no_doubt() {
    test_timeout::start();
    let broken = Error::new(ErrorKind::Connection, Sent::Maybe, "");
    assert!(!broken.is_doubtful(), "there is no request that could have been carried out");
    for (operation, is_doubtful) in [
        (&Operation::CREATE_PROVISION, true),
        (&Operation::UPDATE_PROVISION, true),
        (&Operation::GET_PROVISION, false),
        (&Operation::CREATE_SESSION, false),
    ] {
        let broken = broken.clone().with_metadata(CallMetadata::new(operation, 1));
        assert_eq!(broken.is_doubtful(), is_doubtful, "{}", operation.id);
    }
}

#[test]
fn a_refusal_does_not_permit_repeating() {
    test_timeout::start();
    for kind in [ErrorKind::RateLimited, ErrorKind::Maintenance, ErrorKind::Unauthorized] {
        let refused = refused(kind, &Operation::CREATE_PROVISION, 429, true);
        assert!(!refused.permits_repeating(&Operation::CREATE_PROVISION), "{kind:?}");
        assert!(refused.permits_repeating(&Operation::GET_PROVISION), "{kind:?}");
        assert!(refused.before_sending().permits_repeating(&Operation::CREATE_PROVISION), "{kind:?}");
    }
}

#[test]
fn what_is_not_bunqs_own_proves_nothing() {
    test_timeout::start();
    for (kind, status) in [(ErrorKind::NotFound, 404), (ErrorKind::Rejected, 403), (ErrorKind::Unauthorized, 401)] {
        let [own, other] = [true, false].map(|own| refused(kind, &Operation::GET_PROVISION, status, own));
        assert_eq!([own.is_retryable(), other.is_retryable()], [false, true], "{status}");
        let is_about_the_token = kind == ErrorKind::Unauthorized;
        assert_eq!([own.refuses_token(), other.refuses_token()], [is_about_the_token, false], "{status}");
        assert!(own.to_string().contains("bunq says: ") && other.to_string().contains("it says: "), "{own} {other}");
        assert!(other.before_sending().is_retryable(), "the session could not be opened, but may be later");
    }
    assert!(refused(ErrorKind::RateLimited, &Operation::GET_PROVISION, 429, true).is_throttling());
    assert!(!refused(ErrorKind::RateLimited, &Operation::GET_PROVISION, 429, false).is_throttling());
}

#[test]
fn a_dead_token_is_told_from_a_real_403() {
    test_timeout::start();
    for message in ["Insufficient authentication.", "Insufficient authorisation.", " insufficient authorisation"] {
        assert!(is_token_refusal(message), "{message}");
    }
    for message in ["You may not do this.", "Insufficient funds.", "Insufficient authentication of the user.", ""] {
        assert!(!is_token_refusal(message), "{message}");
    }
}

#[test]
fn one_line_names_the_innermost_cause() {
    test_timeout::start();
    #[derive(Debug)]
    struct Outer(std::io::Error);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("error sending request")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let connect = Error::new(ErrorKind::Connect, Sent::No, "no connection to bunq")
        .with_source(Outer(std::io::Error::other("invalid peer certificate: UnknownIssuer\n")));
    assert_eq!(connect.to_string(), "no connection to bunq: invalid peer certificate: UnknownIssuer ");
    let wait = Error::new(ErrorKind::WaitTimeout, Sent::Responded, "it is not closed").with_source(connect);
    assert_eq!(wait.to_string(), "it is not closed: no connection to bunq: invalid peer certificate: UnknownIssuer ");
}

#[test]
fn a_held_up_call_has_the_details_of_the_last_failure_and_tells_them_once() {
    test_timeout::start();
    let last = refused(ErrorKind::RateLimited, &Operation::CREATE_SESSION, 429, true);
    let last = last.with_retry_after(Some(Duration::from_secs(7)));
    let error = Error::held_up("the session was not open in time", last);
    assert_eq!((error.kind(), error.sent(), error.status()), (ErrorKind::RateLimited, Sent::No, Some(429)));
    assert_eq!((error.retry_after(), error.is_from_bunq()), (Some(Duration::from_secs(7)), true));
    assert_eq!(error.bunq_messages(), ["Insufficient authentication."]);
    assert_eq!(
        error.to_string(),
        "the session was not open in time: create_session: ; bunq says: Insufficient authentication. (HTTP status 429)"
    );
}

#[test]
fn what_was_last_seen_is_found_by_its_type() {
    test_timeout::start();
    let error = Error::new(ErrorKind::WaitTimeout, Sent::Responded, "it is not closed").with_last_seen(Arc::new(7_u8));
    assert_eq!((error.last_seen::<u8>(), error.last_seen::<u16>()), (Some(&7), None));
    assert_eq!(Error::internal("nothing was seen").last_seen::<u8>(), None);
}

/// `main` prints the `Debug` of the error that it returns.
#[test]
fn debug_leads_with_the_line_for_people() {
    test_timeout::start();
    let error = Error::invalid_input("api_key", "it is empty");
    assert_eq!(format!("{error:?}"), "api_key: it is empty [InvalidInput, sent: No]");
    let source = std::io::Error::other("the cause");
    let error = Error::new(ErrorKind::Connect, Sent::No, "no connection to bunq").with_source(source);
    assert!(format!("{error:#?}").starts_with("no connection to bunq: the cause [Connect, sent: No, source: "));
}
