//! The program: parses the command line, runs a command and turns its error into an exit code.

use std::process::ExitCode;

use keyway::cli::{Cli, exit};

fn main() -> ExitCode {
    keyway::tls::install_provider();
    match Cli::read().run() {
        Ok(code) => code,
        Err(error) => {
            if !exit::is_broken_pipe(&error) {
                keyway::cli::print_error(&error);
            }
            exit::code(&error)
        }
    }
}
