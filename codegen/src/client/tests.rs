use std::collections::BTreeSet;

use quote::ToTokens as _;

use super::end_at_requests;

/// The method of progenitor's client with this in the builder of its request, as it is after it was ended.
fn ended(in_builder: &str) -> Result<String, String> {
    let text = format!(
        "pub use progenitor_client::{{ByteStream, ClientInfo, Error}};
        impl ClientInfo<()> for Client {{}}
        impl ClientHooks<()> for &Client {{}}
        impl Client {{
            pub async fn list<'a>(&'a self, count: Option<i64>) -> Result<ResponseValue<types::List>, Error<()>> {{
                let url = format!(\"{{}}/list\", self.baseurl);
                let mut header_map = ::reqwest::header::HeaderMap::with_capacity(1usize);
                let mut request = self.client.get(url){in_builder}.headers(header_map).build()?;
                let response = self.exec(request).await;
                Ok(response)
            }}
        }}"
    );
    let mut items = syn::parse_str::<syn::File>(&text).map_err(|error| error.to_string())?.items;
    end_at_requests(&mut items, &BTreeSet::new()).map_err(|diagnostic| format!("{diagnostic:?}"))?;
    Ok(items.iter().map(|item| item.to_token_stream().to_string()).collect::<String>())
}

#[test]
fn a_method_ends_at_its_request_and_needs_no_other_crate() {
    test_timeout::start();
    let expected: syn::Item = syn::parse_quote! {
        impl Client {
            pub fn list<'a>(&'a self, count: Option<i64>) -> Result<::reqwest::Request, Error> {
                let url = format!("{}/list", self.baseurl);
                let mut request = self.client.get(url).build()?;
                add_query(&mut request, "count", &count)?;
                set_json(&mut request, &body)?;
                add_query(&mut request, "older_id", &older_id)?;
                Ok(request)
            }
        }
    };
    let queries = ".query(&progenitor_client::QueryParam::new(\"count\", &count)).json(&body)\
                   .query(&progenitor_client::QueryParam::new(\"older_id\", &older_id))";
    assert_eq!(ended(queries), Ok(expected.to_token_stream().to_string()));
}

#[test]
fn a_query_that_is_written_in_another_way_is_refused() {
    test_timeout::start();
    for query in [
        ".query(&[(\"count\", count)])",
        ".query(&progenitor_client::Query::new(\"count\", &count))",
        ".query(&progenitor_client::QueryParam::new(\"count\", &count, true))",
    ] {
        assert!(ended(query).is_err_and(|refusal| refusal.contains("`list` has a query")), "{query}");
    }
}
