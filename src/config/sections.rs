//! The sections of a config file, one function each. A function reports the errors of its section and continues, so
//! that one run finds all errors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use backends::{BackendConfig, Name, Secret};

use super::keystores::{keystore, trash};
use super::policies::policies;
use super::rules;
use super::values::{
    IDENTITY_TODO, duration, flag, identity, is_token, number, parsed, path, problem, warn_if_unmatchable,
};
use super::yaml::field::{Field, Text};
use super::yaml::section::Section;
use super::{
    ApiOptions, Audit, Cache, Config, Format, Level, Limits, Log, Overrides, Proxy, Source, Startup, Tls, address,
};
use crate::glob::Glob;
use crate::identity::Identity;
use crate::routes::{self, Access, Api, ROUTES};

const TOP: [&str; 14] = [
    "version", "address", "admin", "tls", "api", "policy", "cache", "probe", "limits", "startup", "log", "keys",
    "protect", "keystore",
];
const ADMIN: [&str; 1] = ["identity"];
const TLS: [&str; 6] = ["key", "cert", "password", "ca", "auth", "proxy"];
const PROXY: [&str; 2] = ["identities", "header"];
const HEADER: [&str; 1] = ["cert"];
const API: [&str; 2] = ["skip_auth", "timeout"];
const CACHE: [&str; 2] = ["expiry", "max_entries"];
const EXPIRY: [&str; 3] = ["any", "unused", "offline"];
const PROBE: [&str; 1] = ["address"];
const LIMITS: [&str; 4] = ["connections", "requests", "requests_per_identity", "subscribers"];
const LOG: [&str; 3] = ["error", "audit", "format"];
const KEY: [&str; 1] = ["name"];

/// Values of `admin.identity` for a server without an admin.
const NO_ADMIN: [&str; 2] = ["disabled", "_"];

/// The whole file. `None` only if the report contains an error.
pub(super) fn config(root: Field<'_>, overrides: &Overrides) -> Option<Config> {
    let top = Section::new(root, &TOP);
    version(&top);
    let listen = |text: &Text| address::parse(text.as_str()).map_err(|error| problem(text, &error));
    let address = overrides.address.or(top.parse("address", listen)).unwrap_or(address::DEFAULT);
    let admin = admin(&top);
    let tls = tls(&top, overrides);
    let (policies, identities) = policies(&top, admin.as_ref());
    let (api, cache, log, keys) = (apis(&top), cache(&top), log(&top), keys(&top));
    let (probe, limits, startup) = (probe(&top, address), limits(&top), startup(&top));
    let (protect, trash) = (protect(&top), trash(&top));
    let keystore = keystore(&top);
    for field in ["admin", "tls", "keystore"].into_iter().filter_map(|key| top.get(key)) {
        field.note();
    }
    Some(Config {
        address,
        admin: admin?,
        tls: tls?,
        api,
        policies,
        identities,
        cache,
        probe,
        limits,
        startup,
        log,
        keys,
        protect,
        keystore: keystore?,
        trash,
        included: Vec::new(),
        warnings: Vec::new(),
        source: Source::default(),
    })
}

/// The keystore of a file; other sections are ignored. `None` only if the report contains an error.
pub(super) fn keystore_only(root: Field<'_>) -> Option<BackendConfig> {
    let top = Section::new(root, &TOP);
    version(&top);
    keystore(&top)
}

fn version(top: &Section<'_>) {
    top.parse("version", |text| match text.as_str() {
        "v1" => Ok(()),
        _ => Err(format!("{} is not a supported version; use v1", text.shown())),
    });
}

fn admin(top: &Section<'_>) -> Option<Identity> {
    const TODO: &str = "set it to the identity of the admin (64 hex digits), or to disabled for no admin";
    let Some(admin) = top.section("admin", &ADMIN) else {
        top.missing("admin.identity", TODO);
        return None;
    };
    let Some(field) = admin.get_or_null("identity") else {
        admin.missing("identity", TODO);
        return None;
    };
    let identity = identity(field, TODO)?;
    if !NO_ADMIN.contains(&identity.as_str()) {
        warn_if_unmatchable(field, &identity);
    }
    Some(identity)
}

