//! The work of every contestant: the same values, labels and series, and checks of the exposition.

use std::borrow::Cow;
use std::sync::LazyLock;

use crate::Format;

/// Every batch is a multiple of this, so that it consists of whole sequences and its sum is known.
pub const SEQUENCE: u64 = 2048;

/// The default buckets of every Prometheus client.
pub const BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Durations spread evenly over the buckets (log-uniform from 1 ms to 20 s), in an order that no
/// branch predictor learns.
pub static VALUES: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut random = Random(7);
    (0..SEQUENCE)
        .map(|_| 0.001 * 20_000_f64.powf(random.unit()))
        .collect()
});

/// The same values in whole microseconds, for a peer that takes integers only.
pub static MICROS: LazyLock<Vec<u64>> =
    LazyLock::new(|| VALUES.iter().map(|value| (value * 1e6) as u64).collect());

/// `VALUES` in sixteen orders, one after the other. A branch predictor learns how to sort a single
/// order.
pub static SHUFFLED: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut random = Random(17);
    let mut orders = vec![];
    for _ in 0..16 {
        let mut values = VALUES.clone();
        (1..values.len())
            .rev()
            .for_each(|i| values.swap(i, random.below(i as u64 + 1)));
        orders.extend(values);
    }
    orders
});

/// The same values in whole microseconds.
pub static SHUFFLED_MICROS: LazyLock<Vec<u64>> =
    LazyLock::new(|| SHUFFLED.iter().map(|value| (value * 1e6) as u64).collect());

/// The sum of `count` observations, which are whole sequences of `VALUES`.
pub fn sum_of(count: u64) -> f64 {
    count as f64 / SEQUENCE as f64 * VALUES.iter().sum::<f64>()
}

/// Asserts a count, and a sum up to rounding.
pub fn assert_observed((count, sum): (u64, f64), expected: u64) {
    assert_eq!(count, expected, "observations");
    let expected = sum_of(expected);
    assert!(
        (sum / expected - 1.0).abs() < 1e-6,
        "sum is {sum}, should be {expected}"
    );
}

/// Asserts that a gauge holds one of the values that were set.
pub fn assert_set(value: f64) {
    assert!(
        VALUES.contains(&value),
        "gauge holds {value}, which was never set"
    );
}

pub const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Informational,
    Success,
    Redirection,
    ClientError,
    ServerError,
}

impl Method {
    pub const ALL: [Self; 4] = [Self::Get, Self::Post, Self::Put, Self::Delete];

    pub fn name(self) -> &'static str {
        METHODS[self as usize]
    }
}

impl Status {
    pub const ALL: [Self; 5] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
    ];

    pub fn name(self) -> &'static str {
        ["1xx", "2xx", "3xx", "4xx", "5xx"][self as usize]
    }
}

/// A request as look-ups see it: two label values that are stored apart from any library's copy of
/// them.
pub type Request = (&'static str, &'static str);

/// A hundred label sets (4 methods, 25 paths) in an order that repeats after a sequence.
pub static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let paths: Vec<&str> = (0..25)
        .map(|n| &*format!("/api/v1/resource-{n}/items").leak())
        .collect();
    let mut random = Random(11);
    (0..SEQUENCE)
        .map(|_| (METHODS[random.below(4)], paths[random.below(25)]))
        .collect()
});

/// The same label sets, each with a value.
pub static LABELLED: LazyLock<Vec<(Request, f64)>> = LazyLock::new(|| {
    REQUESTS
        .iter()
        .copied()
        .zip(VALUES.iter().copied())
        .collect()
});

/// Events that count in four counters and a histogram: request, numbers to add, duration.
pub type Event = (Request, [u64; 4], f64);

/// The number of label sets of events.
pub const EVENT_SETS: usize = 1000;

