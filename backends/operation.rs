//! The operations of a store, with their names in messages and metrics.

use std::fmt;

/// What a [`Store`](crate::Store) can be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// [`Store::create`](crate::Store::create)
    Create,
    /// [`Store::get`](crate::Store::get)
    Read,
    /// [`Store::delete`](crate::Store::delete)
    Delete,
    /// [`Store::list`](crate::Store::list)
    List,
    /// [`Store::ping`](crate::Store::ping)
    Ping,
}

impl Operation {
    /// All of them, in the order of their numbers (`operation as usize`).
    pub const ALL: [Self; 5] = [Self::Create, Self::Read, Self::Delete, Self::List, Self::Ping];

    /// The name of the operation in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Ping => "ping",
        }
    }
}

/// The operation as messages name it: `create key`.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "create key",
            Self::Read => "read key",
            Self::Delete => "delete key",
            Self::List => "list keys",
            Self::Ping => "read from the key store",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_listed_by_their_numbers() {
        for (number, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, number);
        }
    }
}
