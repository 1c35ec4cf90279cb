//! `kes identity ...`

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;
use serde_json::Value;

use super::connection::{Connection, Json, failed};
use super::{date, list};
use crate::cli::identity::{new, of};
use crate::cli::terminal::output::{Form, Output, printable};
use crate::client::path;
use crate::client::responses::{IdentityInfo, SelfInfo};
use crate::config::duration::GoDuration;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Args {
    /// A certificate, a private key or an API key whose identity is printed.
    #[arg(required = true, value_name = "FILE or API KEY")]
    source: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an identity.
    New(New),
    /// Print the identity of a certificate, a private key or an API key.
    Of {
        /// A file, or an API key.
        #[arg(value_name = "FILE or API KEY")]
        source: String,
        /// Without effect: there is one kind of identity.
        #[arg(long, hide = true)]
        hash: Option<String>,
    },
    /// Print information about an identity.
    Info {
        /// The identity. Without it, your own.
        identity: Option<String>,
        #[command(flatten)]
        json: Json,
        #[command(flatten)]
        connection: Connection,
    },
    /// List identities.
    Ls(list::Pattern),
}

/// The options of `kes identity new`.
#[derive(Debug, clap::Args)]
struct New {
    /// Common name of the certificate.
    name: Option<String>,
    /// Write the private key to this file.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Write the certificate to this file.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Replace files that exist.
    #[arg(short, long)]
    force: bool,
    /// IP addresses of the certificate.
    #[arg(long, value_name = "IP,...", value_delimiter = ',', action = clap::ArgAction::Append)]
    ip: Vec<std::net::IpAddr>,
    /// DNS names of the certificate.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', action = clap::ArgAction::Append)]
    dns: Vec<String>,
    /// How long the certificate is valid.
    #[arg(long, value_name = "DURATION")]
    expiry: Option<GoDuration>,
    /// Encrypt the private key with a password.
    #[arg(long)]
    encrypt: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        None => print_identity(args.source.as_deref().unwrap_or_default()),
        Some(Command::Of { source, .. }) => print_identity(&source),
        Some(Command::New(options)) => new_identity(options),
        Some(Command::Info { identity, connection, .. }) => info(identity.as_deref(), &connection),
        Some(Command::Ls(pattern)) => list::print(&pattern, "/v1/identity/list/", "Identity"),
    }
}

fn print_identity(source: &str) -> anyhow::Result<ExitCode> {
    let identity = of::identity_of(source)?;
    let mut output = Output::new(false);
    match output.form {
        Form::Table => output.text(&format!("Identity:\n\n   {identity}\n"))?,
        Form::Plain | Form::Json => output.text(identity.as_str())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The API key is printed when files are written, too: it is the same private key.
fn new_identity(options: New) -> anyhow::Result<ExitCode> {
    let files = match (options.key, options.cert) {
        (None, None) => None,
        (Some(key), Some(certificate)) => Some((key, certificate)),
        (Some(_), None) => return Err(anyhow!("no certificate file specified: use --cert FILE as well")),
        (None, Some(_)) => return Err(anyhow!("no private key file specified: use --key FILE as well")),
    };
    let subject = new::Subject { name: options.name, ip: options.ip, dns: options.dns, expiry: options.expiry };
    let pair = files.as_ref().map(|(key, certificate)| new::Files {
        key,
        certificate,
        encrypt: options.encrypt,
        force: options.force,
    });
    let api_key = new::create(&subject, pair.as_ref())?;
    Output::new(false).text(&format!(
        "Your API key:\n\n   {}\n\nYour Identity:\n\n   {}\n\n",
        api_key.to_text().as_str(),
        api_key.identity()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Text whatever `--json` says, as KES prints it.
fn info(identity: Option<&str>, connection: &Connection) -> anyhow::Result<ExitCode> {
    connection.with_client(async |client| {
        let what = "failed to describe identity";
        let answer: Value = match identity {
            Some(identity) => client.get(&path("/v1/identity/describe/", identity)).await.map_err(failed(what))?,
            None => client.get("/v1/identity/self/describe").await.map_err(failed(what))?,
        };
        let (identity, admin, policy) = if let Some(identity) = identity {
            let info = client.decode::<IdentityInfo>("identity/describe", &answer)?;
            (identity.to_owned(), info.admin, info.policy)
        } else {
            let info = client.decode::<SelfInfo>("identity/self/describe", &answer)?;
            (info.identity, info.admin, info.policy)
        };
        let field = |name: &str| printable(answer.get(name).and_then(Value::as_str).unwrap_or_default()).into_owned();
        // Writing to a String cannot fail.
        let mut text = format!("Identity    {}\n", printable(&identity));
        if let Some(policy) = policy.filter(|_| !admin) {
            let _ = writeln!(text, "Policy      {}", printable(&policy));
        }
        let _ = writeln!(text, "Created At  {}", date(&field("created_at")));
        text.push_str(if admin { "Role        Admin\n" } else { "Role        User\n" });
        if !admin {
            let _ = writeln!(text, "Created By  {}", field("created_by"));
        }
        Ok(Output::new(false).text(&text)?)
    })
}
