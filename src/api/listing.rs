//! Listing patterns: `list/PREFIX`, where a trailing `*` is a wildcard, and the token that continues a listing.

use backends::Name;

use crate::api::error::ApiError;
use crate::wire::CONTINUE;

/// What a client asks a list API for.
///
/// A token to continue at is `PREFIX~LAST`: SDKs send it back in the place of the prefix, and a policy rule such as
/// `/v1/key/list/app*` that lets the first page pass lets it pass too.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    /// Names must begin with this.
    pub prefix: String,
    /// Only names after this one.
    pub after: Option<Name>,
}

impl Listing {
    /// Reads the argument of a list API.
    ///
    /// # Errors
    /// [`ApiError::InvalidPattern`] when no name can begin so.
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
    fn a_token_begins_with_the_prefix_and_names_the_last_name() {
        let listing = Listing::parse("app*").unwrap();
        let last = Name::parse("app-7").unwrap();
        let next = Listing::parse(&listing.token(&last)).unwrap();
        assert_eq!(next, Listing { prefix: "app".into(), after: Some(last) });
        assert!(listing.token(&Name::parse("app-7").unwrap()).starts_with("app"));
    }
}
