//! An exporter of a Redis server: its `INFO`, over a plain connection.
//!
//!     cargo run -p tallies-tests --example redis_exporter -- --server 127.0.0.1:6379
//!
//! `/probe?target=host:port` exports another server that has no password.
//! `examples/redis-dashboard.json` is a dashboard for Grafana, and `examples/redis-alerts.yml` has
//! alerts.

use std::process::ExitCode;
use std::sync::Arc;

use tallies_exporter::config::{Configure, MetricConfig, MetricKind, MetricMap};
use tallies_exporter::{BoxError, Exporter, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[derive(clap::Args)]
struct Options {
    /// Address of the server
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:6379")]
    server: String,
    /// Password, if the server has one; better in REDIS_EXPORTER_PASSWORD_FILE
    #[arg(long)]
    password: Option<String>,
}

/// Fields of INFO, and their metrics.
const FIELDS: [(&str, &str, MetricKind, &str); 12] = [
    (
        "uptime_in_seconds",
        "redis_uptime_seconds",
        MetricKind::Gauge,
        "Time since the start.",
    ),
    (
        "connected_clients",
        "redis_connected_clients",
        MetricKind::Gauge,
        "Clients.",
    ),
    (
        "blocked_clients",
        "redis_blocked_clients",
        MetricKind::Gauge,
        "Clients that wait.",
    ),
    (
        "used_memory",
        "redis_memory_used_bytes",
        MetricKind::Gauge,
        "Memory of data and buffers.",
    ),
    (
        "maxmemory",
        "redis_memory_max_bytes",
        MetricKind::Gauge,
        "Limit of memory, or 0.",
    ),
    (
        "total_commands_processed",
        "redis_commands_processed_total",
        MetricKind::Counter,
        "Commands.",
    ),
    (
        "total_connections_received",
        "redis_connections_received_total",
        MetricKind::Counter,
        "Connections.",
    ),
    (
        "rejected_connections",
        "redis_rejected_connections_total",
        MetricKind::Counter,
        "Rejected ones.",
    ),
    (
        "keyspace_hits",
        "redis_keyspace_hits_total",
        MetricKind::Counter,
        "Reads that found a key.",
    ),
    (
        "keyspace_misses",
        "redis_keyspace_misses_total",
        MetricKind::Counter,
        "Reads that found none.",
    ),
    (
        "evicted_keys",
        "redis_evicted_keys_total",
        MetricKind::Counter,
        "Keys evicted for lack of memory.",
    ),
    (
        "expired_keys",
        "redis_expired_keys_total",
        MetricKind::Counter,
        "Keys that expired.",
    ),
];

fn metrics() -> Vec<MetricConfig> {
    let fields = FIELDS.map(|(_, name, kind, help)| MetricConfig::new(name, help, kind));
    let more = [
        MetricConfig::new("redis_db_keys", "Keys.", MetricKind::Gauge).labels(["db"]),
        MetricConfig::new("redis_role", "The role in replication.", MetricKind::Enum)
            .set("states", ["master", "slave", "sentinel"]),
        MetricConfig::new("redis_instance", "The server.", MetricKind::Info),
    ];
    fields.into_iter().chain(more).collect()
}

fn main() -> ExitCode {
    let about = "A Redis server's INFO.";
    Exporter::new("redis-exporter", env!("CARGO_PKG_VERSION"), about)
        .default_port(9121)
        .env_prefix("REDIS_EXPORTER")
        .configure(|setup, options: Options| {
            setup.create_metrics(metrics())?;
            let up = setup
                .registry()
                .gauge("redis_up", "Whether the server answers.")?;
            let options = Arc::new(options);
            let probe_options = Arc::clone(&options);
            setup.update("redis").run(move |metrics| {
                let (options, up) = (Arc::clone(&options), up.clone());
                async move {
                    up.set(0.0);
                    let text = info(&options.server, options.password.as_deref()).await?;
                    export(&metrics, &text)?;
                    up.set(1.0);
                    Ok(())
                }
            });
            setup.probe("/probe", move |probe| {
                let options = Arc::clone(&probe_options);
                async move {
                    let target = probe.target()?;
                    // Clients choose the target, so others than the own server get no password.
                    let password = options.password.as_deref();
                    let password = password.filter(|_| target == options.server);
                    let text = info(target, password).await?;
                    export(&probe.registry().create_metrics(metrics())?, &text)
                }
            });
            setup.on_startup(|| async {
                log::info!("hello");
                Ok(())
            });
            setup.on_shutdown_blocking(|| {
                log::info!("goodbye");
                Ok(())
            });
            Ok(())
        })
        .run()
}

/// The longest reply in bytes. A target of a probe may send anything.
const MAX_REPLY: u64 = 1 << 20;

/// Asks a server for INFO.
async fn info(server: &str, password: Option<&str>) -> std::result::Result<String, BoxError> {
    let cannot = |e| format!("cannot connect to {server}: {e}");
    let stream = TcpStream::connect(server).await.map_err(cannot)?;
    let mut stream = BufReader::new(stream);
    if let Some(password) = password {
        request(&mut stream, &["AUTH", password]).await?;
    }
    request(&mut stream, &["INFO"]).await
}

/// Sends a command in the Redis protocol and returns its reply.
async fn request(
    stream: &mut BufReader<TcpStream>,
    words: &[&str],
) -> std::result::Result<String, BoxError> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    stream.write_all(command.as_bytes()).await?;
    let mut line = String::new();
    stream.take(MAX_REPLY).read_line(&mut line).await?;
    let line = line.trim_end();
    let Some(length) = line.strip_prefix('$') else {
        return match line.strip_prefix('+') {
            Some(reply) => Ok(reply.to_owned()),
            None => Err(format!("the server says: {line}").into()),
        };
    };
    let length: u64 = length.parse()?;
    if length > MAX_REPLY {
        return Err(format!("a reply of {length} bytes is no INFO").into());
    }
    let mut reply = vec![0; length as usize + 2];
    stream.read_exact(&mut reply).await?;
    Ok(String::from_utf8(reply)?)
}

/// Sets metrics by the lines of INFO, such as `connected_clients:1`.
fn export(metrics: &MetricMap, info: &str) -> Result {
    let fields: Vec<_> = info
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let field = |name: &str| {
        fields
            .iter()
            .find(|(own, _)| *own == name)
            .map(|(_, value)| *value)
    };
    for (name, metric, ..) in FIELDS {
        if let Some(value) = field(name) {
            metrics.with(metric, &[])?.set(value.parse()?)?;
        }
    }
    if let Some(role) = field("role") {
        metrics.with("redis_role", &[])?.state(role)?;
    }
    let version = ["redis_version", "redis_mode", "os"];
    let pairs = version.map(|name| (name, field(name).unwrap_or_default()));
    metrics.with("redis_instance", &[])?.info(&pairs)?;
    // Lines such as `db0:keys=2,expires=0,avg_ttl=0`.
    let databases: Vec<_> = fields
        .iter()
        .filter(|(_, value)| value.starts_with("keys="))
        .collect();
    for (db, value) in &databases {
        let keys = value["keys=".len()..].split(',').next().unwrap_or_default();
        metrics
            .with("redis_db_keys", &[("db", db)])?
            .set(keys.parse()?)?;
    }
    // An empty database has no line.
    metrics
        .get("redis_db_keys")?
        .retain(|labels| databases.iter().any(|(db, _)| *db == labels[0]));
    Ok(())
}
