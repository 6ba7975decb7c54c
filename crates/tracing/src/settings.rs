//! Settings: the measured times, the chosen spans, the names.

use std::sync::Arc;

use tallies::label::DEFAULT_LIMIT;
use tallies::{Error, Registry};
use tallies_names::setters;
use tracing::{Dispatch, Level, Metadata, Subscriber, span::Id};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Filtered;
use tracing_subscriber::registry::LookupSpan;

use crate::choice::SpanFilter;
use crate::clock::Clock;
use crate::families::SpanFamilies;
use crate::fields::{FieldLabel, FieldList};
use crate::layer::SpanRecorder;
use crate::trace::{TraceSource, TraceText};

/// A layer that measures spans, with its own filter, for a subscriber `S`.
///
/// ```
/// # fn main() -> Result<(), tallies::Error> {
/// use tallies_tracing::{SpanLayer, SpanMetrics};
/// use tracing_subscriber::Registry;
///
/// let layer: SpanLayer<Registry> = SpanMetrics::new().register(&tallies::Registry::new())?;
/// # let _ = layer;
/// # Ok(())
/// # }
/// ```
pub type SpanLayer<S> = Filtered<SpanRecorder, SpanFilter, S>;

/// A time that spans are measured by. Each is a histogram in seconds. The [crate] has the drawing.
///
/// ```
/// use tallies_tracing::SpanTime;
///
/// assert_eq!(SpanTime::SelfTime.family(), "span_self_seconds");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpanTime {
    /// From the creation of the span to its close.
    Duration,
    /// The part of the duration in which no measured child was open. Children that overlap count
    /// once.
    SelfTime,
    /// The part of the duration in which at least one thread was inside the span.
    Busy,
    /// The part of the duration in which no thread was inside the span: a future that waits.
    Idle,
}

impl SpanTime {
    /// All times, in the order of their declaration.
    pub(crate) const ALL: [Self; 4] = [Self::Duration, Self::SelfTime, Self::Busy, Self::Idle];

    /// Returns the name of the family, without the prefix of the layer.
    ///
    /// ```
    /// assert_eq!(tallies_tracing::SpanTime::Busy.family(), "span_busy_seconds");
    /// ```
    #[must_use]
    pub fn family(self) -> &'static str {
        match self {
            Self::Duration => "span_duration_seconds",
            Self::SelfTime => "span_self_seconds",
            Self::Busy => "span_busy_seconds",
            Self::Idle => "span_idle_seconds",
        }
    }

    pub(crate) fn help(self) -> &'static str {
        match self {
            Self::Duration => "Time from the creation of a span to its close.",
            Self::SelfTime => "Time in which a span was open and none of its children was.",
            Self::Busy => "Time in which at least one thread was inside a span.",
            Self::Idle => "Time in which a span was open and no thread was inside.",
        }
    }
}

/// The settings of a layer, which [`register`](Self::register) makes of them.
///
/// ```
/// use tallies_tracing::{SpanMetrics, SpanTime};
/// use tracing::{Level, info_span};
/// use tracing_subscriber::layer::SubscriberExt;
///
/// # fn main() -> Result<(), tallies::Error> {
/// let registry = tallies::Registry::new();
/// let spans = SpanMetrics::new()
///     .times(&[SpanTime::Duration, SpanTime::SelfTime, SpanTime::Busy])
///     .field("tenant")
///     .count_events(Level::WARN)
///     .register(&registry)?;
///
/// let subscriber = tracing_subscriber::registry().with(spans);
/// tracing::subscriber::with_default(subscriber, || {
///     let _request = info_span!(target: "shop", "request", tenant = "acme").entered();
///     tracing::warn!(target: "shop", "out of stock");
/// });
///
/// let now = registry.snapshot();
/// let request = [("span", "request"), ("target", "shop"), ("tenant", "acme")];
/// assert_eq!(now.get("span_duration_seconds_count", &request), Some(1.0));
/// let warnings = [("level", "warn"), ("target", "shop")];
/// assert_eq!(now.get("tracing_events_total", &warnings), Some(1.0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is measured before `register`"]
pub struct SpanMetrics {
    pub(crate) times: Vec<SpanTime>,
    pub(crate) in_progress: bool,
    /// The most verbose level of counted events.
    pub(crate) events: Option<Level>,
    pub(crate) fields: FieldList,
    pub(crate) prefix: String,
    pub(crate) limit: usize,
    pub(crate) buckets: Option<Vec<f64>>,
    pub(crate) native: Option<i8>,
    filter: SpanFilter,
    traces: Option<TraceSource>,
    /// Whether traces come from the layer of `tracing-opentelemetry`.
    from_opentelemetry: bool,
    trace_updates: bool,
    clock: Option<Clock>,
}

