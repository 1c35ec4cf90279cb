//! Which cores the servers run on, and which the load.

use anyhow::Context as _;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of this machine, in two parts that share none where there are two or more.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    all: Vec<usize>,
}

impl Cores {
    /// The cores that this process may use; from now on it uses those of the load alone.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let allowed = sched_getaffinity(None).context("cannot ask which cores may be used")?;
        let cores = Self { all: (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect() };
        pin(&cores.load(1))?;
        Ok(cores)
    }

    /// The first `threads` cores: a server's.
    pub(crate) fn server(&self, threads: usize) -> Vec<usize> {
        self.all.iter().copied().take(threads.max(1)).collect()
    }

    /// The cores that a server of `threads` threads leaves; all, when it leaves none.
    pub(crate) fn load(&self, threads: usize) -> Vec<usize> {
        let rest: Vec<_> = self.all.iter().copied().skip(threads.max(1)).collect();
        if rest.is_empty() { self.all.clone() } else { rest }
    }

    /// Runs `spawn` on the cores of a server, for the process that it starts to inherit them.
    pub(crate) fn on_server<T>(&self, threads: usize, spawn: impl FnOnce() -> T) -> anyhow::Result<T> {
        pin(&self.server(threads))?;
        let result = spawn();
        pin(&self.load(threads))?;
        Ok(result)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// What is said about them in a report.
    pub(crate) fn describe(&self) -> String {
        format!("server on {:?}, load on {:?}", self.server(1), self.load(1))
    }
}

fn pin(cores: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    sched_setaffinity(None, &set).with_context(|| format!("cannot run on the cores {cores:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_and_load_share_no_core_where_there_are_enough() {
        let cores = Cores { all: vec![2, 3, 5] };
        assert_eq!((cores.server(1), cores.load(1)), (vec![2], vec![3, 5]));
        assert_eq!((cores.server(2), cores.load(2)), (vec![2, 3], vec![5]));
        assert_eq!((cores.server(4), cores.load(4)), (vec![2, 3, 5], vec![2, 3, 5]));
    }
}
