//! An exporter whose updates do what a file says: `ok`, `fail`, `fail to say`, `panic`, `hang`,
//! `sleep 0.3` or `block`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tallies::{Counter, collect::Collected};
use tallies_exporter::Exporter;
use tallies_exporter::config::{Configure, MetricConfig, MetricKind};

/// Updates that began.
#[tallies::metric]
static STEPS: Counter = Counter::new("static_steps_total");

/// The disks, and the bytes that are read from each between two updates.
const DISKS: [(&str, f64); 2] = [("sda", 10.0), ("sdb", 20.0)];

#[derive(clap::Args)]
struct Options {
    /// The file with the orders
    #[arg(long)]
    orders: Option<PathBuf>,
    /// A secret
    #[arg(long)]
    token: Option<String>,
    /// Metrics in YAML or TOML
    #[arg(long)]
    metrics: Option<PathBuf>,
    /// Use a static before the metrics of the file are declared
    #[arg(long)]
    early: bool,
    /// Where it fails: `configure`, `startup`, `panic` in it, `shutdown` or nowhere; `hang`,
    /// `block`: start-up hangs
    #[arg(long, default_value = "")]
    fails: String,
}

/// An error whose text cannot be made.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("told to panic in an error")
    }
}

impl std::error::Error for Unspeakable {}

fn main() -> ExitCode {
    let exporter = Exporter::new(
        "troubled",
        "1.2.3",
        "An exporter with <b>troubles</b> & \"quotes\".",
    )
    .env_prefix("TROUBLED");
    let is_live = std::env::var_os("TROUBLED_EXAMPLE_IS_LIVE").is_some();
    let exporter = if is_live { exporter.live() } else { exporter };
    exporter
        .configure(|setup, options: Options| {
            if options.fails == "configure" {
                return Err("told to fail in configure".into());
            }
            if options.early {
                STEPS.add(0);
            }
            if let Some(path) = &options.metrics {
                setup.create_metrics_from_file(path)?;
            }
            setup.create_metrics([
                MetricConfig::new("read_bytes_total", "Bytes read.", MetricKind::Counter)
                    .labels(["disk"]),
                MetricConfig::new("busy_ratio", "Utilization.", MetricKind::Gauge).labels(["disk"]),
                MetricConfig::new("updates", "Updates that began.", MetricKind::Gauge),
                MetricConfig::new("last_good", "Updates that succeeded.", MetricKind::Gauge),
                MetricConfig::new("ticks_total", "Ticks.", MetricKind::Counter),
                MetricConfig::new("token_length", "Length of the secret.", MetricKind::Gauge),
            ])?;
            let length = options.token.as_deref().unwrap_or_default().len();
            setup
                .registry()
                .get_metric("token_length")?
                .with(&[])?
                .set(length as f64)?;
            let orders = Arc::new(options.orders);
            let runs = Arc::new(AtomicU64::new(0));
            setup.update("metrics").run(move |metrics| {
                let orders = Arc::clone(&orders);
                let run = runs.fetch_add(1, Relaxed) + 1;
                async move {
                    metrics.with("updates", &[])?.set(run as f64)?;
                    STEPS.inc();
                    for (disk, bytes) in DISKS {
                        let labels = [("disk", disk)];
                        metrics
                            .with("read_bytes_total", &labels)?
                            .set(bytes * run as f64)?;
                        metrics.with("busy_ratio", &labels)?.set(bytes / 100.0)?;
                    }
                    let is_there =
                        |labels: &[&str]| DISKS.iter().any(|(disk, _)| *disk == labels[0]);
                    metrics.get("read_bytes_total")?.retain(is_there);
                    metrics.get("busy_ratio")?.retain(is_there);
                    let order = match &*orders {
                        Some(path) => std::fs::read_to_string(path)?,
                        None => "ok".to_owned(),
                    };
                    match order.trim().split(' ').collect::<Vec<_>>()[..] {
                        ["ok"] => {}
                        ["fail"] => return Err("told to fail".into()),
                        ["panic"] => panic!("told to panic"),
                        ["fail", "to", "say"] => return Err(Unspeakable.into()),
                        ["hang"] => std::future::pending().await,
                        ["block"] => std::thread::sleep(Duration::from_secs(3600)),
                        ["sleep", seconds] => {
                            tokio::time::sleep(Duration::from_secs_f64(seconds.parse()?)).await;
                        }
                        _ => return Err(format!("no such order: {order}").into()),
                    }
                    metrics.with("last_good", &[])?.set(run as f64)?;
                    Ok(())
                }
            });
            let ticks = setup.update("ticks").every(Duration::from_millis(50));
            ticks.run(|metrics| async move { Ok(metrics.with("ticks_total", &[])?.inc()?) });
            setup.probe("/probe", |probe| async move {
                let target = probe.target()?.to_owned();
                probe
                    .registry()
                    .gauge("probe_length", "Length.")?
                    .set(target.len() as f64);
                match &*target {
                    "fail" => Err("told to fail".into()),
                    "panic" => panic!("told to panic"),
                    "block" => {
                        std::thread::sleep(Duration::from_secs(3600));
                        Ok(())
                    }
                    "hang" => std::future::pending().await,
                    "collect" => {
                        Ok(probe
                            .registry()
                            .add_collector("collected", |_: &mut Collected| {
                                std::thread::sleep(Duration::from_secs(3600));
                                Ok(())
                            })?)
                    }
                    _ => Ok(()),
                }
            });
            let (fails, hangs) = (options.fails == "startup", options.fails == "hang");
            let (panics, blocks) = (options.fails == "panic", options.fails == "block");
            let panics_at_end = options.fails == "shutdown";
            setup.on_startup_blocking(|| {
                log::info!("hook: blocking startup");
                Ok(())
            });
            setup.on_startup(move || async move {
                log::info!("hook: startup");
                if hangs {
                    std::future::pending().await
                }
                if blocks {
                    std::thread::sleep(Duration::from_secs(3600));
                }
                assert!(!panics, "told to panic in startup");
                if fails {
                    Err("told to fail in startup".into())
                } else {
                    Ok(())
                }
            });
            setup.on_shutdown(move || async move {
                log::info!("hook: shutdown");
                assert!(!panics_at_end, "told to panic in shutdown");
                Ok(())
            });
            setup.on_shutdown_blocking(|| {
                log::info!("hook: blocking shutdown");
                Ok(())
            });
            Ok(())
        })
        .run()
}
