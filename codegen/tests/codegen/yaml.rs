//! What the reader makes of YAML: scalars by the core schema of YAML 1.2, and a line and a column for what it refuses.

use bunq_partner_codegen::Document;
use serde_json::{Value, json};

fn read(text: &str) -> Value {
    Document::read(text).unwrap_or_else(|diagnostic| panic!("{text:?}: {diagnostic}")).root
}

fn refusal(text: &str) -> String {
    match Document::read(text) {
        Ok(document) => panic!("{text:?} is read as {}", document.root),
        Err(diagnostic) => diagnostic.in_file("file", text),
    }
}

#[test]
fn scalars() {
    test_timeout::start();
    for (text, value) in [
        ("[null, Null, NULL, ~, ]", json!([null, null, null, null])),
        ("[nULL, '', \"null\", '~']", json!(["nULL", "", "null", "~"])),
        ("[true, True, TRUE, false, False, FALSE]", json!([true, true, true, false, false, false])),
        ("[tRUE, yes, no, on, off, y, n, 'true']", json!(["tRUE", "yes", "no", "on", "off", "y", "n", "true"])),
        ("[0, 1, -1, +1, 007, -0, '1']", json!([0, 1, -1, 1, 7, 0, "1"])),
        ("[0x1F, 0o17, 0xffffffffffffffff]", json!([31, 15, u64::MAX])),
        ("[0x, 0xg, 0o8, 0X1F, -0x1, 0b1, 1_000]", json!(["0x", "0xg", "0o8", "0X1F", "-0x1", "0b1", "1_000"])),
        ("[18446744073709551615, -9223372036854775808]", json!([u64::MAX, i64::MIN])),
        ("[1.0, 1., .5, -.5, +.5, 1e3, 1E+3, 1.5e-3]", json!([1.0, 1.0, 0.5, -0.5, 0.5, 1000.0, 1000.0, 0.0015])),
        ("[., e3, 1e, 1.2.3, 192.0.2.1, --1, +-1]", json!([".", "e3", "1e", "1.2.3", "192.0.2.1", "--1", "+-1"])),
        ("[inf, nan, infinity, -inf, +NaN]", json!(["inf", "nan", "infinity", "-inf", "+NaN"])),
        ("[2025-08-13, 2025-08-13 14:45:18, 12:30]", json!(["2025-08-13", "2025-08-13 14:45:18", "12:30"])),
        ("a: one\n  two # no text\nb: x#y", json!({ "a": "one two", "b": "x#y" })),
        ("a: 'it''s'\nb: \"\\u00e9\\x41\\ud83d\\ude00\\t\"", json!({ "a": "it's", "b": "éA😀\t" })),
        ("a: |\n  one\n\n   two\nb: |-\n  true\n", json!({ "a": "one\n\n two\n", "b": "true" })),
        ("a: >\n  one\n  two\n\n  three\nb: >-\n  1\n", json!({ "a": "one two\nthree\n", "b": "1" })),
    ] {
        assert_eq!(read(text), value, "{text:?}");
    }
}

#[test]
fn structure() {
    test_timeout::start();
    for (text, value) in [
        ("", json!(null)),
        ("# nothing\n", json!(null)),
        ("---\n", json!(null)),
        ("---\na: 1\n...\n", json!({ "a": 1 })),
        ("a: 1\r\nb: 2\r\n", json!({ "a": 1, "b": 2 })),
        ("a:\nb: []\nc: {}\nd: ''", json!({ "a": null, "b": [], "c": {}, "d": "" })),
        ("a:\n- 1\n- b: 2\n  c: 3\n- - 4", json!({ "a": [1, { "b": 2, "c": 3 }, [4]] })),
        (
            "/a/{b}: {c: [d, {e: f}], $ref: '#/x', g}",
            json!({ "/a/{b}": { "c": ["d", { "e": "f" }], "$ref": "#/x", "g": null } }),
        ),
        ("a: http://x/y:80?z=1", json!({ "a": "http://x/y:80?z=1" })),
        ("a:\tb\tc", json!({ "a": "b\tc" })),
        // A key is its text, as in `200:` of responses.
        (
            "200: a\n4.50: b\ntrue: c\n'': d\n'<<': e\n? f\n: g",
            json!({ "200": "a", "4.50": "b", "true": "c", "": "d", "<<": "e", "f": "g" }),
        ),
    ] {
        assert_eq!(read(text), value, "{text:?}");
    }
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(read(&nested(64)).is_array());
}

