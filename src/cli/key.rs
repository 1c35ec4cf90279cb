//! `keyway key`: the commands on keys, one file each.

mod create;
mod decrypt;
mod dek;
mod encrypt;
mod hmac;
mod import;
mod info;
mod ls;
mod restore;
mod rm;

use std::process::ExitCode;

use clap::Subcommand;

/// The arguments of `keyway key`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway key create my-key")]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create keys.
    Create(create::Args),
    /// Import an existing key.
    Import(import::Args),
    /// Show the properties of keys.
    Info(info::Args),
    /// List keys.
    Ls(ls::Args),
    /// Delete keys.
    Rm(rm::Args),
    /// Restore a deleted key from the trash of a keystore, without a server.
    Restore(restore::Args),
    /// Encrypt a message.
    Encrypt(encrypt::Args),
    /// Decrypt a ciphertext.
    Decrypt(decrypt::Args),
    /// Generate a data key, in plaintext and encrypted.
    Dek(dek::Args),
    /// Compute the HMAC of a message.
    Hmac(hmac::Args),
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Create(args) => create::run(args),
        Command::Import(args) => import::run(args),
        Command::Info(args) => info::run(args),
        Command::Ls(args) => ls::run(args),
        Command::Rm(args) => rm::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Encrypt(args) => encrypt::run(args),
        Command::Decrypt(args) => decrypt::run(args),
        Command::Dek(args) => dek::run(args),
        Command::Hmac(args) => hmac::run(args),
    }
}
