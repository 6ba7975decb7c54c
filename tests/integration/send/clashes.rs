//! Random families in two to four registries, by all ways out: what does not clash arrives, once,
//! and what is left out is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll, Waker};

use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tallies::collect::Collected;
use tallies::push::Pusher;
use tallies::serve::MetricsService;
use tallies::share::store::Merger;
use tallies::snapshot::{GaugeMode, Kind, Merged, MergedSnapshot, Snapshot};
use tallies::{Counter, Gauge, Histogram, Info, Registry, Summary};
use tallies_send::{Otlp, RemoteWrite, Sender, Version};

use crate::gateway::{Gateway, fine};
use crate::support::exposition;
use crate::write_request::WriteRequest;
use crate::{LONG, metric_names};

/// Many of these have samples in common as some kinds, and none as others.
const NAMES: [&str; 12] = [
    "a",
    "a_total",
    "a_sum",
    "a_count",
    "a_bucket",
    "a_info",
    "a_created",
    "a_gsum",
    "a_sum_total",
    "b",
    "b_total",
    "b_info",
];
const KINDS: [Kind; 6] = [
    Kind::Counter,
    Kind::Gauge,
    Kind::Histogram,
    Kind::Summary,
    Kind::Info,
    Kind::GaugeHistogram,
];

type Labels = BTreeMap<String, String>;

/// A family, as a program writes it and as the model remembers it.
#[derive(Clone, Debug)]
struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    /// The only bound of a histogram.
    bound: f64,
    series: Vec<(Labels, f64)>,
}

/// A registry.
#[derive(Clone, Debug)]
struct Source {
    host: Option<&'static str>,
    registered: Vec<Family>,
    /// The families that each collector writes: counters and gauge histograms.
    collectors: Vec<Vec<Family>>,
}

fn family(kinds: &'static [Kind]) -> impl Strategy<Value = Family> {
    let series = prop::collection::btree_map(0..3_usize, 1..5_u8, 1..3);
    let of = prop::sample::select(kinds);
    (0..NAMES.len(), of, 1..3_u8, series, any::<bool>()).prop_map(
        |(name, kind, bound, series, has_help)| Family {
            name: NAMES[name],
            kind,
            help: if has_help {
                "Some help."
            } else {
                "Other help."
            },
            bound: f64::from(bound),
            series: series
                .into_iter()
                .map(|(label, value)| (labels(label), f64::from(value)))
                .collect(),
        },
    )
}

/// The label sets of series. The first is empty.
fn labels(which: usize) -> Labels {
    let all = [vec![], vec![("x", "1")], vec![("x", "2")]];
    let labels = all[which].iter();
    labels
        .map(|(k, v)| (k.to_string(), v.to_string()))
        .collect()
}

fn source() -> impl Strategy<Value = Source> {
    const COLLECTED: &[Kind] = &[Kind::Counter, Kind::GaugeHistogram];
    let collector = prop::collection::vec(family(COLLECTED), 1..4);
    (
        prop::option::of(Just("h")),
        prop::collection::vec(family(&KINDS[..5]), 1..6),
        prop::collection::vec(collector, 0..3),
    )
        .prop_map(|(host, registered, collectors)| Source {
            host,
            registered,
            collectors,
        })
}

/// Registers a family, or not if the registry refuses it. Of a metric without labels, only the
/// series without labels is there.
fn register(registry: &Registry, family: &mut Family) -> Result<(), tallies::Error> {
    let Family { name, help, .. } = *family;
    let is_labelled = family.series.iter().any(|(labels, _)| !labels.is_empty());
    if !is_labelled || family.kind == Kind::Info {
        family.series.truncate(1);
        family.series[0].0.clear();
    } else {
        family.series.retain(|(labels, _)| !labels.is_empty());
    }
    let bounds = [family.bound];
    macro_rules! each {
        ($builder:expr, |$metric:ident, $value:ident| $update:expr) => {{
            if is_labelled {
                let all = $builder.labels(["x"]).register(registry)?;
                for (labels, $value) in &family.series {
                    let $metric = all.with([&labels["x"]]);
                    $update;
                }
            } else {
                let ($metric, $value) = ($builder.register(registry)?, &family.series[0].1);
                $update;
            }
        }};
    }
    match family.kind {
        Kind::Counter => each!(Counter::builder(name, help), |metric, n| metric
            .add(*n as u64)),
        Kind::Gauge => {
            let builder = Gauge::builder(name, help).mode(GaugeMode::Sum);
            each!(builder, |metric, n| metric.set(*n));
        }
        Kind::Histogram => {
            let builder = Histogram::builder(name, help).buckets(&bounds);
            each!(builder, |metric, n| metric.observe_many(0.5, *n as u64));
        }
        Kind::Summary => {
            let builder = Summary::builder(name, help).objectives(&[])?;
            each!(builder, |metric, n| (0..*n as u64)
                .for_each(|_| metric.observe(0.5)));
        }
        _ => {
            let info = Info::builder(name, help).labels(["v"]);
            info.register(registry)?.set(["1"]);
            family.series[0] = (Labels::from([("v".to_owned(), "1".to_owned())]), 1.0);
        }
    }
    Ok(())
}

