//! Keys in memory, for tests and for servers whose data is temporary as well. They end with the process.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use async_trait::async_trait;
use parking_lot::RwLock;

use crate::{Name, Store, StoreError, Value};

/// A map under a lock that is held for one lookup at a time.
#[derive(Default)]
pub(crate) struct Memory(RwLock<BTreeMap<Name, Value>>);

#[async_trait]
impl Store for Memory {
    async fn create(&self, name: &Name, value: &Value) -> Result<(), StoreError> {
        value.check_len()?;
        let mut values = self.0.write();
        if values.contains_key(name) {
            return Err(StoreError::AlreadyExists);
        }
        values.insert(name.clone(), value.copy());
        Ok(())
    }

    async fn get(&self, name: &Name) -> Result<Value, StoreError> {
        self.0.read().get(name).map(Value::copy).ok_or(StoreError::NotFound)
    }

    async fn delete(&self, name: &Name) -> Result<(), StoreError> {
        self.0.write().remove(name).map(drop).ok_or(StoreError::NotFound)
    }

    async fn list(&self, prefix: &str, after: Option<&Name>, limit: usize) -> Result<Vec<Name>, StoreError> {
        let start = match after {
            Some(after) if after.as_str() >= prefix => Bound::Excluded(after.as_str()),
            _ => Bound::Included(prefix),
        };
        let values = self.0.read();
        let names = values.range::<str, _>((start, Bound::Unbounded)).map(|(name, _)| name);
        Ok(names.take_while(|name| name.as_str().starts_with(prefix)).take(limit).cloned().collect())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn changes(&self) -> Option<tokio::sync::broadcast::Receiver<crate::Change>> {
        None
    }

    fn missing_rights(&self) -> Option<String> {
        None
    }

    async fn close(&self) {}
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} keys)", self.0.read().len())
    }
}
