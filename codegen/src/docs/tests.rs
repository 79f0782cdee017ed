use super::*;

#[test]
fn code_is_marked_as_text() {
    test_timeout::start();
    for (markdown, expected) in [
        ("A text.\n\n    {\"a\": 1}\n\n    {}\n\nMore.", "A text.\n\n```text\n{\"a\": 1}\n\n{}\n```\n\nMore."),
        (" A text.\n\n     let a = ;\n", " A text.\n\n ```text\n let a = ;\n ```"),
        ("    {}\n\nMore.", "```text\n{}\n```\n\nMore."),
        ("# Title\n    {}", "# Title\n```text\n{}\n```"),
        ("A text:\n\n\t`````\n", "A text:\n\n``````text\n`````\n``````"),
        ("- item\n\n      {}\n\n      {}", "- item\n\n  ```text\n  {}\n\n  {}\n  ```"),
        ("1. item\n\n       {}\n", "1. item\n\n   ```text\n   {}\n   ```"),
        ("A text:\n```\n    {\n```\nMore.", "A text:\n```text\n    {\n```\nMore."),
        ("A text:\n~~~json\n{\n~~~~\n", "A text:\n~~~text\n{\n~~~~"),
        ("- item\n  ```rust\n  {", "- item\n  ```text\n  {"),
    ] {
        assert_eq!(marked(markdown), expected, "{markdown}");
    }
}

#[test]
fn what_is_no_code_stays_as_it_is() {
    test_timeout::start();
    for markdown in [
        "A text.\n    Its paragraph goes on.",
        "- item\n\n  More of it.\n- item\n    goes on",
        "- item\n  - item\n\n    More of it.",
        "`code` and ```code```",
        "A text - no item.\n\n2 numbers",
        " A text.\n\n # Errors\n\n See [`ErrorKind`](crate::ErrorKind).",
        "",
    ] {
        assert_eq!(marked(markdown), markdown.replace('\t', "    "));
    }
}

#[test]
fn the_docs_of_each_item_are_marked() {
    test_timeout::start();
    let mut file: syn::File = syn::parse_quote! {
        #[doc = " A text."]
        #[derive(Debug)]
        #[doc = ""]
        #[doc = "     let a = ;"]
        struct S {
            #[doc = "A text.\n\n    {}"]
            a: i64,
        }
    };
    mark_code_as_text(&mut file);
    let expected: syn::File = syn::parse_quote! {
        #[doc = " A text."]
        #[doc = ""]
        #[doc = " ```text"]
        #[doc = " let a = ;"]
        #[doc = " ```"]
        #[derive(Debug)]
        struct S {
            #[doc = "A text."]
            #[doc = ""]
            #[doc = "```text"]
            #[doc = "{}"]
            #[doc = "```"]
            a: i64,
        }
    };
    assert_eq!(file, expected);
}
