//! The program: parses the command line, runs one command, turns its error into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use keyway::cli::Cli;

fn main() -> ExitCode {
    keyway::tls::install_provider();
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            keyway::cli::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
