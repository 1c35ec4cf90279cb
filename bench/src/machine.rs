//! What the figures were measured on and with.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::program::Program;

/// The machine and the programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) cpu: String,
    /// Cores that may be used.
    pub(crate) cores: usize,
    /// Which of them did what.
    pub(crate) placement: String,
    /// MiB of memory.
    pub(crate) memory_mib: u64,
    /// The system's kernel.
    pub(crate) kernel: String,
    /// The compiler.
    pub(crate) rustc: String,
    /// Processes that wanted to run, on average over the last minute, when the bench began: what else was going on.
    pub(crate) load_average: String,
    /// The commit of this repository.
    pub(crate) commit: String,
    /// The programs, each with what it says of its version.
    pub(crate) programs: Vec<String>,
}

impl Machine {
    /// This one.
    pub(crate) fn describe(cores: &Cores, programs: &[Program]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let uname = rustix::system::uname();
        Self {
            cpu: cpu_in(&read("/proc/cpuinfo")).unwrap_or_else(|| uname.machine().to_string_lossy().into_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from).max(cores.count()),
            placement: cores.describe(),
            memory_mib: memory_in(&read("/proc/meminfo")).unwrap_or_default(),
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            rustc: said_by("rustc", &["--version"]),
            load_average: read("/proc/loadavg").split_ascii_whitespace().next().unwrap_or_default().to_owned(),
            commit: said_by("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]),
            programs: programs
                .iter()
                .map(|program| format!("{}: {}", program.kind.name(), program.version()))
                .collect(),
        }
    }
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let said = Command::new(program).args(arguments).output();
    said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn cpu_in(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_and_memory_are_read_from_the_system() {
        assert_eq!(cpu_in("processor\t: 0\nmodel name\t: A 9 @ 2 GHz\n").as_deref(), Some("A 9 @ 2 GHz"));
        assert_eq!(cpu_in("processor\t: 0\n"), None);
        assert_eq!(memory_in("MemTotal:       2048 kB\n"), Some(2));
    }
}
