//! What a secret contains: a value, nothing, or something that cannot be returned as a value.

use super::failure::Failure;
use super::{ATTEMPT_PAUSE, ATTEMPTS, Aws};
use crate::{StoreError, Value};

/// The label of the current version of a secret.
const CURRENT: &str = "AWSCURRENT";

/// The whole message of AWS for a secret that does not exist.
const NO_SECRET: &str = "Secrets Manager can't find the specified secret.";

/// The state of a secret, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// There is no such secret.
    Missing,
    /// Deleted, but not permanently yet.
    Scheduled,
    /// A secret without a current value.
    Empty,
    /// A secret with a current value.
    Present,
}

/// A secret that was read.
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) version: Option<String>,
}

impl Aws {
    /// The state of a secret. `None` when we lack the right to describe it.
    pub(super) async fn state(&self, id: &str) -> Result<Option<State>, StoreError> {
        match self.call(|client| client.describe_secret().secret_id(id).send()).await {
            Ok(secret) if secret.deleted_date().is_some() => Ok(Some(State::Scheduled)),
            Ok(secret) => {
                let mut labels = secret.version_ids_to_stages().into_iter().flat_map(|map| map.values().flatten());
                Ok(Some(if labels.any(|label| label == CURRENT) { State::Present } else { State::Empty }))
            }
            Err(failure) if failure.code() == "ResourceNotFoundException" => Ok(Some(State::Missing)),
            Err(failure) if failure.is_denied() => Ok(None),
            Err(failure) => Err(self.error(&failure, "describe", id)),
        }
    }

    /// Reads a secret, and finds out the reason if there is none to read.
    pub(super) async fn read(&self, id: &str) -> Result<Found, StoreError> {
        for _ in 0..ATTEMPTS {
            let failure = match self.call(|client| client.get_secret_value().secret_id(id).send()).await {
                Ok(secret) => {
                    let value = match (secret.secret_string, secret.secret_binary) {
                        (Some(text), _) => text.into_bytes(),
                        (None, Some(bytes)) => bytes.into_inner(),
                        (None, None) => return Err(self.empty(id)),
                    };
                    let value = Value::from(value);
                    if value.len() > Value::MAX_LEN {
                        let reason = format!(
                            "the secret '{id}' in {} has {} bytes, and a key has at most {}; restore it from a backup",
                            self.place,
                            value.len(),
                            Value::MAX_LEN
                        );
                        return Err(StoreError::Damaged { reason });
                    }
                    return Ok(Found { value, version: secret.version_id });
                }
                Err(failure) => failure,
            };
            let is_missing = match failure.code() {
                "ResourceNotFoundException" => true,
                "InvalidRequestException" => false,
                _ => return Err(self.error(&failure, "read", id)),
            };
            match self.state(id).await? {
                Some(State::Missing) if is_missing => return Err(StoreError::NotFound),
                Some(State::Missing) => return Err(self.being_removed(id)),
                Some(State::Scheduled) => return Err(self.scheduled(id)),
                Some(State::Empty) => return Err(self.empty(id)),
                // Created or restored after the attempt to read it: try again.
                Some(State::Present) if is_missing || is_deleted(&failure) => tokio::time::sleep(ATTEMPT_PAUSE).await,
                None if is_missing && failure.says(NO_SECRET) => return Err(StoreError::NotFound),
                None if is_missing && failure.says("secret value") => return Err(self.empty(id)),
                None if !is_missing && is_deleted(&failure) => return Err(self.scheduled(id)),
                Some(State::Present) | None => return Err(self.error(&failure, "read", id)),
            }
        }
        Err(self.changing(id))
    }

    pub(super) fn scheduled(&self, id: &str) -> StoreError {
        let reason = format!(
            "the secret '{id}' in {} is scheduled for deletion; restore it with: aws secretsmanager restore-secret \
             --secret-id {id}",
            self.place
        );
        StoreError::Withheld { reason }
    }

    pub(super) fn empty(&self, id: &str) -> StoreError {
        let reason = format!(
            "the secret '{id}' in {} has no current value, as after an interrupted create; add one with: aws \
             secretsmanager put-secret-value --secret-id {id} --secret-string ..., or delete the secret",
            self.place
        );
        StoreError::Withheld { reason }
    }

    pub(super) fn being_removed(&self, id: &str) -> StoreError {
        let reason = format!(
            "the secret '{id}' in {} was deleted, and AWS has not removed it completely yet; try again in a few \
             minutes",
            self.place
        );
        StoreError::Withheld { reason }
    }

    pub(super) fn changing(&self, id: &str) -> StoreError {
        let reason = format!(
            "the secret '{id}' in {} exists in some responses and not in others, as while it is being deleted; try \
             again",
            self.place
        );
        StoreError::unavailable(reason)
    }
}

/// Whether the message of AWS means that the secret is scheduled for deletion, or being removed.
pub(super) fn is_deleted(failure: &Failure) -> bool {
    failure.says("deletion") || failure.says("deleted")
}
