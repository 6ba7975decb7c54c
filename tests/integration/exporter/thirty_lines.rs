use std::process::ExitCode;

use tallies_exporter::config::{MetricConfig, MetricKind};
use tallies_exporter::{Exporter, NoArgs};

fn main() -> ExitCode {
    Exporter::new("load-exporter", "1.0.0", "The load of this machine.")
        .default_port(9200)
        .configure(|setup, _: NoArgs| {
            let load = MetricConfig::new("host_load", "Load average.", MetricKind::Gauge);
            let uptime = MetricConfig::new("host_uptime_seconds", "Uptime.", MetricKind::Gauge);
            setup.create_metrics([load.labels(["minutes"]), uptime])?;
            setup.update("load").run_blocking(|metrics| {
                let text = std::fs::read_to_string("/proc/loadavg")?;
                for (minutes, load) in ["1", "5", "15"].iter().zip(text.split(' ')) {
                    let series = metrics.with("host_load", &[("minutes", minutes)])?;
                    series.set(load.parse()?)?;
                }
                let text = std::fs::read_to_string("/proc/uptime")?;
                let seconds = text.split(' ').next().ok_or("an empty file")?;
                let uptime = metrics.with("host_uptime_seconds", &[])?;
                uptime.set(seconds.parse()?)?;
                Ok(())
            });
            Ok(())
        })
        .run()
}
