//! `keyway policy explain IDENTITY METHOD PATH`: whether a server would allow a request, and which rule decides.
//!
//! Based on a config file, which need not be in use, or on a running server.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use axum::http::{Method, Uri};
use serde::Serialize;
use time::OffsetDateTime;

use crate::api::listing::Listing;
use crate::cli::connection::Query;
use crate::cli::exit::{self, Usage};
use crate::cli::terminal::output::{BAD, Form, GOOD, printable};
use crate::client::responses::{IdentityInfo, Rules, SelfInfo};
use crate::client::{Client, ClientError, path};
use crate::config;
use crate::identity::Identity;
use crate::policy::{Policies, Refusal};
use crate::routes::{self, Access, Argument, Route};
use crate::server::access::{self, Decision};

/// The arguments of `keyway policy explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The exit code is 0 if the request is allowed and 3 if it is refused. Without --config, the running \
                  server is queried: everyone may query their own identity, other identities require access to the \
                  identity and policy APIs.\n\nExample:\n  keyway policy explain \"$(keyway identity of app.cert)\" \
                  PUT /v1/key/create/my-key --config config.yml",
    mut_arg("json", |json| json.help("Print a JSON object"))
)]
pub(super) struct Args {
    /// Identity of the client, as printed by `keyway identity of`; or `self`.
    identity: String,
    /// HTTP method of the request.
    method: String,
    /// Path of the request, such as /v1/key/create/my-key.
    path: String,
    /// Use this config file instead of a running server.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    query: Query,
}

/// What is added to a refusal if the config of the server may open the API to everyone.
const UNLESS_OPEN: &str = " (unless the config opens this API with skip_auth; use --config FILE to check)";

/// The decision, and its reason.
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
    /// The most similar rule, if none decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<String>,
    reason: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (route, path) = resolve(&args.method, &args.path)?;
    let verdict = if let Some(file) = &args.config {
        let config = config::read(file)?;
        let skips = config.skips_auth(route);
        let identity = identity(&args.identity)?;
        let policies = Policies::new(config.admin, config.policies, config.identities, OffsetDateTime::now_utc());
        decide(route, &identity, &path, Some(skips), &policies)
    } else {
        args.query.connection().with_client(async |client| {
            let (identity, policies) = query(client, &args.identity).await?;
            Ok(decide(route, &identity, &path, None, &policies))
        })?
    };
    let verdict = Verdict { method: args.method.to_uppercase(), ..verdict };
    let mut output = args.query.output();
    if output.form == Form::Json {
        output.json(&verdict)?;
    } else {
        let (style, word) = if verdict.allowed { (GOOD, "allowed") } else { (BAD, "refused") };
        output.line(format!("{style}{word}{style:#}: {}", printable(&verdict.reason)))?;
        let field = |name, value: Option<String>| value.map(|value| (name, value));
        let fields =
            [field("policy", verdict.policy), field("rule", verdict.rule), field("nearest rule", verdict.nearest)];
        output.fields(&fields.into_iter().flatten().collect::<Vec<_>>())?;
    }
    Ok(if verdict.allowed { ExitCode::SUCCESS } else { ExitCode::from(exit::DENIED) })
}