/// Writes the families of a collector. What it writes twice is left out here already.
fn collect(out: &mut Collected, families: &[Family]) {
    for family in families {
        for (labels, value) in &family.series {
            let labels: Vec<_> = labels.iter().map(|(k, v)| (&**k, &**v)).collect();
            let (name, help, n) = (family.name, family.help, *value as u64);
            let _ = match family.kind {
                Kind::Counter => out.counter(name, help, &labels, *value),
                _ => {
                    let bounds = [family.bound];
                    out.gauge_histogram(name, help, &labels, &bounds, &[n, 0], value / 2.0)
                }
            };
        }
    }
}

/// The names that a family has in some format: its own, and those of its samples.
fn exposed(family: &Family) -> BTreeSet<String> {
    let (suffix, all): (_, &[&str]) = match family.kind {
        Kind::Counter => ("_total", &["", "_total", "_created"]),
        Kind::Info => ("_info", &["", "_info"]),
        Kind::Histogram => ("", &["", "_bucket", "_sum", "_count", "_created"]),
        Kind::GaugeHistogram => ("", &["", "_bucket", "_gsum", "_gcount", "_sum", "_count"]),
        Kind::Summary => ("", &["", "_sum", "_count", "_created"]),
        _ => ("", &[""]),
    };
    let stem = family.name.strip_suffix(suffix).unwrap_or(family.name);
    all.iter().map(|suffix| format!("{stem}{suffix}")).collect()
}

/// The families of a page so far.
#[derive(Clone, Debug, Default)]
struct Model(Vec<Family>);

impl Model {
    /// Adds a family. Returns whether all of it is there.
    fn absorb(&mut self, new: &Family, adds_up: bool) -> bool {
        if let Some(known) = self.0.iter_mut().find(|known| known.name == new.name) {
            let has_bounds = matches!(new.kind, Kind::Histogram | Kind::GaugeHistogram);
            if known.kind != new.kind || has_bounds && known.bound != new.bound {
                return false;
            }
            let mut is_whole = true;
            for (labels, value) in &new.series {
                match known.series.iter_mut().find(|(own, _)| own == labels) {
                    Some((_, own)) if adds_up && new.kind != Kind::Info => *own += value,
                    Some(_) => is_whole &= adds_up,
                    None => known.series.push((labels.clone(), *value)),
                }
            }
            return is_whole;
        }
        let names = exposed(new);
        if self
            .0
            .iter()
            .any(|known| !exposed(known).is_disjoint(&names))
        {
            return false;
        }
        self.0.push(new.clone());
        self.0.sort_by_key(|family| family.name);
        true
    }

    /// The samples, by name and labels.
    fn samples(&self) -> Samples {
        let mut all = Samples::new();
        let mut add = |name: String, labels: &Labels, value| {
            assert_eq!(all.insert((name, labels.clone()), value), None);
        };
        for Family {
            name,
            kind,
            bound,
            series,
            ..
        } in &self.0
        {
            for (labels, value) in series {
                match kind {
                    Kind::Counter | Kind::Gauge | Kind::Info => {
                        add(name.to_string(), labels, *value)
                    }
                    _ => {
                        add(format!("{name}_sum"), labels, value / 2.0);
                        add(format!("{name}_count"), labels, *value);
                        if *kind != Kind::Summary {
                            for le in [bound.to_string(), "+Inf".to_owned()] {
                                let mut labels = labels.clone();
                                labels.insert("le".to_owned(), le);
                                add(format!("{name}_bucket"), &labels, *value);
                            }
                        }
                    }
                }
            }
        }
        all
    }
}

type Samples = BTreeMap<(String, Labels), f64>;

