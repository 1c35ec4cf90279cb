//! What came of it: the table, and what must hold.

use std::time::Duration;

use super::load::{Row, Seen};
use super::{FAULTS, RECOVERY};
use crate::support::Server;

/// What a process uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Bytes of anonymous memory.
    memory: u64,
    /// Open file descriptors.
    files: usize,
}

impl Usage {
    /// Of a gateway now.
    pub fn of(server: &Server) -> Self {
        let proc = format!("/proc/{}", server.id());
        let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let memory = line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10;
        Self { memory, files: std::fs::read_dir(format!("{proc}/fd")).unwrap().count() }
    }
}

/// How much more memory a gateway may use after the soak than before: new keys in the cache, buffers of connections.
const GROWTH: u64 = 12 << 20;

/// Descriptors that may come and go: connections to the store.
const MORE_FILES: usize = 12;

/// How long a request for a key in use may take whatever happens: a quarter of a second for the store, and what a
/// loaded machine adds.
const HOT: Duration = Duration::from_millis(1500);

/// What fails at once on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Prints the table.
#[expect(clippy::print_stdout, reason = "this is what it is for")]
pub fn print(store: &str, seed: u64, report: &Seen, before: &[Usage], after: &[Usage]) {
    println!("soak | {store} | seed {seed}");
    println!(
        "soak | {store} | fault      | times | s     | requests | hot failed | hot worst ms | others failed        | \
         known fault: worst ms | recovered s"
    );
    for (fault, row) in &report.rows {
        let Row { times, requests, hot_failures, .. } = row;
        let fault = fault.map_or_else(|| "none".to_owned(), |fault| format!("{fault:?}"));
        let failures: Vec<_> = row.failures.iter().map(|(status, count)| format!("{status}: {count}")).collect();
        println!(
            "soak | {store} | {fault:<10} | {times:>5} | {:>5.1} | {requests:>8} | {hot_failures:>10} | {:>12} | {:<20} | \
             {:>21} | {:.2}",
            row.lasted.as_secs_f64(),
            row.hot_worst.as_millis(),
            failures.join(", "),
            row.failed_worst.as_millis(),
            row.recovery.as_secs_f64(),
        );
    }
    for (number, (before, after)) in before.iter().zip(after).enumerate() {
        println!(
            "soak | {store} | gateway {number}: memory {:.1} -> {:.1} MiB, descriptors {} -> {}, wrong answers {}",
            mib(before.memory),
            mib(after.memory),
            before.files,
            after.files,
            report.wrong.len()
        );
    }
}

/// Fails when something is not as it must be.
pub fn judge(store: &str, report: &Seen, before: &[Usage], after: &[Usage]) {
    assert!(report.wrong.is_empty(), "{store}: {:#?}", report.wrong);
    assert!(FAULTS.iter().all(|fault| report.rows.contains_key(&Some(*fault))), "{store}: not every fault came");
    for (fault, row) in &report.rows {
        assert_eq!(row.hot_failures, 0, "{store}, {fault:?}: keys in use failed");
        assert!(row.hot_worst < HOT, "{store}, {fault:?}: {:?} for a key in use", row.hot_worst);
        assert!(row.failed_worst < AT_ONCE, "{store}, {fault:?}: {:?} for a failure", row.failed_worst);
        assert!(row.recovery < RECOVERY, "{store}, {fault:?}: recovered in {:?}", row.recovery);
    }
    for (before, after) in before.iter().zip(after) {
        assert!(after.memory < before.memory + GROWTH, "{store}: memory grows: {before:?} {after:?}");
        assert!(after.files <= before.files + MORE_FILES, "{store}: descriptors grow: {before:?} {after:?}");
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
