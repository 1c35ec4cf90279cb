//! `keyway completion SHELL`: completion scripts for shells.

use std::process::ExitCode;

use clap::ValueEnum;
use clap_complete::aot::{Bash, Fish, Zsh, generate};

use super::terminal::output::Output;
use super::{Cli, program_name};

/// The arguments of `keyway completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway completion bash > /etc/bash_completion.d/keyway\n  \
                        keyway completion zsh > \"${fpath[1]}/_keyway\"\n  \
                        keyway completion fish > ~/.config/fish/completions/keyway.fish")]
pub(super) struct Args {
    /// Shell to generate the script for.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let name = program_name();
    let (mut command, mut script) = (Cli::command_as(name), Vec::new());
    match args.shell {
        Shell::Bash => generate(Bash, &mut command, name, &mut script),
        Shell::Zsh => generate(Zsh, &mut command, name, &mut script),
        Shell::Fish => generate(Fish, &mut command, name, &mut script),
    }
    Output::new(false).raw(&script)?;
    Ok(ExitCode::SUCCESS)
}
