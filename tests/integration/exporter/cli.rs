//! Rows E1, E2, E3, E6, E7 and E9: the exporter as a program.

use std::net::{SocketAddr, TcpListener};

use serde_json::Value;

use crate::process::{HERE, Running, command, folder, run, said, serve, start, value};
use crate::support::eventually;
use crate::support::http::{ask, get, send, try_get};

/// Waits until the program ends by SIGTERM, and returns its log.
fn terminated(mut running: crate::process::Running) -> Vec<String> {
    running.address();
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
    // The thread that reads the log may be behind.
    eventually("the last record", || !running.events("shutdown").is_empty());
    running.log()
}

#[test]
fn e1_hooks_run_at_the_start_and_at_the_end() {
    let log = terminated(serve("troubled_exporter", &[]));
    let events: Vec<String> = log
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["event"]
                .as_str()
                .unwrap()
                .into()
        })
        .collect();
    let at = |event: &str| {
        let found = events.iter().position(|own| own == event);
        found.unwrap_or_else(|| panic!("{event}: {events:#?}"))
    };
    assert!(at("startup") < at("configuration"));
    assert!(at("configuration") < at("hook: blocking startup"));
    assert!(at("hook: blocking startup") < at("hook: startup"));
    assert!(at("hook: startup") < at("listening"));
    assert!(at("listening") < at("hook: shutdown"));
    assert!(at("hook: shutdown") < at("hook: blocking shutdown"));
    assert!(at("hook: blocking shutdown") < at("shutdown"));
}

#[test]
fn e1_ctrl_c_ends_it_cleanly() {
    let mut running = serve("troubled_exporter", &[]);
    running.address();
    running.signal("-INT");
    assert_eq!(running.end(), Some(0));
}

#[test]
fn e1_what_fails_at_the_start_ends_with_1_and_says_why() {
    for (place, why) in [
        ("configure", "cannot start: told to fail in configure"),
        ("startup", "cannot start: told to fail in startup"),
        ("panic", "cannot start: the hook panicked"),
    ] {
        let args = HERE.iter().copied().chain(["--fails", place]);
        let output = run(command("troubled_exporter", args));
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said(&output.stderr).contains(why), "{output:?}");
    }
}

#[test]
fn e1_a_signal_ends_a_start_that_hangs() {
    for fails in ["hang", "block"] {
        let mut running = serve("troubled_exporter", &["--fails", fails]);
        running.wait_for("hook: startup", 1);
        running.signal("-TERM");
        assert_eq!(running.end(), Some(0), "{fails}");
        assert!(running.events("listening").is_empty());
    }
}

#[test]
fn e1_a_shutdown_hook_that_panics_stops_no_other() {
    let log = terminated(serve("troubled_exporter", &["--fails", "shutdown"]));
    let has = |event: &str| log.iter().any(|line| line.contains(event));
    assert!(has("shutdown: the hook panicked"), "{log:#?}");
    assert!(has("hook: blocking shutdown"), "{log:#?}");
}

#[test]
fn e1_periodic_updates_need_no_scrape() {
    let mut running = serve("troubled_exporter", &[]);
    let first = running.value("ticks_total").unwrap();
    eventually("ticks", || {
        running.value("ticks_total").unwrap() > first + 2.0
    });
    let success = "exporter_update_success{update=\"ticks\"}";
    assert_eq!(running.value(success), Some(1.0));
}

#[test]
fn e2_the_help_lists_every_option() {
    let output = run(command("troubled_exporter", ["--help"]));
    assert_eq!(output.status.code(), Some(0));
    let help = said(&output.stdout);
    for option in [
        "An exporter with <b>troubles</b>",
        "Usage: troubled",
        "-H, --host <HOST>...",
        "-p, --port <PORT>",
        "[default: 9090]",
        "[default: localhost]",
        "--metrics-path <PATH>",
        "-L, --log-level <LEVEL>",
        "[default: warning]",
        "--log-format",
        "--process-stats",
        "--ssl-private-key",
        "--ssl-public-key",
        "--ssl-ca",
        "--web.config.file",
        "--web.systemd-socket",
        "--web.enable-live",
        "--config-check",
        "--completions",
        "--version",
        "--orders",
        "TROUBLED_PORT",
    ] {
        assert!(help.contains(option), "{option}: {help}");
    }
}

