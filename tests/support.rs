//! What tests start and speak with: [`Server`] is a child process, [`Client`] a certificate, [`Raw`] a
//! connection for bytes that no HTTP client sends, [`Events`] an open stream of them.

pub mod bench;
pub mod client;
pub mod events;
pub mod heavy;
pub mod openssl;
pub mod program;
pub mod raw;
pub mod server;
pub mod shell;
pub mod stores;

pub use crate::services::eventually::{eventually, eventually_blocking, until};
pub use bench::Bench;
pub use client::Client;
pub use events::Events;
pub use heavy::heavy;
pub use program::Program;
pub use raw::Raw;
pub use server::{Server, Setup};
pub use shell::Shell;
