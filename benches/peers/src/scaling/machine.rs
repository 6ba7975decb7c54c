//! The machine of the figures, as Linux tells it. Facts that cannot be read are left out.

use std::fs::read_to_string;
use std::time::{Duration, SystemTime};

use serde::Serialize;

#[derive(Serialize)]
pub struct Machine {
    pub date: String,
    pub build: &'static str,
    pub processor: Option<String>,
    /// Processors that this program may use, in the order in which threads get them: one of each
    /// core, then the others.
    pub processors: Vec<usize>,
    pub cores: usize,
    pub packages: usize,
    pub nodes: Option<String>,
    pub caches: Vec<String>,
    pub kernel: Option<String>,
    pub is_virtual: bool,
    /// Whether threads stay on their processor.
    pub is_pinned: bool,
    pub load: Option<String>,
}

const CPU: &str = "/sys/devices/system/cpu/cpu";

fn line(path: &str) -> Option<String> {
    Some(read_to_string(path).ok()?.trim().to_owned())
}

/// The processors that share a core with this one, as Linux names them.
fn siblings(cpu: usize) -> String {
    line(&format!("{CPU}{cpu}/topology/thread_siblings_list")).unwrap_or_else(|| cpu.to_string())
}

/// The processors for threads: the first of each core, then the others.
pub fn processors() -> Vec<usize> {
    let mut seen = std::collections::HashSet::new();
    let (mut first, others): (Vec<_>, Vec<_>) = allowed()
        .into_iter()
        .partition(|cpu| seen.insert(siblings(*cpu)));
    first.extend(others);
    first
}

impl Machine {
    pub fn of(processors: &[usize]) -> Self {
        let different = |file: &str| {
            let ids = processors
                .iter()
                .map(|cpu| line(&format!("{CPU}{cpu}/topology/{file}")));
            ids.collect::<std::collections::HashSet<_>>().len()
        };
        let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let caches = (0..8).map_while(|n| {
            let of = |file: &str| line(&format!("{CPU}{}/cache/index{n}/{file}", processors[0]));
            let kind = match &*of("type")? {
                "Data" => "d",
                "Instruction" => "i",
                _ => "",
            };
            let (level, size, shared) = (of("level")?, of("size")?, of("shared_cpu_list")?);
            Some(format!("L{level}{kind} {size} (processors {shared})"))
        });
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            build: option_env!("SCALING_BUILD").unwrap_or("not by benches/scaling.sh"),
            processor: field("model name"),
            processors: processors.to_vec(),
            cores: different("thread_siblings_list"),
            packages: different("physical_package_id"),
            nodes: line("/sys/devices/system/node/online"),
            caches: caches.collect(),
            kernel: line("/proc/sys/kernel/osrelease"),
            is_virtual: field("flags").is_some_and(|flags| flags.contains(" hypervisor")),
            is_pinned: std::thread::spawn({
                let first = processors[0];
                move || pin(first)
            })
            .join()
            .unwrap_or(false),
            load: line("/proc/loadavg"),
        }
    }
}

/// The processors that this thread may use.
fn allowed() -> Vec<usize> {
    // SAFETY: a `cpu_set_t` consists of plain bits, for which zero is a valid value.
    let mut allowed: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set has the given size. If the call fails, it stays empty.
    unsafe { libc::sched_getaffinity(0, size_of_val(&allowed), &mut allowed) };
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the requested bits are within the set.
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) })
        .collect()
}

/// Pins this thread to a processor. Two threads that are woken together could otherwise start on
/// the same one. Returns whether the system did it.
pub fn pin(processor: usize) -> bool {
    // SAFETY: a `cpu_set_t` consists of plain bits, for which zero is a valid value.
    let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `processor` is below `CPU_SETSIZE`, as `allowed` returned it.
    unsafe { libc::CPU_SET(processor, &mut one) };
    // SAFETY: the set has the given size.
    unsafe { libc::sched_setaffinity(0, size_of_val(&one), &one) == 0 }
}

/// The processor time of this thread.
pub fn thread_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid pointer for the duration of the call.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(failed, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Times of all processors since the machine started, in ticks: all, and what a hypervisor took.
pub fn times() -> Option<(u64, u64)> {
    let text = read_to_string("/proc/stat").ok()?;
    let numbers = text.lines().next()?.split_whitespace().skip(1);
    let numbers: Vec<u64> = numbers
        .take(8)
        .map_while(|number| number.parse().ok())
        .collect();
    Some((numbers.iter().sum(), *numbers.get(7)?))
}

/// The part that a hypervisor took since then, in percent.
pub fn stolen(before: Option<(u64, u64)>) -> Option<f64> {
    let ((all, stolen), (all_now, stolen_now)) = (before?, times()?);
    Some(100.0 * (stolen_now - stolen) as f64 / (all_now - all).max(1) as f64)
}
