//! `keyway identity of`: prints the identity of a certificate, a private key or an API key.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use backends::Secret;
use rustls::pki_types::PrivateKeyDer;

use crate::cli::exit::Usage;
use crate::cli::terminal;
use crate::cli::terminal::input::{Input, warn_of_secret};
use crate::cli::terminal::output::{Form, Output};
use crate::client::variables::{KEY_PASSWORD, KEY_PASSWORD_FILE};
use crate::identity::Identity;
use crate::identity::api_key::ApiKey;
use crate::tls::certificates;
use crate::tls::private_key::{self, PrivateKeyProblem};

/// The arguments of `keyway identity of`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A file may contain a certificate, a private key or an API key. The command works offline.\n\n\
                        Example:\n  keyway identity of app.cert")]
pub(super) struct Args {
    /// Files or API keys; default: standard input. Command lines are visible to other users; prefer a file.
    #[arg(value_name = "FILE or API KEY")]
    sources: Vec<String>,
    /// Print {"identity": ...} for each of them.
    #[arg(long)]
    json: bool,
}

/// The prefix of every API key.
const API_KEY: &str = "kes:v1:";

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let sources: Vec<_> = match args.sources.as_slice() {
        [] => vec!["-"],
        sources => sources.iter().map(String::as_str).collect(),
    };
    let mut output = Output::new(args.json);
    for source in sources {
        if source.starts_with(API_KEY) {
            warn_of_secret("API key");
        }
        let identity = identity_of(source)?;
        match output.form {
            Form::Json => output.json(&serde_json::json!({ "identity": identity }))?,
            Form::Plain | Form::Table => output.line(identity.as_str())?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The identity of an API key, or of the content of a file; `-` is standard input.
pub(in crate::cli) fn identity_of(source: &str) -> anyhow::Result<Identity> {
    if source.starts_with(API_KEY) {
        return of_text(source.as_bytes(), "command line");
    }
    let what = if source == "-" { "certificate, private key or API key" } else { "file" };
    let text = Input { what, argument: None, file: Some(Path::new(source)), secret: true }.read()?;
    of_text(&text, if source == "-" { "standard input" } else { source })
}

/// The identity of a certificate, private key or API key. The first certificate takes precedence over a private key in
/// the same file.
fn of_text(text: &[u8], source: &str) -> anyhow::Result<Identity> {
    let api_key = std::str::from_utf8(text).ok().map(str::trim).filter(|text| text.starts_with(API_KEY));
    if let Some(api_key) = api_key {
        return Ok(ApiKey::parse(api_key).with_context(|| format!("{source}: invalid API key"))?.identity());
    }
    let context = || format!("{source} does not contain a valid certificate, private key or API key");
    match certificates::parse(text) {
        Ok(certificates) => {
            let first = certificates.first().map(|certificate| Identity::of_certificate(certificate));
            first.transpose().with_context(context)?.with_context(context)
        }
        Err(certificates::CertificateProblem::PrivateKey) => {
            let key = private_key(text, source)?;
            let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).with_context(context)?;
            Ok(Identity::of_public_key(&key.public_key().with_context(context)?))
        }
        Err(problem) => Err(problem).with_context(context),
    }
}

/// The private key in a file; the password of an encrypted one comes from the environment variables or a prompt.
fn private_key(text: &[u8], source: &str) -> anyhow::Result<PrivateKeyDer<'static>> {
    let problem = match private_key::parse(text, None) {
        Ok(key) => return Ok(key),
        Err(problem) => problem,
    };
    if !matches!(problem, PrivateKeyProblem::NoPassword) {
        return Err(problem).context(source.to_owned());
    }
    let Some(password) = password(source)? else {
        bail!(Usage(format!(
            "{source}: the private key is encrypted; set {KEY_PASSWORD} or {KEY_PASSWORD_FILE}, or use its certificate"
        )));
    };
    match private_key::parse(text, Some(password.expose().as_bytes())) {
        Err(PrivateKeyProblem::WrongPassword) => bail!("{source}: wrong password for the private key"),
        other => other.context(source.to_owned()),
    }
}

fn password(source: &str) -> anyhow::Result<Option<Secret>> {
    if let Ok(password) = std::env::var(KEY_PASSWORD) {
        return Ok(Some(Secret::from(password)));
    }
    if let Some(file) = std::env::var_os(KEY_PASSWORD_FILE) {
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("{KEY_PASSWORD_FILE}: {}", file.display()))?;
        let text = zeroize::Zeroizing::new(text);
        return Ok(Some(Secret::from(text.trim_end_matches(['\r', '\n']).to_owned())));
    }
    Ok(terminal::prompt_secret(&format!("Password for {source}: "))?)
}
