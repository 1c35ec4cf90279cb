//! The HTTP API, as clients with certificates meet it. Files under `api/key` and those named after an API mirror
//! `src/api`; the others hold what is true of all APIs alike.

mod access;
mod api_list;
mod bodies;
mod decision;
mod identity;
mod key;
mod log;
mod methods;
mod metrics;
mod names;
mod paths;
mod policy;
mod ready;
mod status;
mod version;

use serde_json::{Value, json};

use crate::support::server::{Answer, send};
use crate::support::{Client, Server};

/// Clients, methods and paths with the same connection: what a test asks of a server in a row.
struct Session<'a> {
    server: &'a Server,
    http: reqwest::Client,
}

impl<'a> Session<'a> {
    fn new(server: &'a Server, client: &Client) -> Self {
        Self { server, http: server.http(Some(client)) }
    }

    fn admin(server: &'a Server) -> Self {
        Self::new(server, &server.admin)
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.http.get(self.server.url(path)), None).await.unwrap()
    }

    async fn put(&self, path: &str, body: Option<Value>) -> Answer {
        send(self.http.put(self.server.url(path)), body).await.unwrap()
    }

    async fn delete(&self, path: &str) -> Answer {
        send(self.http.delete(self.server.url(path)), None).await.unwrap()
    }

    async fn create(&self, name: &str) {
        let answer = self.put(&format!("/v1/key/create/{name}"), None).await;
        assert_eq!(answer.status, 200, "create {name}: {}\n{}", answer.text(), self.server.log());
    }

    /// A new data key: plaintext and ciphertext.
    async fn data_key(&self, name: &str) -> (String, String) {
        let answer = self.put(&format!("/v1/key/generate/{name}"), None).await;
        assert_eq!(answer.status, 200, "generate {name}: {}", answer.text());
        (field(&answer, "plaintext"), field(&answer, "ciphertext"))
    }

    async fn decrypt(&self, name: &str, ciphertext: &str) -> Answer {
        self.put(&format!("/v1/key/decrypt/{name}"), Some(json!({ "ciphertext": ciphertext }))).await
    }
}

/// A field of an answer, as text.
fn field(answer: &Answer, name: &str) -> String {
    answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", answer.text())).to_owned()
}

/// What makes an answer anything but an error of this status in JSON.
fn not_an_error(answer: &Answer, status: u16) -> Option<String> {
    let content_type = answer.headers.get("content-type").map_or("", |value| value.to_str().unwrap());
    let message = serde_json::from_slice::<Value>(&answer.body).ok();
    let message = message.as_ref().and_then(|body| body["message"].as_str()).unwrap_or_default();
    let good = answer.status == status && content_type == "application/json" && !message.is_empty();
    (!good).then(|| format!("not a {status} in JSON: {} {content_type:?} {:?}", answer.status, answer.text()))
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

fn unbase64(text: &str) -> Vec<u8> {
    base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap()
}

/// Fails with everything that a test has collected.
fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
