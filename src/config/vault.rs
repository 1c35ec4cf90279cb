//! The section `keystore.vault`, with the keys of KES and a few of our own. Their bounds are checked in `backends`.

use backends::vault::{Config, Credential, KvVersion, Login, Tls, Transit};

use super::values::{any, duration, path, secret};
use super::yaml::field::Field;
use super::yaml::section::Section;

const VAULT: [&str; 14] = [
    "endpoint",
    "engine",
    "version",
    "namespace",
    "prefix",
    "transit",
    "approle",
    "kubernetes",
    "jwt",
    "cert",
    "token",
    "token_file",
    "tls",
    "status",
];
const LOGINS: [&str; 6] = ["approle", "kubernetes", "jwt", "cert", "token", "token_file"];
const TRANSIT: [&str; 2] = ["engine", "key"];
const APPROLE: [&str; 5] = ["engine", "namespace", "id", "secret", "secret_id_file"];
const BY_JWT: [&str; 4] = ["engine", "namespace", "role", "jwt"];
const BY_CERT: [&str; 3] = ["engine", "namespace", "role"];
const TLS: [&str; 3] = ["key", "cert", "ca"];
const STATUS: [&str; 1] = ["ping"];

/// Every key, for the test of the reference config.
#[cfg(test)]
pub(super) const KEYS: [&[&str]; 7] = [&VAULT, &TRANSIT, &APPROLE, &BY_JWT, &BY_CERT, &TLS, &STATUS];

/// The KV engine of Vault. `None` only if the report contains an error.
pub(super) fn vault(field: &Field<'_>) -> Option<Config> {
    let section = Section::new(field.clone(), &VAULT);
    let endpoint = section.parse_required("endpoint", "set it to the URL of Vault, as in https://127.0.0.1:8200", any);
    let version = section.parse("version", |text| match text.as_str() {
        "v1" => Ok(KvVersion::V1),
        "v2" => Ok(KvVersion::V2),
        _ => Err(format!("{} is not a version of the KV engine; use v1 or v2", text.shown())),
    });
    let transit = section.get("transit").map(|transit| {
        let transit = Section::new(transit.clone(), &TRANSIT);
        let engine = transit.parse("engine", any).unwrap_or_else(|| Transit::DEFAULT_ENGINE.to_owned());
        let key = transit.parse_required("key", "set it to the name of a key in the transit engine", any);
        Some(Transit { engine, key: key? })
    });
    let tls = section.section("tls", &TLS);
    let file = |key: &str| tls.as_ref()?.parse(key, path);
    let tls = Tls { key: file("key"), cert: file("cert"), ca: file("ca") };
    if tls.key.is_some() != tls.cert.is_some() {
        let missing = if tls.key.is_some() { "tls.cert" } else { "tls.key" };
        section.missing(missing, "set both key and cert, or neither");
    }
    // The interval at which KES queries the state of Vault. Here, requests for status and readiness do that.
    if let Some(status) = section.section("status", &STATUS) {
        status.parse("ping", duration);
    }
    let login = login(field, &section);
    if matches!(login, Some(Login::Cert { .. })) && tls.cert.is_none() && tls.key.is_none() {
        section.missing("tls.cert", "set tls.cert and tls.key to the client certificate for the login");
    }
    Some(Config {
        endpoint: endpoint?,
        engine: section.parse("engine", any).unwrap_or_else(|| Config::DEFAULT_ENGINE.to_owned()),
        version: version.unwrap_or_default(),
        namespace: section.parse("namespace", any),
        prefix: section.parse("prefix", any).unwrap_or_default(),
        transit: transit.flatten(),
        login: login?,
        tls,
    })
}

/// The login method for Vault; exactly one is required.
fn login(field: &Field<'_>, vault: &Section<'_>) -> Option<Login> {
    let mut methods = LOGINS.into_iter().filter_map(|key| {
        let method = vault.get(key)?;
        (!method.is_empty()).then_some((key, method))
    });
    let Some((name, method)) = methods.next() else {
        field.error_at_key(format!("has no login method; add one of {}", LOGINS.join(", ")));
        return None;
    };
    if let Some((other, second)) = methods.next() {
        second.error_at_key(format!(
            "only one login method is allowed, but '{name}'{} and '{other}'{} are configured; remove one",
            method.line(),
            second.line(),
        ));
    }
    let by = |keys: &[&str]| {
        let by = Section::new(method.clone(), keys);
        let engine = by.parse("engine", any).unwrap_or_else(|| name.to_owned());
        let namespace = by.parse("namespace", any);
        (by, engine, namespace)
    };
    Some(match name {
        "approle" => {
            let (by, engine, namespace) = by(&APPROLE);
            let id = by.parse_required("id", "set it to the role ID", any);
            let text = secret(&by, "secret").map(Credential::Text);
            let file = by.parse("secret_id_file", path).map(Credential::File);
            match (by.lacks("secret"), by.lacks("secret_id_file")) {
                (false, false) => method.error_at_key("has both secret and secret_id_file; remove one"),
                (true, true) => {
                    by.missing("secret", "set it to the secret ID, or set secret_id_file to a file that contains it");
                }
                _ => {}
            }
            Login::AppRole { engine, namespace, id: id?, secret: text.or(file)? }
        }
        "kubernetes" | "jwt" => {
            let (by, engine, namespace) = by(&BY_JWT);
            let role = by.parse("role", any);
            let jwt = by.parse_required("jwt", "set it to a token, or to a file that contains one", |text| {
                Ok(Credential::token_or_path(text.as_str()))
            });
            if name == "jwt" {
                return Some(Login::Jwt { engine, namespace, role, jwt: jwt? });
            }
            if by.lacks("role") {
                by.missing("role", "set it to the role for the login");
            }
            Login::Kubernetes { engine, namespace, role: role?, jwt: jwt? }
        }
        "cert" => {
            let (by, engine, namespace) = by(&BY_CERT);
            Login::Cert { engine, namespace, role: by.parse("role", any) }
        }
        "token" => Login::Token(secret(vault, "token")?),
        _ => Login::TokenFile(method.parse(path)?),
    })
}
