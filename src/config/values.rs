//! Parsers of single values, and their error messages.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::duration::GoDuration;
use super::yaml::field::{Field, Text, is_api_key};
use super::yaml::section::Section;
use crate::identity::Identity;

/// What to do if the identity of a client is missing.
pub(super) const IDENTITY_TODO: &str = "set it to the identity of a client (64 hex digits)";

/// An identity; an empty value or an API key is an error.
pub(super) fn identity(field: &Field<'_>, todo: &str) -> Option<Identity> {
    field.parse_required(todo, |text| match text.as_str() {
        secret if is_api_key(secret) => {
            Err("is an API key, which is a secret; use its identity, as printed by `keyway identity of`".to_owned())
        }
        text => Ok(Identity::from_text(text)),
    })
}

/// Warns about an identity that no client can have.
pub(super) fn warn_if_unmatchable(field: &Field<'_>, identity: &Identity) {
    if Identity::from_text(&identity.as_str().to_ascii_lowercase()).can_match() && !identity.can_match() {
        field.warn("is in upper case and matches no client; write it in lower case");
    } else if !identity.can_match() {
        field.warn("matches no client; use 64 hex digits, as printed by `keyway identity of`");
    }
}

/// Accepts any text as a path.
#[expect(clippy::unnecessary_wraps, reason = "used together with parsers that can fail")]
pub(super) fn path(text: &Text) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text.as_str()))
}

/// Accepts any text.
#[expect(clippy::unnecessary_wraps, reason = "used together with parsers that can fail")]
pub(super) fn any(text: &Text) -> Result<String, String> {
    Ok(text.as_str().to_owned())
}

/// A number from `min` to `max`.
pub(super) fn number<T>(min: T, max: T) -> impl FnOnce(&Text) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| match text.as_str().parse() {
        Ok(number) if min <= number && number <= max => Ok(number),
        _ => {
            let is_number = text.as_str().trim_start_matches(['-', '+']).bytes().all(|byte| byte.is_ascii_digit());
            let problem = if is_number { "out of range" } else { "not a whole number" };
            Err(format!("{} is {problem}; use a number from {min} to {max}", text.shown()))
        }
    }
}

/// A secret, unchanged; `None` if it is absent or empty.
pub(super) fn secret<T: From<String>>(section: &Section<'_>, key: &str) -> Option<T> {
    let mut value = section.get(key)?.text().ok()??.into_value();
    Some(T::from(std::mem::take(&mut *value)))
}

/// `on`, `off` and their YAML 1.1 synonyms.
pub(super) fn flag(text: &Text) -> Result<bool, String> {
    match text.as_str().to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" => Ok(true),
        "off" | "false" | "no" => Ok(false),
        _ => Err(format!("{} is neither on nor off; use on, off, true or false", text.shown())),
    }
}

/// A Go duration.
pub(super) fn duration(text: &Text) -> Result<Duration, String> {
    parsed::<GoDuration>(text).map(|duration| duration.0)
}

/// A value of a type that implements [`FromStr`].
pub(super) fn parsed<T: FromStr<Err: Display>>(text: &Text) -> Result<T, String> {
    text.as_str().parse().map_err(|error| problem(text, &error))
}

/// The error message for a value.
pub(super) fn problem(text: &Text, error: &dyn Display) -> String {
    format!("{} {error}", text.shown())
}

/// Whether a byte may appear in the name of an HTTP header (RFC 9110 section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
