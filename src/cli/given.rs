//! Values of options that must not be empty: an empty one is usually an unset variable of the shell.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, StringValueParser, TypedValueParser};

/// The end of the error for an empty value, after the value and the option.
const EMPTY: &str = "it is empty; if it comes from a shell variable, check that the variable is set";

/// The value that stands for standard input or output.
pub(super) const STANDARD: &str = "-";

/// A path that is not empty.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    let checked = |text: std::ffi::OsString| if text.is_empty() { Err(EMPTY) } else { Ok(PathBuf::from(text)) };
    OsStringValueParser::new().try_map(checked)
}

/// A text that is not empty.
pub(super) fn text() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().try_map(|text| if text.trim().is_empty() { Err(EMPTY) } else { Ok(text) })
}
