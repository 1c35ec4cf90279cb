//! What is specific to keys in files.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use backends::{BackendConfig, StoreError, Value};
use tempfile::TempDir;

use crate::services::eventually::until;
use crate::support::{
    self, Accident, damaged, file_names, limited, mode, name, run_limited, run_limited_by, unavailable, value,
};

/// A key directory in a directory of its own, because a marker is written beside it.
struct Root {
    outer: TempDir,
    path: PathBuf,
}

impl Root {
    fn path(&self) -> &Path {
        &self.path
    }
}

fn tempdir() -> std::io::Result<Root> {
    let outer = tempfile::tempdir()?;
    let path = outer.path().join("keys");
    fs::create_dir(&path)?;
    Ok(Root { outer, path })
}

async fn open_error(path: &Path) -> String {
    unavailable(backends::open(&BackendConfig::Fs { path: path.to_owned() }).await)
}

#[tokio::test]
async fn a_key_is_a_file_of_the_same_name_for_the_owner_only() {
    let root = tempdir().unwrap();
    let path = root.path().join("deep/keys");
    let store = support::fs(&path).await;
    store.create(&name("my-key"), &value("value")).await.unwrap();
    assert_eq!((mode(&root.path().join("deep")), mode(&path)), (0o700, 0o700));
    assert_eq!((mode(&path.join("my-key")), fs::read(path.join("my-key")).unwrap()), (0o600, b"value".to_vec()));
    assert_eq!(file_names(&path), ["my-key"]);
    assert_eq!(fs::metadata(path.join("my-key")).unwrap().nlink(), 1);
}

#[tokio::test]
async fn modes_do_not_depend_on_the_umask() {
    if let Some(path) = limited() {
        let store = support::fs(&path.join("keys")).await;
        store.create(&name("my-key"), &value("value")).await.unwrap();
        return;
    }
    for umask in ["000", "077", "777"] {
        let root = tempdir().unwrap();
        run_limited(&format!("umask {umask}"), "fs::modes_do_not_depend_on_the_umask", root.path());
        assert_eq!(mode(&root.path().join("keys")), 0o700, "umask {umask}");
        assert_eq!(mode(&root.path().join("keys/my-key")), 0o600, "umask {umask}");
    }
}

#[tokio::test]
async fn an_empty_or_truncated_file_is_returned_as_it_is_and_never_overwritten() {
    let root = tempdir().unwrap();
    let store = support::fs(root.path()).await;
    for (text, content) in [("empty", ""), ("truncated", "CiUKIA")] {
        fs::write(root.path().join(text), content).unwrap();
        assert_eq!(store.get(&name(text)).await.unwrap(), value(content));
        let created = store.create(&name(text), &value("new")).await;
        assert!(matches!(created, Err(StoreError::AlreadyExists)), "{created:?}");
        assert_eq!(fs::read_to_string(root.path().join(text)).unwrap(), content);
    }
    assert_eq!(store.list("", None, 10).await.unwrap(), [name("empty"), name("truncated")]);
}

#[tokio::test]
async fn what_is_not_a_regular_file_is_damaged_and_never_replaced() {
    let root = tempdir().unwrap();
    let store = support::fs(root.path()).await;
    fs::create_dir(root.path().join("directory")).unwrap();
    symlink("nothing", root.path().join("dangling")).unwrap();
    symlink("loop", root.path().join("loop")).unwrap();
    symlink("directory", root.path().join("to-directory")).unwrap();
    fs::write(root.path().join("file"), "value").unwrap();
    symlink("file/below", root.path().join("through-file")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("socket")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(root.path().join("pipe")).status().unwrap().success());
    fs::write(root.path().join("long"), vec![0; Value::MAX_LEN + 1]).unwrap();
    for text in ["directory", "dangling", "loop", "to-directory", "through-file", "socket", "pipe", "long"] {
        let reason = damaged(store.get(&name(text)).await);
        assert!(reason.contains(text) && reason.contains(root.path().to_str().unwrap()), "{reason}");
        let created = store.create(&name(text), &value("new")).await;
        assert!(matches!(created, Err(StoreError::AlreadyExists)), "{text}: {created:?}");
    }
    damaged(store.delete(&name("directory")).await);
    store.delete(&name("dangling")).await.unwrap();
    assert!(matches!(store.get(&name("dangling")).await, Err(StoreError::NotFound)));
    assert!(!root.path().join("nothing").exists());
}

