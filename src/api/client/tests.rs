use reqwest::{Method, Request};
use serde_json::json;

use super::{add_query, encode_path};

#[test]
fn a_query_has_what_is_given() {
    test_timeout::start();
    let mut request = Request::new(Method::GET, "https://bunq.test/v1/list".parse().unwrap());
    for absent in [json!(null), json!([]), json!({})] {
        assert!(add_query(&mut request, "absent", &absent).is_ok());
    }
    assert_eq!(request.url().query(), None);
    for (name, value) in [
        ("count", json!(200)),
        ("active", json!(true)),
        ("status", json!("CREATED,ACTIVE")),
        ("name", json!("a&b=ü c")),
        ("id", json!([1, 2])),
        ("range", json!({"from": 1, "to": null})),
    ] {
        assert!(add_query(&mut request, name, &value).is_ok());
    }
    let expected = "count=200&active=true&status=CREATED%2CACTIVE&name=a%26b%3D%C3%BC+c&id=1&id=2&from=1";
    assert_eq!(request.url().query(), Some(expected));
}

#[test]
fn a_segment_of_a_path_stays_one() {
    test_timeout::start();
    assert_eq!(encode_path("a/b?c#d%2F é\\"), "a%2Fb%3Fc%23d%252F%20%C3%A9%5C");
    assert_eq!(encode_path("123"), "123");
}
