//! The facts of a machine that a reader needs to judge its numbers.

use std::fs;
use std::time::SystemTime;

use serde::Serialize;

/// The machine of a measurement, and how busy it was.
///
/// Only Linux tells all of this; what a system does not tell is `None`. Host name, command line and
/// environment, which can hold secrets, are left out.
///
/// ```
/// use tallies_bench::Load;
///
/// let load = Load::new().warm_up(std::time::Duration::ZERO).stop_after(1);
/// let report = load.run(|_| ())?;
/// assert!(report.machine().cores > 0);
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Machine {
    /// The begin of the measurement in UTC, such as `2026-01-31T12:00:00Z`.
    pub begin: String,
    /// The model of the processor.
    pub cpu: Option<String>,
    /// The number of processors that the program may use, hardware threads included.
    pub cores: usize,
    /// The frequency governor of the first processor. Most virtual machines have none.
    pub governor: Option<String>,
    /// The load average of the minute before the measurement.
    pub load_average: Option<f64>,
    /// The share of the processor time that the hypervisor gave to others during the measurement.
    pub steal: Option<f64>,
    /// The release of the kernel.
    pub kernel: Option<String>,
    /// The architecture and the system that the program was built for, such as `x86_64 linux`.
    pub platform: String,
    /// The version of this crate.
    pub version: &'static str,
    #[serde(skip)]
    ticks: Option<Ticks>,
}

/// Processor time since the system started, in ticks of all processors.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    stolen: u64,
    all: u64,
}

impl Machine {
    /// Reads the facts at the begin of a measurement.
    pub(crate) fn now() -> Self {
        let load_average = line("/proc/loadavg");
        Self {
            begin: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            cpu: fs::read_to_string("/proc/cpuinfo")
                .ok()
                .and_then(|text| model(&text)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            load_average: load_average.and_then(|text| text.split(' ').next()?.parse().ok()),
            steal: None,
            kernel: line("/proc/sys/kernel/osrelease"),
            platform: format!("{} {}", std::env::consts::ARCH, std::env::consts::OS),
            version: env!("CARGO_PKG_VERSION"),
            ticks: Ticks::now(),
        }
    }

    /// Adds what only the end of the measurement tells.
    pub(crate) fn until_now(mut self) -> Self {
        let times = self.ticks.zip(Ticks::now());
        self.steal = times.and_then(|(begin, end)| end.stolen_since(begin));
        self
    }

    /// The machine of several measurements: that of the first one, with the most steal time of any.
    pub(crate) fn of_all<'a>(mut all: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let first = all.next()?.clone();
        Some(all.fold(first, |mut machine, other| {
            let both = machine.steal.into_iter().chain(other.steal);
            machine.steal = both.reduce(f64::max);
            machine
        }))
    }

    /// The facts in words. Those that the system does not tell are left out.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let percent = |share: f64| format!("{:.1} % of the processor time", 100.0 * share);
        let facts = [
            ("measured at", Some(self.begin.clone())),
            ("processor", self.cpu.clone()),
            ("cores", Some(self.cores.to_string())),
            ("governor", self.governor.clone()),
            (
                "load average before",
                self.load_average.map(|load| load.to_string()),
            ),
            ("steal time", self.steal.map(percent)),
            ("kernel", self.kernel.clone()),
            ("platform", Some(self.platform.clone())),
            ("tallies-bench", Some(self.version.to_owned())),
        ];
        let known = |(name, value): (_, Option<String>)| Some((name, value?));
        facts.into_iter().filter_map(known).collect()
    }
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::of(&line("/proc/stat")?)
    }

    /// Reads the line of all processors: user, nice, system, idle, iowait, irq, softirq, steal.
    /// Times of guests follow, which user and nice contain.
    fn of(line: &str) -> Option<Self> {
        let numbers = line.strip_prefix("cpu ")?.split_whitespace();
        let times: Vec<u64> = numbers.take(8).flat_map(str::parse).collect();
        Some(Self {
            stolen: *times.get(7)?,
            all: times.iter().sum(),
        })
    }

    fn stolen_since(self, earlier: Self) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        Some(self.stolen.checked_sub(earlier.stolen)? as f64 / all as f64)
    }
}

fn model(cpuinfo: &str) -> Option<String> {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let (_, model) = fields.find(|(name, _)| name.trim() == "model name")?;
    Some(model.trim().to_owned())
}

/// The first line of a file, unless it is empty.
fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_a_share_of_all_time() {
        let begin = Ticks::of("cpu  10 0 10 60 0 0 0 20 5 0").unwrap();
        let end = Ticks::of("cpu  20 0 20 120 10 0 0 30 9 0").unwrap();
        assert_eq!((begin.stolen, begin.all), (20, 100));
        assert_eq!(end.stolen_since(begin), Some(0.1));
        assert_eq!(end.stolen_since(end), None);
        assert_eq!(begin.stolen_since(end), None);
        // Kernels before 2.6.11 have no such column.
        assert_eq!(Ticks::of("cpu  1 2 3 4"), None);
    }

    #[test]
    fn the_model_is_that_of_the_first_processor() {
        let text = "processor\t: 0\nmodel name\t: A processor: fast\n\nmodel name\t: Another\n";
        assert_eq!(model(text).as_deref(), Some("A processor: fast"));
        assert_eq!(model("processor : 0"), None);
    }
}