fn tls(top: &Section<'_>, overrides: &Overrides) -> Option<Tls> {
    const KEY_TODO: &str = "set it to a PEM file with the private key of the server";
    const CERT_TODO: &str = "set it to a PEM file with the certificate of the server";
    let Some(tls) = top.section("tls", &TLS) else {
        if let (Some(key), Some(cert)) = (&overrides.tls_key, &overrides.tls_cert) {
            return Some(Tls {
                key: key.clone(),
                cert: cert.clone(),
                password: None,
                ca: None,
                auth: false,
                proxy: None,
            });
        }
        top.missing("tls.key", KEY_TODO);
        top.missing("tls.cert", CERT_TODO);
        return None;
    };
    let file = |key: &str, todo: &str, instead: &Option<PathBuf>| match instead {
        Some(file) => Some(file.clone()),
        None => tls.parse_required(key, todo, path),
    };
    let key = file("key", KEY_TODO, &overrides.tls_key);
    let cert = file("cert", CERT_TODO, &overrides.tls_cert);
    let password = tls.get("password").and_then(|field| field.text().ok()?);
    let ca = tls.parse("ca", path);
    let auth = tls.parse("auth", flag).unwrap_or(false);
    let proxy = tls.section("proxy", &PROXY).and_then(|section| proxy(&section));
    let password = password.map(|text| Secret::from(text.into_value()));
    Some(Tls { key: key?, cert: cert?, password, ca, auth, proxy })
}

fn proxy(proxy: &Section<'_>) -> Option<Proxy> {
    const TODO: &str = "set it to the name of the header in which the proxies send the client's certificate";
    let mut identities: Vec<Identity> = Vec::new();
    for item in proxy.get("identities").map(Field::items).unwrap_or_default() {
        if let Some(identity) = identity(&item, IDENTITY_TODO) {
            warn_if_unmatchable(&item, &identity);
            identities.push(identity);
        }
    }
    let header = proxy.section("header", &HEADER);
    let name = |text: &Text| match text.as_str() {
        name if name.bytes().all(is_token) => Ok(name.to_owned()),
        _ => Err(format!("{} is not a valid HTTP header name; use one such as X-Tls-Client-Cert", text.shown())),
    };
    if identities.is_empty() {
        header.and_then(|header| header.parse("cert", name));
        return None;
    }
    let Some(header) = header else {
        proxy.missing("header.cert", TODO);
        return None;
    };
    Some(Proxy { identities, header: header.parse_required("cert", TODO, name)? })
}

