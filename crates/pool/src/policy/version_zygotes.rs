//! Which version zygotes there are: those of versions whose imports cost more than a fork, the most recently used ones.

use std::time::Duration;
use tokio::time::Instant;

/// Bounds of the version zygotes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionZygoteBounds {
    /// At once; 0: none are made.
    pub most: usize,
    /// Versions whose init takes less have none. Forking into a nest costs a few milliseconds.
    pub least_init: Duration,
    /// One nobody used for so long is ended.
    pub unused_after: Duration,
    /// One that was used within this time does not give way to another version's, lest they only replace each other.
    pub settled: Duration,
}

/// Whether another may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<Key> {
    /// There is room.
    Free,
    /// When this one ends.
    Of(Key),
    /// All are in use.
    None,
}

/// Where the next one has its place: the least recently used gives way.
pub fn place_of_next<Key>(
    bounds: VersionZygoteBounds,
    existing: impl ExactSizeIterator<Item = (Key, Instant)>,
    now: Instant,
) -> Place<Key> {
    if existing.len() < bounds.most {
        return Place::Free;
    }
    let oldest = existing.min_by_key(|(_, last_used)| *last_used);
    match oldest {
        Some((key, last_used)) if now.saturating_duration_since(last_used) >= bounds.settled => {
            Place::Of(key)
        }
        _ => Place::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_gives_way_when_it_has_settled() {
        let now = Instant::now() + Duration::from_secs(1_000);
        let bounds = VersionZygoteBounds {
            most: 2,
            least_init: Duration::from_millis(10),
            unused_after: Duration::from_secs(3_600),
            settled: Duration::from_secs(60),
        };
        let check = |unused_seconds: &[u64], expected| {
            let existing: Vec<_> = unused_seconds
                .iter()
                .enumerate()
                .map(|(index, seconds)| (index, now - Duration::from_secs(*seconds)))
                .collect();
            assert_eq!(place_of_next(bounds, existing.into_iter(), now), expected, "{unused_seconds:?}");
        };
        check(&[], Place::Free);
        check(&[1], Place::Free);
        check(&[61, 300], Place::Of(1));
        check(&[60, 2], Place::Of(0));
        check(&[59, 2], Place::None);
        let none = VersionZygoteBounds { most: 0, ..bounds };
        assert_eq!(place_of_next::<usize>(none, [].into_iter(), now), Place::None);
    }
}
