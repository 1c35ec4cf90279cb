//! CPU cores: which ones the servers run on, and which ones the load generator.

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of this machine, split in two disjoint parts if there are at least two.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    all: Vec<usize>,
}

impl Cores {
    /// Determines the cores that this process may use, and pins it to those of the load.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot determine which cores may be used")?;
        let cores = Self { all: (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect() };
        pin(&cores.load(1))?;
        Ok(cores)
    }

    /// The cores of a server: the first `threads` ones.
    pub(crate) fn server(&self, threads: usize) -> Vec<usize> {
        self.all.iter().copied().take(threads.max(1)).collect()
    }

    /// The cores that a server with `threads` threads leaves free; all cores if it leaves none.
    pub(crate) fn load(&self, threads: usize) -> Vec<usize> {
        let rest: Vec<_> = self.all.iter().copied().skip(threads.max(1)).collect();
        if rest.is_empty() { self.all.clone() } else { rest }
    }

    /// Runs `spawn` on the cores of a server, so that the process that it starts inherits them.
    pub(crate) fn on_server<T>(&self, threads: usize, spawn: impl FnOnce() -> T) -> anyhow::Result<T> {
        pin(&self.server(threads))?;
        let result = spawn();
        pin(&self.load(threads))?;
        Ok(result)
    }

    /// The number of cores.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// The text for the report.
    pub(crate) fn describe(&self) -> String {
        format!("server on {:?}, load on {:?}", self.server(1), self.load(1))
    }
}

fn pin(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot pin the process to cores {cores:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_load_use_different_cores_if_there_are_enough() {
        let cores = Cores { all: vec![2, 3, 5] };
        assert_eq!((cores.server(1), cores.load(1)), (vec![2], vec![3, 5]));
        assert_eq!((cores.server(2), cores.load(2)), (vec![2, 3], vec![5]));
        assert_eq!((cores.server(4), cores.load(4)), (vec![2, 3, 5], vec![2, 3, 5]));
    }
}