#[test]
fn e2_the_version_is_name_and_version() {
    for option in ["--version", "-V"] {
        let output = run(command("troubled_exporter", [option]));
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(said(&output.stdout), "troubled, version 1.2.3\n");
    }
}

#[test]
fn e2_a_wrong_command_line_ends_with_2_and_the_usage() {
    for (args, why) in [
        (
            &["--port", "x"][..],
            "invalid value 'x' for '--port <PORT>'",
        ),
        (&["--port", "70000"], "70000 is not in 0..=65535"),
        (&["--prot", "1"], "a similar argument exists: '--port'"),
        (
            &["-L", "loud"],
            "possible values: critical, error, warning, info, debug",
        ),
        (&["--log-format", "xml"], "possible values: plain, json"),
        (&["--ssl-ca", "/no/such/file"], "No such file"),
        (&["--web.config.file", "/"], "it is a directory"),
        (&["-H"], "a value is required for '--host <HOST>...'"),
        (
            &["--web.listen-address", "nonsense"],
            "an address has a host and a port",
        ),
        (&["--web.listen-address", "::1:9100"], "such as"),
        (
            &["--fails", "configure", "--metrics-path", "metrics"],
            "metrics path `metrics` has to begin with `/`",
        ),
        (
            &["--metrics-path", "/"],
            "metrics path `/` is the path of another page",
        ),
        (
            &["--metrics-path", "/a?b"],
            "metrics path `/a?b` must not have a query",
        ),
    ] {
        let output = run(command("troubled_exporter", args));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let text = said(&output.stderr);
        assert!(
            text.contains(why) && text.contains("--help"),
            "{args:?}: {text}"
        );
    }
}

#[test]
fn e2_levels_may_have_any_case() {
    for (level, expected) in [("INFO", 1), ("Debug", 1), ("warning", 0), ("CRITICAL", 0)] {
        let args = [
            "-H",
            "127.0.0.1",
            "-p",
            "0",
            "--log-format",
            "JSON",
            "-L",
            level,
        ];
        let mut running = start(command("troubled_exporter", args));
        if expected == 1 {
            running.wait_for("listening", 1);
        } else {
            // The default level is that of the log: it says nothing of a start that succeeds.
            let output = run(command(
                "troubled_exporter",
                args.into_iter().chain(["--config-check"]),
            ));
            assert_eq!(said(&output.stderr), "", "{level}");
        }
    }
}

#[test]
fn e2_completions_for_shells() {
    for (shell, word) in [
        ("bash", "complete"),
        ("zsh", "#compdef troubled"),
        ("fish", "complete"),
    ] {
        let output = run(command("troubled_exporter", ["--completions", shell]));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let script = said(&output.stdout);
        assert!(
            script.contains(word) && script.contains("metrics-path"),
            "{shell}"
        );
    }
}

#[test]
fn e2_completions_may_go_to_a_pipe_that_closes() {
    let mut command = command("troubled_exporter", ["--completions", "bash"]);
    let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(reader);
    command
        .stdout(std::os::fd::OwnedFd::from(writer))
        .stderr(std::process::Stdio::piped());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(said(&output.stderr), "");
}

#[test]
fn e2_the_help_is_shown_even_if_a_variable_is_wrong() {
    for option in ["--help", "--version"] {
        let mut command = command("troubled_exporter", [option]);
        command.env("TROUBLED_PROCESS_STATS", "maybe");
        let output = run(command);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(!output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn e2_a_configuration_can_be_checked() {
    let dir = folder("check");
    let metrics = dir.join("metrics.yml");
    let check = || {
        let path = metrics.display().to_string();
        run(command(
            "troubled_exporter",
            ["--config-check", "--metrics", &path],
        ))
    };
    std::fs::write(&metrics, "metrics: {m: {type: gauge}}\n").unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(said(&output.stdout), "the configuration is fine\n");
    let args = [
        "--config-check",
        "--web.listen-address",
        "no.such.host.invalid:1",
    ];
    let output = run(command("troubled_exporter", args));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output.stderr).contains("`no.such.host.invalid:1`"));
    // An address of documentation, which no machine has, and one whose port is taken.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (host, code) in [("192.0.2.1", 1), ("127.0.0.1", 0), ("localhost", 0)] {
        let args = ["--config-check", "-H", host, "-p", &port];
        let output = run(command("troubled_exporter", args));
        assert_eq!(output.status.code(), Some(code), "{host}: {output:?}");
        let is_named = said(&output.stderr).contains(&format!("`{host}:{port}`"));
        assert_eq!(is_named, code == 1, "{host}: {output:?}");
    }
    std::fs::write(&metrics, "metrics:\n  m: {type: meter}\n").unwrap();
    let output = check();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let place = format!(
        "{}, line 2, column 13: Invalid type for m",
        metrics.display()
    );
    assert!(said(&output.stderr).contains(&place), "{output:?}");
}

