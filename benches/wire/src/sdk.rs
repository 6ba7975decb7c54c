//! OpenTelemetry's SDK with its exporter of OTLP over HTTP.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, MeterProvider};
use opentelemetry_otlp::{Compression, MetricExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{
    Aggregation, Instrument, InstrumentKind, PeriodicReader, SdkMeterProvider, Stream, Temporality,
};

use crate::receiver::{Receiver, Traffic};
use crate::workload::{BOUNDS, Kind, LABELS, MOST_BUCKETS, SCHEMA, Workload, amount, value};
use crate::{Interval, Row, Way, meter};

pub fn rows() -> Vec<Row> {
    let (total, delta) = (Temporality::Cumulative, Temporality::Delta);
    let ways = [
        ("`opentelemetry-otlp`", Protocol::HttpBinary, false, total),
        (
            "`opentelemetry-otlp`, gzip",
            Protocol::HttpBinary,
            true,
            total,
        ),
        (
            "`opentelemetry-otlp`, deltas",
            Protocol::HttpBinary,
            false,
            delta,
        ),
        (
            "`opentelemetry-otlp`, JSON",
            Protocol::HttpJson,
            false,
            total,
        ),
        (
            "`opentelemetry-otlp`, JSON, gzip",
            Protocol::HttpJson,
            true,
            total,
        ),
    ];
    let row = |(name, protocol, gzip, temporality)| -> Row {
        let prepare = move |workload, receiver: &Receiver| -> Box<dyn Way> {
            let builder = MetricExporter::builder()
                .with_http()
                .with_protocol(protocol);
            let builder = builder.with_endpoint(receiver.url("/v1/metrics"));
            let builder = builder.with_temporality(temporality);
            // The default of 64 MiB is too little for JSON.
            let builder = builder.with_max_request_body_size(1 << 30);
            let builder = match gzip {
                true => builder.with_compression(Compression::Gzip),
                false => builder,
            };
            let exporter = builder.build().expect("the settings are right");
            Box::new(Exported::new(workload, exporter))
        };
        (name, Box::new(prepare))
    };
    ways.into_iter().map(row).collect()
}

/// A program with an exporter.
struct Exported {
    workload: Workload,
    provider: SdkMeterProvider,
    counters: Vec<BoundCounter<u64>>,
    histograms: Vec<BoundHistogram<f64>>,
}

impl Exported {
    fn new(workload: Workload, exporter: MetricExporter) -> Self {
        let reader = PeriodicReader::builder(exporter);
        let reader = reader.with_interval(Duration::from_secs(3600)).build();
        let view = move |instrument: &Instrument| {
            // The default limit is 2 000 series.
            let stream = Stream::builder().with_cardinality_limit(workload.series);
            let stream = match (instrument.kind(), workload.kind) {
                (InstrumentKind::Histogram, Kind::Native) => {
                    stream.with_aggregation(Aggregation::Base2ExponentialHistogram {
                        max_size: MOST_BUCKETS,
                        max_scale: SCHEMA,
                        record_min_max: false,
                    })
                }
                (InstrumentKind::Histogram, _) => {
                    stream.with_aggregation(Aggregation::ExplicitBucketHistogram {
                        boundaries: BOUNDS.to_vec(),
                        record_min_max: false,
                    })
                }
                _ => stream,
            };
            stream.build().ok()
        };
        let resource = Resource::builder().with_service_name("wire").build();
        let builder = SdkMeterProvider::builder().with_reader(reader);
        let provider = builder.with_view(view).with_resource(resource).build();
        let meter = provider.meter("wire");
        let (mut counters, mut histograms) = (Vec::new(), Vec::new());
        for family in 0..workload.families {
            let (name, help) = (workload.name(family), "What the shop answered.");
            let labels = (0..workload.series).map(|series| {
                let [route, status] = workload.values(series);
                [
                    KeyValue::new(LABELS[0], route),
                    KeyValue::new(LABELS[1], status),
                ]
            });
            if workload.kind == Kind::Counter {
                let counter = meter.u64_counter(name).with_description(help).build();
                counters.extend(labels.map(|labels| counter.bind(&labels)));
            } else {
                let histogram = meter.f64_histogram(name).with_description(help).build();
                histograms.extend(labels.map(|labels| histogram.bind(&labels)));
            }
        }
        let exported = Self {
            workload,
            provider,
            counters,
            histograms,
        };
        workload.first(|series, n| exported.add(series, n));
        exported
    }

    fn add(&self, series: usize, n: usize) {
        match self.workload.kind {
            Kind::Counter => self.counters[series].add(amount(series, n)),
            _ => self.histograms[series].record(value(series, n)),
        }
    }
}

impl Way for Exported {
    fn update(&mut self, round: usize) {
        self.workload.round(round, |series, n| self.add(series, n));
    }

    fn send(&mut self) -> Interval {
        let before = Traffic::now();
        // The reader and the client have threads of their own.
        let processor = meter::others(|| self.provider.force_flush().expect("an answer"));
        let traffic = Traffic::now() - before;
        Interval { processor, traffic }
    }
}
