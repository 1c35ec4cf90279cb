//! `GET /v1/status`: the state of the server and the latency of its keystore.

use axum::response::Response;
use backends::chain;
use serde::Serialize;

use super::{Call, reply};
use crate::VERSION;
use crate::api::error::ApiError;
use crate::process;

/// Field names and units are those that clients of KES expect.
#[derive(Serialize)]
struct Status {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
    /// Whole seconds.
    uptime: u64,
    num_cpu: usize,
    num_cpu_used: usize,
    /// Bytes.
    mem_heap_used: u64,
    /// Bytes.
    mem_stack_used: u64,
    /// Milliseconds, at least 1, because clients treat 0 as absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    keystore_latency: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keystore_unreachable: bool,
    /// Also set with `keystore_unreachable`: the official SDK rejects a response that has only one of the two.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keystore_unavailable: bool,
    /// The error, for clients that were authorized by their policy. Not in KES.
    #[serde(skip_serializing_if = "Option::is_none")]
    keystore_error: Option<String>,
    /// Duration of the outage in whole seconds, for the same clients. Not in KES.
    #[serde(skip_serializing_if = "Option::is_none")]
    keystore_down_seconds: Option<u64>,
    /// The key cache, for the same clients. Not in KES.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Cache>,
}

/// Counters of the cache since the server started; the names are those of the metrics.
#[derive(Serialize)]
struct Cache {
    entries: i64,
    hits: u64,
    misses: u64,
    refreshes: u64,
    stale: u64,
}

/// Returns 200 even if the keystore is down.
///
/// # Errors
/// None of its own.
pub async fn status(call: Call) -> Result<Response, ApiError> {
    let ping = call.state.keys.ping().await;
    let error = ping.as_ref().err().map(|error| chain(&**error));
    let metrics = &call.state.running.metrics.keystore;
    let memory = process::Usage::now();
    reply(&Status {
        version: VERSION,
        os: std::env::consts::OS,
        arch: match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        },
        uptime: call.state.running.started.elapsed().as_secs(),
        num_cpu: process::cpus(),
        num_cpu_used: call.state.running.worker_threads,
        mem_heap_used: memory.heap,
        mem_stack_used: memory.stack,
        keystore_latency: ping
            .as_ref()
            .ok()
            .map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX).max(1)),
        keystore_unreachable: ping.as_ref().is_err_and(|error| error.is_unreachable()),
        keystore_unavailable: ping.is_err(),
        keystore_error: error.filter(|_| call.trusted),
        keystore_down_seconds: call
            .state
            .keys
            .outage()
            .filter(|_| call.trusted)
            .map(|outage| outage.since.elapsed().as_secs()),
        cache: call.trusted.then(|| Cache {
            entries: metrics.entries.get(),
            hits: metrics.hits.get(),
            misses: metrics.misses.get(),
            refreshes: metrics.refreshes.get(),
            stale: metrics.stale.get(),
        }),
    })
}
