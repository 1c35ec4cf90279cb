//! The server's own rooms: connections, probes, reloads, the start, the service manager.

pub mod connections;
mod probe;
mod reload;
mod startup;
mod systemd;
