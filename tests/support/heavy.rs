//! More tests run at once than there are CPUs, because most of them wait. Those that do not take turns: so they disturb
//! neither each other nor the tests that measure time.

use std::sync::{Condvar, Mutex, PoisonError};

/// How many heavy tests may run at a time: one for each CPU of a small machine.
const AT_A_TIME: usize = 2;

static RUNNING: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// A heavy test runs until this is dropped.
#[must_use]
pub struct Heavy(());

/// Waits for the turn of a test that keeps a CPU busy for seconds, or a disk with synced writes. It comes first in the test,
/// and once: a test that waits holds nothing that others wait for.
pub fn heavy() -> Heavy {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let is_full = |running: &mut usize| *running >= AT_A_TIME;
    *ENDED.wait_while(running, is_full).unwrap_or_else(PoisonError::into_inner) += 1;
    Heavy(())
}

impl Drop for Heavy {
    fn drop(&mut self) {
        *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}
