//! Writes, for tests, a call of each operation with the document's examples, so that a test of all operations needs no
//! code for each.

use proc_macro2::{Literal, TokenStream};
use quote::{ToTokens as _, quote};
use serde_json::Value;

use super::bytes;
use super::document::members;
use super::headers;
use super::names::pascal_case;
use super::signature::Method;

impl Method<'_> {
    /// The match arm that calls this operation.
    pub(crate) fn example_call(&self) -> TokenStream {
        let id = self.operation.id;
        let name = quote::format_ident!("{id}");
        if self.policy.managed {
            return quote!(#id => None,);
        }
        let (mut parameters, mut has_query) = (Vec::new(), false);
        for (argument, ty) in &self.arguments {
            if self.parameter(argument).is_none() {
                let example = self.body_example();
                parameters.push(quote!(&decoded::<#ty>(&parameter("body").unwrap_or_else(|| String::from(#example)))));
            } else if self.is_users(argument) {
                // It is about the user of the session then.
                parameters.extend(self.given_in_path(argument, ty).map(|_| quote!(None)));
            } else if self.is_in_path(argument) {
                let (key, example) = self.parameter_example(argument);
                let ty = ty.to_token_stream();
                parameters.push(quote!(decoded::<#ty>(&parameter(#key).unwrap_or_else(|| String::from(#example)))));
            } else {
                has_query = true;
            }
        }
        if let Some(ty) = self.content_type() {
            let of = format!("the body of {id}");
            let content_types = bytes::content_types(self.document, &self.operation);
            let example =
                content_types.first().map(|example| (Value::from(example.name), Literal::byte_string(&example.file)));
            let (name, file) = example.unzip();
            let name = example_or_panic(name.as_ref(), &of);
            parameters.extend([quote!(decoded::<#ty>(#name)), quote!(#file.to_vec())]);
        }
        for header in headers::given(self.document, &self.operation) {
            let (ty, of) = (header.ty(), format!("the header {} of {id}", header.name));
            let example = example_or_panic(header.parameter.get("example"), &of);
            parameters.push(quote!(Some(&decoded::<#ty>(#example))));
        }
        if has_query {
            let query = quote::format_ident!("{}Query", pascal_case(id));
            parameters.push(quote!(crate::types::#query::default()));
        }
        quote!(#id => Some(Box::pin(shown(api.#name(#(#parameters),*))).await),)
    }

    /// The first example of the body, as JSON.
    fn body_example(&self) -> TokenStream {
        let media = &self.document.resolve(&self.operation.value["requestBody"])["content"]["application/json"];
        let example = members(&media["examples"]).next().map(|(_, example)| &self.document.resolve(example)["value"]);
        example_or_panic(example, &format!("the body of {}", self.operation.id))
    }

    /// The name of a path parameter, and its example as JSON.
    fn parameter_example(&self, argument: &syn::Ident) -> (&str, TokenStream) {
        let parameter = self.parameter(argument);
        let name = parameter.and_then(|parameter| parameter["name"].as_str()).unwrap_or_default();
        let example = parameter.map(|parameter| &parameter["example"]);
        (name, example_or_panic(example, &format!("the parameter {name} of {}", self.operation.id)))
    }
}

/// The text of an example. Without one, only the tests that need it fail.
fn example_or_panic(example: Option<&Value>, of: &str) -> TokenStream {
    match example.filter(|example| !example.is_null()) {
        Some(example) => example.to_string().into_token_stream(),
        None => quote!(panic!("the document has no example of {}", #of)),
    }
}

/// The function that consists of these arms.
pub(crate) fn generate(arms: &[TokenStream]) -> TokenStream {
    quote! {
        /// Calls an operation with the document's examples, or with the JSON that `parameter` returns for a path
        /// parameter or for `body`, and returns what the file that includes this makes of the result with `shown`.
        /// `None` if the client makes the call by itself.
        pub(crate) async fn call_with_examples(
            api: &bunq_partner::Api,
            operation: &bunq_partner::Operation,
            parameter: impl Fn(&str) -> Option<String>,
        ) -> Option<Result<String, bunq_partner::Error>> {
            match operation.id {
                #(#arms)*
                other => panic!("no operation {other}"),
            }
        }

        fn decoded<T: serde::de::DeserializeOwned>(json: &str) -> T {
            serde_json::from_str(json).unwrap()
        }
    }
}
