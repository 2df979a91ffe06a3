//! Which connection a request gets. Pure.

/// One connection, as far as the choice depends on it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) streams: usize,
    pub(super) allowed: usize,
    pub(super) own: bool,
    pub(super) fits: bool,
}

/// The connection for a request, by its position: one with less than `target` streams, of the own worker if there is one,
/// since waking another costs both; else the least busy.
pub(super) fn pick(all: impl Iterator<Item = Load>, target: usize) -> Option<usize> {
    let has_room = |load: &Load| load.fits && load.streams < target.min(load.allowed);
    let with_room = all.enumerate().filter(|(_, load)| has_room(load));
    let best = with_room.min_by_key(|(_, load)| (!load.own, load.streams));
    best.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(streams: usize, own: bool) -> Load {
        Load {
            streams,
            allowed: 100,
            own,
            fits: true,
        }
    }

    #[test]
    fn the_own_worker_comes_first_and_then_the_least_busy() {
        let all = [load(1, false), load(5, true), load(3, true)];
        assert_eq!(pick(all.into_iter(), 10), Some(2));
        assert_eq!(pick(all.into_iter(), 3), Some(0));
        assert_eq!(pick(all.into_iter(), 1), None);
    }

    #[test]
    fn no_connection_gets_more_than_its_endpoint_allows_or_what_is_not_for_it() {
        let full = Load {
            allowed: 2,
            ..load(2, true)
        };
        let other = Load {
            fits: false,
            ..load(0, true)
        };
        assert_eq!(pick([full, other].into_iter(), 10), None);
        assert_eq!(pick([full, other, load(9, false)].into_iter(), 10), Some(2));
    }
}
