//! Nanoseconds since the layer was created, on the clock of tallies' timers.

use tallies::instrument::Start;

/// A clock that threads share. Tests turn the hands of one.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    Since(Start),
    #[cfg(test)]
    Hands(std::sync::Arc<std::sync::atomic::AtomicU64>),
    /// Each look is one nanosecond later than the last one, on any thread.
    #[cfg(test)]
    Ticks(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self::Since(Start::now())
    }

    /// Returns the time. 64 bits hold 584 years.
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::Since(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            #[cfg(test)]
            Self::Hands(hands) => hands.load(std::sync::atomic::Ordering::SeqCst),
            #[cfg(test)]
            Self::Ticks(ticks) => ticks.fetch_add(1, std::sync::atomic::Ordering::SeqCst),
        }
    }
}
