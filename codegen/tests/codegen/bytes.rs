//! Bodies that are bytes, and the headers that a caller gives: what is refused, and what is written.

use bunq_partner_codegen::Document;

const DOCUMENT: &str = include_str!("../../../openapi/bunq-partner.yaml");

/// The diagnostic after `from` is replaced by `to` in the document.
fn refusal(from: &str, to: &str) -> String {
    assert!(DOCUMENT.contains(from), "the document does not hold {from:?}");
    Document::parse(&DOCUMENT.replacen(from, to, 1)).unwrap_err().to_string()
}

const CONTENT_TYPE: &str =
    "      x-bunq-content-type: {$ref: '#/components/schemas/AttachmentContentType'}\n      x-bunq-result: ";
const ENUM: &str = "schema `AttachmentContentType`: ";
const UPLOAD: &str = "operation `create_attachment`: ";

#[test]
fn bytes_need_content_types_with_first_bytes_and_files() {
    test_timeout::start();
    let png = "        image/png: ['89504e470d0a1a0a']\n";
    let without = format!(
        "{UPLOAD}it takes or returns bytes: set x-bunq-content-type to the reference of a closed enum of content types"
    );
    for (from, to, problem) in [
        (CONTENT_TYPE, "      x-bunq-result: ", without.clone()),
        ("{$ref: '#/components/schemas/AttachmentContentType'}", "image/png", without.clone()),
        ("{$ref: '#/components/schemas/AttachmentContentType'}", "{$ref: '#/components/schemas/Attachment'}", without),
        (
            "x-bunq-result: {item: AttachmentUser,",
            "x-bunq-content-type: {$ref: '#/components/schemas/AttachmentContentType'}\n      x-bunq-result: {item: AttachmentUser,",
            "operation `get_attachment`: neither its request nor its result is bytes: remove x-bunq-content-type"
                .into(),
        ),
        (
            "          application/octet-stream:\n            schema:\n",
            "          application/json:\n            schema:\n              $ref: '#/components/schemas/Id'\n          application/octet-stream:\n            schema:\n",
            format!("{UPLOAD}its request has several media types: describe one"),
        ),
        (
            png,
            "",
            format!(
                "{ENUM}say how a file of `image/png` begins: set x-bunq-first-bytes to a list of texts in hexadecimal, such as ['ffd8ff']"
            ),
        ),
        (png, "        image/png: []\n", format!("{ENUM}say how a file of `image/png` begins: ")),
        (png, "        image/png: ['PNG']\n", format!("{ENUM}say how a file of `image/png` begins: ")),
        (
            "        image/png: '89504e",
            "        image/png: '8950-e",
            format!("{ENUM}give an example file of `image/png` under x-bunq-files, as a text in hexadecimal"),
        ),
        (
            "        image/png: '89504e",
            "        image/png: '88504e",
            format!("{ENUM}its example file of `image/png` does not begin as x-bunq-first-bytes says: correct one"),
        ),
        (
            "image/jpeg: ['ffd8ff']",
            "image/jpeg: ['ffd8ff', '89']",
            format!(
                "{ENUM}its example file of `image/png` begins as `image/jpeg` too: write more of their first bytes"
            ),
        ),
        (
            "        image/jpeg: ['ffd8ff']\n",
            "        image/jpeg: ['ffd8ff']\n        image/bmp: ['424d']\n",
            format!("{ENUM}x-bunq-first-bytes has `image/bmp`, which is no value of it: remove one"),
        ),
        (
            "enum: [image/png, image/jpeg, ",
            "enum: [image/png, jpeg, image/jpeg, ",
            format!("{ENUM}the value `jpeg` is no content type: write it as `image/png`"),
        ),
    ] {
        let refused = refusal(from, to);
        assert!(refused.starts_with(&problem), "{refused}\n{problem}");
    }
}

#[test]
fn a_header_of_the_callers_own_is_a_checked_text() {
    test_timeout::start();
    let header = "      name: X-Bunq-Attachment-Description\n      in: header\n      required: false\n";
    let named = |name: &str| header.replace("X-Bunq-Attachment-Description", name);
    for (from, to, problem) in [
        (header, header.replace("false", "true"), "is the caller's, who may leave it out: set `required: false`"),
        (header, named("content-type"), "OpenAPI ignores a header parameter called `content-type`: remove it"),
        (
            "        $ref: '#/components/schemas/AttachmentDescription'\n",
            "        type: string\n".into(),
            "is the caller's: refer to a text with a pattern, which has no line break",
        ),
        (
            header,
            named("X-Bunq-Body"),
            "its parameter `X-Bunq-Body` has in Rust the name of something in its method: leave the header out",
        ),
        (
            header,
            named("X-User-Id"),
            "its parameters `user_id` in the path and `X-User-Id` in the header have one name in Rust: rename that in the path",
        ),
    ] {
        let refused = refusal(from, &to);
        assert!(refused.starts_with(UPLOAD) && refused.ends_with(problem), "{refused}\n{problem}");
    }
    // What the transport adds is nobody else's, whatever its case.
    let transports = DOCUMENT.replacen(header, &named("x-bunq-region"), 1);
    let files = bunq_partner_codegen::generate(&Document::parse(&transports).unwrap()).unwrap();
    let methods = &files.iter().find(|file| file.name == "methods.rs").unwrap().code;
    assert!(methods.contains("async fn create_attachment(") && !methods.contains("region"), "it is no argument");
}
