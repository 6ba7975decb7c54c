//! An exporter of this machine: load, memory, disks and network, from `/proc`. Its metrics have the
//! names of Prometheus' node exporter, so dashboards for that one show them.
//!
//!     cargo run -p tallies-tests --example exporter -- --port 9100
//!
//! `examples/host-dashboard.json` is a dashboard for Grafana, and `examples/host-alerts.yml` has
//! alerts.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tallies_exporter::config::{MetricConfig, MetricKind};
use tallies_exporter::{Exporter, Result, Update};

/// Bytes in a sector, whatever the disk has: the unit of `/proc/diskstats`.
const SECTOR: f64 = 512.0;

/// The options of this exporter, beside those that all exporters have.
#[derive(clap::Args)]
struct Options {
    /// Where procfs is mounted
    #[arg(long, value_name = "DIRECTORY", default_value = "/proc")]
    procfs: PathBuf,
}

fn main() -> ExitCode {
    Exporter::new(
        "host-exporter",
        env!("CARGO_PKG_VERSION"),
        "The load, memory, disks and network of this machine.",
    )
    .default_port(9100)
    .env_prefix("HOST_EXPORTER")
    .configure(|setup, options: Options| {
        setup.registry().set_lint(false); // The names are those of the node exporter.
        setup.create_metrics(LOAD.map(|name| gauge(name, "Load average.")))?;
        let memory = MEMORY.map(|name| gauge(&memory_name(name), "Field of /proc/meminfo."));
        setup.create_metrics(memory)?;
        setup.create_metrics(DISK.map(|(_, name, help, _)| counter(name, help)))?;
        setup.create_metrics(NETWORK.map(|(_, name)| counter(name, "Field of /proc/net/dev.")))?;
        setup.create_metrics([
            MetricConfig::new(
                "node_cpu_seconds_total",
                "Time of each processor.",
                MetricKind::Counter,
            )
            .labels(["cpu", "mode"]),
            MetricConfig::new(
                "node_boot_time_seconds",
                "Time of the start.",
                MetricKind::Gauge,
            ),
            MetricConfig::new(
                "node_context_switches_total",
                "Context switches.",
                MetricKind::Counter,
            ),
            MetricConfig::new("node_uname_info", "The system.", MetricKind::Info),
        ])?;
        setup.update("procfs").run_blocking(move |metrics| {
            let read = |file: &str| read(&options.procfs, file);
            load(&metrics, &read("loadavg")?)?;
            memory_fields(&metrics, &read("meminfo")?)?;
            stat(&metrics, &read("stat")?)?;
            disks(&metrics, &read("diskstats")?)?;
            network(&metrics, &read("net/dev")?)?;
            let system = [
                ("nodename", read("sys/kernel/hostname")?),
                ("release", read("sys/kernel/osrelease")?),
            ];
            let system = system.each_ref().map(|(name, text)| (*name, text.trim()));
            Ok(metrics.with("node_uname_info", &[])?.info(&system)?)
        });
        Ok(())
    })
    .run()
}

fn gauge(name: &str, help: &str) -> MetricConfig {
    MetricConfig::new(name, help, MetricKind::Gauge)
}

fn counter(name: &str, help: &str) -> MetricConfig {
    MetricConfig::new(name, help, MetricKind::Counter).labels(["device"])
}

/// Reads a file of procfs. An error names it.
fn read(procfs: &Path, file: &str) -> std::io::Result<String> {
    let path = procfs.join(file);
    std::fs::read_to_string(&path)
        .map_err(|e| std::io::Error::new(e.kind(), format!("{}: {e}", path.display())))
}

const LOAD: [&str; 3] = ["node_load1", "node_load5", "node_load15"];

fn load(metrics: &Update, text: &str) -> Result {
    for (name, value) in LOAD.iter().zip(text.split_whitespace()) {
        metrics.with(name, &[])?.set(value.parse()?)?;
    }
    Ok(())
}

const MEMORY: [&str; 7] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapTotal",
    "SwapFree",
];

fn memory_name(field: &str) -> String {
    format!("node_memory_{field}_bytes")
}