impl Default for SpanMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl SpanMetrics {
    /// Measures the duration and the self time of spans of the levels ERROR, WARN and INFO.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// use tracing_subscriber::layer::SubscriberExt;
    ///
    /// let registry = tallies::Registry::new();
    /// let spans = tallies_tracing::SpanMetrics::new().register(&registry)?;
    /// let subscriber = tracing_subscriber::registry().with(spans);
    /// assert!(registry.contains("span_self_seconds"));
    /// # let _ = subscriber;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        #[cfg(feature = "opentelemetry")]
        let traces = Some(TraceSource::new(crate::trace::opentelemetry::of));
        #[cfg(not(feature = "opentelemetry"))]
        let traces = None;
        Self {
            times: vec![SpanTime::Duration, SpanTime::SelfTime],
            in_progress: false,
            events: None,
            fields: FieldList::default(),
            prefix: String::new(),
            limit: DEFAULT_LIMIT,
            buckets: None,
            native: None,
            filter: SpanFilter {
                spans: Some(Level::INFO),
                events: None,
                only: None,
            },
            traces,
            from_opentelemetry: true,
            trace_updates: false,
            clock: None,
        }
    }

    setters! {
        /// Sets the times that spans are measured by. An empty list measures none, for a layer that
        /// only counts events. Unless events have exemplars, it does not ask for spans either.
        ///
        /// [`SpanTime::SelfTime`] locks the parent twice per span; [`SpanTime::Busy`] and
        /// [`SpanTime::Idle`] read the clock on each enter and exit. The crate's page has figures.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics, SpanTime};
        ///
        /// let registry = tallies::Registry::new();
        /// let spans = SpanMetrics::new().times(&[SpanTime::Duration, SpanTime::Idle]);
        /// let layer: SpanLayer<tracing_subscriber::Registry> = spans.register(&registry)?;
        /// assert!(registry.contains("span_idle_seconds"));
        /// assert!(!registry.contains("span_self_seconds"));
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn times(self, times: &[SpanTime]) = times.clone_into(&mut self.times);

        /// Counts the spans that are open, in `spans_in_progress`, by `span` and `target`. A span
        /// that is never closed shows here and nowhere else. Costs two updates of a counter per
        /// span.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tracing_subscriber::layer::SubscriberExt;
        ///
        /// let registry = tallies::Registry::new();
        /// let spans = tallies_tracing::SpanMetrics::new().in_progress().register(&registry)?;
        /// let subscriber = tracing_subscriber::registry().with(spans);
        /// tracing::subscriber::with_default(subscriber, || {
        ///     let _open = tracing::info_span!(target: "shop", "import");
        ///     let labels = [("span", "import"), ("target", "shop")];
        ///     assert_eq!(registry.snapshot().get("spans_in_progress", &labels), Some(1.0));
        /// });
        /// # Ok(())
        /// # }
        /// ```
        fn in_progress(self) = self.in_progress = true;

        /// Measures spans up to this level. The default is INFO.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let spans = SpanMetrics::new().level(tracing::Level::DEBUG);
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     spans.register(&tallies::Registry::new())?;
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn level(self, most_verbose: Level) = self.filter.spans = Some(most_verbose);

        /// Counts events up to this level, in `tracing_events_total`, by `level` and `target`.
        /// Without this, events are not counted. Costs about 3 ns per event.
        ///
        /// The records of the `log` crate that `tracing-log` turns into events all have the target
        /// `log`.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tracing_subscriber::layer::SubscriberExt;
        ///
        /// let registry = tallies::Registry::new();
        /// let layer = tallies_tracing::SpanMetrics::new()
        ///     .count_events(tracing::Level::WARN)
        ///     .register(&registry)?;
        /// tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        ///     tracing::error!(target: "shop", "no printer");
        ///     tracing::info!(target: "shop", "not counted");
        /// });
        /// let labels = [("level", "error"), ("target", "shop")];
        /// assert_eq!(registry.snapshot().get("tracing_events_total", &labels), Some(1.0));
        /// # Ok(())
        /// # }
        /// ```
        fn count_events(self, most_verbose: Level) = {
            self.events = Some(most_verbose);
            self.filter.events = Some(most_verbose);
        };

        /// Measures only the spans, and counts only the events, for which `choose` returns `true`.
        /// They must be of the chosen levels, too.
        ///
        /// The answer must depend on the metadata alone: it is asked for once per callsite, or for
        /// each span if other layers filter by more than metadata.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let spans = SpanMetrics::new().only(|metadata| metadata.target().starts_with("shop"));
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     spans.register(&tallies::Registry::new())?;
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn only(self, choose: impl Fn(&Metadata<'_>) -> bool + Send + Sync + 'static) =
            self.filter.only = Some(Arc::new(choose));

        /// Adds a label with the value of a field of the span itself. The label has the name of the
        /// field; characters that a label name cannot contain become `_`.
        ///
        /// The last value counts that was recorded before the span is closed. A span without the
        /// field has an empty value, and so has one whose `Debug` implementation panics. Values are
        /// cut off after 128 bytes. Label sets beyond [`limit`](Self::limit) count in the overflow
        /// series, so choose fields with few values.
        ///
        /// Spans that have the field take two or three allocations, and a look-up per time when
        /// they are closed. Others cost the same as before.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let spans = SpanMetrics::new().field("tenant").field("http.method");
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     spans.register(&tallies::Registry::new())?; // labels `tenant`, `http_method`
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn field(self, field: &str) = self.fields.0.push(FieldLabel::new(field));

        /// Adds a label of another name than the field. See [`field`](Self::field).
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let spans = SpanMetrics::new().field_as("http.request.method", "method");
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     spans.register(&tallies::Registry::new())?;
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn field_as(self, field: &str, label: &str) = {
            self.fields.0.push(FieldLabel {
                field: field.to_owned(),
                label: label.to_owned(),
            });
        };

        /// Sets a prefix for all names. An underscore separates prefix and name.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let registry = tallies::Registry::new();
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     SpanMetrics::new().prefix("shop").register(&registry)?;
        /// assert!(registry.contains("shop_span_duration_seconds"));
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn prefix(self, prefix: &str) = prefix.clone_into(&mut self.prefix);

        /// Sets the bucket bounds of all times, in seconds. [`register`](Self::register) checks
        /// them.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let spans = SpanMetrics::new().buckets(&[0.001, 0.01, 0.1, 1.0]);
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     spans.register(&tallies::Registry::new())?;
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn buckets(self, seconds: &[f64]) = self.buckets = Some(seconds.to_vec());

        /// Gives all times exponential buckets of this schema, as `Histogram::native` does: 3 has
        /// buckets 9 % wide. Without [`buckets`](Self::buckets) they have no others.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     SpanMetrics::new().native(3).register(&tallies::Registry::new())?;
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn native(self, schema: i8) = self.native = Some(schema);

        /// Sets the limit of series per family. The default is 10 000. Spans and events beyond it
        /// count in the overflow series, whose labels are all `__overflow__`.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let spans = SpanMetrics::new().field("tenant").limit(200);
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     spans.register(&tallies::Registry::new())?;
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn limit(self, series: usize) = self.limit = series;

        /// Sets the function that returns the trace id of a span, for exemplars. To link only to
        /// traces that a sampler took, return `None` for the others.
        ///
        /// The layer calls it once per span, when the span is left first, and for events of the
        /// levels ERROR and WARN. A function that panics costs the exemplar, and no more. With the
        /// feature `opentelemetry`, it is set already, for `tracing-opentelemetry` 0.34. With
        /// another version:
        ///
        /// ```
        /// # #[cfg(feature = "opentelemetry")]
        /// # fn main() -> Result<(), tallies::Error> {
        /// use opentelemetry::trace::TraceContextExt;
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let spans = SpanMetrics::new().trace_id(|span, dispatch| {
        ///     let context = tracing_opentelemetry::get_otel_context(span, dispatch)?;
        ///     let trace = context.span().span_context().clone();
        ///     trace.is_sampled().then(|| u128::from_be_bytes(trace.trace_id().to_bytes()))
        /// });
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     spans.register(&tallies::Registry::new())?;
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// # #[cfg(not(feature = "opentelemetry"))]
        /// # fn main() {}
        /// ```
        fn trace_id(self, of: impl Fn(&Id, &Dispatch) -> Option<u128> + Send + Sync + 'static) = {
            self.traces = Some(TraceSource::new(of));
            self.from_opentelemetry = false;
        };

        /// Stores no exemplars.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tallies_tracing::{SpanLayer, SpanMetrics};
        ///
        /// let layer: SpanLayer<tracing_subscriber::Registry> =
        ///     SpanMetrics::new().without_exemplars().register(&tallies::Registry::new())?;
        /// # let _ = layer;
        /// # Ok(())
        /// # }
        /// ```
        fn without_exemplars(self) = self.traces = None;

        /// Gives `inc_traced`, `observe_traced` and the like of the whole program the trace id of
        /// the current span, as [`tallies::instrument::trace_ids`] does. It can be set once per
        /// process.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// use tracing_subscriber::layer::SubscriberExt;
        ///
        /// let registry = tallies::Registry::new();
        /// let spans = tallies_tracing::SpanMetrics::new()
        ///     .trace_id(|_, _| Some(0x4bf92f3577b34da6a3ce929d0e0e4736))
        ///     .trace_updates()
        ///     .register(&registry)?;
        /// let orders = registry.counter("orders_total", "Orders placed.")?;
        /// tracing::subscriber::with_default(tracing_subscriber::registry().with(spans), || {
        ///     let _request = tracing::info_span!("request").entered();
        ///     orders.inc_traced();
        /// });
        /// let page = tallies::encode::open_metrics(&registry.snapshot());
        /// let exemplar = r##"orders_total 1 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 1"##;
        /// assert!(page.contains(exemplar));
        /// # Ok(())
        /// # }
        /// ```
        fn trace_updates(self) = self.trace_updates = true;
    }

    /// Registers the families and creates the layer. Reuses families that are already registered
    /// with the same settings, so several layers can share them.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// use tallies_tracing::{SpanLayer, SpanMetrics};
    ///
    /// let registry = tallies::Registry::new();
    /// let spans = SpanMetrics::new().field("span");
    /// let layer: Result<SpanLayer<tracing_subscriber::Registry>, _> = spans.register(&registry);
    /// assert_eq!(
    ///     layer.err().map(|error| error.to_string()).as_deref(),
    ///     Some(
    ///         "the field `span` of spans needs a label other than `span`, which every span has; \
    ///          `field_as(\"span\", ..)` gives it one"
    ///     )
    /// );
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if nothing is to be measured, if there are more than eight fields, if one
    /// is given twice or two would share a label, if the families reject the prefix, a label or the
    /// bounds, if a family of another shape has one of the names, or if
    /// [`trace_updates`](Self::trace_updates) finds that the program has no source of trace ids or
    /// has set another one.
    #[track_caller]
    pub fn register<S>(self, registry: &Registry) -> Result<SpanLayer<S>, Error>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let mut filter = self.filter.clone();
        // Events find the trace in their span.
        if self.times.is_empty() && !self.in_progress && self.traces.is_none() {
            filter.spans = None;
        }
        Ok(self.recorder(registry)?.with_filter(filter))
    }

    /// Registers the families and creates the layer without its filter.
    #[track_caller]
    pub(crate) fn recorder(self, registry: &Registry) -> Result<SpanRecorder, Error> {
        if self.times.is_empty() && self.events.is_none() && !self.in_progress {
            return Err(Error::new(
                "the layer would measure nothing; give `times` at least one time, or call \
                 `count_events` or `in_progress`",
            ));
        }
        self.fields.validate()?;
        if self.trace_updates && self.traces.is_none() {
            return Err(Error::new(
                "`trace_updates` needs a source of trace ids: the feature `opentelemetry`, or \
                 `trace_id`",
            ));
        }
        let families = SpanFamilies::register(&self, registry)?;
        if let Some(traces) = self.traces.clone().filter(|_| self.trace_updates) {
            let from_opentelemetry = self.from_opentelemetry;
            tallies::instrument::trace_ids(move || {
                let id = current(&traces, from_opentelemetry)?;
                Some(TraceText::new(id).as_str().to_owned())
            })?;
        }
        let clock = self.clock.unwrap_or_else(Clock::new);
        Ok(SpanRecorder::new(families, self.traces, clock))
    }

    #[cfg(test)]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }
}

/// Returns the trace id of this thread's OpenTelemetry context, or of its current span.
#[cfg_attr(
    not(feature = "opentelemetry"),
    expect(unused_variables, reason = "only that feature has a context")
)]
fn current(traces: &TraceSource, from_opentelemetry: bool) -> Option<u128> {
    #[cfg(feature = "opentelemetry")]
    if from_opentelemetry {
        if let Some(id) = crate::trace::opentelemetry::current() {
            return Some(id);
        }
    }
    traces.current()
}
