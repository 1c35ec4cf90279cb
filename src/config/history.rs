//! Keys that config files of some KES release have, and that have no meaning here. KES ignores what it does not know, so
//! such files exist; they start here too, with a warning that says what to do. Source: the YAML names of all KES releases.
//! `tests/vectors/kes-config-keys.json` has a row for each of them, and for the keys that are in use.

/// A key of some KES release.
#[derive(Debug)]
pub(crate) struct OldKey {
    /// The section, with `*` for a name that the file chooses; empty at the top.
    section: &'static str,
    /// The key in it.
    key: &'static str,
    now: Now,
}

/// What became of a key.
#[derive(Debug)]
enum Now {
    /// It has another name, a path that begins in the same section. The text is what follows if the old one is used.
    Renamed(&'static str, &'static str),
    /// It has no effect, for this reason.
    Gone(&'static str),
}

use Now::{Gone, Renamed};

const fn old(section: &'static str, key: &'static str, now: Now) -> OldKey {
    OldKey { section, key, now }
}

const RETRY: Now = Gone("failed logins are retried automatically");
const ENCLAVES: Now = Gone("enclaves no longer exist");

/// Every such key.
#[rustfmt::skip]
pub(crate) const OLD_KEYS: &[OldKey] = &[
    old("",                                        "root",            Renamed("admin.identity", "")),
    old("",                                        "proxy",           Renamed("tls.proxy", "")),
    old("",                                        "kms",             Gone("keystore is where the keys are")),
    old("",                                        "system",          Gone("the admin is admin.identity")),
    old("",                                        "enclave",         ENCLAVES),
    old("",                                        "unseal",          Gone("there is nothing to unseal")),
    old("admin",                                   "enclave",         ENCLAVES),
    old("tls",                                     "client",          Gone("tls.auth is whether client certificates are verified")),
    old("policy.*",                                "paths",           Renamed("allow", ": its rules allow nothing")),
    old("cache.expiry",                            "all",             Renamed("any", "")),
    old("log",                                     "file",            Gone("logs go to standard output and standard error")),
    old("keystore.vault",                          "address",         Renamed("endpoint", "")),
    old("keystore.vault",                          "name",            Renamed("prefix", ": keys are read and written without it")),
    old("keystore.vault.approle",                  "retry",           RETRY),
    old("keystore.vault.kubernetes",               "retry",           RETRY),
    old("keystore.aws",                            "secrets_manager", Renamed("secretsmanager", "")),
    old("keystore.aws.secretsmanager",             "address",         Renamed("endpoint", "")),
    old("keystore.aws.secretsmanager",             "kms_key_id",      Renamed("kmskey", "")),
    old("keystore.aws.secretsmanager.credentials", "access_key",      Renamed("accesskey", "")),
    old("keystore.aws.secretsmanager.credentials", "secret_key",      Renamed("secretkey", "")),
    old("keystore.aws.secretsmanager.credentials", "session_token",   Renamed("token", "")),
];

/// The entry for a key of the section with this path.
pub(crate) fn old_key(section: &str, key: &str) -> Option<&'static OldKey> {
    OLD_KEYS.iter().find(|old| old.key == key && is_section(old.section, section))
}

impl OldKey {
    /// What the warning says.
    pub(crate) fn advice(&self) -> String {
        match self.now {
            Renamed(to, so) => format!("was renamed to {to}; the old name has no effect{so}"),
            Gone(why) => format!("has no effect: {why}; remove it"),
        }
    }

    /// Its new name, a path that begins in the same section.
    pub(crate) fn new_name(&self) -> Option<&'static str> {
        match self.now {
            Renamed(to, _) => Some(to),
            Gone(_) => None,
        }
    }

    /// Its path, with `*` for a name that the file chooses.
    #[cfg(test)]
    pub(crate) fn path(&self) -> String {
        format!("{}.{}", self.section, self.key).trim_start_matches('.').to_owned()
    }
}

/// Whether a path is that of a section, whose `*` stands for one part.
fn is_section(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix(".*") {
        Some(parent) => path.strip_prefix(parent).is_some_and(|name| name.starts_with('.') && name.len() > 1),
        None => pattern == path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_old_key_is_found_in_its_section_only() {
        for old in OLD_KEYS {
            let section = old.section.replace('*', "minio");
            assert!(old_key(&section, old.key).is_some(), "{section}.{}", old.key);
            assert!(old_key("keys", old.key).is_none());
        }
        assert!(old_key("policy", "paths").is_none());
    }
}
