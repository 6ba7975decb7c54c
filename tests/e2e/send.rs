//! Senders write to a real Prometheus and to a real VictoriaMetrics, whose queries then return what
//! was counted, and nothing more after a series ended.

#[allow(dead_code, reason = "others use the rest")]
#[path = "../support/kinds.rs"]
mod kinds;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::servers::{Release, with_each_release};
use support::{Running, eventually, exposition, free_port, http};
use tallies::snapshot::{Snapshot, Source};
use tallies::{Counter, Histogram, Registry};
use tallies_send::{Otlp, RemoteWrite, Sender, Temporality, Version};

with_each_release!(
    every_sample_of_every_kind_is_queried_back,
    a_series_ends_when_it_is_removed_and_at_the_end,
    native_histograms_arrive_whole,
    totals_are_right_after_a_receiver_was_away,
);

/// A server that is asked with PromQL, and the folder of its data.
struct Database {
    _running: Running,
    address: String,
    /// The largest relative error of stored values. Prometheus has none; VictoriaMetrics stores
    /// decimals, and no value that is not a number.
    error: f64,
    /// The versions of remote write that it takes.
    versions: &'static [Version],
    dir: PathBuf,
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn dir(release: Release, name: &str) -> PathBuf {
    let dir = format!("tallies-send-{name}-{release:?}-{}", std::process::id());
    let dir = std::env::temp_dir().join(dir);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn start(release: Release, name: &str, dir: &Path, address: String, args: &[String]) -> Database {
    let child = release
        .command(name)
        .args(args)
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap_or_else(|e| panic!("{name}: {e}; tests/run.sh installs it"));
    let running = Running(child);
    eventually(&format!("{name} answers; see {}", dir.display()), || {
        http::try_get(&*address, "/-/ready").is_ok_and(|answer| answer.status() == 200)
    });
    Database {
        _running: running,
        address,
        error: if name == "prometheus" { 0.0 } else { 1e-12 },
        versions: match (name, release) {
            ("prometheus", Release::Today) => &[Version::V1, Version::V2, Version::Auto],
            _ => &[Version::V1, Version::Auto],
        },
        dir: dir.to_owned(),
    }
}

fn prometheus(release: Release, test: &str) -> Database {
    let dir = dir(release, test);
    std::fs::write(dir.join("prometheus.yml"), "global: {}\n").unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let args = [
        format!("--config.file={}", dir.join("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", dir.join("data").display()),
        format!("--web.listen-address={address}"),
        "--web.enable-remote-write-receiver".to_owned(),
        "--enable-feature=native-histograms".to_owned(),
    ];
    start(release, "prometheus", &dir, address, &args)
}

fn victoria(release: Release, test: &str, more: &[&str]) -> Database {
    let dir = dir(release, test);
    let address = format!("127.0.0.1:{}", free_port());
    let mut args = vec![
        format!("-storageDataPath={}", dir.join("data").display()),
        format!("-httpListenAddr={address}"),
        "-search.latencyOffset=0s".to_owned(),
    ];
    args.extend(more.iter().map(|arg| (*arg).to_owned()));
    start(release, "victoria-metrics", &dir, address, &args)
}

/// Labels and values of series.
type Samples = BTreeMap<Vec<(String, String)>, f64>;

impl Database {
    fn url(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// The result of an instant query. Bounds are in their shortest form.
    fn query(&self, query: &str) -> Samples {
        // VictoriaMetrics returns new samples only after a flush.
        let _ = http::try_get(&*self.address, "/internal/force_flush");
        let encoded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
        let path = format!("/api/v1/query?nocache=1&query={encoded}");
        let answer = http::get(&*self.address, &path, &[]);
        let body: Value = serde_json::from_str(answer.text()).unwrap();
        let result = body["data"]["result"].as_array();
        let result = result.unwrap_or_else(|| panic!("{query}: {body}"));
        let samples = result
            .iter()
            .filter(|sample| sample["value"].is_array())
            .map(|sample| {
                let labels = sample["metric"].as_object().unwrap().iter();
                let labels =
                    labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()));
                let value = sample["value"][1].as_str().unwrap();
                (comparable(labels.collect()), value.parse().unwrap())
            });
        samples.collect()
    }

    fn expect(&self, query: &str, expected: &Samples) {
        let seen = eventually(&format!("an answer to {query}"), || {
            let seen = self.query(query);
            let missing = expected.keys().find(|labels| !seen.contains_key(*labels));
            missing
                .is_none()
                .then_some(seen)
                .ok_or(format!("no {missing:?}"))
        });
        for (labels, value) in expected {
            let have = seen
                .get(labels)
                .unwrap_or_else(|| panic!("no {labels:?} in {seen:#?}"));
            let is_close = (have - value).abs() <= self.error * value.abs();
            let is_same = have == value || have.is_nan() && value.is_nan();
            assert!(is_same || is_close, "{labels:?}: {have}, not {value}");
        }
        assert_eq!(seen.len(), expected.len(), "{seen:#?}");
    }

    fn expect_value(&self, query: &str, expected: f64) {
        eventually(&format!("{query} is {expected}"), || {
            let values: Vec<_> = self.query(query).into_values().collect();
            (values == [expected])
                .then_some(())
                .ok_or(format!("{values:?}"))
        });
    }

    fn expect_nothing(&self, query: &str) {
        eventually(&format!("{query} has no result"), || {
            let seen = self.query(query);
            seen.is_empty().then_some(()).ok_or(format!("{seen:?}"))
        });
    }
}

/// Sorts labels, and writes bounds in one form.
fn comparable(mut labels: Vec<(String, String)>) -> Vec<(String, String)> {
    for (name, value) in &mut labels {
        if let ("le" | "quantile", Ok(number)) = (&**name, value.parse::<f64>()) {
            *value = number.to_string();
        }
    }
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort();
    labels
}

/// The samples of a page in the text format, with these labels in addition.
fn on_page(snapshot: &Snapshot, more: &[(&str, &str)]) -> Samples {
    let page = tallies::encode::text(snapshot);
    let families = exposition::read(&page).unwrap();
    let samples = families
        .into_iter()
        .flat_map(|family| family.samples)
        .map(|sample| {
            let own = more
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            let name = [("__name__".to_owned(), sample.name)];
            (
                comparable(sample.labels.into_iter().chain(own).chain(name).collect()),
                sample.value,
            )
        });
    samples.collect()
}

/// A source that always has the same values.
#[derive(Clone)]
struct Fixed(Snapshot);

impl Source for Fixed {
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        let families = self.0.families().cloned().collect();
        *snapshot = Snapshot::new(families, SystemTime::now()).unwrap();
    }
}

const JOB: [(&str, &str); 1] = [("job", "e2e")];

fn remote_write() -> RemoteWrite {
    RemoteWrite::new().label("job", "e2e")
}

const OFTEN: Duration = Duration::from_millis(200);

fn every_sample_of_every_kind_is_queried_back(release: Release) {
    for database in [
        prometheus(release, "kinds-p"),
        victoria(release, "kinds-v", &[]),
    ] {
        for &version in database.versions {
            let snapshot = kinds::every_kind();
            let sender = Sender::new(&database.url(), remote_write().version(version));
            let sending = sender
                .registry(&Fixed(snapshot.clone()))
                .interval(OFTEN)
                .start()
                .unwrap();
            let mut expected = on_page(&snapshot, &JOB);
            expected.retain(|_, value| !value.is_nan() || database.error == 0.0);
            database.expect("{job=\"e2e\"}", &expected);
            sending.stop().unwrap();
            database.expect_nothing("{job=\"e2e\"}");
        }
    }
}

fn a_series_ends_when_it_is_removed_and_at_the_end(release: Release) {
    for database in [
        prometheus(release, "stale-p"),
        victoria(release, "stale-v", &[]),
    ] {
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
        let jobs = jobs.register(&registry).unwrap();
        jobs.with(["print"]).add(7);
        jobs.with(["mail"]).add(8);
        let sender = Sender::new(&database.url(), remote_write()).registry(&registry);
        let sending = sender.interval(OFTEN).start().unwrap();
        database.expect("jobs_total", &on_page(&registry.snapshot(), &JOB));
        jobs.remove(["mail"]);
        database.expect_nothing("jobs_total{queue=\"mail\"}");
        database.expect_value("jobs_total{queue=\"print\"}", 7.0);
        jobs.with(["print"]).inc();
        sending.stop().unwrap();
        database.expect_nothing("jobs_total");
        // The last value was sent before the end.
        database.expect_value("last_over_time(jobs_total{queue=\"print\"}[1m])", 8.0);
    }
}

fn native_histograms_arrive_whole(release: Release) {
    let database = prometheus(release, "native");
    let registry = Registry::new();
    let sizes = Histogram::builder("sizes_bytes", "Sizes.")
        .native(3)
        .register(&registry)
        .unwrap();
    (1..=1000).for_each(|size| sizes.observe(f64::from(size)));
    sizes.observe(0.0);
    sizes.observe(-5.0);
    let waits = Histogram::builder("waits_seconds", "Waits.").buckets(&[0.1, 1.0, 10.0]);
    let waits = waits.register(&registry).unwrap();
    [0.05, 0.1, 0.5, 20.0]
        .iter()
        .for_each(|wait| waits.observe(*wait));
    for &version in database.versions {
        let sender =
            Sender::new(&database.url(), remote_write().version(version)).registry(&registry);
        let sending = sender.interval(OFTEN).start().unwrap();
        database.expect_value("histogram_count(sizes_bytes)", 1002.0);
        database.expect_value("histogram_sum(sizes_bytes)", 500_495.0);
        let found = registry
            .snapshot()
            .quantile("sizes_bytes", &[], 0.99)
            .unwrap();
        eventually("the quantile", || {
            let quantile = database
                .query("histogram_quantile(0.99, sizes_bytes)")
                .into_values()
                .next();
            quantile.filter(|quantile| (found.lower..=found.upper).contains(quantile))
        });
        database.expect_value(
            "waits_seconds_bucket{le=\"1\"} or waits_seconds_bucket{le=\"1.0\"}",
            3.0,
        );
        sending.stop().unwrap();
        database.expect_nothing("sizes_bytes");
    }
}

fn totals_are_right_after_a_receiver_was_away(release: Release) {
    let dir = dir(release, "outage");
    let address = format!("127.0.0.1:{}", free_port());
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "Jobs done.").unwrap();
    let url = format!("http://{address}/api/v1/write");
    let sender = Sender::new(&url, remote_write()).registry(&registry);
    let sending = sender.interval(OFTEN).start().unwrap();
    jobs.add(5);
    std::thread::sleep(Duration::from_secs(1));
    for total in [5.0, 11.0] {
        let args = [
            format!("-storageDataPath={}", dir.join("data").display()),
            format!("-httpListenAddr={address}"),
            "-search.latencyOffset=0s".to_owned(),
        ];
        let database = start(release, "victoria-metrics", &dir, address.clone(), &args);
        database.expect_value("jobs_total", total);
        drop(database);
        std::fs::create_dir_all(&dir).unwrap();
        jobs.add(6);
    }
    assert!(sending.stop().is_err());
    let _ = std::fs::remove_dir_all(&dir);
}