#[tokio::test]
async fn links_to_files_as_kubernetes_mounts_them_are_followed() {
    let root = tempdir().unwrap();
    fs::create_dir(root.path().join("..2026_11_01")).unwrap();
    fs::write(root.path().join("..2026_11_01/my-key"), "value").unwrap();
    symlink("..2026_11_01", root.path().join("..data")).unwrap();
    symlink("..data/my-key", root.path().join("my-key")).unwrap();
    let store = support::fs(root.path()).await;
    assert_eq!(store.get(&name("my-key")).await.unwrap(), value("value"));
    assert_eq!(store.list("", None, 10).await.unwrap(), [name("my-key")]);
}

#[tokio::test]
async fn only_keys_are_listed() {
    let root = tempdir().unwrap();
    let store = support::fs(root.path()).await;
    for text in [".hidden", "lost+found", "a.bak", "b~", "-c", "d-", "_", ".keyway-1-2-3.tmp", "ü"] {
        fs::write(root.path().join(text), "x").unwrap();
    }
    fs::create_dir(root.path().join("directory")).unwrap();
    symlink("directory", root.path().join("to-directory")).unwrap();
    // A program that reads all keys should report the damage, not miss the key.
    symlink("nothing", root.path().join("dangling")).unwrap();
    fs::write(root.path().join("key"), "x").unwrap();
    assert_eq!(store.list("", None, 100).await.unwrap(), [name("dangling"), name("key")]);
}

#[tokio::test]
async fn old_temporary_files_are_removed_at_the_next_start() {
    let root = tempdir().unwrap();
    let file = |text: &str, age_seconds: u64| {
        let file = fs::File::create(root.path().join(text)).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(age_seconds)).unwrap();
    };
    file(".keyway-1a-2b-0.tmp", 3_700);
    file(".keyway-1a-2b-1.tmp", 3_500);
    file(".keyway-notes.tmp", 9_000);
    file(".other", 9_000);
    file("key", 9_000);
    support::fs(root.path()).await;
    assert_eq!(file_names(root.path()), [".keyway-1a-2b-1.tmp", ".keyway-notes.tmp", ".other", "key"]);
}

#[tokio::test]
async fn a_create_that_was_killed_after_the_link_has_happened() {
    let root = tempdir().unwrap();
    let temporary = root.path().join(".keyway-1a-2b-0.tmp");
    fs::write(&temporary, "value").unwrap();
    fs::hard_link(&temporary, root.path().join("my-key")).unwrap();
    let store = support::fs(root.path()).await;
    assert_eq!(store.get(&name("my-key")).await.unwrap(), value("value"));
    let created = store.create(&name("my-key"), &value("other")).await;
    assert!(matches!(created, Err(StoreError::AlreadyExists)), "{created:?}");
    fs::File::open(&temporary).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let store = support::fs(root.path()).await;
    assert_eq!(store.get(&name("my-key")).await.unwrap(), value("value"));
    assert_eq!(file_names(root.path()), ["my-key"]);
}

