//! The Go module `tests/interop`: its packages are test programs, which are built once and run one test at a time.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::services;

/// A package of the module.
#[derive(Clone, Copy, Debug)]
pub enum Package {
    /// The official SDK as a client of Keyway.
    Sdk,
    /// An S3 client of MinIO, which is a client of Keyway.
    Minio,
}

impl Package {
    fn name(self) -> &'static str {
        match self {
            Self::Sdk => "sdk",
            Self::Minio => "minio",
        }
    }

    /// The test program. The first test that needs it builds it, and the others wait.
    fn program(self) -> &'static Path {
        static SDK: OnceLock<PathBuf> = OnceLock::new();
        static MINIO: OnceLock<PathBuf> = OnceLock::new();
        let program = match self {
            Self::Sdk => &SDK,
            Self::Minio => &MINIO,
        };
        program.get_or_init(|| self.build())
    }

    fn build(self) -> PathBuf {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("interop-{}.test", self.name()));
        let built = Command::new(go())
            .args(["test", "-c", "-o"])
            .arg(&program)
            .arg(format!("./{}", self.name()))
            .current_dir(module())
            .output()
            .unwrap_or_else(|error| panic!("go: {error}: run ./setup --tests"));
        assert!(
            built.status.success(),
            "the Go tests are not built; ./setup --tests fetches what they need:\n{}",
            String::from_utf8_lossy(&built.stderr)
        );
        program
    }

    /// Runs a test of the package in this environment, asserts that it passes, and prints its output.
    #[expect(clippy::print_stdout, reason = "the tables of the Go tests")]
    pub fn test<V: AsRef<OsStr>>(self, name: &str, environment: impl IntoIterator<Item = (&'static str, V)>) -> String {
        let ended = Command::new(self.program())
            .args(["-test.v", "-test.timeout=170s", "-test.run"])
            .arg(format!("^{name}$"))
            .envs(environment)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{name} failed:\n{said}\n{errors}");
        // A test that does not exist has not succeeded.
        assert!(said.contains(&format!("--- PASS: {name} ")), "{name} was not run:\n{said}\n{errors}");
        for line in said.lines().filter(|line| line.contains(" | ")) {
            println!("{line}");
        }
        said
    }
}

/// The go command: the one that `./setup --tests` has installed, or else the system's.
fn go() -> PathBuf {
    let installed = services::tools().join("python/bin/go");
    if installed.is_file() { installed } else { PathBuf::from("go") }
}

fn module() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

#[test]
fn the_go_module_is_formatted_and_vetted_and_holds_nothing_of_minio_itself() {
    let run = |program: &Path, arguments: &[&str]| {
        let ended = Command::new(program).args(arguments).current_dir(module()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&ended.stderr));
        said
    };
    run(&go(), &["vet", "./..."]);
    let root = run(&go(), &["env", "GOROOT"]);
    assert_eq!(run(&Path::new(root.trim()).join("bin/gofmt"), &["-l", "."]), "", "not as gofmt has it");
    // Its licence is another one: it is only run. The SDK and the S3 client are libraries of their own.
    let modules = run(&go(), &["list", "-deps", "-test", "-f", "{{with .Module}}{{.Path}}{{end}}", "./..."]);
    assert!(modules.lines().any(|module| module == "github.com/minio/minio-go/v7"), "{modules}");
    assert!(!modules.lines().any(|module| module == "github.com/minio/minio"), "{modules}");
}
