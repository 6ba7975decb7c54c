//! The example exporters beside others that read the same, and a real Prometheus that scrapes them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[path = "../support/mod.rs"]
mod support;

use support::http::{get, try_get};
use support::servers::{Release, with_each_release};
use support::{Running, eventually, examples, free_port};

with_each_release!(
    the_thirty_lines_of_the_guide_are_scraped_by_a_real_prometheus,
    dashboards_and_alerts_ask_for_what_there_is,
);

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Starts an example exporter at a free port and returns its address.
fn exporter(name: &str, args: &[&str]) -> (Running, SocketAddr) {
    let mut child = Command::new(examples::build(&[name]).join(name))
        .args(["-H", "127.0.0.1", "-p", "0", "-L", "info"])
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let running = Running(child);
    let listening = lines
        .find(|line| line.contains(" listening "))
        .expect("it listens");
    let url = listening
        .split(' ')
        .find_map(|word| word.strip_prefix("url=http://"))
        .unwrap();
    let address = url.trim_end_matches('/').parse().unwrap();
    // Drains the log, so that the process does not block on a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (running, address)
}

fn page(address: SocketAddr, path: &str) -> String {
    let answer = get(address, path, &[]);
    assert_eq!(answer.status(), 200, "{answer:?}");
    answer.text().to_owned()
}

/// Returns the samples of a page: names with labels in order, and values.
fn samples(page: &str) -> Vec<(String, f64)> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn value(page: &str, name: &str) -> Option<f64> {
    samples(page)
        .into_iter()
        .find(|(own, _)| own == name)
        .map(|(_, value)| value)
}

/// Every figure lies between two readings of the node exporter, before and after it.
#[test]
fn the_host_is_as_the_node_exporter_sees_it() {
    let port = free_port();
    let peer: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let _peer = Running(
        Command::new("prometheus-node-exporter")
            .args([
                &format!("--web.listen-address={peer}"),
                "--web.disable-exporter-metrics",
            ])
            .args([
                "--collector.disable-defaults",
                "--collector.loadavg",
                "--collector.meminfo",
            ])
            .args([
                "--collector.diskstats",
                "--collector.netdev",
                "--collector.cpu",
            ])
            .arg("--collector.stat")
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus-node-exporter: tests/run.sh installs it"),
    );
    eventually("the node exporter", || try_get(peer, "/metrics"));
    let (_own, own) = exporter("exporter", &[]);
    // Names that have been compared: equal figures, and figures between two readings.
    let (mut compared, mut equal) = (Vec::new(), 0);
    for _ in 0..5 {
        let before = page(peer, "/metrics");
        let ours = page(own, "/metrics");
        let after = page(peer, "/metrics");
        for (name, figure) in samples(&ours)
            .into_iter()
            .filter(|(n, _)| n.starts_with("node_"))
        {
            let (Some(before), Some(after)) = (value(&before, &name), value(&after, &name)) else {
                continue;
            };
            let is_total = name.contains("_total");
            if before == after {
                assert!(
                    (figure - before).abs() <= 1e-9 * before.abs(),
                    "{name}: {figure} {before}"
                );
                equal += 1;
            } else if is_total {
                // Some kernels let the time of input and output go back a little.
                let (low, high) = (before.min(after), before.max(after));
                assert!(
                    (low..=high).contains(&figure),
                    "{name}: {low} {figure} {high}"
                );
            } else {
                continue;
            }
            compared.push(name);
        }
    }
    println!(
        "{equal} of {} figures are equal, the others between two readings",
        compared.len()
    );
    for family in [
        "node_load1",
        "node_load15",
        "node_memory_MemTotal_bytes",
        "node_memory_SwapTotal_bytes",
        "node_boot_time_seconds",
        "node_context_switches_total",
        "node_cpu_seconds_total{",
        "node_disk_read_bytes_total{",
        "node_disk_io_time_seconds_total{",
        "node_network_receive_bytes_total{",
        "node_network_transmit_packets_total{",
    ] {
        assert!(
            compared.iter().any(|name| name.starts_with(family)),
            "{family}: {compared:?}"
        );
    }
    assert!(equal > 50, "{equal}");
}

/// Runs a command of redis-cli and returns what it prints.
fn redis_cli(port: u16, args: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string(), "-a", "pass", "--no-auth-warning"])
        .args(args)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn redis_server(dir: &Path, port: u16) -> Running {
    let server = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
        ])
        .args(["--requirepass", "pass", "--maxmemory", "64mb"])
        .current_dir(dir)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server: tests/run.sh installs it");
    let server = Running(server);
    eventually("the Redis server", || redis_cli(port, &["ping"]) == "PONG");
    server
}