/// All ways in which the path can cease to lead to the directory that was opened.
#[tokio::test]
async fn a_directory_that_is_gone_or_replaced_is_unavailable_and_not_empty() {
    let ways: [(&str, Accident); 4] = [
        ("removed", |keys, _| fs::remove_dir_all(keys).unwrap()),
        ("renamed", |keys, other| fs::rename(keys, other).unwrap()),
        ("replaced", |keys, other| {
            fs::rename(keys, other).unwrap();
            fs::create_dir(keys).unwrap();
        }),
        ("removed and created again", |keys, _| {
            fs::remove_dir_all(keys).unwrap();
            fs::create_dir(keys).unwrap();
        }),
    ];
    for (way, act) in ways {
        let root = tempdir().unwrap();
        let (keys, other) = (root.path().join("keys"), root.path().join("other"));
        let store = support::fs(&keys).await;
        store.create(&name("my-key"), &value("value")).await.unwrap();
        act(&keys, &other);
        let (key, new) = (name("absent"), value("new"));
        for reason in [
            unavailable(store.get(&key).await),
            unavailable(store.create(&key, &new).await),
            unavailable(store.delete(&key).await),
            unavailable(store.list("", None, 10).await),
            unavailable(store.ping().await),
        ] {
            assert!(
                reason.contains(keys.to_str().unwrap()) && reason.contains("since it was opened"),
                "{way}: {reason}"
            );
        }
        let empty = |path: &Path| !path.exists() || file_names(path).is_empty();
        assert!(empty(&keys), "{way}");
        assert!(!other.exists() || file_names(&other) == ["my-key"], "{way}");
    }
}

#[tokio::test]
async fn a_failed_write_leaves_nothing_behind_and_reports_what_to_do() {
    if let Some(path) = limited() {
        let store = support::fs(&path).await;
        for _ in 0..2 {
            let reason = unavailable(store.create(&name("new"), &value("value")).await);
            assert!(reason.contains(path.to_str().unwrap()) && reason.contains("File too large"), "{reason}");
            assert!(reason.ends_with("raise the limit on file sizes (ulimit -f)"), "{reason}");
        }
        assert!(matches!(store.get(&name("new")).await, Err(StoreError::NotFound)));
        assert_eq!(store.get(&name("old")).await.unwrap(), value("value"));
        return;
    }
    let root = tempdir().unwrap();
    support::fs(root.path()).await.create(&name("old"), &value("value")).await.unwrap();
    run_limited(
        "trap '' XFSZ; ulimit -f 0",
        "fs::a_failed_write_leaves_nothing_behind_and_reports_what_to_do",
        root.path(),
    );
    assert_eq!(file_names(root.path()), ["old"]);
}

/// Nobody can create files in `/sys`, not even the superuser, to whom file modes do not apply.
#[tokio::test]
async fn a_read_only_directory_can_be_read_but_not_written() {
    let store = support::fs(Path::new("/sys")).await;
    store.ping().await.unwrap();
    assert!(matches!(store.get(&name("absent")).await, Err(StoreError::NotFound)));
    let reason = unavailable(store.create(&name("my-key"), &value("value")).await);
    assert!(reason.starts_with("cannot create a key in '/sys': ") && reason.contains("; "), "{reason}");
}

#[tokio::test]
async fn a_path_that_is_not_a_directory_is_an_error_at_start() {
    let root = tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    symlink("nothing", root.path().join("dangling")).unwrap();
    for path in [file.clone(), file.join("below"), root.path().join("dangling")] {
        let reason = open_error(&path).await;
        assert!(reason.contains(path.to_str().unwrap()), "{reason}");
    }
    open_error(Path::new("")).await;
}

#[tokio::test]
async fn an_empty_or_missing_directory_that_contained_keys_is_an_error_at_start() {
    let root = tempdir().unwrap();
    let (marker, volume) = (root.outer.path().join(".keys.keyway"), root.outer.path().join("volume"));
    let store = support::fs(root.path()).await;
    assert!(!marker.exists(), "an empty directory has none");
    store.create(&name("my-key"), &value("value")).await.unwrap();
    assert_eq!(mode(&marker), 0o600);
    // As when the volume is not mounted.
    fs::rename(root.path(), &volume).unwrap();
    let missing = open_error(root.path()).await;
    assert!(missing.contains("is missing, but contained keys before (marker '"), "{missing}");
    assert!(!root.path().exists());
    fs::create_dir(root.path()).unwrap();
    let empty = open_error(root.path()).await;
    assert!(empty.contains("is empty, but contained keys before") && empty.contains("delete the marker"), "{empty}");
    assert!(empty.contains(marker.to_str().unwrap()), "{empty}");
    fs::remove_dir(root.path()).unwrap();
    fs::rename(&volume, root.path()).unwrap();
    assert_eq!(support::fs(root.path()).await.get(&name("my-key")).await.unwrap(), value("value"));
    // Reading only, as a backup does, leaves no marker.
    fs::remove_file(&marker).unwrap();
    let config = BackendConfig::Fs { path: root.path().to_owned() };
    assert!(config.open_existing().await.unwrap().is_some() && !marker.exists());
    support::fs(root.path()).await;
    // On purpose.
    fs::remove_file(root.path().join("my-key")).unwrap();
    open_error(root.path()).await;
    fs::remove_file(&marker).unwrap();
    support::fs(root.path()).await.ping().await.unwrap();
}

