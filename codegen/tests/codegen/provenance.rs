//! Where operations are known from, and what bunq has to answer, in the documentation of the crate.

use bunq_partner_codegen::Document;

const DOCUMENT: &str = include_str!("../../../openapi/bunq-partner.yaml");

fn generated(text: &str, name: &str) -> String {
    let files = bunq_partner_codegen::generate(&Document::parse(text).unwrap()).unwrap();
    files.into_iter().find(|file| file.name == name).unwrap().code
}

#[test]
fn methods_say_where_they_are_known_from_and_what_is_open() {
    test_timeout::start();
    let known = "/// Known from: bunq's public API only.\n    ///\n    /// What bunq has to answer:\n    ///\n    /// - Do the hosts";
    let methods = generated(DOCUMENT, "methods.rs");
    let (before, _) = methods.split_once("pub async fn get_device_server(").unwrap();
    let docs = &before[before.rfind("/// Read a device").unwrap()..];
    assert!(docs.contains(known), "{docs}");
    let wild = DOCUMENT.replacen("known-from: public-api", "known-from: wild", 1);
    assert!(
        generated(&wild, "methods.rs")
            .contains("/// Known from: the wild: others have seen it, bunq does not document it.\n")
    );
    // An operation is built before its sources are written down.
    let unknown = DOCUMENT.replace("      x-bunq-known-from: partner-documents\n", "");
    assert!(!generated(&unknown, "methods.rs").contains("/// Known from: bunq's partner documents"));
}

#[test]
fn one_table_has_all_questions_in_the_order_of_the_document() {
    test_timeout::start();
    let text = DOCUMENT.replacen("Does the list have pages?", "Is it a | b?", 1);
    let page = generated(&text, "questions.rs");
    let rows = [
        "/// | all |  | Which refusals are signed? |\n",
        "/// | `create_session` | bunq's partner documents | How is ",
        "/// | [`create_provision`](crate::Api::create_provision) | bunq's partner documents | Is ",
    ];
    let places: Vec<_> = rows.iter().filter_map(|row| page.find(row)).collect();
    assert!(places.len() == rows.len() && places.is_sorted(), "{page}");
    assert!(page.contains("| Is it a \\| b? |"), "{page}");
    let questions =
        text.lines().filter(|line| line.trim_start().starts_with("- ") && line.trim_end_matches('\'').ends_with('?'));
    assert_eq!(page.lines().filter(|line| line.ends_with("? |")).count(), questions.count());
}
