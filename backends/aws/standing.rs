//! What stands under a name: a value, nothing, or something that cannot be handed out.

use super::failure::Failure;
use super::{Aws, LOOK_PAUSE, LOOKS};
use crate::{StoreError, Value};

/// The label of the version of a secret that counts.
const CURRENT: &str = "AWSCURRENT";

/// How AWS says that there is no such secret, in whole.
const NO_SECRET: &str = "Secrets Manager can't find the specified secret.";

/// What stands under a name, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Missing,
    /// Deleted, but not yet for ever.
    Scheduled,
    /// A secret without a current value.
    Empty,
    Whole,
}

/// A secret that was read.
pub(super) struct Found {
    pub(super) value: Value,
    pub(super) version: Option<String>,
}

impl Aws {
    /// What stands under a name. `None` when we lack the right to ask.
    pub(super) async fn standing(&self, id: &str) -> Result<Option<Standing>, StoreError> {
        match self.call(|client| client.describe_secret().secret_id(id).send()).await {
            Ok(secret) if secret.deleted_date().is_some() => Ok(Some(Standing::Scheduled)),
            Ok(secret) => {
                let mut labels = secret.version_ids_to_stages().into_iter().flat_map(|map| map.values().flatten());
                Ok(Some(if labels.any(|label| label == CURRENT) { Standing::Whole } else { Standing::Empty }))
            }
            Err(failure) if failure.code() == "ResourceNotFoundException" => Ok(Some(Standing::Missing)),
            Err(failure) if failure.is_denied() => Ok(None),
            Err(failure) => Err(self.told(&failure, "describe", id)),
        }
    }

    /// Reads a secret, and finds out why when there is none to read.
    pub(super) async fn read(&self, id: &str) -> Result<Found, StoreError> {
        for _ in 0..LOOKS {
            let failure = match self.call(|client| client.get_secret_value().secret_id(id).send()).await {
                Ok(secret) => {
                    let value = match (secret.secret_string, secret.secret_binary) {
                        (Some(text), _) => text.into_bytes(),
                        (None, Some(bytes)) => bytes.into_inner(),
                        (None, None) => return Err(self.empty(id)),
                    };
                    let value = Value::from(value);
                    if value.len() > Value::MAX_LEN {
                        let reason = format!("the secret '{id}' in {} has {} bytes", self.place, value.len());
                        return Err(StoreError::Damaged { reason });
                    }
                    return Ok(Found { value, version: secret.version_id });
                }
                Err(failure) => failure,
            };
            let is_missing = match failure.code() {
                "ResourceNotFoundException" => true,
                "InvalidRequestException" => false,
                _ => return Err(self.told(&failure, "read", id)),
            };
            match self.standing(id).await? {
                Some(Standing::Missing) if is_missing => return Err(StoreError::NotFound),
                Some(Standing::Missing) => return Err(self.leaving(id)),
                Some(Standing::Scheduled) => return Err(self.scheduled(id)),
                Some(Standing::Empty) => return Err(self.empty(id)),
                // Made or restored after our look: look again.
                Some(Standing::Whole) if is_missing || says_deleted(&failure) => tokio::time::sleep(LOOK_PAUSE).await,
                None if is_missing && failure.says(NO_SECRET) => return Err(StoreError::NotFound),
                None if is_missing && failure.says("secret value") => return Err(self.empty(id)),
                None if !is_missing && says_deleted(&failure) => return Err(self.scheduled(id)),
                Some(Standing::Whole) | None => return Err(self.told(&failure, "read", id)),
            }
        }
        Err(self.unsteady(id))
    }

    pub(super) fn scheduled(&self, id: &str) -> StoreError {
        let reason = format!(
            "the secret '{id}' in {} is scheduled for deletion; get it back with: aws secretsmanager restore-secret \
             --secret-id {id}",
            self.place
        );
        StoreError::Withheld { reason }
    }

    pub(super) fn empty(&self, id: &str) -> StoreError {
        let reason = format!(
            "the secret '{id}' in {} has no current value, as one half created; give it one with: aws secretsmanager \
             put-secret-value --secret-id {id} --secret-string ..., or remove it",
            self.place
        );
        StoreError::Withheld { reason }
    }

    pub(super) fn leaving(&self, id: &str) -> StoreError {
        let reason = format!(
            "the secret '{id}' in {} was deleted, and AWS has not removed all of it yet; try again in some minutes",
            self.place
        );
        StoreError::Withheld { reason }
    }

    pub(super) fn unsteady(&self, id: &str) -> StoreError {
        let reason =
            format!("the secret '{id}' in {} is now there and now not, as one being deleted; try again", self.place);
        StoreError::unavailable(reason)
    }
}

/// Whether these are AWS's words for a secret that is scheduled for deletion, or being removed.
pub(super) fn says_deleted(failure: &Failure) -> bool {
    failure.says("deletion") || failure.says("deleted")
}
