//! The sections of the benchmark.

pub(crate) mod cold;
pub(crate) mod many_keys;
pub(crate) mod scale;
pub(crate) mod side_by_side;
pub(crate) mod start_up;
mod stores;

/// The section shown in the plot.
pub(crate) const SIDE_BY_SIDE: &str = "side by side";
