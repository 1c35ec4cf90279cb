//! Values under a key of the transit engine: what KV then holds is `vault:vN:...`, whatever N.
//!
//! The plaintext that transit is given is the value; it wants it as base64, as every plaintext. Keys that were rotated
//! and values that were rewrapped need nothing here: Vault reads the version from the text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use vaultrs::transit::data;
use zeroize::Zeroizing;

use crate::vault::auth::Connection;
use crate::vault::client::quiet;
use crate::vault::config::Transit;
use crate::vault::error::Failure;
use crate::{Name, StoreError, Value};

/// How every ciphertext of transit begins.
pub(super) const PREFIX: &str = "vault:v";

/// A ciphertext that no key made: what is said of it tells whether there is a key.
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
        Ok(_) => {
            Err(StoreError::unavailable(format!("{} answered no ciphertext for the key '{name}'", words(transit))))
        }
        Err(failure) => {
            Err(connection.explain(failure, &format!("encrypt the key '{name}' by {}", words(transit))).await)
        }
    }
}

/// Decrypts what KV holds.
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
                "the key '{name}' in {place} is not encrypted by transit, as the configuration says; it was stored \
                 without, or is none of ours"
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
                reason: format!("{} answered no base64 for the key '{name}'", words(transit)),
            })
        }
        Err(failure) => Err(refused(connection, transit, name, failure).await),
    }
}

async fn refused(connection: &Connection, transit: &Transit, name: &Name, failure: Failure) -> StoreError {
    let by = words(transit);
    let key = &transit.key;
    if failure.code() != Some(400) || failure.says("key not found") {
        return connection.explain(failure, &format!("decrypt the key '{name}' by {by}")).await;
    }
    let said = failure.words();
    if failure.says("too old") {
        StoreError::Withheld {
            reason: format!(
                "the key '{name}' was encrypted under an old version of {by}: {said}; lower its min_decryption_version"
            ),
        }
    } else if failure.says("too new") {
        StoreError::Withheld {
            reason: format!(
                "the key '{name}' was encrypted under a newer version of {by} than there is: {said}; restore '{key}' from its newest backup"
            ),
        }
    } else {
        StoreError::Damaged {
            reason: format!(
                "the key '{name}' cannot be decrypted by {by}: {said}; it is damaged, or of another transit key"
            ),
        }
    }
}

/// Makes sure that the key exists and that we may use it. A key that is missing would else be made by the first create.
pub(super) async fn check(connection: &Connection, transit: &Transit) -> Result<(), StoreError> {
    let done = connection
        .read(async |session| quiet(data::decrypt(&session.keys, &transit.engine, &transit.key, PROBE, None)).await);
    match done.await {
        Ok(_) => Ok(()),
        Err(failure) if failure.code() == Some(400) && !failure.says("key not found") => Ok(()),
        Err(failure) if failure.says("key not found") => Err(StoreError::unavailable(format!(
            "{} of {} does not exist; make it with `vault write -f {}/keys/{}`, or correct its name",
            words(transit),
            connection.place,
            transit.engine,
            transit.key
        ))),
        Err(failure) => Err(connection.explain(failure, &format!("use {}", words(transit))).await),
    }
}

fn words(transit: &Transit) -> String {
    format!("the transit key '{}' of the engine '{}'", transit.key, transit.engine)
}