/// Events of a thousand label sets (4 methods, 250 paths), each of which occurs at least twice, in
/// an order that repeats after a sequence.
pub static EVENTS: LazyLock<Vec<Event>> = LazyLock::new(|| {
    let mut random = Random(29);
    let paths: Vec<&str> = (0..EVENT_SETS / 4)
        .map(|n| &*format!("/api/v1/resource-{n}/items").leak())
        .collect();
    let mut sets: Vec<_> = (0..SEQUENCE as usize).map(|n| n % EVENT_SETS).collect();
    (1..sets.len())
        .rev()
        .for_each(|i| sets.swap(i, random.below(i as u64 + 1)));
    sets.into_iter()
        .zip(&*VALUES)
        .map(|(set, value)| {
            let counts = [1, 4096, 65_536, 2].map(|end| 1 + random.below(end) as u64);
            ((METHODS[set % 4], paths[set / 4]), counts, *value)
        })
        .collect()
});

/// Asserts what `expected` events, whole sequences of `EVENTS`, have counted: the counters, and
/// the histogram's count and sum.
pub fn assert_events(counts: [u64; 4], observed: (u64, f64), expected: u64) {
    let of_sequence = |n: usize| EVENTS.iter().map(|event| event.1[n]).sum::<u64>();
    let all = [0, 1, 2, 3].map(|n| expected / SEQUENCE * of_sequence(n));
    assert_eq!(counts, all, "counters");
    assert_observed(observed, expected);
}

/// The same for an exposition. `read` returns the sum of the samples whose lines start with a text.
pub fn assert_events_of(
    read: impl Fn(&str) -> f64,
    counters: [&str; 4],
    seconds: &str,
    expected: u64,
) {
    let [count, sum] = ["count", "sum"].map(|of| read(&format!("{seconds}_{of}{{")));
    let counts = counters.map(|name| read(&format!("{name}{{")) as u64);
    assert_events(counts, (count as u64, sum), expected);
}

/// Twenty label sets made of enums.
pub static ENUMS: LazyLock<Vec<(Method, Status)>> = LazyLock::new(|| {
    let mut random = Random(13);
    (0..SEQUENCE)
        .map(|_| (Method::ALL[random.below(4)], Status::ALL[random.below(5)]))
        .collect()
});

/// The paths of `REQUESTS`.
pub fn paths() -> Vec<&'static str> {
    let mut paths: Vec<_> = REQUESTS.iter().map(|(_, path)| *path).collect();
    paths.sort_unstable();
    paths.dedup();
    paths
}

/// The number of series in scrapes and byte counts.
pub const SERIES: usize = 100_000;

/// The numbers of `SERIES` series in an order without a pattern.
static WALK: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let mut random = Random(23);
    (0..1 << 20)
        .map(|_| random.below(SERIES as u64) as u32)
        .collect()
});

/// Runs `op` on `n` numbers of series, and goes on where this thread's last batch ended.
#[inline(always)]
fn go_on(n: u64, mut op: impl FnMut(usize)) {
    thread_local! {
        static AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    let from = AT.get();
    AT.set(from + n as usize);
    for at in from..from + n as usize {
        op(at);
        std::hint::black_box(());
    }
}

/// Runs `op` `n` times, each time on a random series of `SERIES`.
#[inline(always)]
pub fn walk(n: u64, mut op: impl FnMut(usize)) {
    let walk = &**WALK;
    go_on(n, |at| op(walk[at & (walk.len() - 1)] as usize));
}

/// Runs `op` `n` times, on the series of `SERIES` in turn.
#[inline(always)]
pub fn in_turn(n: u64, mut op: impl FnMut(usize)) {
    go_on(n, |at| op(at % SERIES));
}

/// The number of series that one thread registers in one batch.
pub const REGISTERED: usize = SERIES / 2;

/// One label set for each of `SERIES` series.
pub static LABELS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    (0..SERIES)
        .map(|n| (METHODS[n % 4], &*format!("/api/v1/items/{n}").leak()))
        .collect()
});

/// The part of `LABELS` that this thread registers.
pub fn labels_of(thread: usize) -> &'static [Request] {
    &LABELS[thread * REGISTERED..][..REGISTERED]
}

/// The value of the counter of series `n`, mostly six digits.
pub fn count_of(n: usize) -> u64 {
    (n as u64).wrapping_mul(2_654_435_761) % 1_000_000
}

/// The part of a series' count that one of eight threads counts.
pub fn part_of(n: usize, shard: usize) -> u64 {
    let count = count_of(n);
    if shard == 0 {
        count - count / 8 * 7
    } else {
        count / 8
    }
}

