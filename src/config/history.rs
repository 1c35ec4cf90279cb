//! Keys that config files of some KES release have, and that have no meaning here. KES ignores what it does not know, so
//! such files exist; they start here too, with a warning that says what to do. Source: the YAML names of all KES releases.

/// A key of some KES release.
#[derive(Debug)]
pub(crate) struct OldKey {
    /// The section, with `*` for a name that the file chooses; empty at the top.
    section: &'static str,
    /// The key in it.
    key: &'static str,
    /// What the warning says.
    pub(crate) advice: &'static str,
}

const fn old(section: &'static str, key: &'static str, advice: &'static str) -> OldKey {
    OldKey { section, key, advice }
}

const RETRY: &str = "has no effect: failed logins are retried automatically; remove it";
const ENCLAVES: &str = "has no effect: enclaves no longer exist; remove it";

/// Every such key.
#[rustfmt::skip]
pub(crate) const OLD_KEYS: &[OldKey] = &[
    old("",                                          "root",            "was renamed to admin.identity; the old name has no effect"),
    old("",                                          "system",          "has no effect: the admin is admin.identity; remove it"),
    old("",                                          "enclave",         ENCLAVES),
    old("",                                          "unseal",          "has no effect: there is nothing to unseal; remove it"),
    old("admin",                                     "enclave",         ENCLAVES),
    old("tls",                                       "client",          "was renamed to tls.auth; the old name has no effect"),
    old("policy.*",                                  "paths",           "was renamed to allow; without allow this policy allows nothing"),
    old("cache.expiry",                              "all",             "was renamed to any; the old name has no effect"),
    old("log",                                       "file",            "has no effect: logs go to standard output and standard error; remove it"),
    old("keystore.vault",                            "name",            "was renamed to prefix; the old name has no effect"),
    old("keystore.vault.approle",                    "retry",           RETRY),
    old("keystore.vault.kubernetes",                 "retry",           RETRY),
    old("keystore.aws.secretsmanager",               "kms_key_id",      "was renamed to kmskey; the old name has no effect"),
    old("keystore.aws.secretsmanager.credentials",   "access_key",      "was renamed to accesskey; the old name has no effect"),
    old("keystore.aws.secretsmanager.credentials",   "secret_key",      "was renamed to secretkey; the old name has no effect"),
    old("keystore.aws.secretsmanager.credentials",   "session_token",   "was renamed to token; the old name has no effect"),
];

/// The entry for a key of the section with this path.
pub(crate) fn old_key(section: &str, key: &str) -> Option<&'static OldKey> {
    OLD_KEYS.iter().find(|old| old.key == key && is_section(old.section, section))
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
            assert!(old.advice.contains("remove it") || old.advice.contains("renamed"), "{}", old.advice);
        }
        assert!(old_key("policy", "paths").is_none());
    }
}
