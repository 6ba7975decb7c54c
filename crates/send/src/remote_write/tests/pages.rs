//! The text page as an oracle: a receiver stores the same series, whichever way they come.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Returns the samples of a text page, as a server with these external labels would store them.
fn page(snapshot: &Snapshot, external: &[(&str, &str)]) -> Vec<(Labels, u64)> {
    let text = tallies::encode::text(snapshot);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = match series.strip_suffix('}') {
            Some(series) => series.split_once('{').unwrap(),
            None => (series, ""),
        };
        let labels = SeriesLabels::of_text(labels);
        let labels = labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.into_owned()));
        let mut labels: Labels = labels.filter(|(_, value)| !value.is_empty()).collect();
        labels.push(("__name__".to_owned(), name.to_owned()));
        for (name, value) in external {
            if !labels.iter().any(|(other, _)| other == name) {
                labels.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        labels.sort();
        let x: f64 = value.parse().unwrap();
        let bits = if x.is_nan() {
            0x7ff8_0000_0000_0001
        } else {
            x.to_bits()
        };
        (labels, bits)
    });
    let mut samples: Vec<_> = samples.collect();
    samples.sort();
    samples
}

fn check(snapshot: &Snapshot, most_samples: u64) {
    let external = [("job", "mail"), ("zone", "z")];
    let expected = page(snapshot, &external);
    for settings in both() {
        let settings = settings.histograms(HistogramForm::Classic);
        let settings = settings.label("job", "mail").label("zone", "z");
        let mut exchange = exchange(&settings);
        exchange.most_samples = most_samples;
        exchange.take(snapshot);
        let requests = flush(&mut exchange);
        for request in &requests {
            let symbols: BTreeSet<_> = request.symbols.iter().collect();
            assert_eq!(symbols.len(), request.symbols.len(), "symbols are unique");
            assert_eq!(
                request.symbols.first().map(|first| &**first),
                request.is_v2.then_some("")
            );
        }
        let samples = requests.iter().flat_map(|request| &request.samples);
        let samples = samples.inspect(|sample| {
            let names: Vec<_> = sample.labels.iter().map(|(name, _)| name).collect();
            assert!(
                names.windows(2).all(|pair| pair[0] < pair[1]),
                "{names:?} are sorted"
            );
            assert!(sample.labels.iter().all(|(_, value)| !value.is_empty()));
        });
        let mut samples: Vec<_> = samples.map(|s| (s.labels.clone(), s.bits())).collect();
        samples.sort();
        assert_eq!(samples, expected);
    }
}

#[test]
fn a_registry_is_sent_as_its_text_page_shows_it() {
    let registry = tallies::Registry::new();
    registry.add_constant("host", "a\"b").unwrap();
    registry.counter("jobs_total", "Jobs done.").unwrap().add(3);
    registry.gauge("load", "Load.").unwrap().set(f64::NAN);
    let waits = tallies::Histogram::builder("wait_seconds", "Waits.").labels(["queue"]);
    let waits = waits
        .buckets(&[0.005, 1.0, 1e6])
        .register(&registry)
        .unwrap();
    waits.with(["a\\b"]).observe(0.5);
    waits.with([""]).observe(2e6);
    let sizes = tallies::Histogram::builder("sizes_bytes", "Sizes.").native(3);
    sizes.register(&registry).unwrap().observe(77.0);
    let latency = tallies::Summary::builder("latency_seconds", "Latency.");
    let latency = latency.labels(["path"]).register(&registry).unwrap();
    latency.with(["/"]).observe(0.25);
    let idle = tallies::Summary::builder("idle_seconds", "Idle.");
    idle.register(&registry).unwrap();
    check(&registry.snapshot(), 2_000);
    check(&registry.snapshot(), 1);
}

/// Label sets of one family, which differ also without their empty labels.
fn label_sets() -> impl Strategy<Value = Vec<Labels>> {
    let value = "[ab\"\\\\\né]{0,3}|x{0,1}";
    let set = proptest::collection::btree_map("[A-Za-z_]{1,2}[0-9]|zone", value, 0..4);
    proptest::collection::vec(set, 0..5).prop_map(|sets| {
        let mut seen = BTreeSet::new();
        let sets = sets
            .into_iter()
            .map(|set| set.into_iter().collect::<Labels>());
        let is_new = |set: &Labels| {
            // `zone` is an external label, too.
            let set = set
                .iter()
                .filter(|(name, value)| !value.is_empty() && name != "zone");
            seen.insert(set.cloned().collect::<Labels>())
        };
        sets.filter(is_new).collect()
    })
}

fn any_family(name: String) -> impl Strategy<Value = Family> {
    let bounds = proptest::collection::btree_set(-50_i32..50, 0..5);
    let numbers = proptest::collection::vec((any::<f64>(), any::<u32>()), 5);
    (0..8_u8, label_sets(), bounds, numbers).prop_map(move |(kind, sets, bounds, numbers)| {
        let kind = [
            Kind::Counter,
            Kind::Gauge,
            Kind::Info,
            Kind::StateSet,
            Kind::Unknown,
            Kind::Histogram,
            Kind::GaugeHistogram,
            Kind::Summary,
        ][usize::from(kind)];
        let mut family = Family::empty(&name, "Help.", "", kind).unwrap();
        let bounds: Vec<_> = bounds.iter().map(|bound| f64::from(*bound) / 8.0).collect();
        for (set, (x, n)) in sets.iter().zip(numbers) {
            let labels: Vec<_> = set
                .iter()
                .map(|(name, value)| (&**name, &**value))
                .collect();
            let counts: Vec<_> = (0..=bounds.len() as u64)
                .map(|i| u64::from(n) * i)
                .collect();
            let phis: Vec<_> = bounds.iter().map(|bound| (bound / 16.0 + 0.5, x)).collect();
            let value = match kind {
                Kind::Counter => counted(u64::from(n) << 28),
                Kind::Histogram | Kind::GaugeHistogram => fixed(&bounds, &counts, x),
                Kind::Summary => summary(u64::from(n) + 1, x, &phis),
                _ => Value::Gauge(x),
            };
            family.push(&labels, value).unwrap();
        }
        family
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_snapshot_is_sent_as_its_text_page_shows_it(
        families in (any_family("f0".into()), any_family("f1".into()), any_family("f2".into())),
        most_samples in 1_u64..30,
    ) {
        check(&snapshot([families.0, families.1, families.2], NOW), most_samples);
    }
}