/// The API of a request, and the decoded path that rules are matched with, as the server determines them
/// (`server/router.rs`). A request that the server rejects for every client involves no access decision.
fn resolve(method: &str, text: &str) -> anyhow::Result<(&'static Route, String)> {
    let Ok(uri) = text.parse::<Uri>() else {
        bail!(Usage(format!("'{text}' is not a valid path or URL; use a path such as /v1/key/create/my-key")));
    };
    let Some(path) = routes::decode(uri.path()) else {
        bail!(Usage(format!("the path {text} is not percent-encoded UTF-8; the server rejects it with status 400")));
    };
    let Some(route) = routes::of(uri.path()) else {
        let hint = match routes::of(&path) {
            Some(_) => "; percent escapes are decoded only in the argument after the path of an API".to_owned(),
            None => routes::nearest(&path).map(|route| format!("; the nearest is {}", route.path)).unwrap_or_default(),
        };
        bail!(Usage(format!("no API has the path {}; the server rejects it with status 404{hint}", uri.path())));
    };
    let given = method.to_uppercase();
    if !Method::from_bytes(given.as_bytes()).is_ok_and(|method| route.takes(&method)) {
        let expected = &route.method;
        bail!(Usage(format!(
            "{} expects {expected}, not {given}; the server rejects the request with status 405",
            route.path
        )));
    }
    let argument = route.argument_in(&path);
    let is_valid = match route.argument {
        Argument::Listing => Listing::parse(argument).is_ok(),
        Argument::None => true,
        Argument::Key | Argument::Policy | Argument::Identity => route.argument.is_valid(argument),
    };
    if !is_valid {
        let word = route.argument.word();
        bail!(Usage(format!("'{argument}' is not a valid {word}; the server rejects {path} with status 400")));
    }
    Ok((route, path))
}

fn identity(text: &str) -> anyhow::Result<Identity> {
    let identity = Identity::from_text(text);
    if !identity.can_match() {
        bail!(Usage(
            "not a valid identity: an identity has 64 digits of 0-9 a-f; `keyway identity of` prints that of a \
             certificate, a key or an API key"
                .to_owned()
        ));
    }
    Ok(identity)
}

/// What a running server knows about an identity.
async fn query(client: &Client, text: &str) -> anyhow::Result<(Identity, Policies)> {
    let own = client.identity().filter(|own| text == "self" || own.as_str() == text);
    let (identity, admin, rules) = if let Some(own) = own {
        let this = if_known(client.get::<SelfInfo>("/v1/identity/self/describe").await)?;
        let (admin, rules) = this.map_or((false, None), |this| (this.admin, this.rules()));
        (own.clone(), admin, rules)
    } else {
        let identity = identity(text)?;
        let info = if_known(client.get::<IdentityInfo>(&path("/v1/identity/describe/", text)).await)?;
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

/// What a server knows about an identity; `None` if its config does not contain it.
fn if_known<T>(response: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match response {
        Ok(info) => Ok(Some(info)),
        Err(ClientError::Api(failure)) if failure.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The decision of the server's access control. `skips` is whether the config opens the API to everyone; `None` if
/// unknown, as a running server does not reveal it.
fn decide(route: &Route, identity: &Identity, path: &str, skips: Option<bool>, policies: &Policies) -> Verdict {
    let decision = access::decide(route, Some(identity), path, skips.unwrap_or(false), policies);
    let allowed = decision.is_allowed();
    let (mut rule, mut nearest) = (None, None);
    let mut reason = match &decision {
        Decision::Open => "this API is open to everyone".to_owned(),
        Decision::Skipped => "the config opens this API to everyone (skip_auth)".to_owned(),
        Decision::Certificate => "every client with a certificate may query its own identity".to_owned(),
        Decision::Admin => "the identity is the admin, which may do anything".to_owned(),
        Decision::Allowed { rule: allows, .. } => {
            rule = Some(allows.to_string());
            "a rule of its policy allows it".to_owned()
        }
        Decision::NoIdentity => "this API requires a client certificate".to_owned(),
        Decision::Refused(refusal) => {
            match refusal {
                Refusal::Denied { rule: denies, .. } => rule = Some(denies.to_string()),
                Refusal::NoRule { nearest: near, .. } => nearest = near.as_ref().map(ToString::to_string),
                Refusal::NoPolicy(_) => {}
            }
            refusal.to_string()
        }
    };
    if !allowed && route.access == Access::Skippable && skips.is_none() {
        reason.push_str(UNLESS_OPEN);
    }
    Verdict {
        identity: identity.to_string(),
        method: String::new(),
        path: path.to_owned(),
        allowed,
        policy: policies.of(identity).map(|(name, _)| name.to_string()),
        rule,
        nearest,
        reason,
    }
}
