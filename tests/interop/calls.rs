//! The calls of MinIO, which its policy must allow, according to the audit log of a gateway.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::support::Server;

/// How often an API was called, by its path and the status of the answer.
type Counts = BTreeMap<(String, u16), usize>;

/// The calls of all clients except the admin, since the log is followed.
#[derive(Clone, Default)]
pub struct Calls {
    counts: Arc<Mutex<Counts>>,
}

impl Calls {
    /// Follows the log of a gateway until it ends, even without events.
    pub async fn follow(&self, server: &Server) {
        let stream = server.http(Some(&server.admin)).get(server.url("/v1/log/audit")).timeout(Duration::from_mins(10));
        let mut stream = stream.send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let (counts, admin) = (self.counts.clone(), server.admin.identity());
        tokio::spawn(async move {
            let mut received = Vec::new();
            while let Ok(Some(chunk)) = stream.chunk().await {
                received.extend_from_slice(&chunk);
                while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = received.drain(..=end).collect();
                    let event: Value = serde_json::from_slice(&line).unwrap();
                    let (request, code) = (&event["request"], event["response"]["code"].as_u64().unwrap());
                    if request["identity"] != admin.as_str() {
                        let api = api(request["path"].as_str().unwrap()).to_owned();
                        *counts.lock().unwrap().entry((api, code.try_into().unwrap())).or_default() += 1;
                    }
                }
            }
        });
    }

    /// How often this API was answered with this status.
    pub fn count(&self, api: &str, code: u16) -> usize {
        self.counts.lock().unwrap().get(&(api.to_owned(), code)).copied().unwrap_or_default()
    }

    /// All APIs that were called.
    pub fn apis(&self) -> Vec<String> {
        let mut apis: Vec<_> = self.counts.lock().unwrap().keys().map(|(api, _)| api.clone()).collect();
        apis.dedup();
        apis
    }

    /// Prints a row of each.
    #[expect(clippy::print_stdout, reason = "the table of MinIO's calls")]
    pub fn print(&self, of: &str) {
        for ((api, code), count) in &*self.counts.lock().unwrap() {
            println!("calls | {of} | {api} | {code} | {count}");
        }
    }
}

/// The path of an API without the name at its end.
fn api(path: &str) -> &str {
    keyway::routes::ROUTES
        .iter()
        .map(|route| route.path)
        .find(|route| path == *route || (route.ends_with('/') && path.starts_with(route)))
        .unwrap_or(path)
}
