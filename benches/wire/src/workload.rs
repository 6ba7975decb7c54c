//! The series and their values, the same for every way.

use std::fmt;

/// The upper bounds of classic histograms, which have one more bucket.
pub const BOUNDS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// The resolution of native histograms: eight buckets from one power of two to the next.
pub const SCHEMA: i8 = 3;
/// The most buckets of a native histogram, the default of both.
pub const MOST_BUCKETS: u32 = 160;
/// The names of the labels.
pub const LABELS: [&str; 2] = ["route", "status"];

#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Counter,
    Classic,
    Native,
}

/// The families of a program.
#[derive(Clone, Copy)]
pub struct Workload {
    pub kind: Kind,
    pub families: usize,
    /// The number of series of each family.
    pub series: usize,
}

pub fn all() -> [Workload; 4] {
    let workload = |kind, families, series| Workload {
        kind,
        families,
        series,
    };
    [
        workload(Kind::Counter, 1_000, 100),
        workload(Kind::Counter, 1, 100_000),
        workload(Kind::Classic, 100, 100),
        workload(Kind::Native, 100, 100),
    ]
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            families, series, ..
        } = self;
        let kind = match self.kind {
            Kind::Counter => "counters",
            Kind::Classic => "histograms with 12 buckets",
            Kind::Native => "native histograms",
        };
        write!(f, "{families} families of {series} {kind}:")
    }
}

impl Workload {
    pub fn name(&self, family: usize) -> String {
        match self.kind {
            Kind::Counter => format!("shop_requests_{family}_total"),
            _ => format!("shop_requests_{family}_seconds"),
        }
    }

    /// Returns the label values of a series.
    pub fn values(&self, series: usize) -> [String; 2] {
        let status = ["200", "204", "404", "500"][series % 4];
        [format!("/api/v1/items/{}", series / 4), status.to_owned()]
    }

    /// Calls `f` with all updates of a new program: each is the index of a series among all, and
    /// the number of the observation in it.
    pub fn first(&self, mut f: impl FnMut(usize, usize)) {
        for series in 0..self.families * self.series {
            (0..20).for_each(|n| f(series, n));
        }
    }

    /// Calls `f` with the updates of a round, in the same form.
    pub fn round(&self, round: usize, mut f: impl FnMut(usize, usize)) {
        let all = round % 10..self.families * self.series;
        all.step_by(10).for_each(|series| f(series, 20 + round));
    }
}

/// Returns the amount that an update adds to a counter.
pub fn amount(series: usize, n: usize) -> u64 {
    ((series * 31 + n * 7) % 1_000) as u64
}

/// Returns the value that an update observes: from a millisecond to ten seconds.
pub fn value(series: usize, n: usize) -> f64 {
    let unit = ((series * 37 + n * 101) % 1_009) as f64 / 1_009.0;
    0.001 * 10_f64.powf(4.0 * unit)
}
