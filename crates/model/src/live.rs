//! A setting that may change while it is used: who reads it sees the old value or the new one, whole.

use std::sync::{Arc, PoisonError, RwLock};

/// One setting. Read often, written when an operator changes the configuration of a running server.
#[derive(Debug, Default)]
pub struct Live<T>(RwLock<Arc<T>>);

impl<T> Live<T> {
    /// With its first value.
    pub fn new(value: T) -> Self {
        Self(RwLock::new(Arc::new(value)))
    }

    /// The value now.
    pub fn get(&self) -> Arc<T> {
        // A panic elsewhere cannot leave it half-changed: a change puts one pointer in the place of another.
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes it for whoever asks from now on.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(value);
    }
}

impl<T> From<T> for Live<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_read_it_keeps_what_was_read() {
        let setting = Live::new(1);
        let before = setting.get();
        setting.set(2);
        assert_eq!((*before, *setting.get()), (1, 2));
    }
}
