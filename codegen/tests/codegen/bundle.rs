//! The document is what its sources make, and sources that cannot be put together are refused with their place.

use std::fs;
use std::path::{Path, PathBuf};

use bunq_partner_codegen::Document;
use bunq_partner_codegen::bundle::{Bundle, DOCUMENT, SOURCES, check};

const AUTHENTICATION: &str = "tags/authentication.yaml";
const PROVISIONS: &str = "tags/provisions.yaml";

/// A copy of the document and its sources.
struct Copy(PathBuf);

impl Copy {
    fn new(name: &str) -> Self {
        let copy = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join("bundle").join(name));
        if copy.0.exists() {
            fs::remove_dir_all(&copy.0).unwrap();
        }
        fs::create_dir_all(copy.0.join(SOURCES).join("tags")).unwrap();
        for file in ["document.yaml", "operations.yaml"].map(str::to_owned).into_iter().chain(files_of_tags()) {
            fs::copy(repository().join(SOURCES).join(&file), copy.source(&file)).unwrap();
        }
        fs::copy(repository().join(DOCUMENT), copy.0.join(DOCUMENT)).unwrap();
        copy
    }

    fn source(&self, file: &str) -> PathBuf {
        self.0.join(SOURCES).join(file)
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.source(file)).unwrap();
        assert!(text.contains(from), "{file} does not hold {from:?}");
        fs::write(self.source(file), text.replacen(from, to, 1)).unwrap();
    }

    fn bundle(&self) -> Bundle {
        Bundle::read(&self.0).unwrap()
    }

    fn refusal(&self) -> String {
        Bundle::read(&self.0).err().unwrap()
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The files of the tags, in the order of the document.
fn files_of_tags() -> Vec<String> {
    let document = Document::read(&fs::read_to_string(repository().join(DOCUMENT)).unwrap()).unwrap();
    let tags = document.root["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap());
    tags.map(|tag| format!("tags/{}.yaml", tag.to_lowercase().replace(' ', "-"))).collect()
}

/// The number of the line of the source that begins with this.
fn line(copy: &Copy, file: &str, begins: &str) -> usize {
    let text = fs::read_to_string(copy.source(file)).unwrap();
    text.lines().position(|line| line.starts_with(begins)).unwrap() + 1
}

#[test]
fn the_document_is_what_its_sources_make() {
    test_timeout::start();
    check(repository()).unwrap();
    let copy = Copy::new("same");
    let text = copy.bundle().text();
    assert_eq!(text, fs::read_to_string(repository().join(DOCUMENT)).unwrap());
    assert!(text.ends_with('\n') && !text.ends_with("\n\n") && !text.contains('\r'));
    // What a checkout on Windows may make of the files changes nothing.
    for file in ["document.yaml", "operations.yaml", AUTHENTICATION, PROVISIONS] {
        let unix = fs::read_to_string(copy.source(file)).unwrap();
        fs::write(copy.source(file), unix.replace('\n', "\r\n")).unwrap();
    }
    assert_eq!(copy.bundle().text(), text);
    fs::write(copy.0.join(DOCUMENT), text.replace('\n', "\r\n")).unwrap();
    check(&copy.0).unwrap();
}

#[test]
fn a_stale_document_is_refused_with_the_command_that_mends_it() {
    test_timeout::start();
    let copy = Copy::new("stale");
    copy.edit(PROVISIONS, "summary: List provisions", "summary: List the provisions");
    let changed = line(&copy, PROVISIONS, "      summary: List the provisions");
    let stale = check(&copy.0).unwrap_err();
    assert!(stale.starts_with(&format!("{DOCUMENT}:")), "{stale}");
    let expected = format!(
        ": it is not what its sources make, see {SOURCES}/{PROVISIONS}:{changed}: run `cargo xtask spec bundle`"
    );
    assert!(stale.ends_with(&expected), "{stale}");
    fs::write(copy.0.join(DOCUMENT), copy.bundle().text()).unwrap();
    check(&copy.0).unwrap();
    // It is changed by hand, longer, shorter, or not there.
    let text = copy.bundle().text();
    let (shorter, _) = text.trim_end().rsplit_once('\n').unwrap();
    for other in [text.replace("title:", "title :"), format!("{text}# More\n"), shorter.into(), String::new()] {
        fs::write(copy.0.join(DOCUMENT), &other).unwrap();
        assert!(check(&copy.0).unwrap_err().contains("cargo xtask spec bundle"));
    }
    fs::remove_file(copy.0.join(DOCUMENT)).unwrap();
    assert!(check(&copy.0).unwrap_err().contains("cargo xtask spec bundle"));
}

#[test]
fn a_package_without_sources_is_not_checked() {
    test_timeout::start();
    let copy = Copy::new("package");
    fs::remove_dir_all(copy.0.join(SOURCES)).unwrap();
    check(&copy.0).unwrap();
}

#[test]
fn sources_that_cannot_be_put_together_are_refused_with_their_place() {
    test_timeout::start();
    // The file, what is replaced there and by what, and the refusal: the file, the line that it begins with, and words.
    let get = "    get:\n      operationId: list_provisions\n";
    let cases = [
        (PROVISIONS, get, "    get: {}\n    get:\n", PROVISIONS, "    get:", "duplicate key `get`"),
        (
            PROVISIONS,
            "operationId: list_provisions",
            "operationId: get_installation",
            PROVISIONS,
            "    get:",
            "operation `get_installation` stands at openapi/sources/tags/authentication.yaml:",
        ),
        (
            PROVISIONS,
            "operationId: list_provisions",
            "operationId: create_provision",
            PROVISIONS,
            "    get:",
            "operation `create_provision` stands at openapi/sources/tags/provisions.yaml:",
        ),
        (
            PROVISIONS,
            "    NewProvision:\n",
            "    DeviceServer: {type: string}\n    NewProvision:\n",
            PROVISIONS,
            "    DeviceServer:",
            "`#/components/schemas/DeviceServer` stands at openapi/sources/tags/authentication.yaml:",
        ),
        (
            PROVISIONS,
            "  /partner-user-provision:\n",
            "  /installation:\n",
            PROVISIONS,
            "  /installation:",
            "path `/installation` stands at openapi/sources/tags/authentication.yaml:",
        ),
        (
            PROVISIONS,
            "    NewProvision:\n",
            "    Id: {type: string}\n    NewProvision:\n",
            PROVISIONS,
            "    Id:",
            "`#/components/schemas/Id` stands at openapi/sources/document.yaml:",
        ),
        (
            PROVISIONS,
            "$ref: '#/components/schemas/Pointer'",
            "$ref: '../../../etc/passwd#/Pointer'",
            PROVISIONS,
            "            - $ref: '../../../etc/passwd#/Pointer'",
            "`$ref: ../../../etc/passwd#/Pointer` leads out of the document",
        ),
        (
            PROVISIONS,
            "$ref: '#/components/schemas/Pointer'",
            "$ref: authentication.yaml#/components/schemas/Id",
            PROVISIONS,
            "            - $ref: authentication.yaml",
            "leads out of the document",
        ),
        (
            "operations.yaml",
            "$ref: '#/components/parameters/Region'",
            "$ref: https://example.com/region.yaml",
            "operations.yaml",
            "    - $ref: https",
            "leads out of the document",
        ),
        (AUTHENTICATION, "paths:\n", "paths: [\n", AUTHENTICATION, "", "YAML: line "),
        (AUTHENTICATION, "paths:\n", "info: {}\npaths:\n", AUTHENTICATION, "info:", "`info` belongs to no tag"),
        ("document.yaml", "components:\n", "paths: {}\ncomponents:\n", "document.yaml", "paths:", "belongs to a tag"),
        ("document.yaml", "name: Provisions", "name: ../x", "document.yaml", "  - name: ../x", "names a file"),
        ("document.yaml", "name: Provisions", "name: Users", "document.yaml", "  - name: Users", "tags/users.yaml"),
        (
            "document.yaml",
            "  - name: Provisions\n    description: Creating, reading, listing, closing and resetting the bunq users of a partner.\n",
            "",
            PROVISIONS,
            "",
            "it belongs to no tag",
        ),
        ("operations.yaml", "every:", "all:", "operations.yaml", "all:", "only `every` and `auth`"),
        (PROVISIONS, get, &format!("{get}      tags: [X]\n"), PROVISIONS, "    get:", "remove `tags`"),
        (AUTHENTICATION, "auth: none", "auth: any", AUTHENTICATION, "    post:", "none, installation, session"),
        (
            AUTHENTICATION,
            "      parameters:\n        - name: device_server_id\n          in: path\n          required: true\n          description: The id of the device, from `create_device_server` or `list_device_servers`.\n          schema:\n            $ref: '#/components/schemas/DeviceServerId'\n          example: 4712\n",
            "      parameters: [{name: device_server_id}]\n",
            AUTHENTICATION,
            "      parameters: [",
            "`parameters` is added to",
        ),
        (PROVISIONS, get, &format!("    head: {{x-bunq-auth: session}}\n{get}"), PROVISIONS, "    head:", "a line"),
        (AUTHENTICATION, "components:\n", "components:\n   x: 1\n", AUTHENTICATION, "", ""),
    ];
    for (number, (file, from, to, named, begins, words)) in cases.iter().enumerate() {
        let copy = Copy::new(&format!("refused-{number}"));
        copy.edit(file, from, to);
        let refusal = copy.refusal();
        assert!(refusal.starts_with(&format!("{SOURCES}/{named}:")) && refusal.contains(words), "{to:?}: {refusal}");
        if !begins.is_empty() {
            let places = fs::read_to_string(copy.source(named)).unwrap();
            let place = refusal.split(':').nth(1).and_then(|line| line.parse::<usize>().ok()).unwrap();
            let line = places.lines().nth(place - 1).unwrap();
            assert!(line.starts_with(begins), "{refusal}: {line}");
        }
    }
}

#[test]
fn files_that_are_missing_or_empty_are_named() {
    test_timeout::start();
    for file in ["document.yaml", "operations.yaml", AUTHENTICATION] {
        let copy = Copy::new("missing");
        fs::write(copy.source(file), "# Nothing\n").unwrap();
        let refusal = copy.refusal();
        assert!(refusal.starts_with(&format!("{SOURCES}/{file}: it is no mapping")), "{refusal}");
        fs::write(copy.source(file), [b'a', 0xff]).unwrap();
        let refusal = copy.refusal();
        assert!(refusal.starts_with(&format!("{SOURCES}/{file}: ")) && refusal.contains("UTF-8"), "{refusal}");
        fs::remove_file(copy.source(file)).unwrap();
        assert!(copy.refusal().contains(&format!("{SOURCES}/{file}")), "{}", copy.refusal());
    }
}

#[test]
fn what_is_wrong_with_the_document_is_shown_at_its_source() {
    test_timeout::start();
    for (from, to, begins, words) in [
        (
            "    Pointer:\n      type: object\n",
            "    Pointer:\n      $ref: '#/components/schemas/Other'\n    Other:\n      $ref: '#/components/schemas/Pointer'\n    Old:\n      type: object\n",
            "    Other:",
            "leads back to itself",
        ),
        ("#/components/schemas/Pointer'", "#/components/schemas/Nowhere'", "            - $ref", "leads nowhere"),
    ] {
        let copy = Copy::new("shown");
        copy.edit(PROVISIONS, from, to);
        let bundle = copy.bundle();
        let shown = bundle.shown(&Document::parse(&bundle.text()).unwrap_err());
        let text = fs::read_to_string(copy.source(PROVISIONS)).unwrap();
        let place = shown.split(':').nth(1).and_then(|line| line.parse::<usize>().ok()).unwrap();
        assert!(shown.starts_with(&format!("{SOURCES}/{PROVISIONS}:")) && shown.contains(words), "{shown}");
        assert!(text.lines().nth(place - 1).unwrap().starts_with(begins), "{shown}");
    }
}

#[test]
fn an_operation_keeps_what_it_says_itself() {
    test_timeout::start();
    let copy = Copy::new("own");
    copy.edit(
        PROVISIONS,
        "      responses:\n        '200':\n          description: The provision, in one item.\n",
        "      deprecated: true\n      responses:\n        4XX:\n          description: Own.\n        '200':\n          description: The provision, in one item.\n          headers:\n            X-Own:\n              description: |\n                Text.\n\n                # No comment\n",
    );
    let bundle = copy.bundle();
    let document = Document::read(&bundle.text()).unwrap();
    let operations = document.operations();
    let operation = operations.iter().find(|operation| operation.id == "get_provision").unwrap().value;
    assert_eq!(operation["responses"]["4XX"]["description"], "Own.");
    assert_eq!(operation["responses"]["5XX"]["$ref"], "#/components/responses/ServerError");
    let headers = operation["responses"]["200"]["headers"].as_object().unwrap();
    assert_eq!(headers["X-Own"]["description"], "Text.\n\n# No comment\n");
    assert_eq!(headers.len(), 5);
    assert_eq!(operation["tags"][0], "Provisions");
    assert_eq!(operation["security"][0].as_object().unwrap().len(), 1);
    assert_eq!(operation["parameters"].as_array().unwrap().len(), 7);
    let unsigned = operations.iter().find(|operation| operation.id == "create_installation").unwrap().value;
    assert_eq!(unsigned["parameters"].as_array().unwrap().len(), 6);
}

#[test]
fn operations_are_everywhere_in_the_order_of_their_sources() {
    test_timeout::start();
    let text = fs::read_to_string(repository().join(DOCUMENT)).unwrap();
    let ids = |text: &str| -> Vec<String> {
        let paths = text.lines().skip_while(|line| *line != "paths:").take_while(|line| *line != "components:");
        paths.filter_map(|line| line.strip_prefix("      operationId: ")).map(str::to_owned).collect()
    };
    let sources = files_of_tags().into_iter().map(|file| repository().join(SOURCES).join(file));
    let written: Vec<_> = sources.flat_map(|file| ids(&fs::read_to_string(file).unwrap())).collect();
    assert_eq!(ids(&text), written);
    let document = Document::parse(&text).unwrap();
    assert_eq!(document.operations().iter().map(|operation| operation.id).collect::<Vec<_>>(), written);
    // What the outline and the documentation of the crate are made of.
    let files = bunq_partner_codegen::generate(&document).unwrap();
    let table = &files.iter().find(|file| file.name == "operations.rs").unwrap().code;
    let names = table.split("pub const ").skip(1).filter_map(|item| item.split_once(": Operation ="));
    assert_eq!(names.map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>(), written);
    let methods = &files.iter().find(|file| file.name == "methods.rs").unwrap().code;
    let places: Vec<_> = written.iter().filter_map(|id| methods.find(&format!("pub async fn {id}("))).collect();
    assert!(places.len() > 5 && places.is_sorted(), "{places:?}");
}
