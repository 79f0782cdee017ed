//! The bounds of bodies: those that nothing would hold are refused.

use bunq_partner_codegen::Document;

const DOCUMENT: &str = include_str!("../../../openapi/bunq-partner.yaml");

#[test]
fn only_bodies_are_held_to_their_least_members() {
    test_timeout::start();
    let of_a_response = "    UserInformationInquiryItem:\n      type: object\n";
    for (from, to, problem) in [
        (
            of_a_response,
            format!("{of_a_response}      minProperties: 1\n"),
            "schema `UserInformationInquiryItem`: only the body of a request is held to `minProperties`: remove it",
        ),
        (
            "      minProperties: 1\n",
            "      minProperties: 2\n".into(),
            "schema `UpdateUserInformationInquiryEntryRequest`: set `minProperties` to 1, or remove it",
        ),
    ] {
        assert!(DOCUMENT.contains(from), "the document does not hold {from:?}");
        let refusal = Document::parse(&DOCUMENT.replacen(from, &to, 1)).unwrap_err().to_string();
        assert_eq!(refusal, problem);
    }
}