#[test]
fn refusals() {
    test_timeout::start();
    let flow = "[".repeat(1000);
    let block: String = (0..1000).map(|level| " ".repeat(level) + "a:\n").collect();
    let laughs = "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]";
    for (text, refused) in [
        ("a: &x 1", "1: YAML: line 1, column 4: anchor: remove it"),
        ("a:\n  &x\n  b: 1", "2: YAML: line 2, column 3: anchor: remove it"),
        ("- &x a: 1", "1: YAML: line 1, column 3: anchor: remove it"),
        (laughs, "1: YAML: line 1, column 4: anchor: remove it"),
        ("a: 1\nb: *x", "2: YAML: line 2, column 4: alias: write out what it stands for"),
        ("*x : 1", "1: YAML: line 1, column 1: alias: write out what it stands for"),
        ("a: !!str 1", "1: YAML: line 1, column 4: tag: remove it, and write a text in quotes"),
        ("a: !here [1]", "1: YAML: line 1, column 4: tag: remove it, and write a text in quotes"),
        ("!!map\na: 1", "1: YAML: line 1, column 1: tag: remove it, and write a text in quotes"),
        ("a: 1\n<<: {b: 2}", "2: YAML: line 2, column 1: merge key: write out the members"),
        ("a: 1\nb: 2\na: 3", "3: YAML: line 3, column 1: duplicate key `a`: remove one"),
        ("200: a\n'200': b", "2: YAML: line 2, column 1: duplicate key `200`: remove one"),
        ("{a: {b: 1, b: 1}}", "1: YAML: line 1, column 12: duplicate key `b`: remove one"),
        (": a", "1: YAML: line 1, column 1: key that is no text: write a text"),
        ("null: a", "1: YAML: line 1, column 1: key that is no text: write a text"),
        ("? [a]\n: b", "1: YAML: line 1, column 3: key that is no text: write a text"),
        ("{{a: 1}: b}", "1: YAML: line 1, column 2: key that is no text: write a text"),
        ("a: 1\n---\nb: 2", "2: YAML: line 2, column 1: second document: write one document in a file"),
        ("a: 1\n---\n", "2: YAML: line 2, column 1: second document: write one document in a file"),
        ("%YAML 1.1\n---\na: 1", "1: YAML: line 1, column 1: YAML directives are disallowed"),
        ("\u{feff}a: 1", "1: YAML: line 1, column 1: byte order mark: save the file without it"),
        ("a: 1\n\u{feff}b: 2", "2: YAML: line 2, column 1: a BOM must not appear inside a document"),
        ("a:\n\tb: 1", "2: YAML: line 2, column 2: tabs disallowed within this context (block indentation)"),
        ("a: [1,\n\t2]", "2: YAML: line 2, column 2: tabs disallowed within this context (block indentation)"),
        ("a: \"x\n\ty\"", "2: YAML: line 2, column 1: tab cannot be used as indentation"),
        ("a: [\n1]", "2: YAML: line 2, column 1: invalid indentation"),
        ("a:\n  b: 1\n c: 2", "3: YAML: line 3, column 2: while parsing a block mapping, did not find expected key"),
        ("a: b: c", "1: YAML: line 1, column 5: mapping values are not allowed in this context"),
        ("a: [1", "1: YAML: line 1, column 4: unclosed bracket '['"),
        ("a: 'x", "1: YAML: line 1, column 4: unclosed quote"),
        ("a: \"\\q\"", "1: YAML: line 1, column 4: while parsing a quoted scalar, found unknown escape character"),
        ("a: @x", "1: YAML: line 1, column 4: unexpected character: `@'"),
        (&flow, "1: YAML: line 1, column 65: recursion limit exceeded"),
        (&block, "65: YAML: line 65, column 65: recursion limit exceeded"),
    ] {
        assert_eq!(refusal(text), format!("file:{refused}"), "{text:?}");
    }
    for number in
        ["18446744073709551616", "-9223372036854775809", "0x10000000000000000", "1e999", ".inf", "-.INF", ".NaN"]
    {
        let refused = format!("`{number}` is no number of 64 bits: correct it, or put it in quotes");
        assert_eq!(refusal(&format!("a: {number}")), format!("file:1: YAML: line 1, column 4: {refused}"));
    }
}