/// Command line, environment, dotenv file, default: each combination of the first three.
#[test]
fn e3_the_command_line_wins_over_environment_dotenv_and_default() {
    let dir = folder("precedence");
    for combination in 0..8 {
        let (cli, env, dotenv) = (
            combination & 1 != 0,
            combination & 2 != 0,
            combination & 4 != 0,
        );
        let file = dir.join(format!("env-{combination}"));
        let line = if dotenv {
            "TROUBLED_METRICS_PATH=/dotenv\n"
        } else {
            "\n"
        };
        std::fs::write(&file, line).unwrap();
        let mut command = command("troubled_exporter", HERE);
        command.env("TROUBLED_DOTENV", &file);
        if cli {
            command.args(["--metrics-path", "/cli"]);
        }
        if env {
            command.env("TROUBLED_METRICS_PATH", "/env");
        }
        let expected = match (cli, env, dotenv) {
            (true, ..) => "/cli",
            (_, true, _) => "/env",
            (.., true) => "/dotenv",
            _ => "/metrics",
        };
        let mut running = start(command);
        let address = running.address();
        for path in ["/cli", "/env", "/dotenv", "/metrics"] {
            let status = if path == expected { 200 } else { 404 };
            assert_eq!(
                get(address, path, &[]).status(),
                status,
                "{combination}: {path}"
            );
        }
    }
}

#[test]
fn e3_a_port_of_the_command_line_wins_over_addresses_of_the_environment() {
    let mut command = command("troubled_exporter", HERE);
    command.env("TROUBLED_WEB_LISTEN_ADDRESS", "127.0.0.2:0");
    assert_eq!(start(command).address().ip().to_string(), "127.0.0.1");
}

#[test]
fn e3_a_dotenv_file_in_the_directory_is_read() {
    let dir = folder("dotenv");
    std::fs::write(
        dir.join(".env"),
        "# a comment\nTROUBLED_HOST=\"127.0.0.1 ::1\"\nexport TROUBLED_PORT=0\n\
         TROUBLED_LOG_LEVEL=INFO\nTROUBLED_LOG_FORMAT=json\nTROUBLED_PROCESS_STATS=yes\n\
         TROUBLED_TOKEN='four'\n",
    )
    .unwrap();
    let mut command = command("troubled_exporter", [] as [&str; 0]);
    command.current_dir(&dir);
    let mut running = start(command);
    let listening = running.wait_for("listening", 2);
    assert!(
        listening[1]["url"]
            .as_str()
            .unwrap()
            .starts_with("http://[::1]:")
    );
    assert_eq!(running.value("token_length"), Some(4.0));
    assert!(running.value("process_open_fds").is_some());
}

#[test]
fn e3_secrets_are_read_from_files_and_not_shown() {
    let dir = folder("secret");
    let file = dir.join("token");
    std::fs::write(&file, "very secret\n").unwrap();
    let mut serving = command("troubled_exporter", HERE);
    serving.env("TROUBLED_TOKEN_FILE", &file);
    let mut running = start(serving);
    assert_eq!(running.value("token_length"), Some(11.0));
    assert!(!running.log().concat().contains("very secret"));
    let mut help = command("troubled_exporter", ["--help"]);
    help.env("TROUBLED_TOKEN", "very secret");
    let output = run(help);
    assert!(!said(&output.stdout).contains("very secret"));
}

