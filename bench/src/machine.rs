//! The machine and the programs of a measurement.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::cores::Cores;
use crate::program::Program;

/// The machine and the programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The name of the CPU.
    pub(crate) cpu: String,
    /// The number of usable cores.
    pub(crate) cores: usize,
    /// Which cores the server and the load ran on.
    pub(crate) placement: String,
    /// Memory in MiB.
    pub(crate) memory_mib: u64,
    /// The kernel.
    pub(crate) kernel: String,
    /// The compiler.
    pub(crate) rustc: String,
    /// The load average of the last minute before the benchmark started: other activity on the machine.
    pub(crate) load_average: String,
    /// The commit of this repository.
    pub(crate) commit: String,
    /// The programs, each with its version.
    pub(crate) programs: Vec<String>,
}

impl Machine {
    /// Describes this machine.
    pub(crate) fn describe(cores: &Cores, programs: &[Program]) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let uname = rustix::system::uname();
        Self {
            cpu: cpu_in(&read("/proc/cpuinfo")).unwrap_or_else(|| uname.machine().to_string_lossy().into_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from).max(cores.count()),
            placement: cores.describe(),
            memory_mib: memory_in(&read("/proc/meminfo")).unwrap_or_default(),
            kernel: format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy()),
            rustc: output_of("rustc", &["--version"]),
            load_average: read("/proc/loadavg").split_ascii_whitespace().next().unwrap_or_default().to_owned(),
            commit: output_of("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]),
            programs: programs
                .iter()
                .map(|program| format!("{}: {}", program.kind.name(), program.version()))
                .collect(),
        }
    }
}

fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
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
    fn cpu_and_memory_are_parsed_from_proc() {
        assert_eq!(cpu_in("processor\t: 0\nmodel name\t: A 9 @ 2 GHz\n").as_deref(), Some("A 9 @ 2 GHz"));
        assert_eq!(cpu_in("processor\t: 0\n"), None);
        assert_eq!(memory_in("MemTotal:       2048 kB\n"), Some(2));
    }
}
