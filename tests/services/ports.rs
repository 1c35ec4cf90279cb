//! Ports for services that bind them by number.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Where the ports begin, and how many there are: below the range from which Linux takes ports for listeners on port 0
/// and for connections (32768 and up), so that neither takes one of these between two starts of a service.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Ports that one call hands out.
const STEP: u16 = 4;

/// The lowest of four consecutive ports that are free on every address, and handed out to nobody else in this process.
pub fn four_free() -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let groups = COUNT / STEP;
    let start = u16::try_from(std::process::id() % u32::from(groups)).unwrap();
    for _ in 0..groups {
        let group = (start + CALLS.fetch_add(1, Ordering::Relaxed) % groups) % groups;
        let lowest = FIRST + group * STEP;
        if (lowest..lowest + STEP).all(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok()) {
            return lowest;
        }
    }
    panic!("no four consecutive ports from {FIRST} to {} are free", FIRST + COUNT);
}
