//! `keyway policy explain IDENTITY METHOD PATH`: whether a server would let it pass, and which rule decides.
//!
//! From a config file, which need not be in use anywhere, or from a running server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use percent_encoding::percent_decode_str;
use serde::Serialize;
use time::OffsetDateTime;

use crate::cli::connection::{Connection, block_on};
use crate::cli::exit::{self, Usage};
use crate::cli::output::{BAD, Form, GOOD, Output, printable};
use crate::client::answers::{IdentityInfo, Rules, SelfInfo};
use crate::client::{Client, ClientError, path};
use crate::config;
use crate::identity::Identity;
use crate::policy::{Decision, Policies, Policy, Refusal};
use crate::router::{Access, ROUTES, Route};

/// The arguments of `keyway policy explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 when it is allowed and 3 when it is refused. Without --config the server is \
                        asked; for your own identity any server tells, for others you need the right to read \
                        identities and policies.\n\nExample:\n  keyway policy explain \"$(keyway identity of app.cert)\" \
                        PUT /v1/key/create/my-key --config config.yml"
)]
pub(super) struct Args {
    /// Who asks: an identity, as keyway identity of tells it, or self.
    identity: String,
    /// With which method.
    method: String,
    /// For what, as in /v1/key/create/my-key.
    path: String,
    /// Explain by this config file instead of asking a server.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// What is added to a refusal by a server of an API that its config may open.
const UNLESS_OPEN: &str = " (unless the config opens this API with skip_auth, which --config FILE would tell)";

/// What became of the question, and why.
#[derive(Debug, Serialize)]
struct Verdict {
    identity: String,
    method: String,
    path: String,
    allowed: bool,
    /// The policy of the identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    /// The rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    /// The rule that came nearest, when none decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
    reason: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = decoded(&args.path)?;
    let route = route(&args.method, &path)?;
    let verdict = if let Some(file) = &args.config {
        let config = config::read(file)?;
        let skips = config.api.get(route.options_path()).is_some_and(|api| api.skip_auth);
        let identity = identity(&args.identity)?;
        let policies = Policies::new(config.admin, config.policies, config.identities, OffsetDateTime::now_utc());
        judge(route, &identity, &path, Some(skips), &policies)
    } else {
        let client = args.connection.client()?;
        block_on(async {
            let (identity, policies) = ask(&client, &args.identity).await?;
            Ok(judge(route, &identity, &path, None, &policies))
        })?
    };
    let verdict = Verdict { method: args.method.to_uppercase(), ..verdict };
    let mut output = Output::new(args.json);
    if output.form == Form::Json {
        output.json(&verdict)?;
    } else {
        let (style, word) = if verdict.allowed { (GOOD, "allowed") } else { (BAD, "refused") };
        output.line(format!("{style}{word}{style:#}: {}", printable(&verdict.reason)))?;
        let known = |name, value: Option<String>| value.map(|value| (name, value));
        let fields =
            [known("policy", verdict.policy), known("rule", verdict.rule), known("nearest rule", verdict.nearest)];
        output.fields(&fields.into_iter().flatten().collect::<Vec<_>>())?;
    }
    Ok(if verdict.allowed { ExitCode::SUCCESS } else { ExitCode::from(exit::DENIED) })
}

/// The path that rules are compared with: a whole URL and escapes are understood.
fn decoded(text: &str) -> anyhow::Result<String> {
    let path = match text.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or_else(|| "/".to_owned(), |(_, path)| format!("/{path}")),
        None => text.to_owned(),
    };
    match percent_decode_str(&path).decode_utf8() {
        Ok(path) => Ok(path.into_owned()),
        Err(_) => bail!(Usage(format!("the path {text} is not percent-encoded UTF-8"))),
    }
}

/// The API that a request reaches. One that reaches none is refused to everybody, so there is nothing to explain.
fn route(method: &str, path: &str) -> anyhow::Result<&'static Route> {
    let reaches = |route: &&Route| match path.strip_prefix(route.path) {
        Some(rest) => rest.is_empty() || route.path.ends_with('/'),
        None => false,
    };
    // The longest: /v1/identity/self/describe before any /v1/identity/... that takes an argument.
    let Some(route) = ROUTES.iter().filter(reaches).max_by_key(|route| route.path.len()) else {
        let like = |route: &&Route| strsim::normalized_damerau_levenshtein(path, route.path);
        let nearest = ROUTES.iter().max_by(|a, b| like(a).total_cmp(&like(b)));
        let nearest = nearest.map(|route| format!("; the nearest is {}", route.path)).unwrap_or_default();
        bail!(Usage(format!("no API has the path {path}{nearest}")));
    };
    let expected = route.method.as_str();
    let given = method.to_uppercase();
    if given != expected && !(given == "POST" && expected == "PUT") {
        bail!(Usage(format!(
            "{} takes {expected} and not {given}: every {given} of it is answered with 405",
            route.path
        )));
    }
    let argument = path.strip_prefix(route.path).unwrap_or_default();
    if route.path.ends_with('/') && !route.path.ends_with("/list/") && !backends::Name::is_valid(argument) {
        bail!(Usage(format!("'{argument}' is no valid name: every request for {path} is answered with 400")));
    }
    Ok(route)
}

