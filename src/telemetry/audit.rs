//! Audit events: one for each request that passes TLS, including rejected and failed ones.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::ser::Serializer;
use time::OffsetDateTime;

use crate::config;
use crate::telemetry::console::Console;
use crate::telemetry::stream::Broadcast;
use crate::wire::timestamp;

/// An audit event (HTTP API documentation of KES, "audit log"). `reason` is not in KES: why a request was rejected or
/// failed, possibly with details that the client does not get.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// When the response was ready.
    #[serde(serialize_with = "as_timestamp")]
    pub time: OffsetDateTime,
    /// The request.
    pub request: Request<'a>,
    /// The response.
    pub response: Response,
    /// Why the request was rejected or failed; bounded too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
}

/// The request of an [`Event`].
#[derive(Debug, Serialize)]
pub struct Request<'a> {
    /// The client's address.
    pub ip: IpAddr,
    /// The decoded path, bounded ([`crate::telemetry::bounded`]).
    pub path: &'a str,
    /// The client's identity; empty if it has none.
    pub identity: &'a str,
}

/// The response of an [`Event`].
#[derive(Debug, Serialize)]
pub struct Response {
    /// HTTP status; 499 if the client disconnected before the response.
    pub code: u16,
    /// From the request's head to the response's head, in microseconds.
    #[serde(serialize_with = "as_micros")]
    pub time: Duration,
}

/// The destination of audit events: subscribers of the stream, and the console if the config enables it.
#[derive(Debug)]
pub struct Audit {
    events: Broadcast,
    console: Console,
    shown: config::Audit,
    format: config::Format,
}

impl Audit {
    /// Writes the events that are to be `shown` to `console`.
    pub fn new(events: Broadcast, console: Console, shown: config::Audit, format: config::Format) -> Self {
        Self { events, console, shown, format }
    }

    /// Publishes an event with this status; it is created only if there is a reader. `is_change` says whether such a
    /// request changes keys. Never blocks: slow subscribers and a slow console lose lines instead, which are counted.
    pub fn record<'a>(&self, code: u16, is_change: bool, event: impl Fn() -> Event<'a>) {
        self.events.send(|| line(&event()));
        let is_shown = match self.shown {
            config::Audit::Changes => code == 200 && is_change,
            config::Audit::From(threshold) => threshold.shows(level(code)),
        };
        if !is_shown {
            return;
        }
        let line = match self.format {
            config::Format::Json => line(&event()).into(),
            config::Format::Text => text(&event()).into_bytes(),
        };
        self.console.put(line);
    }
}

/// The event as a line of JSON.
fn line(event: &Event<'_>) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// The event as a human-readable line. Path and reason are quoted, because they may contain text from the client.
fn text(event: &Event<'_>) -> String {
    let identity = event.request.identity;
    let reason = event.reason.map(|reason| format!(": {reason:?}")).unwrap_or_default();
    format!(
        "{} AUDIT {} {:?} by {} from {} in {:.3} ms{reason}\n",
        timestamp(Some(event.time)),
        event.response.code,
        event.request.path,
        if identity.is_empty() { "anonymous" } else { identity },
        event.request.ip,
        event.response.time.as_secs_f64() * 1e3,
    )
}

fn level(code: u16) -> tracing::Level {
    match code {
        500.. => tracing::Level::ERROR,
        400.. => tracing::Level::WARN,
        _ => tracing::Level::INFO,
    }
}

fn as_timestamp<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(Some(*time)))
}

fn as_micros<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event<'a>(reason: Option<&'a str>, path: &'a str) -> Event<'a> {
        Event {
            time: OffsetDateTime::UNIX_EPOCH,
            request: Request { ip: [127, 0, 0, 1].into(), path, identity: "abc" },
            response: Response { code: 200, time: Duration::from_millis(2) },
            reason,
        }
    }

    #[test]
    fn an_event_is_one_line_of_json() {
        assert_eq!(
            line(&event(None, "/v1/status")),
            concat!(
                r#"{"time":"1970-01-01T00:00:00Z","request":{"ip":"127.0.0.1","path":"/v1/status","identity":"abc"},"#,
                r#""response":{"code":200,"time":2000}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_path_cannot_inject_a_line() {
        for forged in [line(&event(None, "/a\nb")), text(&event(Some("x\ny\u{1b}[31m"), "/a\nb")).into()] {
            let lines = std::str::from_utf8(&forged).unwrap().split_inclusive('\n').count();
            assert_eq!(lines, 1);
            assert!(!forged.contains(&0x1b));
        }
    }
}
