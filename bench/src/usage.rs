//! Resource usage of a process, read from `/proc` (`man 5 proc`).

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Clock ticks per second in `/proc/PID/stat`: the value on every architecture that Keyway supports.
const TICKS: u64 = 100;

/// User and system CPU time of a process, including threads that have ended.
pub(crate) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}; check whether the server has exited"))?;
    cpu_in(&text).with_context(|| format!("{path} does not have the format of man 5 proc"))
}

fn cpu_in(stat: &str) -> Option<Duration> {
    // The program name is in parentheses and may contain any characters.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS))
}

/// Memory of a process in MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Memory {
    /// Currently resident.
    pub(crate) resident: f64,
    /// Peak resident memory since the last [`reset_peak`], or since the start if resetting is not permitted.
    pub(crate) peak: f64,
}

/// The resident memory of a process.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {path}; check whether the server has exited"))?;
    memory_in(&text).with_context(|| format!("{path} does not have the format of man 5 proc"))
}

fn memory_in(status: &str) -> Option<Memory> {
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(value.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
    };
    Some(Memory { resident: field("VmRSS:")?, peak: field("VmHWM:")? })
}

/// Resets the peak, if the system permits it.
pub(crate) fn reset_peak(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5"); // fails if the server runs as another user
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_parsed_after_a_name_with_spaces_and_parentheses() {
        let stat = "12 (a b) c) S 1 12 12 0 -1 4194560 500 0 0 0 250 31 7 9 20 0 3 0 100 1000 200";
        assert_eq!(cpu_in(stat), Some(Duration::from_millis(2810)));
        assert_eq!(cpu_in("12 (a) S 1"), None);
    }

    #[test]
    fn memory_is_parsed_in_mebibytes() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t   10752 kB\n";
        assert_eq!(memory_in(status), Some(Memory { resident: 10.5, peak: 20.0 }));
        assert_eq!(memory_in("VmRSS: 1 kB"), None);
    }

    #[test]
    fn the_cpu_time_of_this_process_grows() {
        let before = cpu(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_secs(2) && cpu(std::process::id()).unwrap() == before {}
        assert!(cpu(std::process::id()).unwrap() > before);
        assert!(memory(std::process::id()).unwrap().resident > 1.0);
    }
}
