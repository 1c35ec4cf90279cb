//! Values encrypted under a key of the transit engine: KV then contains `vault:vN:...`, for any N.
//!
//! The plaintext for transit is the value, in base64 as every plaintext. Rotated keys and rewrapped values need no
//! special handling: Vault reads the version from the ciphertext.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vaultrs::transit::data;
use zeroize::Zeroizing;

use crate::vault::auth::Connection;
use crate::vault::client::quiet;
use crate::vault::config::Transit;
use crate::vault::error::Failure;
use crate::{Name, StoreError, Value};

/// The beginning of every ciphertext of transit.
pub(super) const PREFIX: &str = "vault:v";

/// An invalid ciphertext: the error for it shows whether the key exists.
const PROBE: &str = "vault:v1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Encrypts a value.
pub(super) async fn encrypt(
    connection: &Connection,
    transit: &Transit,
    name: &Name,
    value: &Value,
) -> Result<String, StoreError> {
    let plaintext = Zeroizing::new(STANDARD.encode(value.as_bytes()));
    let done = connection.read(async |session| {
        quiet(data::encrypt(&session.keys, &transit.engine, &transit.key, &plaintext, None)).await
    });
    match done.await {
        Ok(answer) if answer.ciphertext.starts_with(PREFIX) => Ok(answer.ciphertext),
        Ok(_) => Err(StoreError::unavailable(format!(
            "{} returned no ciphertext for the key '{name}'; check that it is a transit engine",
            label(transit)
        ))),
        Err(failure) => {
            Err(connection.explain(failure, &format!("encrypt the key '{name}' with {}", label(transit))).await)
        }
    }
}

/// Decrypts a ciphertext from KV.
pub(super) async fn decrypt(
    connection: &Connection,
    transit: &Transit,
    name: &Name,
    ciphertext: &str,
) -> Result<Value, StoreError> {
    if !ciphertext.starts_with(PREFIX) {
        let place = &connection.place;
        return Err(StoreError::Damaged {
            reason: format!(
                "the key '{name}' in {place} is not encrypted by transit, although a transit key is configured; it was \
                 stored without one, or by another program"
            ),
        });
    }
    let done = connection.read(async |session| {
        quiet(data::decrypt(&session.keys, &transit.engine, &transit.key, ciphertext, None)).await
    });
    match done.await {
        Ok(answer) => {
            let plaintext = Zeroizing::new(answer.plaintext);
            STANDARD.decode(plaintext.as_bytes()).map(Value::from).map_err(|_| StoreError::Damaged {
                reason: format!(
                    "{} returned no valid base64 for the key '{name}'; restore it from a backup",
                    label(transit)
                ),
            })
        }
        Err(failure) => Err(refused(connection, transit, name, failure).await),
    }
}

async fn refused(connection: &Connection, transit: &Transit, name: &Name, failure: Failure) -> StoreError {
    let label = label(transit);
    let key = &transit.key;
    if failure.code() != Some(400) || failure.says("key not found") {
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
                 '{key}' from its latest backup"
            ),
        }
    } else {
        StoreError::Damaged {
            reason: format!(
                "the key '{name}' cannot be decrypted with {label}: {message}; it is damaged, or was encrypted under \
                 another transit key"
            ),
        }
    }
}

/// Makes sure that the transit key exists and that we may use it. Otherwise the first create would create a missing
/// one.
pub(super) async fn check(connection: &Connection, transit: &Transit) -> Result<(), StoreError> {
    let done = connection
        .read(async |session| quiet(data::decrypt(&session.keys, &transit.engine, &transit.key, PROBE, None)).await);
    match done.await {
        Ok(_) => Ok(()),
        Err(failure) if failure.code() == Some(400) && !failure.says("key not found") => Ok(()),
        Err(failure) if failure.says("key not found") => Err(StoreError::unavailable(format!(
            "{} of {} does not exist; create it with `vault write -f {}/keys/{}`, or correct its name",
            label(transit),
            connection.place,
            transit.engine,
            transit.key
        ))),
        Err(failure) => Err(connection.explain(failure, &format!("use {}", label(transit))).await),
    }
}

/// The transit key in messages.
fn label(transit: &Transit) -> String {
    format!("the transit key '{}' of the engine '{}'", transit.key, transit.engine)
}