#[test]
fn e3_a_wrong_variable_ends_with_2_and_its_name() {
    let dir = folder("wrong");
    std::fs::write(dir.join("wrong"), "TROUBLED_PORT=many\n").unwrap();
    std::fs::write(dir.join("broken"), "# one\nTROUBLED_TOKEN hunter2\n").unwrap();
    for (name, value, why) in [
        (
            "TROUBLED_PORT",
            "many".into(),
            "The value is from TROUBLED_PORT.",
        ),
        (
            "TROUBLED_LOG_LEVEL",
            "loud".into(),
            "The value is from TROUBLED_LOG_LEVEL.",
        ),
        (
            "TROUBLED_PROCESS_STATS",
            "maybe".into(),
            "for TROUBLED_PROCESS_STATS; a flag is",
        ),
        (
            "TROUBLED_TOKEN_FILE",
            "/no/such".into(),
            "TROUBLED_TOKEN_FILE: cannot read `/no/such`",
        ),
        (
            "TROUBLED_DOTENV",
            "/no/such".into(),
            "cannot read `/no/such`",
        ),
        (
            "TROUBLED_DOTENV",
            dir.join("wrong").display().to_string(),
            "TROUBLED_PORT in ",
        ),
        (
            "TROUBLED_DOTENV",
            dir.join("broken").display().to_string(),
            "broken, line 2: the line is not of the form NAME=value",
        ),
    ] {
        let mut command = command("troubled_exporter", [] as [&str; 0]);
        command.env(name, value);
        let output = run(command);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(said(&output.stderr).contains(why), "{why}: {output:?}");
        assert!(!said(&output.stderr).contains("hunter2"), "{output:?}");
    }
}

#[test]
fn e6_process_stats_are_off_unless_asked_for() {
    let mut without = serve("troubled_exporter", &[]);
    assert!(!without.get("/metrics").text().contains("process_"));
    let mut with = serve("troubled_exporter", &["--process-stats"]);
    let page = with.get("/metrics").text().to_owned();
    for name in [
        "process_virtual_memory_bytes",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
    ] {
        assert!(value(&page, name).is_some(), "{name}: {page}");
    }
    let proc =
        |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", with.child.id())).unwrap();
    let status = proc("status");
    let of_status = |field: &str| -> f64 {
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
            * 1024.0
    };
    let memory = value(&page, "process_virtual_memory_bytes").unwrap();
    // Threads come and go, each with its stack.
    assert!((memory - of_status("VmSize:")).abs() < 3e8, "{memory}");
    let limit = proc("limits");
    let limit = limit
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let limit: f64 = limit.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_eq!(value(&page, "process_max_fds"), Some(limit));
    let start = value(&page, "process_start_time_seconds").unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(
        (0.0..600.0).contains(&(now.as_secs_f64() - start)),
        "{start}"
    );
}

#[test]
fn e7_every_host_is_served() {
    let args = [
        "-H",
        "127.0.0.1",
        "::1",
        "-p",
        "0",
        "-L",
        "info",
        "--log-format",
        "json",
    ];
    let mut running = start(command("troubled_exporter", args));
    let listening = running.wait_for("listening", 2);
    let addresses: Vec<_> = listening.iter().map(crate::process::address_of).collect();
    assert!(
        addresses[0].is_ipv4() && addresses[1].is_ipv6(),
        "{addresses:?}"
    );
    for (run, address) in addresses.into_iter().enumerate() {
        let page = get(address, "/metrics", &[]);
        assert_eq!(value(page.text(), "last_good"), Some(run as f64 + 1.0));
    }
}

#[test]
fn e7_localhost_is_both_of_its_addresses() {
    let mut running = start(command(
        "troubled_exporter",
        ["-p", "0", "-L", "info", "--log-format", "json"],
    ));
    for listening in running.wait_for("listening", 1) {
        let address = crate::process::address_of(&listening);
        assert!(address.ip().is_loopback(), "{address}");
        assert_eq!(get(address, "/metrics", &[]).status(), 200);
    }
}

#[test]
fn e7_an_address_that_two_hosts_have_is_bound_once() {
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port().to_string()
    };
    let args = ["-H", "127.0.0.1", "localhost", "127.0.0.1", "-p", &port];
    let rest = ["-L", "info", "--log-format", "json"];
    let mut running = start(command("troubled_exporter", args.iter().chain(rest.iter())));
    assert_eq!(running.get("/metrics").status(), 200);
}