#[test]
fn a_real_redis_is_exported() {
    let dir = folder("redis");
    let port = free_port();
    let server = redis_server(&dir, port);
    let target = format!("127.0.0.1:{port}");
    let (_own, own) = exporter(
        "redis_exporter",
        &["--server", &target, "--password", "pass"],
    );
    for key in 0..7 {
        assert_eq!(redis_cli(port, &["set", &format!("key{key}"), "1"]), "OK");
    }
    assert_eq!(redis_cli(port, &["-n", "3", "set", "key", "1"]), "OK");
    for (key, found) in [("key1", "1"), ("key2", "1"), ("nothing", "")] {
        assert_eq!(redis_cli(port, &["get", key]), found);
    }
    let field = |name: &str| {
        let info = redis_cli(port, &["info"]);
        let line = info
            .lines()
            .find_map(|line| line.trim().strip_prefix(&format!("{name}:")));
        line.unwrap().to_owned()
    };
    let now = page(own, "/metrics");
    for (name, expected) in [
        ("redis_up", 1.0),
        ("redis_db_keys{db=\"db0\"}", 7.0),
        ("redis_db_keys{db=\"db3\"}", 1.0),
        ("redis_keyspace_hits_total", 2.0),
        ("redis_keyspace_misses_total", 1.0),
        ("redis_memory_max_bytes", 67_108_864.0),
        ("redis_role{redis_role=\"master\"}", 1.0),
        ("redis_role{redis_role=\"slave\"}", 0.0),
        ("exporter_update_success{update=\"redis\"}", 1.0),
    ] {
        assert_eq!(value(&now, name), Some(expected), "{name}: {now}");
    }
    assert!(
        now.contains(&format!("redis_version=\"{}\"", field("redis_version"))),
        "{now}"
    );
    // Commands are counted by the server; ours and the tool's are among them.
    let commands = |page: &str| value(page, "redis_commands_processed_total").unwrap();
    assert!(commands(&now) <= field("total_commands_processed").parse().unwrap());
    assert!(commands(&now) >= 11.0);
    // An empty database has no series.
    redis_cli(port, &["-n", "3", "del", "key"]);
    assert_eq!(
        value(&page(own, "/metrics"), "redis_db_keys{db=\"db3\"}"),
        None
    );
    // A probe of the same server.
    let probe = page(own, &format!("/probe?target={target}"));
    assert_eq!(
        value(&probe, "redis_db_keys{db=\"db0\"}"),
        Some(7.0),
        "{probe}"
    );
    // The server is gone: the last values stay, and the page says so.
    drop(server);
    let gone = page(own, "/metrics");
    assert_eq!(value(&gone, "redis_up"), Some(0.0), "{gone}");
    assert_eq!(value(&gone, "redis_db_keys{db=\"db0\"}"), Some(7.0));
    assert_eq!(
        value(&gone, "exporter_update_success{update=\"redis\"}"),
        Some(0.0)
    );
    let probe = page(own, &format!("/probe?target={target}"));
    assert_eq!(value(&probe, "probe_success"), Some(0.0), "{probe}");
    // It comes back with lower totals: the counters begin again.
    let _server = redis_server(&dir, port);
    let back = page(own, "/metrics");
    assert_eq!(value(&back, "redis_up"), Some(1.0));
    assert!(commands(&back) < commands(&now), "{back}");
    assert_eq!(value(&back, "redis_db_keys{db=\"db0\"}"), None);
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .parent()
        .unwrap()
}

