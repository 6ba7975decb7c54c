//! The mode of a gauge. The crate without its engine compiles this file, too.

/// The rule that combines the values of a gauge in several processes.
///
/// ```
/// use tallies::snapshot::GaugeMode;
///
/// let peak = |mebibytes| {
///     let registry = tallies::Registry::new();
///     tallies::Gauge::builder("peak_mebibytes", "Peak memory.")
///         .mode(GaugeMode::Max)
///         .register(&registry)?
///         .set(mebibytes);
///     Ok::<_, tallies::Error>(registry.snapshot())
/// };
/// let mut both = peak(3.0)?;
/// both.merge(&peak(5.0)?)?;
/// assert_eq!(both.get("peak_mebibytes", &[]), Some(5.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// A store that several processes share knows which of them are alive. The modes that begin with
/// `Live` use only the values of these; the other modes keep the values of processes that have
/// ended. [`Snapshot::merge`](super::Snapshot::merge) treats both alike, because a snapshot does
/// not tell whether its process is alive.
///
/// A gauge or a state set that nobody set in a process, in a registry or for a label set takes no
/// part, although its own page shows 0 or the first state. If nobody set it anywhere, the merged
/// page shows that, too. The last value is the one that was set last by the clocks of the machines,
/// in nanoseconds; of two that were set at the same time, it is the one that is merged last.
///
/// ```
/// use tallies::{Gauge, Registry, snapshot::GaugeMode};
///
/// let (one, two) = (Registry::new(), Registry::new());
/// let least = |registry| {
///     Gauge::builder("least_free_bytes", "The least free space.")
///         .mode(GaugeMode::Min)
///         .register(registry)
/// };
/// let (set, _unset) = (least(&one)?, least(&two)?);
/// set.lower(7.0);
/// let mut both = one.snapshot();
/// both.merge(&two.snapshot())?;
/// assert_eq!(both.get("least_free_bytes", &[]), Some(7.0));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The names are those of the multiprocess mode of Python's client, with `recent` for its
/// `mostrecent` and `live_all` for `liveall`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
// Stores have these numbers: new modes come last.
pub enum GaugeMode {
    /// Adds the values of live processes, for queue lengths or open connections.
    LiveSum,
    /// Takes the smallest value that a live process set.
    LiveMin,
    /// Takes the largest value that a live process set.
    LiveMax,
    /// Takes the value that a live process set last.
    LiveRecent,
    /// Shows each live process as a series of its own, with the label `gauge_index`: a small number
    /// that is used again when the process has ended. Snapshots that are merged without a store
    /// have no such number, so their values are added. A process that set nothing has the value 0.
    #[default]
    LiveAll,
    /// Adds the values, also of processes that have ended.
    Sum,
    /// Takes the smallest value that any process that set one has when it ends, or now.
    Min,
    /// Takes the largest value that any process that set one has when it ends, or now.
    Max,
    /// Takes the value that was set last, also by a process that has ended.
    Recent,
}
