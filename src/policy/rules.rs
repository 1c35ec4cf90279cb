//! A set of patterns with a fast lookup: finding the one that matches a path does not visit all of them.

use std::ops::Deref;

use super::PathPattern;

/// The patterns of `allow` or `deny` of a policy, in byte order, without duplicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    all: Vec<PathPattern>,
    /// The indices in `all` of the patterns that end in `*` and whose prefix does not begin with that of another such
    /// pattern, sorted by prefix. At most one of them matches a path: the last one whose prefix is not greater than it.
    prefixes: Vec<usize>,
}

impl FromIterator<PathPattern> for Rules {
    fn from_iter<I: IntoIterator<Item = PathPattern>>(patterns: I) -> Self {
        let mut all: Vec<_> = patterns.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        let mut sorted: Vec<(&str, usize)> =
            all.iter().enumerate().filter_map(|(index, pattern)| Some((pattern.prefix()?, index))).collect();
        sorted.sort_unstable();
        let mut prefixes: Vec<(&str, usize)> = Vec::with_capacity(sorted.len());
        for (prefix, index) in sorted {
            // In sorted order, a prefix of this prefix comes before it, and everything in between begins with it too.
            if prefixes.last().is_none_or(|(last, _)| !prefix.starts_with(last)) {
                prefixes.push((prefix, index));
            }
        }
        let prefixes = prefixes.into_iter().map(|(_, index)| index).collect();
        Self { all, prefixes }
    }
}

impl Deref for Rules {
    type Target = [PathPattern];

    fn deref(&self) -> &[PathPattern] {
        &self.all
    }
}

impl Rules {
    /// A pattern that matches: the exact path if there is one, otherwise the shortest prefix.
    pub(super) fn find(&self, path: &str) -> Option<&PathPattern> {
        let exact = self.all.binary_search_by(|pattern| pattern.as_str().cmp(path)).ok();
        let exact = exact.and_then(|index| self.all.get(index)).filter(|pattern| pattern.matches(path));
        exact.or_else(|| {
            let after = self.prefixes.partition_point(|index| self.prefix(*index) <= path);
            let candidate = self.all.get(*self.prefixes.get(after.checked_sub(1)?)?)?;
            candidate.matches(path).then_some(candidate)
        })
    }

    /// The pattern that has the longest common prefix with the path; of several, the first.
    pub(super) fn nearest(&self, path: &str) -> Option<&PathPattern> {
        let common =
            |pattern: &PathPattern| pattern.as_str().bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
        // The patterns with the longest common prefix are adjacent, at the position where the path would be inserted.
        let position = self.all.partition_point(|pattern| pattern.as_str() < path);
        let neighbours = [position.checked_sub(1).and_then(|before| self.all.get(before)), self.all.get(position)];
        let longest = neighbours.into_iter().flatten().map(common).max()?;
        let shared = path.as_bytes().get(..longest)?;
        self.all.get(self.all.partition_point(|pattern| pattern.as_str().as_bytes() < shared))
    }

    fn prefix(&self, index: usize) -> &str {
        self.all.get(index).and_then(PathPattern::prefix).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(patterns: &[String]) -> Rules {
        patterns.iter().map(PathPattern::new).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn a_lookup_finds_the_same_as_a_linear_search(
            patterns in proptest::collection::vec("[ab/]{0,5}\\*?", 0..12),
            path in "[ab/*]{0,7}",
        ) {
            let rules = rules(&patterns);
            let matches = patterns.iter().any(|pattern| PathPattern::new(pattern).matches(&path));
            prop_assert_eq!(rules.find(&path).is_some(), matches);
            prop_assert!(rules.find(&path).is_none_or(|rule| rule.matches(&path)));
        }

        #[test]
        fn the_nearest_pattern_is_the_first_with_the_longest_common_prefix(
            patterns in proptest::collection::vec("[ab/]{0,5}\\*?", 0..12),
            path in "[ab/]{0,7}",
        ) {
            let rules = rules(&patterns);
            let common =
                |rule: &PathPattern| rule.as_str().bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
            let nearest = rules.iter().max_by(|a, b| common(a).cmp(&common(b)).then_with(|| b.cmp(a)));
            prop_assert_eq!(rules.nearest(&path), nearest);
        }
    }
}
