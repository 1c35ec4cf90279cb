//! The section `keystore`: one function per kind; that of Vault is in `vault.rs`. `backends` documents the settings and
//! checks their bounds.

use std::time::Duration;

use backends::{BackendConfig, aws, postgres, vault};

use super::values::{any, duration, flag, number, path, secret};
use super::yaml::field::{Field, Text};
use super::yaml::section::{Section, unknown};

pub(super) const KEYSTORE: [&str; 6] = ["fs", "sqlite", "memory", "postgres", "vault", "aws"];
pub(super) const TRASH: &str = "trash";
const PATH: [&str; 1] = ["path"];
const POSTGRES: [&str; 16] = [
    "url",
    "host",
    "port",
    "database",
    "user",
    "password",
    "sslmode",
    "ca",
    "cert",
    "key",
    "schema",
    "migrate",
    "connections",
    "connect_timeout",
    "timeout",
    "listen",
];
const LISTEN: [&str; 2] = ["host", "port"];
const AWS: [&str; 1] = ["secretsmanager"];
const SECRETSMANAGER: [&str; 7] =
    ["endpoint", "region", "kmskey", "credentials", "prefix", "recovery_window", "timeout"];
const CREDENTIALS: [&str; 3] = ["accesskey", "secretkey", "token"];
const TIMEOUT: [&str; 3] = ["connect", "attempt", "operation"];

/// Every key of each keystore, for the test of the reference config.
#[cfg(test)]
pub(super) const KEYS: [(&str, &[&[&str]]); 5] = [
    ("fs", &[&PATH]),
    ("sqlite", &[&PATH]),
    ("postgres", &[&POSTGRES, &LISTEN]),
    ("vault", &super::vault::KEYS),
    ("aws", &[&AWS, &SECRETSMANAGER, &CREDENTIALS, &TIMEOUT]),
];

/// Keystores of KES that are not supported.
const KEYSTORES_OF_KES: [&str; 5] = ["gcp", "azure", "fortanix", "gemalto", "entrust"];

/// Keystores that KES no longer has, or never used: a section beside them is the keystore.
const FORMER_KEYSTORES: [&str; 2] = ["generic", "kes"];

/// How long deleted keys stay in the keystore; `None` if they do not.
pub(super) fn trash(top: &Section<'_>) -> Option<Duration> {
    let keystore = top.get("keystore").filter(|keystore| keystore.is_mapping())?;
    let (_, field) = keystore.entries().into_iter().find(|(name, _)| *name == TRASH)?;
    let keep = field.parse(|text| {
        let days = text.as_str().strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
        days.map_or_else(|| duration(text), |days| Ok(Duration::from_hours(24) * days))
    });
    keep.filter(|keep| !keep.is_zero())
}

/// The keystore; exactly one is required. `None` only if the report contains an error.
pub(super) fn keystore(top: &Section<'_>) -> Option<BackendConfig> {
    let available = KEYSTORE.join(", ");
    let mut entries = top.get("keystore").map(Field::entries).unwrap_or_default();
    entries.retain(|(name, _)| *name != TRASH);
    if entries.len() > 1 {
        // As KES: a section without content is not there, nor one of a keystore that no longer exists.
        entries.retain(|(name, field)| {
            let is_empty = field.is_empty() || (field.is_mapping() && field.entries().is_empty());
            let is_former = FORMER_KEYSTORES.contains(name);
            let is_there = *name == "memory" || !(is_empty || is_former);
            if !is_there {
                let why = if is_former { "is a keystore that KES no longer has" } else { "is empty" };
                field.warn_at_key(format!("{why} and has no effect; remove it"));
            }
            is_there
        });
    }
    if entries.is_empty() && top.get("keystore").is_none_or(Field::is_mapping) {
        top.missing("keystore", &format!("choose one of {available}"));
    }
    if let [(name, first), (other, second), ..] = entries.as_slice() {
        second.error_at_key(format!(
            "only one keystore is allowed, but '{name}'{} and '{other}'{} are configured; remove one",
            first.line(),
            second.line(),
        ));
    }
    let todo = "set it to the directory (fs) or file (sqlite) that contains the keys";
    let file = |field| Section::new(field, &PATH).parse_required("path", todo, path);
    let mut found = None;
    for (name, field) in entries {
        match name {
            "fs" => found = file(field).map(|path| BackendConfig::Fs { path }),
            "sqlite" => found = file(field).map(|path| BackendConfig::Sqlite { path }),
            "memory" => {
                Section::new(field, &[]);
                found = Some(BackendConfig::Memory);
            }
            "postgres" => {
                found = checked(&field, |field| Some(postgres(field)), postgres::Config::check)
                    .map(BackendConfig::Postgres);
            }
            "vault" => found = checked(&field, super::vault::vault, vault::Config::check).map(BackendConfig::Vault),
            "aws" => found = checked(&field, aws, aws::Config::check).map(BackendConfig::Aws),
            _ if KEYSTORES_OF_KES.contains(&name) => {
                field
                    .error_at_key(format!("the KES keystore '{name}' is not supported yet; choose one of {available}"));
            }
            _ if FORMER_KEYSTORES.contains(&name) => {
                field.error_at_key(format!("KES no longer has the keystore '{name}'; choose one of {available}"));
            }
            _ => field.error_at_key(unknown("unknown keystore", name, &KEYSTORE)),
        }
    }
    found
}

