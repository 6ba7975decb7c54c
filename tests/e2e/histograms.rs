//! Histograms with fixed and with exponential buckets, exemplars, and a UTF-8 name, scraped by two
//! real Prometheus servers: one with native histograms, which requests protobuf, and one without,
//! which requests OpenMetrics. Each sends its own Accept header.

use tallies::{Gauge, Histogram, Registry, collect::Collected, serve::Server, snapshot::Snapshot};

use super::{
    Release, eventually, expect, prometheus_with, query, ready, request, with_each_release,
};

with_each_release!(prometheus_takes_histograms_of_every_kind_and_exemplars);

const BOUNDS: [f64; 4] = [0.01, 0.1, 1.0, 5.0];
const QUANTILES: [f64; 5] = [0.01, 0.25, 0.5, 0.9, 0.999];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The observed values: from 0.001 to 8, small ones more often.
fn values() -> Vec<f64> {
    let value = |i| 0.001 + 7.999 * (f64::from(i) / 3000.0_f64).powi(4);
    (0..=3000).map(value).collect()
}

/// The same values on both sides of zero, and zero itself.
fn signed() -> Vec<f64> {
    values().into_iter().flat_map(|x| [x, 0.0, -x]).collect()
}

fn registry() -> Registry {
    let registry = Registry::new();
    let builder = |name| Histogram::builder(name, "Time.").unit("seconds");
    for histogram in [
        builder("classic_seconds").buckets(&BOUNDS),
        builder("native_seconds").native(5),
        builder("both_seconds").buckets(&BOUNDS).native(3),
        // Finer than the limit allows: the resolution is halved as often as necessary.
        builder("limited_seconds").native(8).native_limit(16),
    ] {
        let histogram = histogram.labels(["route"]).register(&registry).unwrap();
        let _nothing_observed = histogram.with(["/idle"]);
        values()
            .iter()
            .for_each(|x| histogram.with(["/"]).observe(*x));
        histogram
            .with(["/"])
            .observe_exemplar(0.5, &[("trace_id", TRACE)]);
    }
    let signed_histogram = builder("signed_seconds").native(4).register(&registry);
    let signed_histogram = signed_histogram.unwrap();
    signed().iter().for_each(|x| signed_histogram.observe(*x));
    let calls = registry.counter("calls_total", "Calls.").unwrap();
    calls.add_exemplar(3, &[("trace_id", TRACE)]);
    let ages = |out: &mut Collected| {
        Ok(out.gauge_histogram("age_seconds", "", &[], &[1.0, 60.0], &[2, 1, 1], 93.5)?)
    };
    registry.add_collector("ages", ages).unwrap();
    Gauge::builder("tank.füllung", "Litres.")
        .utf8()
        .register(&registry)
        .unwrap()
        .set(7.5);
    registry
}

/// The expected content of one series.
struct Series {
    name: &'static str,
    route: Option<&'static str>,
    /// In ascending order.
    values: Vec<f64>,
}

impl Series {
    fn new(name: &'static str, route: Option<&'static str>, mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(f64::total_cmp);
        Self {
            name,
            route,
            values,
        }
    }

    fn labels(&self) -> String {
        let route = self.route.map(|route| format!("{{route=\"{route}\"}}"));
        route.unwrap_or_default()
    }

    /// The smallest value such that at least this part of all values is at or below it.
    fn quantile(&self, phi: f64) -> f64 {
        let rank = (phi * self.values.len() as f64).ceil() as usize;
        self.values[rank.max(1) - 1]
    }

