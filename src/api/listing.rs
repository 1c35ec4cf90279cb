//! Listing patterns: `list/PREFIX` with an optional trailing `*`, and the token that continues a listing.

use backends::Name;

use crate::api::error::ApiError;
use crate::wire::CONTINUE;

/// The argument of a list API.
///
/// A continuation token is `PREFIX~LAST`. SDKs send it back instead of the prefix, and a policy rule such as
/// `/v1/key/list/app*` that allows the first page also allows the following ones.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    /// The beginning of the names.
    pub prefix: String,
    /// Return only names after this one.
    pub after: Option<Name>,
}

impl Listing {
    /// Parses the argument of a list API.
    ///
    /// # Errors
    /// [`ApiError::InvalidPattern`] if no valid name can begin with the prefix.
    pub fn parse(argument: &str) -> Result<Self, ApiError> {
        let invalid = || ApiError::InvalidPattern(argument.to_owned());
        let (prefix, after) = match argument.split_once(CONTINUE) {
            Some((prefix, last)) => (prefix, Some(Name::parse(last).map_err(|_| invalid())?)),
            None => (argument.strip_suffix('*').unwrap_or(argument), None),
        };
        if !backends::is_valid_prefix(prefix) {
            return Err(invalid());
        }
        Ok(Self { prefix: prefix.to_owned(), after })
    }

    /// The token that continues this listing after `last`.
    pub fn token(&self, last: &Name) -> String {
        format!("{}{CONTINUE}{last}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_star_is_a_wildcard_and_the_prefix_may_end_in_a_dash() {
        for (argument, prefix) in [("", ""), ("*", ""), ("app", "app"), ("app*", "app"), ("app-", "app-"), ("_", "_")] {
            assert_eq!(Listing::parse(argument).unwrap(), Listing { prefix: prefix.into(), after: None });
        }
        for bad in ["a.b", "a*b", "**", "-a", "a/b", "ü", "app~", "app~a.b", "~", "a~b~c", &"k".repeat(81)] {
            assert!(Listing::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_consists_of_the_prefix_and_the_last_name() {
        let listing = Listing::parse("app*").unwrap();
        let last = Name::parse("app-7").unwrap();
        let next = Listing::parse(&listing.token(&last)).unwrap();
        assert_eq!(next, Listing { prefix: "app".into(), after: Some(last) });
        assert!(listing.token(&Name::parse("app-7").unwrap()).starts_with("app"));
    }
}
