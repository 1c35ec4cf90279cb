//! `keyway policy template NAME`: policies for well-known clients, to be put in a config file.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::ValueEnum;

use crate::cli::exit::Usage;
use crate::cli::terminal::output::Output;

/// The arguments of `keyway policy template`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  keyway policy template minio --prefix minio- --identity \
                        \"$(keyway identity of minio.cert)\" >> config.yml")]
pub(super) struct Args {
    /// The client.
    #[arg(value_enum)]
    client: Client,
    /// What the names of its keys begin with. Without it, it may use all keys.
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: String,
    /// Identity of the client, as keyway identity of tells it; several times for several.
    #[arg(long, value_name = "IDENTITY")]
    identity: Vec<String>,
    /// Name of the policy.
    #[arg(long, default_value = "minio")]
    name: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Client {
    /// MinIO and its forks, with SSE-KMS and SSE-S3.
    Minio,
}

/// What MinIO asks of a key server and why: all calls of its KES connection (`internal/kms/kes.go` of the releases of
/// 2025 and 2026) that some code of MinIO reaches. It never imports, encrypts or deletes.
const MINIO: [(&str, &str); 8] = [
    (
        "MinIO makes its default key (MINIO_KMS_KES_KEY_NAME) at its start when there is none, and\nothers for `mc admin kms key create`.",
        "/v1/key/create/{prefix}*",
    ),
    (
        "A data key for each object, bucket config and IAM file that it encrypts, and as a health check.",
        "/v1/key/generate/{prefix}*",
    ),
    ("The data key of what it reads.", "/v1/key/decrypt/{prefix}*"),
    ("Every 10 s for its default key, so that the key stays in the server's cache.", "/v1/key/describe/{prefix}*"),
    ("Root credentials from the default key, when none are set and root access is off.", "/v1/key/hmac/{prefix}*"),
    ("`mc admin kms key list` and the console.{list}", "/v1/key/list/{prefix}*"),
    ("`mc admin info`, `mc admin kms key status` and the console: whether the server is there.", "/v1/status"),
    ("The list of APIs, for the console.", "/v1/api"),
];

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if !backends::is_valid_prefix(&args.prefix) {
        bail!(Usage(format!("no key name begins with '{}': use 0-9 A-Z a-z _ -, with no - first", args.prefix)));
    }
    if !backends::Name::is_valid(&args.name) {
        bail!(Usage(format!(
            "the policy name {}",
            backends::Name::parse(&args.name).err().map_or_else(String::new, |error| error.to_string())
        )));
    }
    let text = match args.client {
        Client::Minio => minio(args),
    };
    Output::new(false).text(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn minio(args: &Args) -> String {
    let mut text = format!(
        "# What MinIO needs of a key server, and nothing else. Made by keyway policy template minio.\n\
         policy:\n  {}:\n    allow:\n",
        args.name
    );
    let list = match args.prefix.as_str() {
        "" => String::new(),
        prefix => format!(" With a pattern that begins with\n{prefix} alone: a list of all keys is refused."),
    };
    for (why, rule) in MINIO {
        for line in why.replace("{list}", &list).lines() {
            let _ = writeln!(text, "      # {line}"); // writing to a String cannot fail
        }
        let _ = writeln!(text, "      - {}", rule.replace("{prefix}", &args.prefix));
    }
    text.push_str("    identities:\n");
    if args.identity.is_empty() {
        text.push_str(
            "      # What `keyway identity of` says of MINIO_KMS_KES_API_KEY or MINIO_KMS_KES_CERT_FILE.\n      \
             - ${MINIO_IDENTITY}\n",
        );
    }
    for identity in &args.identity {
        let _ = writeln!(text, "      - {identity}");
    }
    text
}
