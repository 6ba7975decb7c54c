//! A strict reader of the text format 0.0.4 for tests and fuzzing. It rejects everything that the
//! format does not allow; errors name the line.

use std::collections::{BTreeMap, BTreeSet};

/// One family of a page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

/// Reads a page.
pub fn read(page: &str) -> Result<Vec<Family>, String> {
    let mut families: Vec<Family> = Vec::new();
    let mut names = BTreeSet::new();
    let mut series = BTreeSet::new();
    if !page.is_empty() && !page.ends_with('\n') {
        return Err("the last line does not end".into());
    }
    for (i, line) in page.split_terminator('\n').enumerate() {
        let fail = |why: &str| Err(format!("line {}: {why}: {line:?}", i + 1));
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            if !names.insert(name.to_owned()) {
                return fail("a family twice, or not in one piece");
            }
            let Some(help) = unescape(help, false) else {
                return fail("a bad escape");
            };
            families.push(Family {
                name: name.into(),
                help,
                ..Family::default()
            });
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = rest.split_once(' ') else {
                return fail("no type");
            };
            if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
                return fail("no such type");
            }
            match families.last_mut() {
                Some(family) if family.name == name && family.kind.is_empty() => {
                    family.kind = kind.into()
                }
                _ if names.insert(name.to_owned()) => families.push(Family {
                    name: name.into(),
                    kind: kind.into(),
                    ..Family::default()
                }),
                _ => return fail("TYPE out of place"),
            }
        } else if line.starts_with('#') || line.is_empty() {
            return fail("neither HELP, TYPE nor a sample");
        } else {
            let sample = match sample(line) {
                Ok(sample) => sample,
                Err(why) => return fail(why),
            };
            let Some(family) = families.last_mut() else {
                return fail("a sample before any TYPE");
            };
            let suffixes: &[&str] = match &*family.kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["", "_sum", "_count"],
                _ => &[""],
            };
            if !sample
                .name
                .strip_prefix(&*family.name)
                .is_some_and(|rest| suffixes.contains(&rest))
            {
                return fail("a sample of another family");
            }
            let mut labels = sample.labels.clone();
            labels.retain(|(_, value)| !value.is_empty());
            labels.sort();
            if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return fail("a label twice");
            }
            if !series.insert((sample.name.clone(), labels)) {
                return fail("a series twice");
            }
            family.samples.push(sample);
        }
    }
    for family in families.iter().filter(|family| family.kind == "histogram") {
        histogram(family)?;
    }
    Ok(families)
}

/// Checks that buckets ascend, that they end in +Inf with the count, and that there is a sum.
fn histogram(family: &Family) -> Result<(), String> {
    type Series = (Vec<(f64, f64)>, Option<f64>, Option<f64>);
    let mut all: BTreeMap<Vec<(String, String)>, Series> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        let le = labels
            .iter()
            .position(|(name, _)| name == "le")
            .map(|at| labels.remove(at).1);
        let (buckets, sum, count) = all.entry(labels).or_default();
        match (&sample.name[family.name.len()..], le) {
            ("_bucket", Some(le)) => buckets.push((number(&le).ok_or("a bad le")?, sample.value)),
            ("_sum", None) => *sum = Some(sample.value),
            ("_count", None) => *count = Some(sample.value),
            _ => return Err(format!("{sample:?} in a histogram")),
        }
    }
    for (labels, (buckets, sum, count)) in all {
        let what = format!("{} {labels:?}", family.name);
        if buckets
            .windows(2)
            .any(|pair| pair[0].0 >= pair[1].0 || pair[0].1 > pair[1].1)
        {
            return Err(format!("{what}: buckets do not ascend: {buckets:?}"));
        }
        match (buckets.last(), sum, count) {
            (Some((f64::INFINITY, last)), Some(sum), Some(count))
                if *last == count && !sum.is_nan() => {}
            other => return Err(format!("{what}: {other:?}")),
        }
    }
    Ok(())
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let name = &line[..end];
    let good = |c: char, first: bool| {
        c.is_ascii_alphabetic() || c == '_' || c == ':' || (!first && c.is_ascii_digit())
    };
    if name.is_empty() || !name.chars().enumerate().all(|(i, c)| good(c, i == 0)) {
        return Err("a bad name");
    }
    let mut rest = &line[end..];
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or("no label")?;
            if label.is_empty()
                || !label
                    .chars()
                    .enumerate()
                    .all(|(i, c)| c != ':' && good(c, i == 0))
            {
                return Err("a bad label name");
            }
            let mut escaped = false;
            let close = after
                .bytes()
                .position(|b| {
                    let closes = b == b'"' && !escaped;
                    escaped = b == b'\\' && !escaped;
                    closes
                })
                .ok_or("a label value does not end")?;
            labels.push((
                label.to_owned(),
                unescape(&after[..close], true).ok_or("a bad escape")?,
            ));
            rest = &after[close + 1..];
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').ok_or("neither , nor }")?;
        }
    }
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    Ok(Sample {
        name: name.into(),
        labels,
        value: number(value).ok_or("a bad value")?,
    })
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust parses more than the format allows: `inf`, `nan`, a leading `+`.
        _ if text
            .bytes()
            .all(|b| b.is_ascii_digit() || b"-+.e".contains(&b))
            && !text.starts_with('+') =>
        {
            text.parse().ok()
        }
        _ => None,
    }
}

fn unescape(text: &str, quotes: bool) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next()? {
                '\\' => '\\',
                'n' => '\n',
                '"' if quotes => '"',
                _ => return None,
            },
            '"' if quotes => return None,
            c => c,
        });
    }
    Some(plain)
}

/// Kind, help, and samples by name and labels.
pub type Comparable = BTreeMap<
    String,
    (
        String,
        String,
        BTreeMap<(String, Vec<(String, String)>), String>,
    ),
>;

/// Normalizes a page so that pages of different writers compare equal: bounds and quantiles are
/// numbers, empty lines and the order are ignored. Leaves out the values of quantiles, since two
/// sketches need not agree on them.
pub fn comparable(page: &str) -> Comparable {
    let lines: String = page
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    let families = read(&lines).unwrap_or_else(|why| panic!("{why}\n{page}"));
    families
        .into_iter()
        .map(|family| {
            let samples = family.samples.into_iter().map(|sample| {
                let mut value = format!("{:?}", sample.value);
                let mut labels = sample.labels;
                for (name, text) in &mut labels {
                    if name == "quantile" {
                        value.clear();
                    }
                    if let Some(bound) = number(text).filter(|_| name == "quantile" || name == "le")
                    {
                        *text = format!("{bound:?}");
                    }
                }
                labels.retain(|(_, value)| !value.is_empty());
                labels.sort();
                ((sample.name, labels), value)
            });
            (family.name, (family.kind, family.help, samples.collect()))
        })
        .collect()
}