/// Returns the samples of a page, without what the registry says of its collectors.
fn read(page: &str) -> Samples {
    let families = exposition::read(page).unwrap_or_else(|error| panic!("{error}\n{page}"));
    let mut all = Samples::new();
    for sample in families.into_iter().flat_map(|family| family.samples) {
        if !sample.name.starts_with("tallies_") {
            let mut labels = sample.labels.into_iter().collect();
            normalize(&mut labels);
            let before = all.insert((sample.name, labels), sample.value);
            assert_eq!(before, None, "twice\n{page}");
        }
    }
    all
}

/// Writes a bound as text 0.0.4 does: some formats have `1.0`.
fn normalize(labels: &mut Labels) {
    if let Some(le) = labels.get_mut("le") {
        *le = le.trim_end_matches(".0").to_owned();
    }
}

/// Asks for the page of registries, without a runtime.
fn page(registries: &[Registry]) -> String {
    let service = MetricsService::of(registries);
    let answer = service.answer(&http::Request::new(()));
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(answer) = std::pin::pin!(answer).poll(&mut context) else {
        panic!("without a runtime it is done at once");
    };
    let body = std::pin::pin!(answer.into_body().collect()).poll(&mut context);
    let Poll::Ready(Ok(body)) = body else {
        panic!("the body is there");
    };
    String::from_utf8(body.to_bytes().into()).unwrap()
}

/// Returns the samples of a request of remote write.
fn sent(request: &WriteRequest) -> Samples {
    let mut all = Samples::new();
    for series in &request.timeseries {
        let labels = series.labels.iter();
        let mut labels: Labels = labels
            .map(|label| (label.name.clone(), label.value.clone()))
            .collect();
        let name = labels.remove("__name__").unwrap();
        normalize(&mut labels);
        if !name.starts_with("tallies_") {
            let before = all.insert((name, labels), series.samples[0].value);
            assert_eq!(before, None, "twice: {series:?}");
        }
    }
    all
}

/// Builds the registry of a source, and returns what it has. Also returns which collectors are to
/// blame.
fn build(source: &Source) -> (Registry, Model, Vec<bool>) {
    let (registry, mut model) = (Registry::new(), Model::default());
    if let Some(host) = source.host {
        registry.add_constant("host", host).unwrap();
    }
    for family in &source.registered {
        let mut family = family.clone();
        let is_added = register(&registry, &mut family).is_ok();
        assert_eq!(
            is_added,
            !model.0.iter().any(|other| other.name == family.name) && model.absorb(&family, false),
            "{family:?}"
        );
    }
    let mut blamed = Vec::new();
    for (i, families) in source.collectors.iter().enumerate() {
        let written = families.clone();
        let write = move |out: &mut Collected| {
            collect(out, &written);
            Ok(())
        };
        registry.add_collector(&format!("c{i}"), write).unwrap();
        // The families of one collector, as it wrote them.
        let mut own: Vec<Family> = Vec::new();
        for family in families {
            match own.iter_mut().find(|own| own.name == family.name) {
                None => own.push(family.clone()),
                Some(own) if own.kind != family.kind => {}
                Some(own) if own.kind != Kind::Counter && own.bound != family.bound => {}
                Some(own) => {
                    for (labels, value) in &family.series {
                        if !own.series.iter().any(|(known, _)| known == labels) {
                            own.series.push((labels.clone(), *value));
                        }
                    }
                }
            }
        }
        let whole: Vec<_> = own
            .iter()
            .map(|family| model.absorb(family, false))
            .collect();
        blamed.push(whole.contains(&false));
    }
    if let Some(host) = source.host {
        for (labels, _) in model.0.iter_mut().flat_map(|family| &mut family.series) {
            labels.insert("host".to_owned(), host.to_owned());
        }
    }
    (registry, model, blamed)
}

#[derive(Default)]
struct Found {
    cases: usize,
    clashing: usize,
    left_out: usize,
    blamed: usize,
}

