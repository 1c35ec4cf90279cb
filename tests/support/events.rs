//! A subscription to one of the server's streams, read line by line.

use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::server::Server;

/// How long an event may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open `/v1/log/...` stream.
pub struct Events {
    response: reqwest::Response,
    /// What was received and is not a whole line yet.
    received: Vec<u8>,
}

impl Events {
    /// Subscribes to the audit stream as the admin.
    pub async fn audit(server: &Server) -> Self {
        Self::subscribe(server, &server.admin, "/v1/log/audit").await.unwrap()
    }

    /// Subscribes to the error stream as the admin.
    pub async fn error(server: &Server) -> Self {
        Self::subscribe(server, &server.admin, "/v1/log/error").await.unwrap()
    }

    /// Subscribes over a connection of its own. Anything but 200 is the error.
    pub async fn subscribe(server: &Server, client: &Client, path: &str) -> Result<Self, reqwest::Response> {
        let response = server.http(Some(client)).get(server.url(path)).send().await.unwrap();
        if response.status() == 200 { Ok(Self { response, received: Vec::new() }) } else { Err(response) }
    }

    /// The headers that the stream began with.
    pub fn headers(&self) -> &reqwest::header::HeaderMap {
        self.response.headers()
    }

    /// The next event; nothing when the stream has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap_or_else(|_| panic!("no event: {line:?}")));
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            let chunk = chunk.unwrap_or_else(|_| panic!("no event within {} s", PATIENCE.as_secs()));
            self.received.extend_from_slice(&chunk.ok()??);
        }
    }

    /// The next event that is looked for.
    pub async fn find(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut others = Vec::new();
        let find = async {
            while let Some(event) = self.next().await {
                if wanted(&event) {
                    return Some(event);
                }
                others.push(event);
            }
            None
        };
        let found = tokio::time::timeout(PATIENCE, find).await;
        found.ok().flatten().unwrap_or_else(|| panic!("the event did not come, only {others:#?}"))
    }

    /// The next audit event of a request for this decoded path.
    pub async fn of(&mut self, path: &str) -> Value {
        self.find(|event| event["request"]["path"] == path).await
    }
}
