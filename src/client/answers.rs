//! Answers of a server, as far as the command line looks into them. What `--json` prints is the answer as it came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::policy::{PathPattern, Policy};
use crate::wire::base64::Bytes;

/// The body of every error.
#[derive(Debug, Deserialize)]
pub struct Failure {
    /// What is wrong.
    pub message: String,
    /// What is wrong with the store; Keyway alone says it, and to some clients.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A page of `/v1/key/list/` and `/v1/policy/list/`.
#[derive(Debug, Deserialize)]
pub struct Names {
    /// Names in byte order. KES writes `null` for none.
    #[serde(default)]
    pub names: Option<Vec<String>>,
    /// Where the next page begins; empty or absent at the end.
    #[serde(default)]
    pub continue_at: Option<String>,
}

/// A page of `/v1/identity/list/`.
#[derive(Debug, Deserialize)]
pub struct Identities {
    /// Identities in byte order.
    #[serde(default)]
    pub identities: Option<Vec<String>>,
}

/// `/v1/identity/describe/`, and a part of `/v1/identity/self/describe`.
#[derive(Debug, Deserialize)]
pub struct IdentityInfo {
    /// Whether it is the admin.
    #[serde(default)]
    pub admin: bool,
    /// The name of its policy.
    #[serde(default)]
    pub policy: Option<String>,
    /// Since when the server knows it.
    #[serde(default)]
    pub created_at: String,
}

/// `/v1/identity/self/describe`.
#[derive(Debug, Deserialize)]
pub struct SelfInfo {
    /// The identity of the client.
    pub identity: String,
    /// Whether it is the admin.
    #[serde(default)]
    pub admin: bool,
    /// The name of its policy.
    #[serde(default)]
    pub policy: Option<String>,
    /// What the policy allows; the names are the patterns.
    #[serde(default)]
    pub allow: BTreeMap<String, Value>,
    /// What it denies.
    #[serde(default)]
    pub deny: BTreeMap<String, Value>,
}

impl SelfInfo {
    /// The policy with its rules.
    pub fn rules(self) -> Option<Rules> {
        self.policy.map(|name| Rules { name, allow: self.allow, deny: self.deny })
    }
}

/// `/v1/policy/read/`.
#[derive(Debug, Deserialize)]
pub struct Rules {
    /// The policy.
    pub name: String,
    /// What it allows; the names are the patterns.
    #[serde(default)]
    pub allow: BTreeMap<String, Value>,
    /// What it denies.
    #[serde(default)]
    pub deny: BTreeMap<String, Value>,
}

impl Rules {
    /// The policy that decides as the server's.
    pub fn policy(&self) -> Policy {
        let patterns = |rules: &BTreeMap<String, Value>| rules.keys().map(PathPattern::new).collect();
        Policy { allow: patterns(&self.allow), deny: patterns(&self.deny) }
    }
}

/// `/v1/key/describe/` and `/v1/policy/describe/`.
#[derive(Debug, Deserialize)]
pub struct Description {
    /// The name.
    pub name: String,
    /// What the key is for; policies have none.
    #[serde(default)]
    pub algorithm: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: String,
    /// By whom.
    #[serde(default)]
    pub created_by: String,
}

/// `/v1/key/generate/`.
#[derive(Debug, Deserialize)]
pub struct DataKey {
    /// The key.
    #[serde(deserialize_with = "Bytes::deserialize")] // must be there
    pub plaintext: Bytes,
    /// The key, encrypted.
    pub ciphertext: String,
}

/// `/v1/key/encrypt/`.
#[derive(Debug, Deserialize)]
pub struct Encrypted {
    /// Base64.
    pub ciphertext: String,
}

/// `/v1/key/decrypt/`.
#[derive(Debug, Deserialize)]
pub struct Decrypted {
    /// The message.
    #[serde(deserialize_with = "Bytes::deserialize")] // must be there
    pub plaintext: Bytes,
}

/// `/v1/key/hmac/`.
#[derive(Debug, Deserialize)]
pub struct Sum {
    /// Base64.
    pub hmac: String,
}

/// `/v1/status`. Fields that only some servers send are optional.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// The server's version.
    #[serde(default)]
    pub version: String,
    /// Its operating system.
    #[serde(default)]
    pub os: String,
    /// Its architecture.
    #[serde(default)]
    pub arch: String,
    /// Seconds since its start.
    #[serde(default)]
    pub uptime: u64,
    /// CPUs of the machine.
    #[serde(default)]
    pub num_cpu: u64,
    /// CPUs that the server uses.
    #[serde(default)]
    pub num_cpu_used: u64,
    /// Bytes.
    #[serde(default)]
    pub mem_heap_used: u64,
    /// Bytes.
    #[serde(default)]
    pub mem_stack_used: u64,
    /// Milliseconds that the store took to answer.
    #[serde(default)]
    pub keystore_latency: Option<u64>,
    /// Nobody answers at the store's address.
    #[serde(default)]
    pub keystore_unreachable: bool,
    /// The store does not answer as it should.
    #[serde(default)]
    pub keystore_unavailable: bool,
    /// What is wrong with the store. Keyway alone says it.
    #[serde(default)]
    pub keystore_error: Option<String>,
    /// Seconds since the store answered for the last time. Keyway alone says it.
    #[serde(default)]
    pub keystore_down_seconds: Option<f64>,
    /// Keys in the server's memory. Keyway alone tells of it.
    #[serde(default)]
    pub cache: Option<Cache>,
}