#[test]
fn e7_addresses_of_the_exporter_toolkit() {
    let args = [
        "--web.listen-address",
        "127.0.0.1:0",
        "[::1]:0",
        "--web.telemetry-path",
        "/m",
    ];
    let more = ["--log.level", "info", "--log.format", "json"];
    let mut running = start(command("troubled_exporter", args.iter().chain(&more)));
    for listening in running.wait_for("listening", 2) {
        assert_eq!(listening["path"], "/m");
        let address = crate::process::address_of(&listening);
        assert_eq!(get(address, "/m", &[]).status(), 200);
    }
}

#[test]
fn e7_a_port_in_use_ends_with_1_and_binds_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = free.local_addr().unwrap().to_string();
    drop(free);
    let args = ["--web.listen-address", &other, &address.to_string()];
    let output = run(command("troubled_exporter", args));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let why = format!("cannot start: cannot listen on `{address}`: Address already in use");
    assert!(said(&output.stderr).contains(&why), "{output:?}");
    // Nobody holds the other one.
    TcpListener::bind(&other).unwrap();
}

/// A web site that points a name of its own at 127.0.0.1 leads browsers of this machine here.
#[test]
fn an_exporter_that_only_this_machine_reaches_has_only_its_names() {
    let statuses = |running: &mut Running, hosts: &[&str]| {
        let address = running.address();
        let status = |host: &&str| {
            let request =
                format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            send(address, request.as_bytes()).status()
        };
        hosts.iter().map(status).collect::<Vec<_>>()
    };
    let hosts = [
        "localhost",
        "127.0.0.1:1",
        "[::1]",
        "127.0.0.2",
        "evil.example",
        "Proxy.example",
    ];
    let mut running = serve("troubled_exporter", &[]);
    assert_eq!(
        statuses(&mut running, &hosts),
        [200, 200, 200, 403, 403, 403]
    );
    let evil = b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n";
    let refused = send(running.address(), evil);
    assert!(refused.text().contains("--web.allowed-host"), "{refused:?}");
    let more = ["-H", "127.0.0.2", "--web.allowed-host", "proxy.example"];
    let mut running = serve("troubled_exporter", &more);
    assert_eq!(
        statuses(&mut running, &hosts),
        [200, 200, 200, 200, 403, 200]
    );
    let mut running = serve("troubled_exporter", &["--web.allowed-host", "*"]);
    assert_eq!(statuses(&mut running, &hosts), [200; 6]);
    let args = ["--web.listen-address", ":0", "--log-format", "json"];
    let mut running = start(command("troubled_exporter", args));
    let address = SocketAddr::from(([127, 0, 0, 1], running.address().port()));
    let request = b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(send(address, request).status(), 200);
}

/// It once looked as if it hung.
#[test]
fn an_exporter_says_where_it_listens_at_the_default_level() {
    let args = ["-H", "127.0.0.1", "-p", "0", "--log-format", "json"];
    let mut running = start(command("troubled_exporter", args));
    let listening = running.wait_for("listening", 1);
    assert_eq!(listening[0]["level"], "info");
    assert_eq!(running.log().len(), 1, "{:?}", running.log());
    // It says nothing of its address then, so the port is chosen here.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let port = address.port().to_string();
    let mut running = start(command(
        "troubled_exporter",
        ["-H", "127.0.0.1", "-p", &port, "-L", "error"],
    ));
    let healthy = eventually("it listens", || try_get(address, "/-/healthy"));
    assert_eq!(healthy.status(), 200);
    running.signal("-TERM");
    assert_eq!(running.end(), Some(0));
    assert!(running.log().is_empty());
}

/// Prometheus asks for OpenMetrics, and stores the names that it finds there.
#[test]
fn names_stay_as_they_are_without_openmetrics() {
    let accept =
        "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    for (args, kind) in [
        (&[][..], "application/openmetrics-text"),
        (&["--web.disable-openmetrics"], "text/plain; version=0.0.4"),
    ] {
        let mut running = serve("troubled_exporter", args);
        let address = running.address();
        for path in ["/metrics", "/probe?target=x"] {
            let page = get(address, path, &[accept]);
            assert!(
                page.header("content-type").unwrap().starts_with(kind),
                "{path}"
            );
        }
    }
}

