//! Patterns in which the one that matches a path is found without looking at all of them.

use std::ops::Deref;

use super::PathPattern;

/// The patterns of a policy's `allow` or `deny`, in the order of their bytes, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    all: Vec<PathPattern>,
    /// Where in `all` the patterns are that end in `*` and begin with no other such one, in the order of the bytes
    /// before their `*`. Of these at most one can match a path: it is the last whose beginning does not come after it.
    prefixes: Vec<usize>,
}

impl FromIterator<PathPattern> for Rules {
    fn from_iter<I: IntoIterator<Item = PathPattern>>(patterns: I) -> Self {
        let mut all: Vec<_> = patterns.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        let mut sorted: Vec<(&str, usize)> =
            all.iter().enumerate().filter_map(|(number, pattern)| Some((pattern.prefix()?, number))).collect();
        sorted.sort_unstable();
        let mut prefixes: Vec<(&str, usize)> = Vec::with_capacity(sorted.len());
        for (prefix, number) in sorted {
            // What it begins with, if anything, comes before it, and nothing in between does not begin so.
            if prefixes.last().is_none_or(|(last, _)| !prefix.starts_with(last)) {
                prefixes.push((prefix, number));
            }
        }
        let prefixes = prefixes.into_iter().map(|(_, number)| number).collect();
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
    /// A pattern that matches: the very path where that is one, else the shortest beginning.
    pub(super) fn find(&self, path: &str) -> Option<&PathPattern> {
        let exact = self.all.binary_search_by(|pattern| pattern.as_str().cmp(path)).ok();
        let exact = exact.and_then(|number| self.all.get(number)).filter(|pattern| pattern.matches(path));
        exact.or_else(|| {
            let after = self.prefixes.partition_point(|number| self.prefix(*number) <= path);
            let candidate = self.all.get(*self.prefixes.get(after.checked_sub(1)?)?)?;
            candidate.matches(path).then_some(candidate)
        })
    }

    /// The pattern that shares the longest beginning with the path; of several such ones the first.
    pub(super) fn nearest(&self, path: &str) -> Option<&PathPattern> {
        let common =
            |pattern: &PathPattern| pattern.as_str().bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
        // Those that share the most stand together around the place where the path would stand.
        let place = self.all.partition_point(|pattern| pattern.as_str() < path);
        let neighbours = [place.checked_sub(1).and_then(|before| self.all.get(before)), self.all.get(place)];
        let most = neighbours.into_iter().flatten().map(common).max()?;
        let shared = path.as_bytes().get(..most)?;
        self.all.get(self.all.partition_point(|pattern| pattern.as_str().as_bytes() < shared))
    }

    fn prefix(&self, number: usize) -> &str {
        self.all.get(number).and_then(PathPattern::prefix).unwrap_or_default()
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
        fn what_is_found_is_what_a_look_at_every_pattern_finds(
            patterns in proptest::collection::vec("[ab/]{0,5}\\*?", 0..12),
            path in "[ab/*]{0,7}",
        ) {
            let rules = rules(&patterns);
            let matches = patterns.iter().any(|pattern| PathPattern::new(pattern).matches(&path));
            prop_assert_eq!(rules.find(&path).is_some(), matches);
            prop_assert!(rules.find(&path).is_none_or(|rule| rule.matches(&path)));
        }

        #[test]
        fn the_nearest_is_the_first_of_those_that_share_the_most(
            patterns in proptest::collection::vec("[ab/]{0,5}\\*?", 0..12),
            path in "[ab/]{0,7}",
        ) {
            let rules = rules(&patterns);
            let common = |rule: &PathPattern| rule.as_str().bytes().zip(path.bytes()).take_while(|(a, b)| a == b).count();
            let nearest = rules.iter().max_by(|a, b| common(a).cmp(&common(b)).then_with(|| b.cmp(a)));
            prop_assert_eq!(rules.nearest(&path), nearest);
        }
    }
}
