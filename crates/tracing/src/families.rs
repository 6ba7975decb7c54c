//! The families of a layer, and the series of a callsite, which are bound when it first runs.

use tallies::label::DynLabels;
use tallies::{Bound, Builder, Counter, Error, Histogram, Metric, Registry, UpDownCounter};
use tracing::Metadata;

use crate::callsites::CallsiteTable;
use crate::fields::{FieldList, FieldValues, MOST_FIELDS};
use crate::settings::{SpanMetrics, SpanTime};
use crate::trace::TraceText;

/// The number of times that a span may be measured by.
const TIMES: usize = SpanTime::ALL.len();

/// One value for each [`SpanTime`], in the order of their declaration.
pub(crate) type ByTime<T> = [T; TIMES];

/// The registered families of a layer. One that it does not measure is `None`. All fields but the
/// table are read-only after construction.
#[derive(Debug)]
pub(crate) struct SpanFamilies {
    times: ByTime<Option<Histogram<DynLabels>>>,
    in_progress: Option<UpDownCounter<DynLabels>>,
    events: Option<Counter<DynLabels>>,
    unmeasured: Counter,
    pub(crate) fields: FieldList,
    callsites: CallsiteTable<CallsiteSeries>,
}

/// The series of one callsite.
#[derive(Debug)]
enum CallsiteSeries {
    Span(SpanSeries),
    Event(Option<Bound<Counter>>),
}

/// The series of one callsite of spans.
#[derive(Debug)]
struct SpanSeries {
    /// Whether spans of this callsite have fields that are labels. Then only their values say which
    /// series of `times` a span counts in, and none is bound.
    has_fields: bool,
    times: ByTime<Option<Bound<Histogram>>>,
    in_progress: Option<Bound<UpDownCounter>>,
}

/// The labels that every span has.
const SPAN_LABELS: [&str; 2] = ["span", "target"];

impl SpanFamilies {
    /// Registers the families, or returns identical ones that are already registered.
    #[track_caller]
    pub(crate) fn register(settings: &SpanMetrics, registry: &Registry) -> Result<Self, Error> {
        let mut labels = SPAN_LABELS.to_vec();
        labels.extend(settings.fields.0.iter().map(|field| field.label.as_str()));
        let mut times = ByTime::default();
        for time in SpanTime::ALL {
            if settings.times.contains(&time) {
                let builder = Histogram::builder(time.family(), time.help()).labels(&labels[..]);
                let mut builder = settings.apply(builder).limit(settings.limit);
                if let Some(bounds) = &settings.buckets {
                    builder = builder.buckets(bounds);
                }
                if let Some(schema) = settings.native {
                    builder = builder.native(schema);
                }
                times[time as usize] = Some(builder.get_or_register(registry)?);
            }
        }
        let in_progress = UpDownCounter::builder(
            "spans_in_progress",
            "Spans that were created and are not closed.",
        );
        let in_progress = settings.in_progress.then(|| {
            let builder = settings.apply(in_progress.labels(&SPAN_LABELS[..]));
            builder.limit(settings.limit).get_or_register(registry)
        });
        let events = Counter::builder("tracing_events_total", "Events of tracing.");
        let events = settings.events.map(|_| {
            let builder = settings.apply(events.labels(&["level", "target"][..]));
            builder.limit(settings.limit).get_or_register(registry)
        });
        let unmeasured = Counter::builder(
            "spans_unmeasured_total",
            "Spans that were not measured, because another layer panicked in the middle of them.",
        );
        Ok(Self {
            times,
            in_progress: in_progress.transpose()?,
            events: events.transpose()?,
            unmeasured: settings.apply(unmeasured).get_or_register(registry)?,
            fields: settings.fields.clone(),
            callsites: CallsiteTable::new(),
        })
    }

    /// Returns whether anything about spans is measured. Otherwise the layer counts events only.
    #[inline]
    pub(crate) fn has_spans(&self) -> bool {
        self.in_progress.is_some() || self.times.iter().any(Option::is_some)
    }

    /// Returns whether spans are measured by this time.
    #[inline]
    pub(crate) fn has(&self, time: SpanTime) -> bool {
        self.times[time as usize].is_some()
    }

    /// Counts a span that begins. Returns whether it has fields that are labels.
    #[inline]
    pub(crate) fn begin(&self, metadata: &'static Metadata<'static>) -> bool {
        match self.series(metadata) {
            Some(CallsiteSeries::Span(series)) => {
                if let Some(in_progress) = &series.in_progress {
                    in_progress.inc();
                }
                series.has_fields
            }
            Some(CallsiteSeries::Event(_)) => false,
            None => {
                if let Some(in_progress) = &self.in_progress {
                    in_progress.with(&span_labels(metadata)).inc();
                }
                self.fields.any_in(metadata)
            }
        }
    }

    /// Observes the times of a span that has ended, in nanoseconds.
    #[inline]
    pub(crate) fn end(
        &self,
        metadata: &'static Metadata<'static>,
        times: ByTime<u64>,
        values: Option<&FieldValues>,
        trace: Option<u128>,
    ) {
        let trace = trace.map(TraceText::new);
        let trace = trace.as_ref().map(TraceText::as_str);
        let series = match self.series(metadata) {
            Some(CallsiteSeries::Span(series)) => Some(series),
            Some(CallsiteSeries::Event(_)) | None => None,
        };
        self.leave(metadata, series);
        match series.filter(|series| !series.has_fields) {
            Some(series) => {
                for (bound, nanos) in series.times.iter().zip(times) {
                    if let Some(bound) = bound {
                        match trace {
                            Some(id) => bound.observe_exemplar(seconds(nanos), &[("trace_id", id)]),
                            None => bound.observe(seconds(nanos)),
                        }
                    }
                }
            }
            None => self.end_by_labels(metadata, times, values, trace),
        }
    }