#[test]
fn what_does_not_clash_arrives_once_by_every_way_out() {
    let (mut runner, found) = (
        TestRunner::new(Config {
            failure_persistence: None,
            ..Config::default()
        }),
        std::cell::RefCell::new(Found::default()),
    );
    let sources = prop::collection::vec(source(), 2..5);
    let run = runner.run(&sources, |sources| {
        let mut found = found.borrow_mut();
        let gateway = Gateway::of(fine());
        let built: Vec<_> = sources.iter().map(build).collect();
        let registries: Vec<Registry> = built
            .iter()
            .map(|(registry, ..)| registry.clone())
            .collect();
        let (mut all, mut left_out) = (Model::default(), 0);
        for family in built.iter().flat_map(|(_, model, _)| &model.0) {
            left_out += usize::from(!all.absorb(family, true));
        }
        let expected = all.samples();

        // What collectors lose is counted.
        for (registry, _, blamed) in &built {
            let _ = registry.snapshot();
            let now = registry.snapshot();
            for (i, is_blamed) in blamed.iter().enumerate() {
                let labels = [("collector", &*format!("c{i}"))];
                let errors = now.get("tallies_collect_errors_total", &labels);
                prop_assert_eq!(errors.is_some(), *is_blamed);
                found.blamed += usize::from(*is_blamed);
            }
        }

        // The merger of sources, into one page and as a source.
        let merged: Merged = registries
            .iter()
            .fold(Merged::new(), |all, one| all.source(one));
        let before = counted();
        let mut snapshot = MergedSnapshot::default();
        merged.take(&mut snapshot).unwrap();
        prop_assert_eq!(snapshot.conflicts().len(), left_out);
        prop_assert!(counted() >= before + left_out as f64);
        let snapshot = Snapshot::from(snapshot);
        prop_assert!(snapshot.clashes().is_empty());
        prop_assert_eq!(&read(&tallies::encode::text(&snapshot)), &expected);

        // The server.
        prop_assert_eq!(&read(&page(&registries)), &expected);

        // The pusher.
        let pusher = Pusher::new(&gateway.url, "j");
        let pusher = registries.iter().fold(pusher, |all, one| all.registry(one));
        pusher.add().unwrap();
        let request = gateway.next_request();
        prop_assert_eq!(&read(request.text()), &expected);

        // The senders.
        let write = RemoteWrite::new().version(Version::V1);
        let url = format!("{}/write", gateway.url);
        let sender = registries
            .iter()
            .fold(Sender::new(&url, write), |all, one| all.registry(one));
        let sending = sender.interval(LONG).start().unwrap();
        let request = gateway.next_request();
        prop_assert_eq!(&sent(&WriteRequest::of(&request.body)), &expected);
        sending.stop().unwrap();
        let gateway = Gateway::of(fine());
        let url = format!("{}/otlp", gateway.url);
        let sender = registries
            .iter()
            .fold(Sender::new(&url, Otlp::new()), |all, one| all.registry(one));
        let sending = sender.interval(LONG).start().unwrap();
        let mut names = metric_names(&gateway.next_request().body);
        names.retain(|name| !name.starts_with("tallies_"));
        names.sort_unstable();
        // OTLP has no gauge histograms.
        let sent = all
            .0
            .iter()
            .filter(|family| family.kind != Kind::GaugeHistogram);
        let own: Vec<_> = sent.map(|family| family.name.to_owned()).collect();
        prop_assert_eq!(names, own);
        sending.stop().unwrap();

        // The merger of a store, where the last process decides the kind.
        let snapshots: Vec<_> = registries.iter().map(Registry::snapshot).collect();
        let (mut merger, mut conflicts) = (Merger::new(), 0);
        for (snapshot, index) in snapshots.iter().zip(0..) {
            merger.live(index, snapshot);
        }
        let page = merger.page(|_| conflicts += 1);
        let families = || built.iter().flat_map(|(_, model, _)| &model.0);
        let last: BTreeMap<_, _> = families()
            .map(|family| (family.name, family.kind))
            .collect();
        let (mut store, mut left_out_of_store) = (Model::default(), 0);
        for family in families() {
            let is_there = last[family.name] == family.kind && store.absorb(family, true);
            left_out_of_store += usize::from(!is_there);
        }
        prop_assert_eq!(conflicts, left_out_of_store);
        prop_assert_eq!(&read(&tallies::encode::text(&page)), &store.samples());

        found.cases += 1;
        found.clashing += usize::from(left_out > 0);
        found.left_out += left_out;
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    let found = found.into_inner();
    let Found {
        cases,
        clashing,
        left_out,
        blamed,
    } = found;
    println!(
        "{cases} cases, {clashing} with clashes of sources, {left_out} families left out, {blamed} \
         collectors with clashes"
    );
    assert!(clashing > cases / 4 && blamed > cases / 8);
}

/// Returns how many families mergers of this process have left out.
fn counted() -> f64 {
    let registry = Registry::new();
    registry.set_self_metrics(true);
    let now = registry.snapshot();
    now.get("tallies_merge_conflicts_total", &[]).unwrap_or(0.0)
}
