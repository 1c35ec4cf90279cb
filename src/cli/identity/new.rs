//! `keyway identity new`: creates an Ed25519 key pair, as an API key or as files.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use backends::path::parent;
use pkcs8::der::Decode as _;
use pkcs8::{PrivateKeyInfoRef, pkcs5::pbes2};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::PrivatePkcs8KeyDer;
use zeroize::Zeroizing;

use crate::cli::exit::Usage;
use crate::cli::terminal;
use crate::cli::terminal::output::{BOLD, Form, Output};
use crate::cli::whole_file::{PRIVATE, PUBLIC, WholeFile, exists};
use crate::config::duration::GoDuration;
use crate::identity::api_key::ApiKey;

/// Iterations of PBKDF2 with SHA-256 (the OWASP recommendation of 2023), and the lengths of salt and IV in bytes.
const ITERATIONS: u32 = 600_000;
const SALT_LEN: usize = 16;
const IV_LEN: usize = 16;

/// The arguments of `keyway identity new`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --key and --cert, an API key is printed once and not stored anywhere. The certificate is \
                        valid for clients, and with --ip or --dns also for servers.\n\n\
                        Examples:\n  keyway identity new\n  \
                        keyway identity new --key app.key --cert app.cert --encrypt\n  keyway identity new --key \
                        server.key --cert server.cert --dns localhost --ip 127.0.0.1 --expiry 8760h"
)]
pub(super) struct Args {
    /// Common name of the certificate. Default: the identity.
    #[arg(requires = "cert")]
    name: Option<String>,
    /// Write the private key to this file, readable only by you.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Write the certificate to this file.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Encrypt the private key with a password; prompts for it.
    #[arg(long, requires = "key")]
    encrypt: bool,
    /// Replace existing files.
    #[arg(short, long)]
    force: bool,
    /// IP address of a server that uses the certificate; may be repeated.
    #[arg(long, value_name = "IP", requires = "cert")]
    ip: Vec<IpAddr>,
    /// DNS name of a server that uses the certificate; may be repeated.
    #[arg(long, value_name = "NAME", requires = "cert")]
    dns: Vec<String>,
    /// Validity period of the certificate, such as 720h. Default: unlimited.
    #[arg(long, value_name = "DURATION", requires = "cert")]
    expiry: Option<GoDuration>,
    /// Print a JSON object with the identity, and without --key and --cert also the API key.
    #[arg(long)]
    json: bool,
}

/// What a certificate says besides its key.
#[derive(Debug, Default)]
pub(in crate::cli) struct Subject {
    /// The common name; without it the identity.
    pub(in crate::cli) name: Option<String>,
    pub(in crate::cli) ip: Vec<IpAddr>,
    pub(in crate::cli) dns: Vec<String>,
    /// How long it is valid; without it, it does not expire.
    pub(in crate::cli) expiry: Option<GoDuration>,
}

