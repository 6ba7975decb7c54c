//! What an update says of itself: labels to find it by, and where the current trace's id comes from.

use std::sync::OnceLock;

use crate::error::{Error, NameRule, Subject};
use crate::observe;
use crate::snapshot::{Exemplar, labels};

use crate::family::MetricCells;
use crate::family::SeriesRef;
use crate::family::desc::exemplar_label;

/// The most characters of an exemplar's labels, names and values together (OpenMetrics 1.0).
const MOST_CHARACTERS: usize = 128;

type Current = Box<dyn Fn() -> Option<String> + Send + Sync>;

static CURRENT: OnceLock<Current> = OnceLock::new();

/// Where `inc_traced`, `add_traced` and `observe_traced` find the id of the current trace, for the exemplar label
/// `trace_id`. Set once, for the process.
///
/// `examples/exemplars.rs` takes it from `tracing` and OpenTelemetry.
///
/// It is asked by these updates only, in the thread that makes them; where it says `None`, they are like those without an
/// exemplar. To let only sampled traces count, say `None` for the others.
///
/// # Errors
///
/// It was set before.
///
/// ```
/// tallies::trace_ids(|| Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned()))?;
///
/// let registry = tallies::Registry::new();
/// let answers = registry.counter("answers_total", "Answers given.")?;
/// answers.inc_traced();
/// let now = registry.snapshot();
/// let (_, exemplar) = now.family("answers_total").unwrap().exemplars(0).next().unwrap();
/// assert_eq!(exemplar.labels().next().unwrap().1, "4bf92f3577b34da6a3ce929d0e0e4736");
/// # Ok::<(), tallies::Error>(())
/// ```
pub fn trace_ids(
    current: impl Fn() -> Option<String> + Send + Sync + 'static,
) -> Result<(), Error> {
    CURRENT
        .set(Box::new(current))
        .map_err(|_| Error::trace_ids_set())
}

/// Runs `f` with the labels that say where the current trace is, if there is one.
pub(super) fn with_trace(f: impl FnOnce(&[(&str, &str)])) {
    if let Some(id) = CURRENT.get().and_then(|current| current()) {
        f(&[("trace_id", &id)]);
    }
}

/// Whether these can be an exemplar's labels.
pub(super) fn check(labels: &[(&str, &str)]) -> Result<(), Error> {
    for (i, (name, _)) in labels.iter().enumerate() {
        exemplar_label(name).map_err(|rule| Error::name_of(Subject::Exemplar, name, rule))?;
        if labels[..i].iter().any(|(other, _)| other == name) {
            return Err(Error::name_of(Subject::Exemplar, name, NameRule::Twice));
        }
    }
    let length = |(name, value): &(&str, &str)| name.chars().count() + value.chars().count();
    let characters: usize = labels.iter().map(length).sum();
    if characters > MOST_CHARACTERS {
        return Err(Error::exemplar_length(MOST_CHARACTERS, characters));
    }
    Ok(())
}

/// [`check`], for an update that is made in any case: what is wrong is dropped and counted.
pub(super) fn admits(labels: &[(&str, &str)]) -> bool {
    let good = check(labels).is_ok();
    if !good {
        observe::reject();
    }
    good
}

/// Keeps the exemplar of an update that was made.
pub(super) fn keep<C: MetricCells>(
    found: SeriesRef<'_, C>,
    place: (usize, usize),
    value: f64,
    labels: &[(&str, &str)],
) {
    let exemplar = Exemplar::new(labels::text(labels), value);
    let exemplars = found.family.exemplars();
    exemplars.set(found.key.index(), place, exemplar, || found.is_current());
}

#[cfg(all(test, not(miri)))]
mod tests {
    use crate::family::Family;
    use crate::family::desc::{Desc, Names};
    use crate::observe::Tally;
    use crate::snapshot::Kind;

    use super::*;

    /// The series ends, and its cells are another label set's, between an update and its exemplar.
    #[test]
    fn an_exemplar_that_comes_late_is_dropped() {
        let desc = Desc::new("late_total", Kind::Counter, Names::Fixed(&["x"]));
        let family = Family::<Tally<u64>>::new(desc);
        let late = family.with(&["a"]);
        let exemplar = |series: SeriesRef<'_, _>| {
            keep(series, (0, 1), 1.0, &[("trace_id", "1f")]);
            let mut seen = 0;
            family
                .exemplars()
                .read(series.key.index(), |_, _| seen += 1);
            seen
        };
        assert!(family.remove(&["a"]));
        assert_eq!(exemplar(late), 0);
        assert_eq!(exemplar(family.with(&["b"])), 1);
    }
}
