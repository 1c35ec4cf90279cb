//! `GET /v1/status`: the server's state, and the latency of its store.

use axum::response::Response;
use backends::chain;
use serde::Serialize;

use super::{Call, reply};
use crate::VERSION;
use crate::api::error::ApiError;
use crate::process;

/// Field names and units as KES's clients read them.
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
    /// Milliseconds, at least 1: clients take 0 as absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    keystore_latency: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keystore_unreachable: bool,
    /// Goes with `keystore_unreachable` too: the official SDK takes one without the other as a broken answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    keystore_unavailable: bool,
    /// What is wrong with it, for clients that needed their policy to ask. KES has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    keystore_error: Option<String>,
    /// Whole seconds for which it has been down, for the same clients. KES has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    keystore_down_seconds: Option<u64>,
    /// The cache of keys, for the same clients. KES has no such field.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Cache>,
}

/// The cache since the server's start; the names are those of its metrics.
#[derive(Serialize)]
struct Cache {
    entries: i64,
    hits: u64,
    misses: u64,
    refreshes: u64,
    stale: u64,
}

/// Answers 200 whether the store is well or not.
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
