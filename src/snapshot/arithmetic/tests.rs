//! Tests of merging, of subtraction and of constant labels.

use crate::encode::{open_metrics, text};
use crate::pages::{read_open_metrics, read_text};
use crate::snapshot::{GaugeMode, Snapshot, Value, Values, millis};
use crate::{Histogram, Registry};

use super::{join_sums, sum_since};

fn read(page: &str) -> Snapshot {
    read_text(page).unwrap()
}

/// Returns the sample lines of a snapshot in the text format.
fn samples(snapshot: &Snapshot) -> String {
    let page = text(snapshot);
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

fn merged(one: &str, two: &str) -> Result<String, String> {
    let mut one = read(one);
    let merged = one.merge(&read(two));
    merged.map(|()| samples(&one)).map_err(|e| e.to_string())
}

fn since(now: &str, before: &str) -> String {
    samples(&read(now).since(&read(before)))
}

const ONE: &str = "# TYPE c_total counter\nc_total{x=\"a\"} 1\nc_total{x=\"b\"} 20\n\
    # TYPE g gauge\ng{x=\"a\"} 1\ng{x=\"b\"} 20\n\
    # TYPE h histogram\nh_bucket{x=\"a\",le=\"1.0\"} 1\nh_bucket{x=\"a\",le=\"+Inf\"} 3\nh_sum{x=\"a\"} 7\nh_count{x=\"a\"} 3\n\
    h_bucket{x=\"b\",le=\"1.0\"} 10\nh_bucket{x=\"b\",le=\"+Inf\"} 30\nh_sum{x=\"b\"} 70\nh_count{x=\"b\"} 30\n";
/// The same series in another order, and new ones.
const TWO: &str = "# TYPE c_total counter\nc_total{x=\"b\"} 25\nc_total{x=\"a\"} 3\nc_total{x=\"c\"} 1\nc_total{x=\"d\"} 2\n\
    # TYPE g gauge\ng{x=\"b\"} 25\ng{x=\"a\"} 3\n\
    # TYPE h histogram\nh_bucket{x=\"b\",le=\"1.0\"} 11\nh_bucket{x=\"b\",le=\"+Inf\"} 34\nh_sum{x=\"b\"} 75\nh_count{x=\"b\"} 34\n\
    h_bucket{x=\"a\",le=\"1.0\"} 3\nh_bucket{x=\"a\",le=\"+Inf\"} 8\nh_sum{x=\"a\"} 9\nh_count{x=\"a\"} 8\n";

#[test]
fn series_of_the_same_labels_add_up_wherever_they_are() {
    assert_eq!(
        merged(ONE, TWO).unwrap(),
        "c_total{x=\"a\"} 4\nc_total{x=\"b\"} 45\nc_total{x=\"c\"} 1\nc_total{x=\"d\"} 2\n\
        g{x=\"a\"} 4\ng{x=\"b\"} 45\n\
        h_bucket{x=\"a\",le=\"1.0\"} 4\nh_bucket{x=\"a\",le=\"+Inf\"} 11\nh_sum{x=\"a\"} 16\nh_count{x=\"a\"} 11\n\
        h_bucket{x=\"b\",le=\"1.0\"} 21\nh_bucket{x=\"b\",le=\"+Inf\"} 64\nh_sum{x=\"b\"} 145\nh_count{x=\"b\"} 64\n"
    );
}

#[test]
fn an_interval_is_the_difference_of_series_wherever_they_are() {
    let gained = "c_total{x=\"b\"} 5\nc_total{x=\"a\"} 2\nc_total{x=\"c\"} 1\nc_total{x=\"d\"} 2\n\
        g{x=\"b\"} 25\ng{x=\"a\"} 3\n\
        h_bucket{x=\"b\",le=\"1.0\"} 1\nh_bucket{x=\"b\",le=\"+Inf\"} 4\nh_sum{x=\"b\"} 5\nh_count{x=\"b\"} 4\n\
        h_bucket{x=\"a\",le=\"1.0\"} 2\nh_bucket{x=\"a\",le=\"+Inf\"} 5\nh_sum{x=\"a\"} 2\nh_count{x=\"a\"} 5\n";
    assert_eq!(since(TWO, ONE), gained);
    // A series that went down was restarted. For a histogram, one bucket that went down is
    // enough.
    let restarted = TWO.replace("c_total{x=\"a\"} 3", "c_total{x=\"a\"} 0");
    let restarted = restarted.replace(",le=\"1.0\"} 3", ",le=\"1.0\"} 0");
    let left = gained.replace("c_total{x=\"a\"} 2", "c_total{x=\"a\"} 0");
    let (left, _) = left.split_once("h_bucket{x=\"a\"").unwrap();
    assert_eq!(
        since(&restarted, ONE),
        format!(
            "{left}h_bucket{{x=\"a\",le=\"1.0\"}} 0\nh_bucket{{x=\"a\",le=\"+Inf\"}} 8\nh_sum{{x=\"a\"}} 9\nh_count{{x=\"a\"}} 8\n"
        )
    );
}

#[test]
fn gauges_merge_as_their_family_says() {
    for (mode, value) in [
        (GaugeMode::Sum, 5.0),
        (GaugeMode::Min, 2.0),
        (GaugeMode::Max, 3.0),
        (GaugeMode::Recent, 2.0),
    ] {
        let mut one = read("# TYPE g gauge\ng 3\n");
        one.families[0].meta.mode = mode;
        one.merge(&read("# TYPE g gauge\ng 2\n")).unwrap();
        assert_eq!(one.get("g", &[]), Some(value), "{mode:?}");
    }
}

#[test]
fn other_kinds_and_other_buckets_do_not_mix() {
    let histogram = |le| {
        format!(
            "# TYPE x histogram\nx_bucket{{le=\"{le}\"}} 1\nx_bucket{{le=\"+Inf\"}} 2\nx_sum 5\nx_count 2\n"
        )
    };
    let pages = [
        "x 1\n".to_owned(),
        "# TYPE x gauge\nx 1\n".to_owned(),
        histogram("1.0"),
        histogram("2.0"),
    ];
    for (i, one) in pages.iter().enumerate() {
        for (j, two) in pages.iter().enumerate() {
            assert_eq!(merged(one, two).is_ok(), i == j, "{one}{two}");
            if i != j {
                assert_eq!(since(one, two), samples(&read(one)), "{two}");
            }
        }
    }
    // Families without series do not mix either if their buckets differ.
    let bounds = |bounds: &[f64]| {
        let registry = Registry::new();
        let h = Histogram::builder("x", "").labels(["y"]);
        h.buckets(bounds).register(&registry).unwrap();
        registry.snapshot()
    };
    assert!(bounds(&[1.0]).merge(&bounds(&[2.0])).is_err());
    assert!(bounds(&[1.0]).merge(&bounds(&[1.0])).is_ok());
}

#[test]
fn native_buckets_merge_and_subtract() {
    let registry = Registry::new();
    let h = Histogram::builder("h", "").native(0).labels(["x"]);
    let h = h.register(&registry).unwrap();
    h.with(["b"]).observe(1.0);
    h.with(["a"]).observe(2.0);
    let before = registry.snapshot();
    h.with(["a"]).observe_many(4.0, 3);
    let now = registry.snapshot();
    let buckets = |snapshot: &Snapshot| {
        let Values::Histogram(all) = &snapshot.families[0].values else {
            panic!("it is a histogram")
        };
        [0, 1].map(|i| all.get(i).native().unwrap().positive().to_vec())
    };
    assert_eq!(buckets(&now.since(&before)), [vec![], vec![(2, 3)]]);
    let mut both = now.clone();
    both.merge(&before).unwrap();
    assert_eq!(buckets(&both), [vec![(0, 2)], vec![(1, 2), (2, 3)]]);
    // The earlier snapshot has larger counts, so the series was restarted.
    assert_eq!(buckets(&before.since(&now)), [vec![], vec![(1, 1)]]);
}

/// The sum becomes 0, even if it is infinite and the difference is unknown.
#[test]
fn a_summary_without_new_observations_gained_nothing() {
    let page = "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum +Inf\ns_count 1\n";
    assert_eq!(since(page, page), "s_sum 0\ns_count 0\n");
    let later = page.replace("count 1", "count 3");
    assert_eq!(since(&later, page), "s_sum +Inf\ns_count 2\n");
}

/// Counts move to the overflow series with the most specific labels.
#[test]
fn moved_counts_are_no_gain_of_an_overflow_series() {
    let o = "__overflow__";
    let before = [("a", "1", 5), ("b", "1", 7), ("a", o, 50), (o, o, 100)];
    let page = |series: &[(&str, &str, u64)]| {
        let lines = series
            .iter()
            .map(|(x, y, n)| format!("c_total{{x=\"{x}\",y=\"{y}\"}} {n}\n"));
        format!("# TYPE c_total counter\n{}", lines.collect::<String>())
    };
    let now = [("a", o, 50), (o, o, 100 + 5 + 7 + 1)];
    let gained = page(&[("a", o, 0), (o, o, 1)])
        .split_once('\n')
        .unwrap()
        .1
        .to_owned();
    assert_eq!(since(&page(&now), &page(&before)), gained);

    let page = |host_one, host_two, other| {
        format!(
            "# TYPE c_total counter\nc_total{{x=\"{o}\"}} {other}\nc_total{{host=\"one\",x=\"{o}\"}} {host_one}\n\
            c_total{{host=\"two\",x=\"{o}\"}} {host_two}\nc_total{{overflow=\"{o}\"}} 9\n"
        )
    };
    let ended = "c_total{host=\"one\",x=\"a\"} 3\nc_total{host=\"two\",x=\"a\"} 4\nc_total{x=\"a\"} 5\nc_total{y=\"a\"} 6\n";
    let gained = since(&page(13, 24, 35), &(page(10, 20, 30) + ended));
    let mut lines = gained.lines().map(|line| line.rsplit_once(' ').unwrap().1);
    assert_eq!(lines.by_ref().take(3).collect::<Vec<_>>(), ["0", "0", "0"]);
}

#[test]
fn counts_begin_with_the_first_and_intervals_with_the_snapshot() {
    let page = |created: &[u64], taken| {
        let lines = created.iter().zip(["a", "b"]).map(|(created, x)| {
            format!("c_total{{x=\"{x}\"}} 1 {taken}\nc_created{{x=\"{x}\"}} {created} {taken}\n")
        });
        let page = format!("# TYPE c counter\n{}# EOF\n", lines.collect::<String>());
        read_open_metrics(page).unwrap()
    };
    let created = |snapshot: &Snapshot| [0, 1].map(|i| snapshot.families[0].texts.created(i));
    let mut both = page(&[1, 4], 10);
    both.merge(&page(&[3, 2], 20)).unwrap();
    assert_eq!(created(&both), [1_000, 2_000]);
    assert_eq!(millis(both.taken()), 20_000);
    let interval = page(&[15, 3], 20).since(&page(&[1, 3], 10));
    assert_eq!(created(&interval), [15_000, 10_000]);
    let page = open_metrics(&interval);
    assert_eq!(page.matches("c_total").count(), 2, "{page}");
}

#[test]
fn sums_are_not_nan_unless_they_are_not_known() {
    let (infinity, unknown) = (f64::INFINITY, f64::NAN);
    for (a, b, sum) in [
        (1.0, 2.0, 3.0),
        (infinity, -infinity, infinity),
        (-infinity, infinity, -infinity),
        (infinity, 1.0, infinity),
    ] {
        assert_eq!(join_sums(a, b), sum);
        assert_eq!(sum_since(a, -b, 1), sum);
        assert_eq!(sum_since(a, -b, 0), 0.0);
    }
    for (a, b) in [(unknown, 1.0), (unknown, unknown)] {
        assert!(join_sums(a, b).is_nan() && sum_since(a, b, 1).is_nan());
        assert!(sum_since(a, b, 0).is_nan());
    }
    assert!(join_sums(1.0, unknown).is_nan() && sum_since(1.0, unknown, 1).is_nan());
}

/// If no series has a label with the name of a constant one, nothing changes.
#[test]
fn a_sample_wins_over_a_constant_label() {
    let family = |texts: &[&str]| {
        let mut page = read("# TYPE g gauge\n").families.remove(0);
        page.meta.constant = "a=\"1\",b=\"2\"".into();
        page.values = Values::of(crate::snapshot::Kind::Gauge);
        for (i, text) in texts.iter().enumerate() {
            page.texts.push(text, 7);
            page.values.push(Value::Gauge(10.0_f64.powi(i as i32)));
        }
        page.override_constant_labels();
        let constant = page.meta.constant.to_string();
        let mut snapshot = Snapshot::default();
        snapshot.families.push(page);
        (constant, samples(&snapshot))
    };
    let (constant, page) = family(&["", "a=\"3\"", "a=\"1\"", "c=\"4\""]);
    assert_eq!(constant, "");
    assert_eq!(
        page,
        "g{a=\"1\",b=\"2\"} 101\ng{a=\"3\",b=\"2\"} 10\ng{a=\"1\",b=\"2\",c=\"4\"} 1000\n"
    );
    let (constant, page) = family(&["", "c=\"4\""]);
    assert_eq!(constant, "a=\"1\",b=\"2\"");
    assert_eq!(
        page,
        "g{a=\"1\",b=\"2\"} 1\ng{a=\"1\",b=\"2\",c=\"4\"} 10\n"
    );
}

#[test]
fn names_outside_the_old_character_set_stay_so() {
    let mut one = read("# TYPE g gauge\ng 1\n");
    one.merge(&read("# TYPE g gauge\ng{\"a.b\"=\"c\"} 2\n"))
        .unwrap();
    assert_eq!(samples(&one), "g 1\ng{a_b=\"c\"} 2\n");
    one.merge(&read("# TYPE g gauge\ng 1\n")).unwrap();
    assert_eq!(samples(&one), "g 2\ng{a_b=\"c\"} 2\n");
}
