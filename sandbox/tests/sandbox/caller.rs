//! Calls below `/user/{user_id}` as anybody could make them: with a session's token, and no more.

use bunq_partner::{Api, Client, SessionUser, UserClient, Uuid};
use bunq_partner_sandbox::Sandbox;
use reqwest::Method;
use serde_json::Value;

pub(crate) struct Caller {
    base_url: String,
    token: String,
    /// The user of the session, as paths have it.
    pub(crate) user: String,
}

impl Caller {
    /// Calls with the session of a partner's client.
    pub(crate) async fn of(sandbox: &Sandbox, client: &Client) -> Self {
        Self::with(sandbox, &client.api(), client.user().await.unwrap()).await
    }

    /// Calls with the session of a user's client.
    pub(crate) async fn of_user(sandbox: &Sandbox, client: &UserClient) -> Self {
        Self::with(sandbox, &client.api(), client.user().await.unwrap()).await
    }

    async fn with(sandbox: &Sandbox, api: &Api, user: SessionUser) -> Self {
        let user = user.id.to_string();
        api.get_installation().await.unwrap();
        let token = sandbox.call_log().pop().unwrap().header("X-Bunq-Client-Authentication").unwrap().to_owned();
        Self { base_url: sandbox.base_url().to_owned(), token, user }
    }

    /// The same caller at a sandbox that knows its session.
    pub(crate) fn at(&self, sandbox: &Sandbox) -> Self {
        let (token, user) = (self.token.clone(), self.user.clone());
        Self { base_url: sandbox.base_url().to_owned(), token, user }
    }

    /// Makes a call on a path below the user's own, and returns the status and the body.
    pub(crate) async fn call(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        self.call_at(method, &format!("/user/{}{path}", self.user), body).await
    }

    pub(crate) async fn call_at(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.base_url));
        let request = request.header("Cache-Control", "no-cache").header("User-Agent", "sandbox");
        let request = request.header("X-Bunq-Client-Request-Id", Uuid::new_v4().to_string());
        let response = request.header("X-Bunq-Client-Authentication", &self.token).body(body.to_owned());
        let response = response.send().await.unwrap();
        let status = response.status().as_u16();
        (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
    }

    /// The objects of this kind that a successful read returns.
    pub(crate) async fn read(&self, path: &str, kind: &str) -> Vec<Value> {
        let (status, body) = self.call(Method::GET, path, "").await;
        assert_eq!(status, 200, "{body}");
        body["Response"].as_array().unwrap().iter().map(|item| item[kind].clone()).collect()
    }

    /// The id that a successful change returns.
    pub(crate) async fn change(&self, method: Method, path: &str, body: &str) -> u64 {
        let (status, body) = self.call(method, path, body).await;
        assert_eq!(status, 200, "{body}");
        body["Response"][0]["Id"]["id"].as_u64().unwrap()
    }
}
