use proptest::collection::vec;
use proptest::prelude::*;

use crate::encode::{Format, Options};
use crate::share::store::inline;
use crate::snapshot::{GaugeMode, Snapshot};
use crate::{Counter, Gauge, Histogram, Registry, StateSet, Summary, collect::Collected};

use super::*;

/// A family of every kind and setting, with these numbers in it.
fn families(numbers: &[f64]) -> Snapshot {
    let registry = Registry::new();
    let ints = Counter::builder("ints_total", "Integers.\nAnd \"more\".").labels(["a", "b"]);
    let ints = ints.register(&registry).unwrap();
    ints.with(["x\"\\\n", ""])
        .add_exemplar(3, &[("trace_id", "5ca1ab1e")]);
    let floats = Counter::builder("floats_total", "Floats.").float();
    let floats = floats.constant("zone", "a\"b").register(&registry).unwrap();
    let up_down = registry.up_down_counter("up_down", "").unwrap();
    let gauge = Gauge::builder("http.load", "").utf8().mode(GaugeMode::Max);
    let gauge = gauge
        .shared_ttl(Duration::from_millis(1500))
        .register(&registry)
        .unwrap();
    let classic = Histogram::builder("classic_seconds", "").buckets(&[-1.0, 0.5, 1e9]);
    let classic = classic.labels(["é"]).utf8().register(&registry).unwrap();
    let native = Histogram::builder("native_bytes", "").native(3);
    let native = native.register(&registry).unwrap();
    let both = Histogram::builder("both", "").buckets(&[1.0]).native(8);
    let both = both.register(&registry).unwrap();
    let summary = Summary::builder("summary", "").register(&registry).unwrap();
    let window = Summary::builder("window", "").max_age(Duration::from_millis(2500));
    let window = window.register(&registry).unwrap();
    for x in numbers {
        ints.with(["", "z"]).add(x.to_bits() >> 40);
        floats.add(x.abs().min(1e300));
        up_down.sub(x.to_bits() >> 40);
        gauge.set(*x);
        classic.with(["v"]).observe_exemplar(*x, &[("id", "\\")]);
        [&native, &both].iter().for_each(|h| h.observe(*x));
        [&summary, &window].iter().for_each(|s| s.observe(*x));
    }
    let labels = [("version", "1.2.3"), ("commit", "a\"b")];
    registry.info("build_info", "", &labels).unwrap();
    let states = StateSet::<bool>::builder("light", "").register(&registry);
    states.unwrap().set(true);
    let ages = |out: &mut Collected| {
        let help = "Ages of jobs.";
        out.gauge_histogram(
            "ages",
            help,
            &[("queue", "q")],
            &[1.0, 2.0],
            &[3, 0, 1],
            9.5,
        )?;
        Ok(())
    };
    registry.add_collector("ages", ages).unwrap();
    registry.snapshot()
}

/// Returns the description and, for each series, label text and record.
fn written(family: &Family) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let family = &inlined(family.clone());
    let mut description = Vec::new();
    write_description(family, &mut description);
    let series = (0..family.len()).map(|i| {
        let mut record = Vec::new();
        write_series(family, i, &mut record);
        (family.label_text(i).to_owned(), record)
    });
    (description, series.collect())
}

/// Reads what [`written`] returned.
fn read(description: &[u8], series: &[(String, Vec<u8>)]) -> Read<Family> {
    let mut family = read_description(description)?;
    for (text, record) in series {
        read_series(&mut family, text, record)?;
    }
    Ok(family)
}

/// Renders a family in every text format, which also looks at its quantiles.
fn page(family: &Family) -> String {
    let snapshot = Snapshot {
        families: vec![family.clone()],
        ..Snapshot::default()
    };
    let mut page = Vec::new();
    Options::new().write(&snapshot, Format::TEXT, &mut page);
    Options::new().write(&snapshot, Format::OPEN_METRICS, &mut page);
    String::from_utf8(page).unwrap()
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    let number = prop_oneof![
        4 => -1e3..1e3,
        1 => any::<f64>().prop_filter("no NaN", |x| !x.is_nan()),
        1 => Just(0.0),
    ];
    vec(number, 0..80)
}

