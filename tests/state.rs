//! What a running server holds.

mod limits;