/// The totals of all kinds by OTLP, in VictoriaMetrics with its own names and with those of
/// Prometheus: both store the names that are declared. Debian builds Prometheus without its
/// receiver of OTLP, and its older VictoriaMetrics has none.
#[test]
fn totals_are_queried_back_after_otlp() {
    let release = Release::Today;
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    jobs.with(["print"]).add(7);
    jobs.with(["mail"]).add(1 << 40);
    registry.gauge("tank_liters", "Liters.").unwrap().set(-2.5);
    let waits = Histogram::builder("waits_seconds", "Waits.").unit("seconds");
    let waits = waits
        .buckets(&[0.1, 1.0, 10.0])
        .register(&registry)
        .unwrap();
    let sizes = Histogram::builder("sizes_bytes", "Sizes.")
        .unit("bytes")
        .native(3);
    let sizes = sizes.register(&registry).unwrap();
    for x in [0.05, 0.1, 0.5, 20.0] {
        waits.observe(x);
        sizes.observe(x);
    }
    let build = [("version", "1.2.0")];
    registry
        .info("shop_build_info", "This program.", &build)
        .unwrap();
    for naming in [&[][..], &["-opentelemetry.usePrometheusNaming"]] {
        let database = victoria(release, "otlp", naming);
        let url = format!("http://{}/opentelemetry/v1/metrics", database.address);
        let otlp = Otlp::new().temporality(Temporality::Cumulative);
        let sender = Sender::new(&url, otlp).registry(&registry);
        let sending = sender.interval(OFTEN).start().unwrap();
        for (query, value) in [
            (r#"jobs_total{queue="print"}"#, 7.0),
            (r#"jobs_total{queue="mail"}"#, 1_099_511_627_776.0),
            ("tank_liters", -2.5),
            ("waits_seconds_count", 4.0),
            ("waits_seconds_sum", 20.65),
            (r#"waits_seconds_bucket{le=~"1|1.0"}"#, 3.0),
            ("sizes_bytes_count", 4.0),
            ("sizes_bytes_sum", 20.65),
            (r#"shop_build_info{version="1.2.0"}"#, 1.0),
        ] {
            database.expect_value(query, value);
        }
        sending.stop().unwrap();
    }
}
