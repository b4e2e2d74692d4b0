//! `/tmp` volumes on their way from a poisoned instance to the next one of the same version.
//!
//! A place is taken *before* the caller learns that its run failed, and filled when the old instance is gone:
//! a call that follows at once finds the place and waits for the volume.

use crate::policy::{CarriedVolume, surplus};
use crate::registry::EntryId;
use lamplight_sandbox::TemporaryVolume;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a start waits for the volume of an instance that is being stopped: extensions may have two seconds of it.
const WAIT: Duration = Duration::from_secs(4);

#[derive(Debug)]
struct Place {
    entry: EntryId,
    waiting: CarriedVolume,
    volume: oneshot::Receiver<TemporaryVolume>,
}

/// The places, bounded by `policy::surplus`. Dropping a place frees its volume's disk space.
#[derive(Debug, Default)]
pub struct CarriedVolumes {
    places: Mutex<(u64, Vec<Place>)>,
}

impl CarriedVolumes {
    /// Takes a place for the volume of an instance that is about to be stopped.
    pub fn promise(&self, entry: EntryId, now: Instant) -> oneshot::Sender<TemporaryVolume> {
        let (sender, volume) = oneshot::channel();
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.0 += 1;
        let waiting = CarriedVolume { id: places.0, since: now };
        places.1.push(Place { entry, waiting, volume });
        sender
    }

    /// The latest volume of this version that has come; when none has, waits for the latest that is on its way.
    pub async fn take(&self, entry: EntryId) -> Option<TemporaryVolume> {
        let volume = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let of_version = |place: &Place| place.entry == entry;
            let come = places.1.iter().rposition(|place| of_version(place) && !place.volume.is_empty());
            let at = come.or_else(|| places.1.iter().rposition(of_version))?;
            places.1.remove(at).volume
        };
        tokio::time::timeout(WAIT, volume).await.ok()?.ok()
    }

    /// Gives up what is too old or too much. Called by the pool's maintenance. Whether any are left.
    pub fn sweep(&self, most: usize, longest: Duration, now: Instant) -> bool {
        let dropped: Vec<Place>;
        let left;
        {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            let waiting: Vec<CarriedVolume> = places.1.iter().map(|place| place.waiting).collect();
            let ids = surplus(&waiting, most, longest, now);
            dropped = places.1.extract_if(.., |place| ids.contains(&place.waiting.id)).collect();
            left = !places.1.is_empty();
        }
        // Closing the descriptors of loop devices does not belong under the lock.
        drop(dropped);
        left
    }
}
