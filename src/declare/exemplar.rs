//! Exemplars of updates, and the function that provides the id of the current trace.

use std::sync::OnceLock;

use crate::error::{Error, ErrorKind, NameRule, Subject};
use crate::snapshot::{Exemplar, MOST_CHARACTERS, is_label_name, labels};

use crate::family::{Family, MetricCells, SeriesRef};

type TraceId = Box<dyn Fn() -> Option<String> + Send + Sync>;

static TRACE_ID: OnceLock<TraceId> = OnceLock::new();

/// Sets the function that returns the id of the current trace. `inc_traced`, `add_traced` and
/// `observe_traced` put the id in the exemplar label `trace_id`.
///
/// ```
/// tallies::instrument::trace_ids(|| Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()))?;
///
/// let registry = tallies::Registry::new();
/// let answers = registry.counter("answers_total", "Answers given.")?;
/// answers.inc_traced();
/// let now = registry.snapshot();
/// let (_, exemplar) = now.family("answers_total").unwrap().exemplars(0).next().unwrap();
/// assert_eq!(exemplar.labels().next().unwrap().1, "4bf92f3577b34da6a3ce929d0e0e4736");
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// `examples/exemplars.rs` takes the id from `tracing` and OpenTelemetry. The crate
/// `tallies-trace-context` has a function that takes it from the thread-local record of any tracer
/// that publishes one.
///
/// Only those updates call the function, in the thread of the update. If it returns `None`, the
/// update has no exemplar. To link only to sampled traces, return `None` for the others.
///
/// # Errors
///
/// Returns an error if the function was set before. It can be set once per process.
pub fn trace_ids(
    current: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> Result<(), Error> {
    TRACE_ID.set(Box::new(current)).map_err(|_| {
        Error::other(format_args!(
            "the source of trace ids is already set; `trace_ids` can be called once per process"
        ))
    })
}

/// Runs `f` with the label of the current trace, if there is one.
pub(super) fn with_trace(f: impl FnOnce(&[(&str, &str)])) {
    if let Some(id) = TRACE_ID.get().and_then(|current| current()) {
        f(&[("trace_id", &id)]);
    }
}

/// Checks that these labels can be an exemplar's.
fn validate(labels: &[(&str, &str)]) -> Result<(), Error> {
    for (i, (name, _)) in labels.iter().enumerate() {
        // No name is reserved.
        if !is_label_name(name.as_bytes()) {
            return Err(NameRule::Label.error(Subject::Exemplar, name));
        }
        if labels[..i].iter().any(|(other, _)| other == name) {
            return Err(NameRule::Twice.error(Subject::Exemplar, name));
        }
    }
    let length = |(name, value): &(&str, &str)| name.chars().count() + value.chars().count();
    let characters: usize = labels.iter().map(length).sum();
    if characters > MOST_CHARACTERS {
        return Err(ErrorKind::Update.error(format_args!(
            "the labels of an exemplar have at most {MOST_CHARACTERS} characters, names and values \
             together, got {characters}"
        )));
    }
    Ok(())
}

/// Checks the labels of an exemplar. Invalid ones are counted as a rejected update.
pub(super) fn check<C: MetricCells>(
    family: &Family<C>,
    labels: &[(&str, &str)],
) -> Result<(), Error> {
    validate(labels).inspect_err(|_| family.count_rejected(1))
}

/// Stores the exemplar of an update, unless the series was removed or retired since. Invalid labels
/// are rejected.
pub(super) fn set<C: MetricCells>(
    series: SeriesRef<'_, C>,
    position: (usize, usize),
    value: f64,
    labels: &[(&str, &str)],
) {
    if let Err(error) = validate(labels) {
        return series.family.reject(1, || error);
    }
    let exemplar = Exemplar::new(labels::text(labels), value);
    if series.is_current() {
        let (family, key) = (series.family, series.key);
        family.publish_exemplar(key, position, &exemplar);
        family.set_exemplar(key, position, exemplar);
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use crate::family::desc::{Desc, Names};
    use crate::observe::Tally;
    use crate::snapshot::Kind;

    use super::*;

    /// A series is removed and its cells are reused for another label set, between an update and
    /// its exemplar, or while the exemplar is stored.
    #[test]
    fn an_exemplar_that_comes_late_is_dropped() {
        let desc = Desc::new("late_total", Kind::Counter, Names::Fixed(&["x"]));
        let family = Family::<Tally<u64>>::new(desc);
        let late = family.with(&["a"]);
        let seen = |series: SeriesRef<'_, _>| {
            let mut seen = 0;
            family.exemplars().read(series.key, |_, _| seen += 1);
            seen
        };
        let exemplar = |series: SeriesRef<'_, _>| {
            set(series, (0, 1), 1.0, &[("trace_id", "1f")]);
            seen(series)
        };
        assert!(family.retire(&["a"], true));
        assert_eq!(exemplar(late), 0);
        drop(crate::observe::engine().pass());
        family.retain(|_| true);
        let other = family.with(&["b"]);
        assert_eq!(other.key.index(), late.key.index(), "it is used again");
        let stored = Exemplar::new(String::new(), 1.0);
        family.exemplars().set(late.key, (0, 1), stored);
        assert_eq!(seen(other), 0);
        assert_eq!(exemplar(other), 1);
        let stored = Exemplar::new(String::new(), 1.0);
        family.exemplars().set(late.key, (0, 1), stored);
        assert_eq!(
            seen(other),
            1,
            "the late one takes the place of the current one"
        );
    }
}
