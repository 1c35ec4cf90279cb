//! What the commands that work on keystores themselves are tried on: a directory with config files, and keys in the
//! form that KES stores, in directories of files.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keyway::crypto::key::{Algorithm, Key};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::program::{Ended, run};
use super::server::{assert_no_panic, program};

/// A directory with configs and keystores.
pub struct Bench {
    dir: TempDir,
}

impl Bench {
    /// An empty one.
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes `NAME.yml` with a keystore and nothing else; its path. `@dir@` is this directory.
    pub fn config(&self, name: &str, keystore: &str) -> String {
        let keystore = keystore.replace("@dir@", &self.dir.path().display().to_string());
        let indented = keystore.lines().fold(String::new(), |text, line| text + "  " + line + "\n");
        let file = self.path(&format!("{name}.yml"));
        fs::write(&file, format!("version: v1\nkeystore:\n{indented}")).unwrap();
        file.display().to_string()
    }

    /// The config of a directory of files with this name.
    pub fn fs(&self, name: &str) -> String {
        self.config(name, &format!("fs: {{path: @dir@/{name}}}"))
    }

    /// The config of a database file with this name.
    pub fn sqlite(&self, name: &str) -> String {
        self.config(name, &format!("sqlite: {{path: @dir@/{name}.db}}"))
    }

    /// As [`Bench::fs`], with `count` keys `PREFIX00000`, `PREFIX00001` ... in it.
    pub fn keys(&self, name: &str, prefix: &str, count: usize) -> String {
        let config = self.fs(name);
        fs::create_dir_all(self.path(name)).unwrap();
        for number in 0..count {
            self.put(name, &format!("{prefix}{number:05}"), &stored());
        }
        config
    }

    /// Writes a file into a directory of keys, as it should be or not.
    pub fn put(&self, store: &str, key: &str, value: &[u8]) {
        fs::write(self.path(store).join(key), value).unwrap();
    }

    /// What a directory of files holds, but for hidden ones; nothing when there is none.
    pub fn content(&self, name: &str) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.path(name)) else { return BTreeMap::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        // A file may go between the two looks, while a command runs.
        let read = |name: String, path: &Path| fs::read(path.join(&name)).ok().map(|value| (name, value));
        names.filter(|name| !name.starts_with('.')).filter_map(|key| read(key, &self.path(name))).collect()
    }

    /// How many keys a directory of files holds.
    pub fn count(&self, name: &str) -> usize {
        fs::read_dir(self.path(name)).map_or(0, |entries| {
            entries.filter(|entry| !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count()
        })
    }

    /// What is in this directory itself, hidden files included.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Asserts that `diff -r` finds nothing.
    pub fn assert_same(&self, one: &str, other: &str) {
        let output = Command::new("diff").arg("-r").args([self.path(one), self.path(other)]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "diff -r {one} {other}:\n{}", text.lines().take(20).collect::<String>());
    }
}

/// A new key in the form in which stores hold it.
pub fn stored() -> Vec<u8> {
    Key::generate(Algorithm::Aes256, OffsetDateTime::UNIX_EPOCH, "test").unwrap().to_stored().to_vec()
}

/// The words of a command line that is written with spaces.
pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Runs `keyway` with these words.
pub fn keyway(line: &str) -> Ended {
    run(words(line))
}

/// Runs `keyway` with these words on an input. Its standard output need not be text, and is apart.
pub fn piped(line: &str, input: &[u8]) -> (Vec<u8>, Ended) {
    let mut command = Command::new(program());
    command.args(words(line)).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input)); // it may end without reading
        child.wait_with_output().unwrap()
    });
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_no_panic(&stderr);
    (output.stdout, Ended { code: output.status.code(), stdout: String::new(), stderr })
}

/// The count that a report has in the line that begins with these words.
pub fn reported(report: &str, words: &str) -> usize {
    let line = report.lines().find_map(|line| line.trim_start().strip_prefix(words)?.strip_prefix("  "));
    let count = line.and_then(|line| line.trim().parse().ok());
    count.unwrap_or_else(|| panic!("no line '{words}' in\n{report}"))
}

impl Ended {
    /// Asserts that it was done.
    pub fn assert_done(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that it failed with exit code 1 and an error, and said all this.
    pub fn assert_failed(&self, parts: &[&str]) -> &Self {
        self.assert_ended(1, parts)
    }

    /// The same for any exit code.
    pub fn assert_ended(&self, code: i32, parts: &[&str]) -> &Self {
        let said = format!("{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.code, Some(code), "{said}");
        assert!(self.stderr.contains("error: "), "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in\n{said}");
        }
        self
    }

    /// The count that a report has in the line that begins with these words.
    pub fn reported(&self, words: &str) -> usize {
        reported(&self.stdout, words)
    }
}