fn apis(top: &Section<'_>) -> BTreeMap<Api, ApiOptions> {
    let mut found: BTreeMap<Api, (ApiOptions, Field<'_>)> = BTreeMap::new();
    for (path, field) in top.get("api").map(Field::entries).unwrap_or_default() {
        let is_named = |name: &str| name.trim_end_matches('/') == path.strip_suffix('/').unwrap_or(path);
        let Some(route) = ROUTES.iter().find(|route| route.paths().any(is_named)) else {
            // As KES: options of no API have no effect.
            if rules::removed_api(path).is_some() {
                field.warn_at_key("belongs to an API that KES has removed, and has no effect; remove it");
                continue;
            }
            let nearest = routes::nearest(path).map_or("", |route| route.path);
            field.warn_at_key(format!("is not the path of an API and has no effect; did you mean '{nearest}'?"));
            continue;
        };
        if let Some((_, first)) = found.get(&route.api) {
            field.error_at_key(format!("is the same API as '{}'{}; remove one of the two", first.path(), first.line()));
            continue;
        }
        if !is_named(route.path) {
            field.warn_at_key(format!("is an alias of {0}; use {0} instead", route.path));
        }
        let api = Section::new(field.clone(), &API);
        let skip_auth = api.parse("skip_auth", flag).unwrap_or(false);
        if let (true, Some(field)) = (skip_auth, api.get("skip_auth")) {
            match route.access {
                Access::Skippable => {}
                Access::Open => field.warn("has no effect: this API is open to everyone; remove it"),
                Access::Certificate | Access::Policy => field.error(
                    "this API requires authentication; remove skip_auth, which is allowed only for \
                     /v1/ready, /v1/status, /v1/metrics and /v1/api",
                ),
            }
        }
        // Only where it has an effect: an open API does not make client certificates optional.
        let skip_auth = skip_auth && route.access == Access::Skippable;
        found.insert(route.api, (ApiOptions { skip_auth, timeout: api.parse("timeout", duration) }, field));
    }
    found.into_iter().map(|(api, (options, _))| (api, options)).collect()
}

fn cache(top: &Section<'_>) -> Cache {
    let default = Cache::default();
    if let Some(field) = top.get("cache").filter(|field| field.is_scalar()) {
        let word = |text: &Text| {
            flag(text).map_err(|_| format!("{} is not valid; use off, on, or a section with expiry", text.shown()))
        };
        return if field.parse(word) == Some(false) { Cache::OFF } else { default };
    }
    let section = top.section("cache", &CACHE);
    let expiry = section.as_ref().and_then(|cache| cache.section("expiry", &EXPIRY));
    let time = |key: &str| expiry.as_ref()?.parse(key, duration);
    let max_entries = section.as_ref().and_then(|cache| cache.parse("max_entries", number(1, 100_000_000)));
    let cache = Cache {
        any: time("any").unwrap_or(default.any),
        unused: time("unused").unwrap_or(default.unused),
        offline: time("offline").unwrap_or(default.offline),
        max_entries: max_entries.unwrap_or(default.max_entries),
    };
    let is_disabled = cache.any.is_zero() || cache.unused.is_zero();
    if let (true, false, Some(field)) =
        (is_disabled, cache.offline.is_zero(), expiry.as_ref().and_then(|it| it.get("offline")))
    {
        field.warn("has no effect, because keys are not cached while any or unused is 0; increase them");
    }
    cache
}

fn probe(top: &Section<'_>, main: SocketAddr) -> Option<SocketAddr> {
    let probe = top.section("probe", &PROBE)?;
    probe.parse("address", |text| {
        let address = address::parse(text.as_str()).map_err(|error| problem(text, &error))?;
        let is_main = address == main && address.port() != 0;
        if is_main {
            Err(format!("{} is already the address of the server; use another port", text.shown()))
        } else {
            Ok(address)
        }
    })
}

fn limits(top: &Section<'_>) -> Limits {
    let default = Limits::default();
    let section = top.section("limits", &LIMITS);
    let count = |key: &str, least| section.as_ref()?.parse(key, number(least, 10_000_000));
    Limits {
        connections: count("connections", 1).unwrap_or(default.connections),
        requests: count("requests", 1).unwrap_or(default.requests),
        requests_per_identity: count("requests_per_identity", 1).or(default.requests_per_identity),
        subscribers: count("subscribers", 0).unwrap_or(default.subscribers),
    }
}

fn startup(top: &Section<'_>) -> Startup {
    let word = |text: &Text| match text.as_str() {
        "wait" => Ok(Startup::Wait),
        "fail" => Ok(Startup::Fail),
        _ => Err(format!("{} is not valid; use wait or fail", text.shown())),
    };
    top.parse("startup", word).unwrap_or_default()
}

fn log(top: &Section<'_>) -> Log {
    let default = Log::default();
    let log = top.section("log", &LOG);
    let level = |key: &str| log.as_ref()?.parse(key, parsed::<Level>);
    let audit = log.as_ref().and_then(|log| {
        log.parse("audit", |text| match text.as_str() {
            "changes" => Ok(Audit::Changes),
            _ => parsed(text).map(Audit::From).map_err(|error| format!("{error}; or changes")),
        })
    });
    let format = log.as_ref().and_then(|log| {
        log.parse("format", |text| match text.as_str() {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(format!("{} is not a valid format; use text or json", text.shown())),
        })
    });
    Log {
        error: level("error").unwrap_or(default.error),
        audit: audit.unwrap_or(default.audit),
        format: format.unwrap_or(default.format),
    }
}

fn keys(top: &Section<'_>) -> Vec<Name> {
    let mut found: BTreeMap<Name, Field<'_>> = BTreeMap::new();
    let mut names = Vec::new();
    if let Some(field) = top.get("keys").filter(|field| field.is_mapping() && !field.is_empty()) {
        field.error_at_key("was renamed to keystore; write this section under keystore");
        return names;
    }
    for item in top.get("keys").map(Field::items).unwrap_or_default() {
        let key = Section::new(item, &KEY);
        let name = key.parse_required("name", "set it to the name of a key, or remove the item", |text| {
            Name::parse(text.as_str()).map_err(|_| {
                format!("{} is not a valid key name; use 1 to 80 characters of 0-9 A-Z a-z _ -, without a leading or trailing -", text.shown())
            })
        });
        let (Some(name), Some(field)) = (name, key.get("name")) else { continue };
        if let Some(first) = found.get(&name) {
            field.error(format!("is the same key as {}{}; remove one of the two", first.path(), first.line()));
        } else {
            found.insert(name.clone(), field.clone());
            names.push(name);
        }
    }
    names
}

fn protect(top: &Section<'_>) -> Vec<Glob> {
    let items = top.get("protect").map(Field::items).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item.parse_required("set it to a pattern for names of keys", parsed::<Glob>))
        .collect()
}

/// Every key of a config file, for the test of the reference config.
#[cfg(test)]
pub(super) fn keys_of_the_reference() -> impl Iterator<Item = &'static str> {
    let policy = &super::policies::POLICY;
    let sections: [&[&str]; 13] =
        [&TOP, &ADMIN, &TLS, &PROXY, &HEADER, &API, policy, &CACHE, &EXPIRY, &PROBE, &LIMITS, &LOG, &KEY];
    sections.into_iter().flatten().copied().chain(super::keystores::KEYSTORE).chain([super::keystores::TRASH])
}