/// Lines such as `MemTotal:       16384 kB`.
fn memory_fields(metrics: &Update, text: &str) -> Result {
    for line in text.lines() {
        let Some((field, value)) = line.split_once(':') else {
            continue;
        };
        if MEMORY.contains(&field) {
            let kib: f64 = value.trim().trim_end_matches(" kB").parse()?;
            metrics.with(&memory_name(field), &[])?.set(kib * 1024.0)?;
        }
    }
    Ok(())
}

const MODES: [&str; 8] = [
    "user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal",
];

/// Lines such as `cpu0 4705 150 1120 16250 520 0 17 0 0 0`, in hundredths of a second.
fn stat(metrics: &Update, text: &str) -> Result {
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.clone().next()) {
            (Some("btime"), Some(time)) => {
                metrics
                    .with("node_boot_time_seconds", &[])?
                    .set(time.parse()?)?;
            }
            (Some("ctxt"), Some(count)) => {
                metrics
                    .with("node_context_switches_total", &[])?
                    .set(count.parse()?)?;
            }
            (Some(cpu), _) if cpu.starts_with("cpu") && cpu != "cpu" => {
                for (mode, ticks) in MODES.iter().zip(words) {
                    let seconds = ticks.parse::<f64>()? / 100.0;
                    let labels = [("cpu", &cpu[3..]), ("mode", *mode)];
                    metrics
                        .with("node_cpu_seconds_total", &labels)?
                        .set(seconds)?;
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fields of `/proc/diskstats`, counted from the name of the device; and what one is worth.
const DISK: [(usize, &str, &str, f64); 6] = [
    (1, "node_disk_reads_completed_total", "Reads.", 1.0),
    (3, "node_disk_read_bytes_total", "Bytes read.", SECTOR),
    (
        4,
        "node_disk_read_time_seconds_total",
        "Time of all reads.",
        1e-3,
    ),
    (5, "node_disk_writes_completed_total", "Writes.", 1.0),
    (7, "node_disk_written_bytes_total", "Bytes written.", SECTOR),
    (
        10,
        "node_disk_io_time_seconds_total",
        "Time with requests in flight.",
        1e-3,
    ),
];

fn disks(metrics: &Update, text: &str) -> Result {
    let rows = text
        .lines()
        .map(|line| line.split_whitespace().skip(2).collect::<Vec<_>>())
        .filter(|row| !row.is_empty());
    // Loop devices and RAM disks, which the node exporter leaves out, too.
    let is_disk = |row: &Vec<&str>| {
        let others = ["loop", "ram", "zram"];
        others.iter().all(|other| !row[0].starts_with(other))
    };
    let rows: Vec<_> = rows.filter(is_disk).collect();
    for (field, name, _, worth) in DISK {
        for row in &rows {
            let value: f64 = row.get(field).unwrap_or(&"0").parse()?;
            metrics
                .with(name, &[("device", row[0])])?
                .set(value * worth)?;
        }
        // Disks that are gone.
        metrics
            .get(name)?
            .retain(|labels| rows.iter().any(|row| row[0] == labels[0]));
    }
    Ok(())
}

/// Columns of `/proc/net/dev`.
const NETWORK: [(usize, &str); 8] = [
    (0, "node_network_receive_bytes_total"),
    (1, "node_network_receive_packets_total"),
    (2, "node_network_receive_errs_total"),
    (3, "node_network_receive_drop_total"),
    (8, "node_network_transmit_bytes_total"),
    (9, "node_network_transmit_packets_total"),
    (10, "node_network_transmit_errs_total"),
    (11, "node_network_transmit_drop_total"),
];

/// Lines such as `eth0: 1296 16 0 0 0 0 0 0 1296 16 0 0 0 0 0 0`, after two lines of titles.
fn network(metrics: &Update, text: &str) -> Result {
    let rows: Vec<(&str, Vec<&str>)> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(device, columns)| (device.trim(), columns.split_whitespace().collect()))
        .collect();
    for (column, name) in NETWORK {
        for (device, columns) in &rows {
            let value = columns.get(column).unwrap_or(&"0").parse()?;
            metrics.with(name, &[("device", device)])?.set(value)?;
        }
        metrics
            .get(name)?
            .retain(|labels| rows.iter().any(|(device, _)| *device == labels[0]));
    }
    Ok(())
}
