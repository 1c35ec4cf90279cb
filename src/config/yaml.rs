//! YAML with source positions: the tree of a text, its fields and sections with their positions, and the report of all
//! problems. The meaning of the keys is defined in the files of the parent module.

mod expand;
pub(crate) mod field;
pub(crate) mod locate;
pub(crate) mod node;
pub(crate) mod report;
pub(crate) mod section;
