//! The routes of one host, by path.

use std::{cmp::Reverse, collections::HashMap};

use super::{Request, by_length::ByLength, rule::Conditions};
use crate::config::PathPattern;

#[derive(Debug)]
pub(super) struct Paths<T> {
    exact: HashMap<Box<[u8]>, Candidates<T>>,
    /// Keys are without their trailing slash, and not empty.
    prefixes: ByLength<Candidates<T>>,
    /// The prefix `/`. Apart from the others, because it is in nearly every configuration and needs no lookup. (As an
    /// empty key it would also cost 40 ns: where empty slices point, the processor's masked comparison faults.)
    root: Candidates<T>,
}

impl<T> Default for Paths<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            prefixes: ByLength::default(),
            root: Candidates::default(),
        }
    }
}

impl<T> Paths<T> {
    pub(super) fn add(&mut self, path: PathPattern, conditions: Conditions, value: T) {
        let candidates = match path {
            PathPattern::Exact(path) => self.exact.entry(path.into_bytes().into()).or_default(),
            PathPattern::Prefix(prefix) => match prefix.strip_suffix('/').unwrap_or(&prefix) {
                "" => &mut self.root,
                prefix => self.prefixes.entry(prefix.as_bytes()),
            },
        };
        candidates.add(conditions, value);
    }

    /// An exact path is as long as a match can be, so it comes before every prefix.
    pub(super) fn find(&self, request: &Request<'_>) -> Option<&T> {
        let path = request.path.as_bytes();
        let exact = if self.exact.is_empty() {
            None
        } else {
            self.exact.get(path)
        };
        exact
            .and_then(|candidates| candidates.find(request))
            .or_else(|| {
                self.prefixes
                    .longest_first(path.len(), |length| at_border(path, length).then(|| &path[..length]))
                    .find_map(|candidates| candidates.find(request))
            })
            .or_else(|| {
                if at_border(path, 0) {
                    self.root.find(request)
                } else {
                    None
                }
            })
    }
}

/// Whether a segment of `path` ends after `length` bytes.
fn at_border(path: &[u8], length: usize) -> bool {
    path.get(length).is_none_or(|&next| next == b'/')
}

/// The routes for the same host and path.
#[derive(Debug)]
struct Candidates<T> {
    /// Invariant: those with more conditions first, and among equals in the order of the file.
    routes: Vec<(Conditions, T)>,
}

impl<T> Default for Candidates<T> {
    fn default() -> Self {
        Self { routes: Vec::new() }
    }
}

impl<T> Candidates<T> {
    fn add(&mut self, conditions: Conditions, value: T) {
        let rank = Reverse(conditions.count());
        let place = self.routes.partition_point(|(other, _)| Reverse(other.count()) <= rank);
        self.routes.insert(place, (conditions, value));
    }

    fn find(&self, request: &Request<'_>) -> Option<&T> {
        self.routes
            .iter()
            .find(|(conditions, _)| conditions.hold_for(request))
            .map(|(_, value)| value)
    }
}
