//! A map from byte strings that also knows which lengths its keys have.

use std::{cmp::Reverse, collections::HashMap};

/// Finds the longest keys that occur in a text: one hash lookup for each length that some key has.
#[derive(Debug)]
pub(super) struct ByLength<V> {
    map: HashMap<Box<[u8]>, V>,
    /// Invariant: the lengths of the keys in `map`, each once, longest first.
    lengths: Vec<usize>,
}

impl<V> Default for ByLength<V> {
    fn default() -> Self {
        Self {
            map: HashMap::new(),
            lengths: Vec::new(),
        }
    }
}

impl<V: Default> ByLength<V> {
    /// The value of `key`, made where there is none yet.
    pub(super) fn entry(&mut self, key: &[u8]) -> &mut V {
        if let Err(place) = self
            .lengths
            .binary_search_by_key(&Reverse(key.len()), |&length| Reverse(length))
        {
            self.lengths.insert(place, key.len());
        }
        self.map.entry(key.into()).or_default()
    }
}

impl<V> ByLength<V> {
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The values whose keys `part` cuts out of a text, the longest key first.
    ///
    /// `part` is asked for each length up to `longest` that a key has, and answers `None` where no key of that length
    /// can stand.
    pub(super) fn longest_first<'a, 't>(
        &'a self,
        longest: usize,
        part: impl Fn(usize) -> Option<&'t [u8]>,
    ) -> impl Iterator<Item = &'a V> {
        let skipped = self.lengths.partition_point(|&length| length > longest);
        self.lengths[skipped..]
            .iter()
            .filter_map(move |&length| self.map.get(part(length)?))
    }
}
