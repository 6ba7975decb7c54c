//! The filter of the layer: which spans and events are measured, whatever other layers log.

use std::fmt;
use std::sync::Arc;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::layer::{Context, Filter};

type Predicate = Arc<dyn Fn(&Metadata<'_>) -> bool + Send + Sync>;

/// Chooses the spans and events of a layer: by level, and by a function of the program.
///
/// It is the layer's own, a [per-layer filter], so neither does it change what other layers see,
/// nor do their filters change what is measured.
///
/// ```
/// # fn main() -> Result<(), tallies::Error> {
/// use tallies_tracing::{SpanFilter, SpanLayer, SpanMetrics};
/// use tracing_subscriber::Registry;
///
/// let layer: SpanLayer<Registry> = SpanMetrics::new().register(&tallies::Registry::new())?;
/// let filter: &SpanFilter = layer.filter();
/// # let _ = filter;
/// # Ok(())
/// # }
/// ```
///
/// [per-layer filter]: tracing_subscriber::layer#per-layer-filtering
#[derive(Clone)]
pub struct SpanFilter {
    /// The most verbose level of measured spans. `None` measures none.
    pub(crate) spans: Option<Level>,
    /// The most verbose level of counted events. `None` counts none.
    pub(crate) events: Option<Level>,
    pub(crate) only: Option<Predicate>,
}

impl SpanFilter {
    fn chooses(&self, metadata: &Metadata<'_>) -> bool {
        let most = match metadata.is_span() {
            true => self.spans,
            false => self.events,
        };
        most.is_some_and(|most| *metadata.level() <= most)
            && self.only.as_ref().is_none_or(|only| only(metadata))
    }
}

impl<S> Filter<S> for SpanFilter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.chooses(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.chooses(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.events.max(self.spans).into())
    }
}

impl fmt::Debug for SpanFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanFilter")
            .field("spans", &self.spans)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}