#[tokio::test]
async fn a_directory_is_marked_when_it_has_keys_and_no_longer_when_the_last_is_deleted() {
    let root = tempdir().unwrap();
    let marker = root.outer.path().join(".keys.keyway");
    fs::write(root.path().join("of-kes"), "value").unwrap();
    let store = support::fs(root.path()).await;
    assert!(marker.exists());
    store.create(&name("my-key"), &value("value")).await.unwrap();
    store.delete(&name("my-key")).await.unwrap();
    assert!(marker.exists());
    store.delete(&name("of-kes")).await.unwrap();
    assert!(!marker.exists());
    support::fs(root.path()).await.create(&name("my-key"), &value("value")).await.unwrap();
    assert!(marker.exists());
    assert_eq!(file_names(root.path()), ["my-key"]);
}

/// `strace` makes every fsync of the directory fail, until it is ended.
#[tokio::test]
async fn a_key_whose_deletion_could_not_be_synced_is_not_reported_as_not_found() {
    let test = "fs::a_key_whose_deletion_could_not_be_synced_is_not_reported_as_not_found";
    let Some(path) = limited() else {
        let found = std::process::Command::new("strace").arg("-V").output();
        assert!(found.is_ok(), "strace is not installed: ./setup --tests");
        let root = tempdir().unwrap();
        fs::write(root.path().join("my-key"), "value").unwrap();
        let inject = "trace=fsync -e inject=fsync:error=EIO";
        run_limited_by(
            &format!("strace -D -f -o /dev/null -P '{}' -e {inject}", root.path().display()),
            test,
            root.path(),
        );
        return;
    };
    let store = support::fs(&path).await;
    let key = name("my-key");
    for reason in [
        unavailable(store.delete(&key).await),
        unavailable(store.delete(&key).await),
        unavailable(store.get(&key).await),
        unavailable(store.list("", None, 10).await),
    ] {
        assert!(reason.starts_with("cannot make a deletion durable in '"), "{reason}");
    }
    assert!(!path.join("my-key").exists());
    assert!(matches!(store.get(&name("other")).await, Err(StoreError::NotFound)), "another name is not concerned");
    let tracer = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap().trim().to_owned()
    };
    assert!(std::process::Command::new("kill").args(["-KILL", &tracer()]).status().unwrap().success());
    let is_ended = || std::future::ready(tracer() == "0");
    until(Duration::from_secs(20), || "strace does not end".to_owned(), is_ended).await;
    assert!(matches!(store.get(&key).await, Err(StoreError::NotFound)));
    assert!(matches!(store.delete(&key).await, Err(StoreError::NotFound)));
    store.create(&key, &value("new")).await.unwrap();
    assert_eq!(store.list("", None, 10).await.unwrap(), [key]);
}

#[tokio::test]
async fn what_root_creates_in_a_directory_of_another_user_belongs_to_that_user() {
    let root = tempdir().unwrap();
    if !support::is_root("fs::what_root_creates_in_a_directory_of_another_user_belongs_to_that_user") {
        return;
    }
    let new = root.path().join("deep/keys");
    for path in [root.path(), &new] {
        std::os::unix::fs::chown(root.path(), Some(1234), Some(2345)).unwrap();
        support::fs(path).await.create(&name("my-key"), &value("value")).await.unwrap();
        let marker = path.parent().unwrap().join(".keys.keyway");
        for created in [path.to_owned(), path.join("my-key"), marker] {
            let metadata = fs::metadata(&created).unwrap();
            assert_eq!((metadata.uid(), metadata.gid()), (1234, 2345), "{}", created.display());
        }
    }
}