/// The files of a key pair.
#[derive(Debug)]
pub(in crate::cli) struct Files<'a> {
    pub(in crate::cli) key: &'a Path,
    pub(in crate::cli) certificate: &'a Path,
    /// Whether the private key is encrypted, with a password that is asked for.
    pub(in crate::cli) encrypt: bool,
    /// Whether files that exist are replaced.
    pub(in crate::cli) force: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let subject = Subject { name: args.name.clone(), ip: args.ip.clone(), dns: args.dns.clone(), expiry: args.expiry };
    let files = match (&args.key, &args.cert) {
        (Some(key), Some(certificate)) => Some(Files { key, certificate, encrypt: args.encrypt, force: args.force }),
        _ => None,
    };
    let api_key = create(&subject, files.as_ref())?;
    let (text, identity) = (api_key.to_text(), api_key.identity());
    let mut output = Output::new(args.json);
    match (&files, output.form) {
        (None, Form::Json) => output.line(format!(r#"{{"api_key":"{}","identity":"{identity}"}}"#, text.as_str()))?,
        (None, Form::Plain) => output.fields(&[("api_key", text.to_string()), ("identity", identity.to_string())])?,
        (None, Form::Table) => {
            output.line(format!(
                "Your API key. It is a secret and will not be shown again:\n\n  {BOLD}{}{BOLD:#}\n",
                *text
            ))?;
            output.line(format!(
                "Your identity. It is not a secret; add it to a policy of the server:\n\n  {identity}\n"
            ))?;
            output.line("To use the API key:\n\n  export KES_API_KEY=kes:v1:...")?;
        }
        (Some(_), Form::Json) => output.json(&serde_json::json!({ "identity": identity }))?,
        (Some(_), Form::Plain) => output.line(identity.as_str())?,
        (Some(files), Form::Table) => {
            let (key, certificate) = (files.key.display().to_string(), files.certificate.display().to_string());
            output.fields(&[("Private key", key), ("Certificate", certificate), ("Identity", identity.to_string())])?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates an identity, and writes both files, or neither.
pub(in crate::cli) fn create(subject: &Subject, files: Option<&Files<'_>>) -> anyhow::Result<ApiKey> {
    let Some(files) = files else { return Ok(ApiKey::generate()?) };
    let (key_file, certificate_file) = (files.key, files.certificate);
    if key_file == certificate_file {
        bail!(Usage("--key and --cert are the same file; choose two files".to_owned()));
    }
    // Before the password prompt.
    if let Some(file) = [key_file, certificate_file].into_iter().find(|file| file.symlink_metadata().is_ok())
        && !files.force
    {
        bail!(exists(file));
    }
    // With --force: only regular files are replaced, and the two files must be different.
    for file in [key_file, certificate_file] {
        if file.symlink_metadata().is_ok_and(|metadata| !metadata.is_file()) {
            bail!(Usage(format!("'{}' exists and is not a regular file; choose another name", file.display())));
        }
    }
    if place(key_file).is_some_and(|key| Some(key) == place(certificate_file)) {
        bail!(Usage("--key and --cert are the same file; choose two files".to_owned()));
    }
    let api_key = ApiKey::generate()?;
    let certificate = certificate(subject, &api_key)?;
    let key = if files.encrypt { encrypted(&api_key, &new_password()?)? } else { api_key.key_pem() };
    let key = WholeFile::write(key_file, key.as_bytes(), PRIVATE)?;
    let certificate = WholeFile::write(certificate_file, certificate.as_bytes(), PUBLIC)?;
    key.publish(files.force)?;
    if let Err(error) = certificate.publish(files.force) {
        if !files.force {
            let _ = std::fs::remove_file(key_file); // just created, and useless without its certificate
        }
        return Err(error);
    }
    Ok(api_key)
}

/// The canonical path of a file that need not exist.
fn place(file: &Path) -> Option<PathBuf> {
    Some(parent(file).canonicalize().ok()?.join(file.file_name()?))
}

fn certificate(subject: &Subject, api_key: &ApiKey) -> anyhow::Result<String> {
    let is_plain =
        subject.name.is_none() && subject.ip.is_empty() && subject.dns.is_empty() && subject.expiry.is_none();
    if is_plain {
        return Ok(api_key.certificate_pem());
    }
    let mut params = CertificateParams::new(subject.dns.clone()).context("--dns: not a valid DNS name")?;
    params.subject_alt_names.extend(subject.ip.iter().copied().map(SanType::IpAddress));
    let name = subject.name.clone().unwrap_or_else(|| api_key.identity().to_string());
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !subject.ip.is_empty() || !subject.dns.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31); // unlimited (RFC 5280 section 4.1.2.5)
    if let Some(GoDuration(expiry)) = subject.expiry {
        let now = time::OffsetDateTime::now_utc();
        // Clocks differ: with the current time as its start, some would consider it not yet valid.
        params.not_before = now - Duration::from_mins(5);
        params.not_after = now + expiry; // 292 years at most
    }
    let (_, key) = api_key.client_certificate();
    let key =
        KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key.secret_pkcs8_der()), &rcgen::PKCS_ED25519)?;
    Ok(params.self_signed(&key)?.pem())
}

/// Prompts for a new password twice.
fn new_password() -> anyhow::Result<Zeroizing<String>> {
    let prompt = |text| {
        let answer = terminal::prompt_secret(text)?;
        answer.ok_or_else(|| {
            anyhow!(Usage("--encrypt needs a password, but there is no terminal to prompt for it".to_owned()))
        })
    };
    let password = prompt("Password for the new private key (not shown): ")?;
    if password.expose().is_empty() {
        bail!("the password is empty; omit --encrypt to create a private key without a password");
    }
    if prompt("Repeat the password: ")? != password {
        bail!("the passwords do not match; nothing was written");
    }
    Ok(Zeroizing::new(password.expose().to_owned()))
}

/// The private key in PKCS#8, encrypted like openssl does: PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC (RFC 8018).
fn encrypted(api_key: &ApiKey, password: &str) -> anyhow::Result<Zeroizing<String>> {
    let (mut salt, mut iv) = ([0; SALT_LEN], [0; IV_LEN]);
    for bytes in [&mut salt[..], &mut iv[..]] {
        aws_lc_rs::rand::fill(bytes).map_err(|_| anyhow!("the system random number generator failed"))?;
    }
    let failed = |error: &dyn std::fmt::Display| anyhow!("cannot encrypt the private key: {error}");
    let parameters =
        pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ITERATIONS, &salt, iv).map_err(|error| failed(&error))?;
    let (_, key) = api_key.client_certificate();
    let key = PrivateKeyInfoRef::from_der(key.secret_pkcs8_der()).map_err(|error| failed(&error))?;
    let der = key.encrypt_with_params(parameters, password).map_err(|error| failed(&error))?;
    let section = pem::Pem::new("ENCRYPTED PRIVATE KEY", der.as_bytes());
    let form = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    Ok(Zeroizing::new(pem::encode_config(&section, form)))
}