    /// Counts a span that is no longer in progress.
    #[inline]
    fn leave(&self, metadata: &Metadata<'static>, series: Option<&SpanSeries>) {
        match series.and_then(|series| series.in_progress.as_ref()) {
            Some(in_progress) => in_progress.dec(),
            None => {
                if let Some(in_progress) = &self.in_progress {
                    in_progress.with(&span_labels(metadata)).dec();
                }
            }
        }
    }

    /// Counts a span that has ended and whose state cannot be reached. Logs the first one of its
    /// name.
    #[cold]
    pub(crate) fn lose(&self, metadata: &Metadata<'static>) {
        self.leave(metadata, None);
        self.unmeasured.inc();
        Error::new(format!(
            "the span `{}` of `{}` is not measured: another layer panicked while it held the lock \
             of the span's extensions",
            metadata.name(),
            metadata.target()
        ))
        .log_once();
    }

    /// Observes times in the series that the values of fields say.
    fn end_by_labels(
        &self,
        metadata: &'static Metadata<'static>,
        times: ByTime<u64>,
        values: Option<&FieldValues>,
        trace: Option<&str>,
    ) {
        let mut labels = [""; SPAN_LABELS.len() + MOST_FIELDS];
        let labels = self.labels(metadata, values, &mut labels);
        for (family, nanos) in self.times.iter().zip(times) {
            if let Some(family) = family {
                let series = family.with(labels);
                match trace {
                    Some(id) => series.observe_exemplar(seconds(nanos), &[("trace_id", id)]),
                    None => series.observe(seconds(nanos)),
                }
            }
        }
    }

    /// Counts an event.
    #[inline]
    pub(crate) fn event(&self, metadata: &'static Metadata<'static>, trace: Option<u128>) {
        let trace = trace.map(TraceText::new);
        let exemplar = trace.as_ref().map(|trace| [("trace_id", trace.as_str())]);
        match (self.series(metadata), &self.events, exemplar) {
            (Some(CallsiteSeries::Event(Some(bound))), _, None) => bound.inc(),
            (Some(CallsiteSeries::Event(Some(bound))), _, Some(exemplar)) => {
                bound.add_exemplar(1, &exemplar);
            }
            (_, Some(family), None) => family.with(&event_labels(metadata)).inc(),
            (_, Some(family), Some(exemplar)) => {
                let series = family.with(&event_labels(metadata));
                series.add_exemplar(1, &exemplar);
            }
            (_, None, _) => {}
        }
    }

    fn labels<'a>(
        &self,
        metadata: &Metadata<'static>,
        values: Option<&'a FieldValues>,
        labels: &'a mut [&'a str; SPAN_LABELS.len() + MOST_FIELDS],
    ) -> &'a [&'a str] {
        let len = SPAN_LABELS.len() + self.fields.0.len();
        let (fixed, fields) = labels.split_at_mut(SPAN_LABELS.len());
        fixed.copy_from_slice(&span_labels(metadata));
        for (i, label) in fields.iter_mut().enumerate() {
            *label = values.map_or("", |values| values.get(i));
        }
        labels.get(..len).unwrap_or(&[])
    }

    #[inline]
    fn series(&self, metadata: &'static Metadata<'static>) -> Option<&CallsiteSeries> {
        self.callsites.find(metadata, || self.bind(metadata))
    }

    #[cold]
    fn bind(&self, metadata: &'static Metadata<'static>) -> CallsiteSeries {
        if metadata.is_event() {
            let bind = |family: &Counter<DynLabels>| family.bind(&event_labels(metadata));
            return CallsiteSeries::Event(self.events.as_ref().map(bind));
        }
        let has_fields = self.fields.any_in(metadata);
        let mut times = ByTime::default();
        if !has_fields {
            let mut labels = [""; SPAN_LABELS.len() + MOST_FIELDS];
            let labels = self.labels(metadata, None, &mut labels);
            for (bound, family) in times.iter_mut().zip(&self.times) {
                *bound = family.as_ref().map(|family| family.bind(labels));
            }
        }
        let bind = |family: &UpDownCounter<DynLabels>| family.bind(&span_labels(metadata));
        CallsiteSeries::Span(SpanSeries {
            has_fields,
            times,
            in_progress: self.in_progress.as_ref().map(bind),
        })
    }
}

impl SpanMetrics {
    /// Sets what all families of a layer have.
    fn apply<M: Metric>(&self, builder: Builder<M>) -> Builder<M> {
        builder.prefix(&self.prefix).lint(false)
    }
}

fn span_labels(metadata: &Metadata<'static>) -> [&'static str; 2] {
    [metadata.name(), metadata.target()]
}

fn event_labels(metadata: &Metadata<'static>) -> [&'static str; 2] {
    let level = match *metadata.level() {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    };
    [level, metadata.target()]
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