impl Status {
    /// Whether the store can serve keys.
    pub fn keystore_is_well(&self) -> bool {
        !self.keystore_unreachable && !self.keystore_unavailable
    }
}

/// A row of `/v1/api`.
#[derive(Debug, Deserialize)]
pub struct Api {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// Seconds; 0 is never.
    #[serde(default)]
    pub timeout: u64,
}

/// `cache` of `/v1/status`.
#[derive(Debug, Deserialize)]
pub struct Cache {
    /// Keys in memory.
    #[serde(default)]
    pub entries: u64,
    /// Requests for a key that was there.
    #[serde(default)]
    pub hits: u64,
    /// Requests for a key that was not.
    #[serde(default)]
    pub misses: u64,
    /// Keys that were read again before they expired.
    #[serde(default)]
    pub refreshes: u64,
    /// Requests that were served from memory because the store was down.
    #[serde(default)]
    pub stale: u64,
}

/// A line of `/v1/log/audit`.
#[derive(Debug, Deserialize, Serialize)]
pub struct AuditEvent {
    /// RFC 3339.
    #[serde(default)]
    pub time: String,
    /// Who asked for what.
    pub request: AuditRequest,
    /// What the answer was.
    pub response: AuditResponse,
    /// Why it was refused or failed. Keyway alone says it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// The request of an [`AuditEvent`].
#[derive(Debug, Deserialize, Serialize)]
pub struct AuditRequest {
    /// The client's address.
    #[serde(default)]
    pub ip: String,
    /// What it asked for.
    #[serde(default)]
    pub path: String,
    /// Its identity; empty when it has none.
    #[serde(default)]
    pub identity: String,
}

/// The response of an [`AuditEvent`].
#[derive(Debug, Deserialize, Serialize)]
pub struct AuditResponse {
    /// HTTP status.
    #[serde(default)]
    pub code: u16,
    /// Microseconds.
    #[serde(default)]
    pub time: u64,
}

/// A line of `/v1/log/error`.
#[derive(Debug, Deserialize)]
pub struct ErrorEvent {
    /// What happened.
    #[serde(default)]
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_its_key_or_message_is_no_answer() {
        assert!(serde_json::from_str::<Decrypted>("{}").is_err());
        assert!(serde_json::from_str::<DataKey>(r#"{"ciphertext":"AAAA"}"#).is_err());
        let decrypted: Decrypted = serde_json::from_str(r#"{"plaintext":"aGVsbG8="}"#).unwrap();
        assert_eq!(decrypted.plaintext.0.as_slice(), b"hello");
    }
}