/// The program of the guide is that of the file, which this test runs.
fn the_thirty_lines_of_the_guide_are_scraped_by_a_real_prometheus(release: Release) {
    let guide = std::fs::read_to_string(repository().join("docs/exporter.md")).unwrap();
    let program = include_str!("../integration/exporter/thirty_lines.rs");
    assert!(
        guide.contains(program),
        "docs/exporter.md has another program"
    );
    assert!(program.lines().count() <= 30);
    let (_own, own) = exporter("thirty_lines", &[]);
    let (prometheus, _running) = prometheus(
        release,
        &folder(&format!("thirty-{release:?}")),
        "load",
        own,
        "",
    );
    eventually("the scrape", || value_of(prometheus, "up") == Some(1.0));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    println!("/proc/loadavg: {load}");
    for minutes in ["1", "5", "15"] {
        let query = format!("host_load%7Bminutes%3D%22{minutes}%22%7D");
        assert!(value_of(prometheus, &query).unwrap() >= 0.0);
    }
    assert!(value_of(prometheus, "host_uptime_seconds").unwrap() > 0.0);
    let program = examples::build(&["thirty_lines"]).join("thirty_lines");
    for (args, code) in [(&["-h"][..], 0), (&["--version"], 0), (&["--prot", "1"], 2)] {
        let output = Command::new(&program).args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        print!(
            "$ load-exporter {}\n{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout)
        );
        print!("{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Starts a Prometheus that scrapes `target` as `job` every second.
fn prometheus(
    release: Release,
    dir: &Path,
    job: &str,
    target: SocketAddr,
    more: &str,
) -> (SocketAddr, Running) {
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{more}\nscrape_configs:\n  \
         - job_name: {job}\n    static_configs: [{{targets: ['{target}']}}]\n"
    );
    std::fs::write(dir.join("prometheus.yml"), config).unwrap();
    let address: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let child = release
        .command("prometheus")
        .arg(format!(
            "--config.file={}",
            dir.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("data").display()
        ))
        .arg(format!("--web.listen-address={address}"))
        .stderr(std::fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .expect("prometheus: tests/run.sh installs it");
    let running = Running(child);
    eventually("Prometheus", || {
        try_get(address, "/-/ready").is_ok_and(|answer| answer.status() == 200)
    });
    (address, running)
}

/// Returns the first value of a PromQL query, which is percent-encoded.
fn value_of(prometheus: SocketAddr, query: &str) -> Option<f64> {
    let answer = get(prometheus, &format!("/api/v1/query?query={query}"), &[]);
    let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    answer["data"]["result"][0]["value"][1]
        .as_str()?
        .parse()
        .ok()
}

fn encoded(query: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    query.bytes().map(escape).collect()
}

/// All names of metrics in a query.
fn names(query: &str) -> Vec<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = query.split(|c| !is_name(c));
    let prefixes = ["node_", "redis_", "exporter_"];
    let of_metric = |word: &&str| prefixes.iter().any(|prefix| word.starts_with(prefix));
    words.filter(of_metric).map(str::to_owned).collect()
}

/// Alerts are loaded by Prometheus, and every panel and alert asks for what the exporters have.
fn dashboards_and_alerts_ask_for_what_there_is(release: Release) {
    let dir = folder(&format!("dashboards-{release:?}"));
    let port = free_port();
    let _server = redis_server(&dir, port);
    redis_cli(port, &["set", "key", "1"]);
    let target = format!("127.0.0.1:{port}");
    let examples = repository().join("examples");
    let redis = ["--server", &target, "--password", "pass"];
    for (job, name, args) in [
        ("host", "exporter", &[][..]),
        ("redis", "redis_exporter", &redis),
    ] {
        let (_own, own) = exporter(name, args);
        let rules = examples.join(format!("{job}-alerts.yml"));
        let checked = release
            .command("promtool")
            .args(["check", "rules"])
            .arg(&rules)
            .output()
            .expect("promtool: tests/run.sh installs it");
        assert!(checked.status.success(), "{checked:?}");
        let exported = page(own, "/metrics");
        let dashboard = std::fs::read_to_string(examples.join(format!("{job}-dashboard.json")));
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard.unwrap()).unwrap();
        let mut queries = Vec::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                queries.push(target["expr"].as_str().unwrap().to_owned());
            }
        }
        assert!(queries.len() >= 9);
        let of_rules = std::fs::read_to_string(&rules).unwrap();
        let asked: Vec<_> = queries.iter().flat_map(|query| names(query)).collect();
        for name in asked.iter().chain(&names(&of_rules)) {
            let label = ["redis_role", "redis_exporter"].contains(&&**name);
            let of_page = exported.lines().any(|line| {
                line.strip_prefix(&**name)
                    .is_some_and(|rest| rest.starts_with([' ', '{']))
            });
            assert!(of_page || label, "{job}: nobody exports `{name}`");
        }
        let more = format!("rule_files: ['{}']", rules.display());
        let folder = folder(&format!("prometheus-{job}"));
        let (prometheus, _running) = prometheus(release, &folder, job, own, &more);
        eventually("two scrapes", || {
            value_of(prometheus, &encoded("count_over_time(up[1m])")) >= Some(3.0)
        });
        // Each panel is a query that Prometheus understands.
        for query in &queries {
            let query = query
                .replace("$instance", ".*")
                .replace("$__rate_interval", "1m");
            let path = format!("/api/v1/query?query={}", encoded(&query));
            let answer = get(prometheus, &path, &[]);
            assert!(
                answer.text().contains("\"status\":\"success\""),
                "{query}: {answer:?}"
            );
        }
        // Nothing is wrong, so nothing is to fire: the rules of what is down say so at once.
        let rules = get(prometheus, "/api/v1/rules", &[]);
        assert!(rules.text().contains("\"health\":\"ok\""), "{rules:?}");
        assert!(!rules.text().contains("\"health\":\"err\""), "{rules:?}");
        for alert in ["HostExporterDown", "HostUpdateFails", "RedisDown"] {
            let query = encoded(&format!("ALERTS{{alertname=\"{alert}\"}}"));
            assert_eq!(value_of(prometheus, &query), None, "{alert}");
        }
    }
}