#[test]
fn e7_the_home_page_names_the_exporter() {
    let mut running = serve("troubled_exporter", &["--metrics-path", "/a&b"]);
    let address = running.address();
    let home = get(address, "/", &[]);
    assert_eq!(home.status(), 200);
    assert_eq!(
        home.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(home.header("server"), Some("troubled/1.2.3"));
    let html = home.text();
    for part in [
        "<title>troubled</title>",
        "An exporter with &lt;b&gt;troubles&lt;/b&gt; &amp; &quot;quotes&quot;.",
        "1.2.3",
        "<a href='./a&amp;b'>",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    let length = home
        .header("content-length")
        .unwrap()
        .parse::<usize>()
        .unwrap();
    assert_eq!(length, home.body.len());
    let head = ask(address, "HEAD", "/", &[]);
    assert_eq!((head.status(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), home.header("content-length"));
    assert_eq!(ask(address, "HEAD", "/a&b", &[]).status(), 200);
    assert_eq!(ask(address, "POST", "/a&b", &[]).status(), 405);
    assert_eq!(get(address, "/other", &[]).status(), 404);
    assert_eq!(
        get(address, "/a&b", &[]).header("server"),
        Some("troubled/1.2.3")
    );
    // Restricted pages, in any format.
    let accept = "Accept: application/openmetrics-text";
    let some = get(address, "/a&b?name[]=ticks_total", &[accept]);
    let page = some.text();
    assert!(
        page.contains("ticks_total") && !page.contains("last_good"),
        "{page}"
    );
    assert!(page.ends_with("# EOF\n"), "{page}");
}

#[test]
fn e9_the_log_is_json() {
    let mut running = serve("troubled_exporter", &[]);
    let address = running.address();
    get(address, "/metrics?secret=1", &[]);
    let requests = running.wait_for("request", 1);
    let startup = running.events("startup");
    assert_eq!(startup[0]["version"], "1.2.3");
    assert_eq!(startup[0]["level"], "info");
    assert_eq!(
        running.events("configuration")[0]["metrics_path"],
        "/metrics"
    );
    let listening = &running.events("listening")[0];
    assert_eq!(listening["url"], format!("http://{address}/"));
    let request = &requests[0];
    for key in [
        "event",
        "level",
        "timestamp",
        "method",
        "path",
        "remote",
        "status",
        "size",
        "duration",
    ] {
        assert!(!request[key].is_null(), "{key}: {request}");
    }
    assert_eq!(request["method"], "GET");
    assert_eq!(request["path"], "/metrics");
    assert_eq!(request["status"], 200);
    assert!(request["size"].as_u64().unwrap() > 100);
    // Without a port, so that a report by client counts clients.
    assert_eq!(request["remote"], "127.0.0.1");
    let configuration = &running.events("configuration")[0];
    assert_eq!(configuration["process_stats"], false);
    assert_eq!(configuration["tls"], false);
    for line in running.log() {
        let record: Value = serde_json::from_str(&line).unwrap();
        for key in ["event", "level", "timestamp"] {
            assert!(record[key].is_string(), "{key}: {line}");
        }
    }
}

#[test]
fn e9_the_plain_log_has_a_line_per_record() {
    let args = ["-H", "127.0.0.1", "-p", "0", "-L", "debug"];
    let mut running = start(command("troubled_exporter", args));
    let listening = eventually("listening", || {
        assert_eq!(
            running.child.try_wait().unwrap(),
            None,
            "{:?}",
            running.log()
        );
        let mut log = running.log().into_iter();
        log.find(|line| line.contains(" listening "))
    });
    let words: Vec<_> = listening.split_whitespace().collect();
    assert!(words[0].ends_with('Z') && words[1] == "info", "{listening}");
    let url = words
        .iter()
        .find_map(|word| word.strip_prefix("url=http://"))
        .unwrap();
    let address = url.trim_end_matches('/');
    // A path cannot write lines of its own.
    get(address, "/no%0Asuch", &[]);
    eventually("the request", || {
        running
            .log()
            .iter()
            .any(|line| line.contains(" request ") && line.contains("status=404"))
    });
}