    /// Checks that Prometheus' quantiles of `suffix` lie in the buckets that hold the exact ones.
    fn quantiles(&self, prometheus: &str, suffix: &str, snapshot: &Snapshot) {
        let labels: Vec<_> = self.route.iter().map(|route| ("route", *route)).collect();
        for phi in QUANTILES {
            let exact = self.quantile(phi);
            let own = snapshot.quantile(self.name, &labels, phi).unwrap();
            let (mut lower, mut upper) = (own.lower, own.upper);
            if suffix == "_bucket" {
                // The snapshot may have finer buckets as well, so these are looked up in the fixed
                // ones.
                lower = BOUNDS.into_iter().rfind(|b| *b < exact).unwrap_or(0.0);
                upper = *BOUNDS.iter().find(|b| **b >= exact).unwrap_or(&BOUNDS[3]);
            } else {
                assert!(lower <= exact && exact <= upper, "{}: {own:?}", self.name);
            }
            let labels = self.labels();
            let promql = format!("histogram_quantile({phi}, {}{suffix}{labels})", self.name);
            let answer = query(prometheus, &promql).unwrap();
            println!("{promql} = {answer}, exactly {exact}, in {lower} to {upper}");
            let round = 1e-9 * upper.abs().max(lower.abs());
            assert!(lower - round <= answer && answer <= upper + round);
        }
    }
}

/// Returns whether this Prometheus has at least the given version.
fn is_at_least(release: Release, version: (u32, u32)) -> bool {
    let output = release.command("prometheus").arg("--version").output();
    let output = output.expect("prometheus: tests/run.sh installs it");
    // Old versions print it on standard error.
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    let number = said.split_whitespace().nth(2).unwrap();
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap());
    (parts.next().unwrap(), parts.next().unwrap()) >= version
}

/// Waits for the exemplars of the series that `promql` selects: the bucket's `le`, the trace and
/// the value of each.
fn exemplars(prometheus: &str, promql: &str) -> Vec<(String, String, f64)> {
    let encoded: String = promql.bytes().map(|b| format!("%{b:02X}")).collect();
    let url = format!("{prometheus}/api/v1/query_exemplars?query={encoded}&start=0&end=9999999999");
    let all = eventually(&format!("exemplars of {promql}"), || {
        let (status, body) = request("GET", &url, &[]);
        assert_eq!(status, 200, "{promql}: {body}");
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let series = body["data"].as_array().unwrap();
        let all = series.iter().flat_map(|one| {
            let le = one["seriesLabels"]["le"].as_str().unwrap_or_default();
            let exemplars = one["exemplars"].as_array().unwrap().iter();
            exemplars.map(move |exemplar| {
                let trace = exemplar["labels"]["trace_id"].as_str().unwrap().to_owned();
                let value = exemplar["value"].as_str().unwrap().parse().unwrap();
                (le.to_owned(), trace, value)
            })
        });
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then_some(all)
    });
    println!("exemplars of {promql}: {all:?}");
    all
}

