//! Shared by the tests of several backends.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};

use backends::{BackendConfig, Name, Store, StoreError, Value};

/// Something that happens to a file or directory (the first path), possibly with the help of a second path.
pub(crate) type Accident = fn(&Path, &Path);

/// The variable with the directory of a test that runs again in a limited process.
const LIMITED: &str = "KEYWAY_TEST_LIMITED";

pub(crate) fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

pub(crate) fn value(text: &str) -> Value {
    Value::from(text.as_bytes().to_vec())
}

pub(crate) async fn fs(path: &Path) -> Arc<dyn Store> {
    backends::open(&BackendConfig::Fs { path: path.to_owned() }).await.unwrap()
}

pub(crate) async fn sqlite(path: &Path) -> Arc<dyn Store> {
    backends::open(&BackendConfig::Sqlite { path: path.to_owned() }).await.unwrap()
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o7777
}

pub(crate) fn file_names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The reason of an error that must be [`StoreError::Unavailable`].
pub(crate) fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Unavailable { reason, .. }) => reason,
        other => panic!("expected Unavailable, got {other:?}"),
    }
}

/// The reason of an error that must be [`StoreError::Damaged`].
pub(crate) fn damaged<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Damaged { reason }) => reason,
        other => panic!("expected Damaged, got {other:?}"),
    }
}

/// The directory to work in, in a process that [`run_limited`] has started.
pub(crate) fn limited() -> Option<std::path::PathBuf> {
    std::env::var_os(LIMITED).map(Into::into)
}

/// Runs the calling test again, as the only one in a process with the limits set by the shell code `limit`, and checks
/// that it passes there. Limits need no special rights, unlike a mount.
pub(crate) fn run_limited(limit: &str, test: &str, directory: &Path) {
    run_limited_by(&format!("{limit}; exec"), test, directory);
}

/// The same with shell code that runs what comes after it.
pub(crate) fn run_limited_by(limit: &str, test: &str, directory: &Path) {
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!(r#"{limit} "$0" --exact {test} --nocapture"#))
        .arg(std::env::current_exe().unwrap())
        .env(LIMITED, directory)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && printed.contains("1 passed"), "{limit}: {printed}{errors}");
}

/// Everything that is logged in this process, from level TRACE up.
#[derive(Default)]
pub(crate) struct Logged(Mutex<String>);

impl Logged {
    /// The one of this process; it records from the first call on.
    pub(crate) fn global() -> &'static Self {
        static LOGGED: OnceLock<&'static Logged> = OnceLock::new();
        LOGGED.get_or_init(|| {
            let logged: &'static Self = Box::leak(Box::default());
            tracing::subscriber::set_global_default(Recorder(logged)).unwrap();
            logged
        })
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// How many lines contain all of these words.
    pub(crate) fn count(&self, words: &[&str]) -> usize {
        self.text().lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
    }
}

struct Recorder(&'static Logged);

impl tracing::Subscriber for Recorder {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut Fields(self.0, span.metadata().target()));
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut Fields(self.0, "span"));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut Fields(self.0, event.metadata().target()));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Fields<'a>(&'static Logged, &'a str);

impl tracing::field::Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0.0.lock().unwrap(), "{} {field}={value:?}", self.1).unwrap();
    }
}

/// Whether the tests run as root. If not, the test is named as one that did not run.
#[expect(clippy::print_stderr, reason = "what is skipped must be seen")]
pub(crate) fn is_root(test: &str) -> bool {
    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) == 0;
    if !is_root {
        eprintln!("NOT RUN, because it needs root: {test}");
    }
    is_root
}