/// One observation for each bucket, the last one above all bounds.
pub const ONE_EACH: [f64; 12] = [
    0.001, 0.008, 0.016, 0.032, 0.064, 0.125, 0.375, 0.75, 1.5, 3.0, 7.0, 12.0,
];

/// Asserts that the scrape has every series with its value.
pub fn assert_counters(text: &str) {
    let numbers: Vec<f64> = samples(text).map(|(_, number)| number).collect();
    assert_eq!(numbers.len(), SERIES, "lines");
    let expected = (0..SERIES).map(count_of).sum::<u64>();
    assert_eq!(
        numbers.iter().sum::<f64>(),
        expected as f64,
        "sum of the counters"
    );
}

/// Asserts 12 buckets, a sum and a count for every series.
pub fn assert_histograms(text: &str) {
    assert_eq!(samples(text).count(), 14 * SERIES, "lines");
    let count = samples(text)
        .filter(|(line, _)| line.split('{').next().unwrap().ends_with("_count"))
        .map(|(_, number)| number)
        .sum::<f64>();
    assert_eq!(count, (12 * SERIES) as f64, "sum of the counts");
}

/// The sum of all samples whose line starts with `start`.
pub fn sum_in(text: &str, start: &str) -> f64 {
    samples(text)
        .filter(|(line, _)| line.starts_with(start))
        .map(|(_, number)| number)
        .sum()
}

/// Returns a page as lines of text.
pub fn as_text(page: &[u8], format: Format) -> Cow<'_, str> {
    match format {
        Format::Text | Format::OpenMetrics => Cow::Borrowed(std::str::from_utf8(page).unwrap()),
        Format::Protobuf => Cow::Owned(lines_of(page)),
    }
}

/// The counters and histograms of a protobuf page, without their labels.
fn lines_of(page: &[u8]) -> String {
    let mut lines = String::new();
    let mut page = page;
    while !page.is_empty() {
        let (family, rest) = page_split(page);
        page = rest;
        for (_, metric) in fields(family).filter(|(field, _)| *field == 4) {
            for (_, counter) in fields(metric).filter(|(field, _)| *field == 3) {
                fields(counter)
                    .filter(|f| f.0 == 1)
                    .for_each(|f| line(&mut lines, "", double(f.1)));
            }
            for (_, histogram) in fields(metric).filter(|(field, _)| *field == 7) {
                for (field, value) in fields(histogram) {
                    match field {
                        1 => line(&mut lines, "_count", varint(value).0 as f64),
                        2 => line(&mut lines, "_sum", double(value)),
                        3 => line(&mut lines, "_bucket", 0.0),
                        _ => {}
                    }
                }
                // Some contestants leave out the last bucket, which equals the count.
                if fields(histogram).filter(|f| f.0 == 3).count() == BOUNDS.len() {
                    line(&mut lines, "_bucket", 0.0);
                }
            }
        }
    }
    lines
}

fn line(lines: &mut String, suffix: &str, value: f64) {
    use std::fmt::Write;
    writeln!(lines, "name{suffix}{{}} {value}").unwrap();
}

fn page_split(page: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = varint(page);
    rest.split_at(len as usize)
}

/// The fields of a message, each with its content; for a number, its bytes.
fn fields(message: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (tag, after) = varint(rest);
        let (content, after) = match tag & 7 {
            0 => after.split_at(after.len() - varint(after).1.len()),
            1 => after.split_at(8),
            _ => page_split(after),
        };
        rest = after;
        Some((tag >> 3, content))
    })
}

fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let len = bytes.iter().position(|byte| *byte < 0x80).unwrap() + 1;
    let n = bytes[..len]
        .iter()
        .rev()
        .fold(0, |n, byte| n << 7 | u64::from(byte & 0x7f));
    (n, &bytes[len..])
}

fn double(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().unwrap())
}

/// Each sample's line and its value.
fn samples(text: &str) -> impl Iterator<Item = (&str, f64)> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| (line, line.rsplit_once(' ').unwrap().1.parse().unwrap()))
}

/// SplitMix64: the same order in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> usize {
        (self.next() % end) as usize
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