fn identity(text: &str) -> anyhow::Result<Identity> {
    let identity = Identity::from_text(text);
    if !identity.can_match() {
        bail!(Usage(
            "the identity is not one: it has 64 digits of 0-9 a-f; keyway identity of tells that of a certificate, a \
             key or an API key"
                .to_owned()
        ));
    }
    Ok(identity)
}

/// What a running server knows of an identity.
async fn ask(client: &Client, text: &str) -> anyhow::Result<(Identity, Policies)> {
    let own = client.identity().filter(|own| text == "self" || own.as_str() == text);
    let (identity, admin, rules) = if let Some(own) = own {
        let this = known(client.get::<SelfInfo>("/v1/identity/self/describe").await)?;
        let (admin, rules) = this.map_or((false, None), |this| (this.admin, this.policy));
        (own.clone(), admin, rules)
    } else {
        let identity = identity(text)?;
        let info = known(client.get::<IdentityInfo>(&path("/v1/identity/describe/", text)).await)?;
        let (admin, policy) = info.map_or((false, None), |info| (info.admin, info.policy));
        let rules: Option<Rules> = match policy {
            Some(policy) => Some(client.get(&path("/v1/policy/read/", &policy)).await?),
            None => None,
        };
        (identity, admin, rules)
    };
    let admin = if admin { identity.clone() } else { Identity::from_text("") };
    let assigned = rules.iter().map(|rules| (identity.clone(), rules.name.clone())).collect::<Vec<_>>();
    let policies = rules.iter().map(|rules| (rules.name.clone(), rules.policy())).collect::<Vec<_>>();
    Ok((identity, Policies::new(admin, policies, assigned, OffsetDateTime::now_utc())))
}

/// What a server knows of an identity; nothing when its config does not name it.
fn known<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(info) => Ok(Some(info)),
        Err(ClientError::Api(failure)) if failure.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Decides as the server's gate does (`access.rs`). `skips` says whether the config opens the API to everybody; a server
/// does not tell.
fn judge(route: &Route, identity: &Identity, path: &str, skips: Option<bool>, policies: &Policies) -> Verdict {
    let policy = policies.of(identity).map(|(name, policy)| (name.to_string(), policy));
    let mut verdict = Verdict {
        identity: identity.to_string(),
        method: String::new(),
        path: path.to_owned(),
        allowed: true,
        policy: None,
        rule: None,
        nearest: None,
        reason: String::new(),
    };
    verdict.reason = match route.access {
        Access::Open => "this API is open to everybody".to_owned(),
        Access::Certificate => "every client with a certificate may ask this API about itself".to_owned(),
        Access::Skippable if skips == Some(true) => "the config opens this API to everybody (skip_auth)".to_owned(),
        _ if policies.is_admin(identity) => "it is the admin, which may do anything".to_owned(),
        _ => {
            // An alias passes by its own path or its original's, unless one of them is denied.
            let paths = [path, if route.path == route.options_path() { path } else { route.options_path() }];
            let refusals: Vec<_> = paths.iter().map(|path| policies.check(identity, path).err()).collect();
            let denied = refusals.iter().flatten().find(|refusal| matches!(refusal, Refusal::Denied { .. }));
            let refusal =
                denied.or(if refusals.contains(&None) { None } else { refusals.first().and_then(Option::as_ref) });
            verdict.allowed = refusal.is_none();
            match refusal {
                Some(Refusal::Denied { rule, .. }) => verdict.rule = Some(rule.to_string()),
                Some(Refusal::NoRule { nearest, .. }) => verdict.nearest = nearest.as_ref().map(ToString::to_string),
                Some(Refusal::NoPolicy(_)) => {}
                None => verdict.rule = policy.as_ref().and_then(|(_, rules)| allowing(rules, &paths)),
            }
            refusal.map_or_else(|| "a rule of its policy allows it".to_owned(), ToString::to_string)
        }
    };
    if !verdict.allowed && route.access == Access::Skippable && skips.is_none() {
        verdict.reason.push_str(UNLESS_OPEN);
    }
    verdict.policy = policy.map(|(name, _)| name);
    verdict
}

/// The rule that lets one of these paths pass.
fn allowing(policy: &Policy, paths: &[&str]) -> Option<String> {
    paths.iter().find_map(|path| match policy.decide(path) {
        Decision::Allowed(rule) => Some(rule.to_string()),
        _ => None,
    })
}
