//! What the audit log of a gateway says of its clients: the calls of MinIO, which its policy must allow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::support::{Events, Server};

/// How often an API was called, by its path and the status of the answer.
type Counts = BTreeMap<(String, u16), usize>;

/// The calls of everybody but the admin, from the moment on at which they are followed.
#[derive(Clone, Default)]
pub struct Calls {
    counts: Arc<Mutex<Counts>>,
}

impl Calls {
    /// Follows a gateway until it ends. Several gateways can be counted together.
    pub async fn follow(&self, server: &Server) {
        let mut events = Events::audit(server).await;
        let (counts, admin) = (self.counts.clone(), server.admin.identity());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let (request, code) = (&event["request"], event["response"]["code"].as_u64().unwrap());
                if request["identity"] != admin.as_str() {
                    let api = api(request["path"].as_str().unwrap()).to_owned();
                    *counts.lock().unwrap().entry((api, code.try_into().unwrap())).or_default() += 1;
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
    keyway::router::ROUTES
        .iter()
        .map(|route| route.path)
        .find(|route| path == *route || (route.ends_with('/') && path.starts_with(route)))
        .unwrap_or(path)
}
