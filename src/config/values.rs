//! Readers of single values: what text they take, and what is said of other text.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::duration::GoDuration;
use super::yaml::field::{Field, Text, is_api_key};
use super::yaml::section::Section;
use crate::identity::Identity;

/// What to write where the identity of a client is missing.
pub(super) const IDENTITY_TODO: &str = "write the identity of a client, 64 hex digits";

/// An identity; to be empty or an API key is an error.
pub(super) fn identity(field: &Field<'_>, todo: &str) -> Option<Identity> {
    field.parse_required(todo, |text| match text.as_str() {
        secret if is_api_key(secret) => {
            Err("is an API key, a secret; write the identity that belongs to it".to_owned())
        }
        text => Ok(Identity::from_text(text)),
    })
}

/// Warns of an identity that no client can have.
pub(super) fn warn_if_nobody(field: &Field<'_>, identity: &Identity) {
    if Identity::from_text(&identity.as_str().to_ascii_lowercase()).can_match() && !identity.can_match() {
        field.warn("is in capital letters and so matches no client; write it in small letters");
    } else if !identity.can_match() {
        field.warn("matches no client; write 64 hex digits, as the identity commands print them");
    }
}

/// Takes any text for a path.
#[expect(clippy::unnecessary_wraps, reason = "it stands among parsers that can fail")]
pub(super) fn path(text: &Text) -> Result<PathBuf, String> {
    Ok(PathBuf::from(text.as_str()))
}

/// Takes any text.
#[expect(clippy::unnecessary_wraps, reason = "it stands among parsers that can fail")]
pub(super) fn any(text: &Text) -> Result<String, String> {
    Ok(text.as_str().to_owned())
}

/// A whole number from `least` to `most`.
pub(super) fn number<T>(least: T, most: T) -> impl FnOnce(&Text) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| match text.as_str().parse() {
        Ok(number) if least <= number && number <= most => Ok(number),
        _ => Err(format!("{} is no number that fits; write one from {least} to {most}", text.shown())),
    }
}

/// A secret, taken as it is; nothing when it is absent or empty.
pub(super) fn secret<T: From<String>>(section: &Section<'_>, key: &str) -> Option<T> {
    let mut value = section.get(key)?.text().ok()??.into_value();
    Some(T::from(std::mem::take(&mut *value)))
}

/// `on`, `off` and the other words of YAML 1.1 for them.
pub(super) fn flag(text: &Text) -> Result<bool, String> {
    match text.as_str().to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" => Ok(true),
        "off" | "false" | "no" => Ok(false),
        _ => Err(format!("{} is neither on nor off; write on, off, true or false", text.shown())),
    }
}

/// A duration of Go.
pub(super) fn duration(text: &Text) -> Result<Duration, String> {
    parsed::<GoDuration>(text).map(|duration| duration.0)
}

/// What the type reads.
pub(super) fn parsed<T: FromStr<Err: Display>>(text: &Text) -> Result<T, String> {
    text.as_str().parse().map_err(|why| told(text, &why))
}

/// The value, and what is wrong with it.
pub(super) fn told(text: &Text, why: &dyn Display) -> String {
    format!("{} {why}", text.shown())
}

/// A character of an HTTP header name (RFC 9110 section 5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
