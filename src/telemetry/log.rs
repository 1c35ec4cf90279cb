//! The server's log: text or JSON on the console (`console.rs`); WARN and above also in the error stream.

use std::fmt::{Debug, Write as _};

use bytes::Bytes;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{Filtered, Targets};
use tracing_subscriber::layer::{Context, Layer, Layered, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config;
use crate::telemetry::bounded::bounded;
use crate::telemetry::console::Console;
use crate::telemetry::stream::{Broadcast, MAX_LINE};

/// Changes the console log of a running server.
#[derive(Debug)]
pub struct Control {
    text: reload::Handle<Targets, Registry>,
    json: reload::Handle<Targets, WithText>,
}

type Lines<S, F> = fmt::Layer<S, fmt::format::DefaultFields, F, Console>;
type Text = Lines<Registry, fmt::format::Format>;
type WithText = Layered<Filtered<Text, reload::Layer<Targets, Registry>, Registry>, Registry>;

/// Installs this log for the process. Further calls have no effect.
pub fn init(console: Console, level: config::Level, format: config::Format, errors: Broadcast) -> Control {
    let lines = fmt::layer().with_writer(console.clone()).with_ansi(false).with_target(false);
    let (text_filter, text) = reload::Layer::new(targets(level, format == config::Format::Text));
    let text_lines = lines.with_filter(text_filter);
    let (json_filter, json) = reload::Layer::new(targets(level, format == config::Format::Json));
    let json_lines = fmt::layer().json().flatten_event(true).with_writer(console).with_ansi(false).with_target(false);
    let stream = ErrorStream(errors).with_filter(LevelFilter::WARN);
    let log = tracing_subscriber::registry().with(text_lines).with(json_lines.with_filter(json_filter)).with(stream);
    let _ = log.try_init();
    Control { text, json }
}

impl Control {
    /// Sets the level and the format of the console log.
    pub fn set(&self, level: config::Level, format: config::Format) {
        // Fails only if the log no longer exists; then the error could not be reported either.
        let _ = self.text.reload(targets(level, format == config::Format::Text));
        let _ = self.json.reload(targets(level, format == config::Format::Json));
    }
}

/// The filter of one of the two formats. Debug lines of libraries may contain secrets, which ours never do; libraries
/// are shown from WARN on.
fn targets(level: config::Level, is_used: bool) -> Targets {
    let filter = if is_used { threshold(level) } else { LevelFilter::OFF };
    Targets::new()
        .with_default(filter.min(LevelFilter::WARN))
        .with_target("keyway", filter)
        .with_target("backends", filter)
}

/// The filter for a threshold on the scale of slog (DEBUG -4, INFO 0, WARN 4, ERROR 8).
fn threshold(level: config::Level) -> LevelFilter {
    [LevelFilter::DEBUG, LevelFilter::INFO, LevelFilter::WARN, LevelFilter::ERROR]
        .into_iter()
        .find(|filter| filter.into_level().is_some_and(|shown| level.shows(shown)))
        .unwrap_or(LevelFilter::OFF)
}

/// Sends WARN and ERROR lines to the subscribers of `/v1/log/error`.
struct ErrorStream(Broadcast);

impl<S: Subscriber> Layer<S> for ErrorStream {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.send(|| {
            let mut message = Message::default();
            event.record(&mut message);
            let level = if *event.metadata().level() == Level::ERROR { "ERROR" } else { "WARN" };
            let message = format!("{level} {}{}", message.text, message.fields);
            let mut line = serde_json::json!({ "message": bounded(&message, MAX_LINE) }).to_string();
            line.push('\n');
            Bytes::from(line)
        });
    }
}

/// Collects an event as `text key=value ...`.
#[derive(Default)]
struct Message {
    text: String,
    fields: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        }; // writing to a `String` cannot fail
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_use_the_scale_of_slog() {
        for (level, filter) in [
            (config::Level::Off, LevelFilter::OFF),
            (config::Level::At(-4), LevelFilter::DEBUG),
            (config::Level::At(-3), LevelFilter::INFO),
            (config::Level::At(0), LevelFilter::INFO),
            (config::Level::At(1), LevelFilter::WARN),
            (config::Level::At(8), LevelFilter::ERROR),
            (config::Level::At(10), LevelFilter::OFF),
        ] {
            assert_eq!(threshold(level), filter, "{level:?}");
        }
    }
}
