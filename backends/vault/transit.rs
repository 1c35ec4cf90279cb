//! Values encrypted under a key of the transit engine: KV then contains `vault:vN:...`, for any N.
//!
//! The plaintext for transit is the value, in base64 as every plaintext. Rotated keys and rewrapped values need no
//! special handling: Vault reads the version from the ciphertext.
//!
//! # The key of the start
//! Without its transit key, no value can be read. Vault makes it worse: if the policy allows `create`, an encryption
//! under a missing key creates one of that name, and then nothing looks wrong but that old values cannot be read.
//!
//! - Every encryption names a type of key that does not exist, [`NO_TYPE`]. Vault reads the type only where it would
//!   create the key, and then refuses; so there is no moment in which a missing key could be created.
//! - A sample, encrypted at the start, is decrypted between the encryption of a value and its write to KV, and by every
//!   probe. Another key of the same name cannot decrypt it, so nothing is stored that was encrypted under another key.
//!
//! A sample that is below `min_decryption_version` is replaced: a key that was created again begins at version 1, so that
//! it is the same key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use vaultrs::transit::data;
use zeroize::{Zeroize, Zeroizing};

use crate::vault::auth::Connection;
use crate::vault::client::{post, quiet};
use crate::vault::config::Transit;
use crate::vault::error::Failure;
use crate::{Name, StoreError, Value};

/// The beginning of every ciphertext of transit.
pub(super) const PREFIX: &str = "vault:v";

/// An invalid ciphertext: the error for it shows whether the key exists.
const PROBE: &str = "vault:v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The plaintext of the sample.
const SAMPLE: &[u8] = b"keyway: the transit key of the start";

/// Not a type of a transit key. Source: `type` in
/// <https://developer.hashicorp.com/vault/api-docs/secret/transit#encrypt-data>, and Vault 1.13 and `OpenBao` 2.7.
const NO_TYPE: &str = "none-because-keyway-creates-no-transit-keys";

/// The configured transit key, as it was at the start.
#[derive(Debug)]
pub(super) struct TransitKey {
    transit: Transit,
    /// A ciphertext that only this key can decrypt. `None` until the policy allows to encrypt.
    sample: Mutex<Option<String>>,
}

impl TransitKey {
    /// Makes sure that the key exists and that we may use it.
    pub(super) async fn open(connection: &Connection, transit: &Transit) -> Result<Self, StoreError> {
        let key = Self { transit: transit.clone(), sample: Mutex::default() };
        match key.send_decrypt(connection, PROBE).await {
            Err(failure) if failure.says("key not found") => Err(StoreError::unavailable(format!(
                "{} of {} does not exist; restore it from a backup, or correct its name; only if there are no keys yet, \
                 create it with `vault write -f {}/keys/{}`",
                key.label(),
                connection.place,
                transit.engine,
                transit.key
            ))),
            Err(failure) if failure.code() == Some(400) => Ok(()),
            Err(failure) => Err(connection.explain(failure, &format!("use {}", key.label())).await),
            Ok(_) => Ok(()),
        }?;
        key.take_sample(connection).await;
        Ok(key)
    }

    /// Encrypts a value under the key of the start, or fails.
    pub(super) async fn encrypt(
        &self,
        connection: &Connection,
        name: &Name,
        value: &Value,
    ) -> Result<String, StoreError> {
        if self.sample.lock().is_none() {
            self.take_sample(connection).await;
        }
        match self.send_encrypt(connection, value.as_bytes()).await {
            Ok(ciphertext) if ciphertext.starts_with(PREFIX) => {
                self.check(connection).await?;
                Ok(ciphertext)
            }
            Ok(_) => Err(StoreError::unavailable(format!(
                "{} returned no ciphertext for the key '{name}'; check that it is a transit engine",
                self.label()
            ))),
            Err(failure) => {
                // The key is missing: it cannot be created, with the right to do so or without it.
                if failure.is_denied() || failure.says("unknown key type") {
                    self.check(connection).await?;
                }
                let doing = format!("encrypt the key '{name}' with {}", self.label());
                Err(connection.explain(failure, &doing).await)
            }
        }
    }

    /// Decrypts a ciphertext from KV.
    pub(super) async fn decrypt(
        &self,
        connection: &Connection,
        name: &Name,
        ciphertext: &str,
    ) -> Result<Value, StoreError> {
        if !ciphertext.starts_with(PREFIX) {
            let place = &connection.place;
            return Err(StoreError::Damaged {
                reason: format!(
                    "the key '{name}' in {place} is not encrypted by transit, although a transit key is configured; it \
                     was stored without one, or by another program"
                ),
            });
        }
        match self.send_decrypt(connection, ciphertext).await {
            Ok(plaintext) => STANDARD.decode(plaintext.as_bytes()).map(Value::from).map_err(|_| StoreError::Damaged {
                reason: format!(
                    "{} returned no valid base64 for the key '{name}'; restore it from a backup",
                    self.label()
                ),
            }),
            Err(failure) => Err(self.refused(connection, name, failure).await),
        }
    }

