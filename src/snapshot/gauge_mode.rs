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
/// The names are those of the multiprocess mode of Python's client, with `recent` for its
/// `mostrecent` and `live_all` for `liveall`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
// Stores have these numbers: new modes come last.
pub enum GaugeMode {
    /// Adds the values of live processes, for queue lengths or open connections.
    LiveSum,
    /// Takes the smallest value of a live process.
    LiveMin,
    /// Takes the largest value of a live process.
    LiveMax,
    /// Takes the value that a live process set last.
    LiveRecent,
    /// Shows each live process as a series of its own, with the label `gauge_index`: a small number
    /// that is used again when the process has ended. Snapshots that are merged without a store
    /// have no such number, so their values are added.
    #[default]
    LiveAll,
    /// Adds the values, also of processes that have ended.
    Sum,
    /// Takes the smallest value that any process has when it ends, or now.
    Min,
    /// Takes the largest value that any process has when it ends, or now.
    Max,
    /// Takes the value that was set last, also by a process that has ended.
    Recent,
}