/// The families of a registry with a constant label have it among the labels of each series.
fn inlined(mut family: Family) -> Family {
    inline(&mut family);
    family
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_kind_comes_back_as_it_was_written(numbers in numbers()) {
        let snapshot = families(&numbers);
        prop_assert_eq!(snapshot.families().count(), 12);
        for family in snapshot.families() {
            let (description, series) = written(family);
            let back = read(&description, &series).unwrap();
            let wanted = inlined(family.clone());
            prop_assert_eq!(&back.meta, &wanted.meta);
            prop_assert_eq!(&back.values, &wanted.values);
            prop_assert_eq!(&back.exemplars, &wanted.exemplars);
            prop_assert_eq!(page(&back), page(&wanted));
            let created = |family: &Family| (0..family.len()).map(|i| family.created(i)).collect::<Vec<_>>();
            prop_assert_eq!(created(&back), created(&wanted));
            prop_assert_eq!(written(&back), (description, series));
        }
    }

    #[test]
    fn sketches_that_were_read_merge_as_well_as_those_in_memory(
        one in numbers(), two in numbers(), phi in 0.0..=1.0,
    ) {
        let (mut plain, other) = (families(&one), families(&two));
        let again = |snapshot: &Snapshot| {
            let (description, series) = written(snapshot.family("summary").unwrap());
            read(&description, &series).unwrap()
        };
        let mut stored = again(&plain);
        stored.add(&again(&other));
        plain.merge(&other).unwrap();
        prop_assert_eq!(&stored.values, &plain.family("summary").unwrap().values);
        let stored = Snapshot { families: vec![stored], ..Snapshot::default() };
        prop_assert_eq!(stored.quantile("summary", &[], phi), plain.quantile("summary", &[], phi));
    }

    /// Every record that is read can be merged and rendered, and has one form only.
    #[test]
    fn bytes_from_elsewhere_are_read_whole_or_not_at_all(
        numbers in numbers(),
        changes in vec((any::<usize>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<usize>()),
        which in any::<usize>(),
    ) {
        let snapshot = families(&numbers);
        let all: Vec<_> = snapshot.families().collect();
        let family = all[which % all.len()];
        let (mut description, mut series) = written(family);
        let change = |bytes: &mut Vec<u8>| {
            for (at, byte) in &changes {
                let at = at % bytes.len().max(1);
                if let Some(changed) = bytes.get_mut(at) {
                    *changed = *byte;
                }
            }
            if let Some(cut) = cut {
                bytes.truncate(cut % (bytes.len() + 1));
            }
        };
        if which % 2 == 0 || series.is_empty() {
            change(&mut description);
        } else {
            let at = which / 2 % series.len();
            change(&mut series[at].1);
        }
        if let Ok(mut back) = read(&description, &series) {
            prop_assert_eq!(written(&back), (description, series));
            page(&back);
            let other = back.clone();
            back.add(&other);
            page(&back);
            let again = Snapshot { families: vec![back], ..Snapshot::default() };
            let _ = again.quantile(family.name(), &[], 0.5);
        }
    }

    #[test]
    fn noise_is_refused(noise in vec(any::<u8>(), 0..200)) {
        let _ = read_description(&noise);
        for family in families(&[1.0]).families() {
            let (_, series) = written(family);
            let mut family = family.clone();
            let len = family.len();
            if let Ok(text) = std::str::from_utf8(&noise) {
                let record = &series[0].1;
                prop_assert_eq!(read_series(&mut family, text, record).is_ok(), labels::is_text(text, Order::Sorted));
            } else if read_series(&mut family, "", &noise).is_err() {
                prop_assert_eq!((family.len(), family.texts.len()), (len, len));
            }
        }
    }
}

#[test]
fn a_number_of_items_beyond_the_bytes_allocates_nothing() {
    let mut huge = vec![VERSION, 2, 0, 0, 1, b'a', 0, 0];
    write_varint(u64::MAX, &mut huge);
    assert_eq!(
        read_description(&huge).unwrap_err().to_string(),
        "the bytes end early"
    );
    let registry = Registry::new();
    let summary = registry.summary("s", "").unwrap();
    summary.observe(1.0);
    let mut family = registry.snapshot().family("s").unwrap().clone();
    let mut record = vec![0, 1, 1];
    write_float(1.0, &mut record);
    record.push(0);
    write_varint(1 << 60, &mut record);
    assert!(read_series(&mut family, "", &record).is_err());
    assert_eq!(family.len(), 1);
}

/// The same with nothing clever: a label text that is written again is the same.
fn is_written_the_same(text: &str) -> bool {
    let all: Vec<_> = labels::pairs(text).collect();
    let names = |name: &str| !name.is_empty() && !name.contains(['"', '\\', '\n']);
    all.iter().all(|(name, _)| names(name))
        && all.is_sorted_by(|(one, _), (next, _)| one < next)
        && labels::text_of(all.iter().map(|(name, value)| (*name, &**value))) == text
}

proptest! {
    #[test]
    fn a_label_text_is_one_that_is_written_the_same_again(
        parts in vec(prop_oneof![
            Just("a"), Just("b"), Just("é"), Just("="), Just("\""), Just("=\""), Just("\","),
            Just("\\"), Just("n"), Just(","), Just("\n"), Just("a=\"x\""), Just(",b=\"y\""), Just("\"é\"=\"\""),
        ], 0..7),
    ) {
        let text = parts.concat();
        prop_assert_eq!(labels::is_text(&text, Order::Sorted), is_written_the_same(&text), "{}", text);
    }
}

#[test]
fn label_texts_that_would_break_a_page_are_refused() {
    for good in ["", r#"a="b""#, "a=\"\\\\\\\"\\n\",b=\"\"", r#""e.f"="x""#] {
        assert!(labels::is_text(good, Order::Sorted), "{good}");
    }
    for bad in [
        "a",
        "\n",
        "a=\"b",
        "a=\"b\"\n",
        "b=\"\",a=\"\"",
        "a=\"\",a=\"\"",
        "a=\"\\t\"",
        "=\"\"",
        "a=\"\",",
        "\"a\"=\"b\"",
        "a=\"b\"c=\"d\"",
        "a=\"\n\"",
    ] {
        assert!(!labels::is_text(bad, Order::Sorted), "{bad}");
    }
    let mut sizes = families(&[1.0]).family("both").unwrap().clone();
    let (_, series) = written(&sizes);
    assert!(read_series(&mut sizes, r#"lf="1""#, &series[0].1).is_ok());
    assert!(read_series(&mut sizes, r#"le="1""#, &series[0].1).is_err());
}

/// A million buckets had a byte each in a record, and 50 bytes each in a reader.
#[test]
fn a_description_of_more_buckets_than_can_be_declared_is_refused() {
    let family = |buckets: u32| {
        let meta = families(&[])
            .family("classic_seconds")
            .unwrap()
            .meta
            .clone();
        let values = Values::histogram((1..buckets).map(f64::from).collect(), false);
        let mut description = Vec::new();
        write_description(&Family::new(meta, values), &mut description);
        read_description(&description).map(drop)
    };
    assert_eq!(family(MOST_BUCKETS as u32), Ok(()));
    let too_many = Malformed("there are too many buckets");
    assert_eq!(family(MOST_BUCKETS as u32 + 1), Err(too_many));
}

#[test]
fn kinds_and_modes_have_the_numbers_of_the_format() {
    assert!(KINDS.iter().zip(0..).all(|(kind, n)| *kind as usize == n));
    let mut modes = GaugeMode::NAMES.iter().zip(0..);
    assert!(modes.all(|((mode, _), n)| *mode as usize == n));
}