fn prometheus_takes_histograms_of_every_kind_and_exemplars(release: Release) {
    let registry = registry();
    let snapshot = registry.snapshot();
    let server = Server::new().registry(&registry).listen("127.0.0.1:0");
    let server = server.unwrap();
    let start = |name: &str, features: &str, global: &str| {
        let dir = format!("tallies-{name}-{release:?}-{}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let features = format!("--enable-feature={features}");
        let (running, url) =
            prometheus_with(release, &dir, &server.metrics_url(), &[&features], global);
        (running, url, dir)
    };
    // A setting since version 3.8.
    let setting = if is_at_least(release, (3, 8)) {
        "  scrape_native_histograms: true\n"
    } else {
        ""
    };
    let (_one, native, native_dir) = start("native", "native-histograms,exemplar-storage", setting);
    let (_two, plain, plain_dir) = start("plain", "exemplar-storage", "");

    let mut observed = values();
    observed.push(0.5);
    let of = |name| Series::new(name, Some("/"), observed.clone());
    let names = [
        "classic_seconds",
        "native_seconds",
        "both_seconds",
        "limited_seconds",
    ];
    let [classic, only_native, both, limited] = names.map(of);
    let signed = Series::new("signed_seconds", None, signed());
    let count = observed.len() as f64;
    let sum: f64 = observed.iter().sum();

    ready(&native, &native_dir);
    ready(&plain, &plain_dir);

    // Through protobuf, since text has no native histograms.
    for series in [&only_native, &both, &limited, &signed] {
        let (name, labels) = (series.name, series.labels());
        let count = series.values.len() as f64;
        let sum = snapshot.get(
            &format!("{name}_sum"),
            series.route.map(|r| ("route", r)).as_slice(),
        );
        for (promql, expected) in [
            (format!("histogram_count({name}{labels})"), count),
            (format!("histogram_sum({name}{labels})"), sum.unwrap()),
            (format!("count({name}_count) or vector(0)"), 0.0),
        ] {
            expect(&native, &promql, expected);
        }
        series.quantiles(&native, "", &snapshot);
    }
    let idle = r#"histogram_count(native_seconds{route="/idle"})"#;
    expect(&native, idle, 0.0);

    // Fixed buckets, through protobuf and through OpenMetrics. For a family with both kinds of
    // buckets, only the Prometheus that receives OpenMetrics stores the fixed ones.
    let (classic, both) = (&classic, &both);
    for (prometheus, series) in [(&native, classic), (&plain, classic), (&plain, both)] {
        let name = series.name;
        for bound in BOUNDS {
            let below = observed.iter().filter(|x| **x <= bound).count() as f64;
            let le = format!("{name}_bucket{{route=\"/\",le=\"{bound:?}\"}}");
            expect(prometheus, &le, below);
        }
        for (what, expected) in [
            (r#"_bucket{route="/",le="+Inf"}"#, count),
            (r#"_count{route="/"}"#, count),
            (r#"_sum{route="/"}"#, sum),
            (r#"_count{route="/idle"}"#, 0.0),
        ] {
            expect(prometheus, &format!("{name}{what}"), expected);
        }
        series.quantiles(prometheus, "_bucket", &snapshot);
    }
    // A family with exponential buckets only has a count and a sum in OpenMetrics.
    for (what, expected) in [
        (r#"native_seconds_count{route="/"}"#, count),
        (r#"native_seconds_sum{route="/"}"#, sum),
        (r#"native_seconds_bucket{route="/",le="+Inf"}"#, count),
        ("count(native_seconds_bucket)", 2.0),
    ] {
        expect(&plain, what, expected);
    }

    for prometheus in [&native, &plain] {
        let calls = exemplars(prometheus, "calls_total");
        assert_eq!(calls, [(String::new(), TRACE.to_owned(), 3.0)]);
        let buckets = exemplars(prometheus, "classic_seconds_bucket");
        let [(le, trace, value)] = &buckets[..] else {
            panic!("{buckets:?}")
        };
        assert_eq!((le.parse(), &**trace, *value), (Ok(1.0), TRACE, 0.5));
        let tank = if is_at_least(release, (3, 0)) {
            r#"{"tank.füllung"}"#
        } else {
            "tank_f_llung"
        };
        expect(prometheus, tank, 7.5);
    }
    // Text and OpenMetrics name the count differently. With protobuf, versions up to 2.42 lost
    // all of these names.
    let newer = is_at_least(release, (3, 0)).then_some((&native, ""));
    for (prometheus, g) in [(&plain, "g")].into_iter().chain(newer) {
        for (promql, expected) in [
            (format!("age_seconds_{g}count"), 4.0),
            (format!("age_seconds_{g}sum"), 93.5),
            (r#"age_seconds_bucket{le="60.0"}"#.to_owned(), 3.0),
            (
                "histogram_quantile(0.25, age_seconds_bucket)".to_owned(),
                0.5,
            ),
        ] {
            expect(prometheus, &promql, expected);
        }
    }
    let of_both = exemplars(&native, "both_seconds");
    assert_eq!(of_both, [(String::new(), TRACE.to_owned(), 0.5)]);
    for dir in [native_dir, plain_dir] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}