/// Parses a section with `read`. The backend's own check runs only if the section has no other errors.
fn checked<T>(
    field: &Field<'_>,
    read: impl FnOnce(&Field<'_>) -> Option<T>,
    check: impl FnOnce(&T) -> Result<(), String>,
) -> Option<Box<T>> {
    let before = field.errors();
    let config = read(field)?;
    if field.errors() == before
        && let Err(message) = check(&config)
    {
        let todo = if message.contains(';') { "" } else { "; see config/keyway.yml for the accepted values" };
        field.error_at_key(format!("{}{todo}", field.redact(message)));
    }
    Some(Box::new(config))
}

fn postgres(field: &Field<'_>) -> postgres::Config {
    let section = Section::new(field.clone(), &POSTGRES);
    let default = postgres::Config::default();
    let port = || number(1, u16::MAX);
    let sslmode = |text: &Text| {
        text.as_str().parse().map_err(|error| match text.as_str() {
            "allow" | "prefer" => error,
            _ => format!("{} is not a valid sslmode; use verify-full, verify-ca, require or disable", text.shown()),
        })
    };
    let [host, database, user] = ["host", "database", "user"].map(|key| section.parse(key, any));
    let url = section.parse("url", any);
    if section.lacks("url") && section.lacks("host") {
        section.missing("url", "set url, or host, database and user");
    } else if section.lacks("url") {
        for key in ["database", "user"].into_iter().filter(|key| section.lacks(key)) {
            section.missing(key, "set it, or use url instead of host, database and user");
        }
    }
    let listen = section.get("listen").and_then(|listen| {
        if !listen.is_mapping() {
            let word = |text: &Text| {
                flag(text).map_err(|_| format!("{} is not valid; use on, off, or host and port", text.shown()))
            };
            return Some(if listen.parse(word)? { postgres::Listen::Same } else { postgres::Listen::Off });
        }
        let listen = Section::new(listen.clone(), &LISTEN);
        let host = listen.parse_required("host", "set it to the host of the database, not of the pooler", any);
        let port = listen.parse_required("port", "set it to the port of the database, not of the pooler", port());
        Some(postgres::Listen::At { host: host?, port: port? })
    });
    postgres::Config {
        url: url.map(backends::Secret::from),
        host,
        port: section.parse("port", port()),
        database,
        user,
        password: secret(&section, "password"),
        sslmode: section.parse("sslmode", sslmode),
        ca: section.parse("ca", path),
        cert: section.parse("cert", path),
        key: section.parse("key", path),
        schema: section.parse("schema", any).unwrap_or(default.schema),
        migrate: section.parse("migrate", flag).unwrap_or(default.migrate),
        connections: section.parse("connections", number(1, 1000)).unwrap_or(default.connections),
        connect_timeout: section.parse("connect_timeout", duration).unwrap_or(default.connect_timeout),
        timeout: section.parse("timeout", duration).unwrap_or(default.timeout),
        listen: listen.unwrap_or(default.listen),
    }
}

fn aws(field: &Field<'_>) -> Option<aws::Config> {
    let section = Section::new(field.clone(), &AWS);
    let Some(section) = section.section("secretsmanager", &SECRETSMANAGER) else {
        section.missing("secretsmanager", "set endpoint and region in it, or use {} to take them from the environment");
        return None;
    };
    let credentials = section.section("credentials", &CREDENTIALS).and_then(|section| {
        let access_key = section.parse("accesskey", any);
        let (secret_key, token) = (secret(&section, "secretkey"), secret(&section, "token"));
        if CREDENTIALS.iter().any(|key| !section.lacks(key)) {
            for key in ["accesskey", "secretkey"].into_iter().filter(|key| section.lacks(key)) {
                section.missing(key, "set accesskey and secretkey, or remove credentials for the default chain of AWS");
            }
        }
        Some(aws::Credentials { access_key: access_key?, secret_key: secret_key?, token })
    });
    let default = aws::Timeouts::default();
    let timeout = section.section("timeout", &TIMEOUT);
    let time = |key: &str| timeout.as_ref()?.parse(key, duration);
    let (least, most) = aws::RECOVERY_DAYS.into_inner();
    Some(aws::Config {
        endpoint: section.parse("endpoint", any),
        region: section.parse("region", any),
        kms_key: section.parse("kmskey", any),
        credentials,
        prefix: section.parse("prefix", any).unwrap_or_default(),
        recovery_window: section.parse("recovery_window", number(least, most)),
        timeouts: aws::Timeouts {
            connect: time("connect").unwrap_or(default.connect),
            attempt: time("attempt").unwrap_or(default.attempt),
            operation: time("operation").unwrap_or(default.operation),
        },
    })
}
