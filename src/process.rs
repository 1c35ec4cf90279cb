//! The interface to the operating system: protection of memory from core dumps and swapping, and resource usage.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing::{info, warn};

/// Keeps key material out of core dumps and swap as far as the system allows, and logs the result. Raises the limit on
/// open files to the hard limit.
pub fn harden() {
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    if let Err(error) = no_core.and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
        warn!(%error, "cannot disable core dumps, which would contain keys");
    }
    match lock_memory() {
        Ok(()) => info!("memory is locked; keys cannot be swapped to disk"),
        Err(reason) => info!(reason, "memory is not locked; keys may be swapped to disk"),
    }
    let files = getrlimit(Resource::Nofile);
    if files.current != files.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum })
    {
        warn!(%error, "cannot raise the limit on open files");
    }
}

/// Locks current and future mappings, but only without a limit on locked memory: under a limit, `mlockall(MCL_FUTURE)`
/// turns an allocation that exceeds it into an abort.
fn lock_memory() -> Result<(), &'static str> {
    let unlimited = getrlimit(Resource::Memlock).current.is_none();
    if !unlimited && !may_lock_without_limit() {
        return Err("set RLIMIT_MEMLOCK to unlimited, or grant CAP_IPC_LOCK");
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        .map_err(|_| "the system refused to lock it")
}

fn may_lock_without_limit() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

/// How many files, and therefore connections, the process may have open.
pub fn max_open_files() -> usize {
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Logical CPUs of the machine; at least 1.
pub fn cpus() -> usize {
    std::fs::read_to_string("/proc/cpuinfo")
        .map(|text| text.lines().filter(|line| line.starts_with("processor")).count())
        .ok()
        .filter(|count| *count > 0)
        .unwrap_or_else(usable_cpus)
}

/// Logical CPUs that this process may use; at least 1.
pub fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The current resource usage of the process. All 0 without `/proc`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Bytes of anonymous memory in RAM.
    pub heap: u64,
    /// Bytes of the main stack.
    pub stack: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Reads `/proc/self/status` (proc(5)).
    pub fn now() -> Self {
        let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| -> u64 {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|value| value.split_whitespace().next()?.parse().ok())
                .unwrap_or_default()
        };
        Self { heap: field("RssAnon") << 10, stack: field("VmStk") << 10, threads: field("Threads") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_uses_memory_and_threads() {
        let usage = Usage::now();
        assert!(usage.heap > 0 && usage.stack > 0 && usage.threads > 0, "{usage:?}");
        assert!(cpus() >= 1 && usable_cpus() >= 1);
    }
}