    async fn refused(&self, connection: &Connection, name: &Name, failure: Failure) -> StoreError {
        let label = self.label();
        if failure.says("key not found") {
            return self.deleted(connection);
        }
        if failure.code() != Some(400) {
            return connection.explain(failure, &format!("decrypt the key '{name}' with {label}")).await;
        }
        let message = failure.text();
        if failure.says("too old") {
            StoreError::Withheld {
                reason: format!(
                    "the key '{name}' was encrypted under an old version of {label}: {message}; lower its \
                     min_decryption_version"
                ),
            }
        } else if failure.says("too new") {
            StoreError::Withheld {
                reason: format!(
                    "the key '{name}' was encrypted under a newer version of {label} than exists: {message}; restore \
                     '{}' from its latest backup",
                    self.transit.key
                ),
            }
        } else {
            StoreError::Damaged {
                reason: format!(
                    "the key '{name}' cannot be decrypted with {label}: {message}; it is damaged, or was encrypted \
                     under another transit key"
                ),
            }
        }
    }

    /// Makes sure that the key is the one of the start: that it decrypts the sample.
    pub(super) async fn check(&self, connection: &Connection) -> Result<(), StoreError> {
        let sample = self.sample.lock().clone();
        let failure = match (self.send_decrypt(connection, sample.as_deref().unwrap_or(PROBE)).await, &sample) {
            (Ok(plaintext), Some(_)) if *plaintext != STANDARD.encode(SAMPLE) => {
                return Err(self.replaced(connection, ""));
            }
            (Ok(_), _) => return Ok(()),
            (Err(failure), _) => failure,
        };
        if failure.says("key not found") {
            return Err(self.deleted(connection));
        }
        match (failure.code(), sample) {
            (Some(400), None) => Ok(()),
            (Some(400), Some(_)) if failure.says("too old") => {
                self.take_sample(connection).await;
                Ok(())
            }
            (Some(400), Some(_)) => Err(self.replaced(connection, &failure.text())),
            _ => Err(connection.explain(failure, &format!("use {}", self.label())).await),
        }
    }

    /// Encrypts another sample, if the policy allows it.
    async fn take_sample(&self, connection: &Connection) {
        if let Ok(sample) = self.send_encrypt(connection, SAMPLE).await
            && sample.starts_with(PREFIX)
        {
            *self.sample.lock() = Some(sample);
        }
    }

    async fn send_encrypt(&self, connection: &Connection, plaintext: &[u8]) -> Result<String, Failure> {
        let path = format!("{}/encrypt/{}", self.transit.engine, self.transit.key);
        let mut body = json!({"plaintext": STANDARD.encode(plaintext), "type": NO_TYPE});
        let done = connection.read(async |session| post(&session.keys, path.clone(), &body).await).await;
        if let Some(Json::String(text)) = body.get_mut("plaintext") {
            text.zeroize();
        }
        let answer = done?;
        Ok(answer.pointer("/data/ciphertext").and_then(Json::as_str).unwrap_or_default().to_owned())
    }

    async fn send_decrypt(&self, connection: &Connection, ciphertext: &str) -> Result<Zeroizing<String>, Failure> {
        let Transit { engine, key } = &self.transit;
        let done =
            connection.read(async |session| quiet(data::decrypt(&session.keys, engine, key, ciphertext, None)).await);
        done.await.map(|answer| Zeroizing::new(answer.plaintext))
    }

    fn deleted(&self, connection: &Connection) -> StoreError {
        StoreError::unavailable(format!(
            "{} of {} was deleted since startup, and keys cannot be read without it; restore it from its latest backup \
             with `vault write {}/restore/{} backup=@FILE`, and do not create it again: another key of that name cannot \
             decrypt them",
            self.label(),
            connection.place,
            self.transit.engine,
            self.transit.key
        ))
    }

    fn replaced(&self, connection: &Connection, message: &str) -> StoreError {
        StoreError::unavailable(format!(
            "{} of {} was replaced since startup: it cannot decrypt what it encrypted then ({message}), nor the keys that \
             are stored; delete it, and restore the old one from its latest backup with `vault write {}/restore/{} \
             backup=@FILE`, or restart the server if this was intended",
            self.label(),
            connection.place,
            self.transit.engine,
            self.transit.key
        ))
    }

    /// The transit key in messages.
    fn label(&self) -> String {
        format!("the transit key '{}' of the engine '{}'", self.transit.key, self.transit.engine)
    }
}
