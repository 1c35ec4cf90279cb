//! YAML with places: a tree of the text, fields and sections that know where they stand, and a report of all problems.
//! What a key means is said in the files beside this room.

pub(crate) mod field;
pub(crate) mod locate;
pub(crate) mod node;
pub(crate) mod report;
pub(crate) mod section;
