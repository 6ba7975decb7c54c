//! The end of a store, and ways to reach a server.

use std::process::Stdio;
use std::time::Duration;

use tallies::{Counter, Registry, UpDownCounter};
use tallies_redis::{Redis, RedisBuilder};

use super::counting::{add_hanging_collector, builder, quiet, total};
use super::process::Process;
use super::server::Server;
use crate::support::eventually;

#[test]
fn closing_sends_the_last_counts_and_removes_all_but_the_totals() {
    let server = Server::start();
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "").unwrap();
    registry.gauge("load", "").unwrap().set(1.0);
    let store = quiet(&server.url(), &registry);
    jobs.add(3);
    store.close_blocking().unwrap();
    store.close_blocking().unwrap();
    let names: Vec<_> = server
        .keys("*")
        .iter()
        .map(|key| key.split("}:").nth(1).unwrap().to_owned())
        .collect();
    let kinds: Vec<_> = names
        .iter()
        .map(|name| name.split(':').next().unwrap())
        .collect();
    assert_eq!(kinds, ["acc", "x"], "{names:?}");
    assert!(
        store
            .flush_blocking()
            .unwrap_err()
            .to_string()
            .contains("closed")
    );
    let other = quiet(&server.url(), &Registry::new());
    assert_eq!(total(&other, "jobs_total"), 3.0);
    // Dropping the last handle closes as well, in the background.
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().add(4);
    drop(quiet(&server.url(), &registry));
    eventually("the dropped store is folded", || {
        total(&other, "jobs_total") == 7.0 && total(&other, "tallies_share_writers") == 1.0
    });
}

/// `Redis::builder(url)?.start()?;` shared nothing, and said nothing.
#[test]
fn a_store_that_is_dropped_without_being_closed_says_so() {
    let server = Server::start();
    for command in ["flush", "close"] {
        let mut process = Process::start_with(&server.url(), "test", Stdio::piped());
        assert_eq!(process.tell(command), "ok");
        let errors = process.errors();
        let says = errors.contains("its last handle was dropped");
        assert_eq!(says, command == "flush", "after {command}: {errors}");
    }
}

#[test]
fn a_signal_closes_the_store_and_ends_the_program() {
    use std::os::unix::process::ExitStatusExt;
    let server = Server::start();
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut process = Process::start(&server.url(), "test");
        assert_eq!(process.tell("signals"), "ok");
        assert_eq!(process.tell("load 1"), "ok");
        assert_eq!(process.tell("count 100"), "ok");
        process.signal(signal);
        assert_eq!(process.wait_for_end().signal(), Some(signal));
    }
    let store = quiet(&server.url(), &Registry::new());
    assert_eq!(total(&store, "jobs_total"), 200.0);
    assert_eq!(total(&store, "tallies_share_writers"), 1.0);
    assert_eq!(server.keys("*}:g:*"), [""; 0]);
}

/// Both programs ignored the signals.
#[test]
fn a_signal_ends_a_program_whose_store_hangs_or_is_closed() {
    use std::os::unix::process::ExitStatusExt;
    let server = Server::start();
    for state in ["hang", "close"] {
        let mut process = Process::start(&server.url(), "test");
        assert_eq!(process.tell("signals"), "ok");
        assert_eq!(process.tell(state), "ok");
        process.signal(libc::SIGTERM);
        assert_eq!(process.wait_for_end().signal(), Some(libc::SIGTERM));
    }
}

/// The limit did not hold while the thread of the store waited for something.
#[test]
fn closing_takes_no_longer_than_its_limit() {
    let server = Server::start();
    let registry = Registry::new();
    let hang = add_hanging_collector(&registry);
    let limit = Duration::from_millis(300);
    let start = || {
        let store = builder(&server.url(), &registry).close_timeout(limit);
        let store = store.start().unwrap();
        store.flush_blocking().unwrap();
        store
    };
    let (one, two) = (start(), start());
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.build().unwrap();
    let held = hang.lock().unwrap();
    for closed in [runtime.block_on(one.close()), two.close_blocking()] {
        // The limit, and the time in which the thread of the store says more.
        let late = closed.unwrap_err().to_string();
        assert!(late.contains("no answer within 500ms"), "{late}");
    }
    drop(held);
}

#[test]
fn async_programs_flush_and_read() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let jobs = one.counter("jobs_total", "").unwrap();
    let theirs = Counter::builder("jobs_total", "").register(&two).unwrap();
    let (store, other) = (quiet(&server.url(), &one), quiet(&server.url(), &two));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        theirs.add(2);
        other.flush().await.unwrap();
        jobs.inc();
        assert_eq!(store.total(&jobs).await.unwrap(), 3.0);
        assert_eq!(store.get("jobs_total", &[]).await.unwrap(), Some(3.0));
        assert_eq!(
            store.snapshot().await.unwrap().get("jobs_total", &[]),
            Some(3.0)
        );
        store.close().await.unwrap();
        store.close().await.unwrap();
        assert_eq!(other.total(&theirs).await.unwrap(), 3.0);
    });
}

#[test]
fn the_total_of_a_metric_is_that_of_all_its_series() {
    let server = Server::start();
    let (one, two) = (Registry::new(), Registry::new());
    let declare = |registry: &Registry| {
        registry.set_prefix("shop").unwrap();
        let sold = Counter::builder("sold_total", "").labels(["shelf"]).float();
        let open = UpDownCounter::builder("open_carts", "");
        (
            sold.register(registry).unwrap(),
            open.register(registry).unwrap(),
        )
    };
    let ((sold, open), (theirs, also_open)) = (declare(&one), declare(&two));
    let elsewhere = Registry::new().counter("other_total", "").unwrap();
    let (store, other) = (quiet(&server.url(), &one), quiet(&server.url(), &two));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        assert_eq!(store.total(&sold).await.unwrap(), 0.0);
        theirs.with(["tea"]).add(0.5);
        theirs.with(["rice"]).add(2.0);
        sold.with(["tea"]).add(1.0);
        also_open.add(3);
        open.sub(1);
        other.close().await.unwrap();
        assert_eq!(store.total(&sold).await.unwrap(), 3.5);
        // What a process holds ends with it.
        assert_eq!(store.total(&open).await.unwrap(), -1.0);
        let error = store.total(&elsewhere).await.unwrap_err().to_string();
        assert!(
            error.contains("no process shares `shop_other_total`"),
            "{error}"
        );
    });
}

/// The static was on no page yet, so its total was an error that read like a broken connection.
#[test]
fn the_total_of_a_static_that_nobody_has_used_is_zero() {
    static EARLY: Counter = Counter::new("early_total").help("Jobs.");
    static EARLY_BY_QUEUE: Counter<[&str; 1]> =
        Counter::labelled("early_by_queue_total", &["queue"]).help("Jobs.");
    let server = Server::start();
    let store = Redis::builder(&server.url()).unwrap().start().unwrap();
    assert_eq!(store.total_blocking(&EARLY).unwrap(), 0.0);
    assert_eq!(store.total_blocking(&EARLY_BY_QUEUE).unwrap(), 0.0);
    EARLY.inc();
    assert_eq!(store.total_blocking(&EARLY).unwrap(), 1.0);
    assert_eq!(store.get_blocking("early_total", &[]).unwrap(), Some(1.0));
    let page = store.snapshot_blocking().unwrap();
    assert_eq!(page.get("early_total", &[]), Some(1.0));
    store.close_blocking().unwrap();
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let builder = || Redis::builder("redis://127.0.0.1/").unwrap();
    let refused = |builder: RedisBuilder| builder.start().unwrap_err().to_string();
    let minute = Duration::from_secs(60);
    assert!(refused(builder().refresh_every(minute)).contains("half the time to live"));
    assert!(refused(builder().gauge_ttl(minute / 2)).contains("half the time to live"));
    assert!(refused(builder().fold_after(minute / 2)).contains("half the time to fold"));
    assert!(refused(builder().namespace("")).contains("namespace"));
    assert!(refused(builder().namespace("a{b")).contains("namespace"));
    assert!(refused(builder().shards(0)).contains("shards"));
    assert!(refused(builder().timeout(Duration::ZERO)).contains("1 ms"));
    assert!(Redis::builder("not a url").is_err());
    assert!(builder().cluster(&["http://x"]).is_err());
}

#[test]
fn unix_sockets_databases_and_users_work() {
    let server = Server::start();
    let () = server.run_command(&[
        "ACL",
        "SETUSER",
        "metrics",
        "on",
        ">a pass:word",
        "~{tallies*",
        "+@read",
        "+@write",
        "+@scripting",
        "+time",
        "+select",
        "+multi",
        "+exec",
        "-@dangerous",
    ]);
    let socket = server.socket();
    let socket = socket.to_str().unwrap();
    for (url, namespace) in [
        (
            format!("unix://{socket}?user=metrics&pass=a%20pass%3Aword"),
            "a",
        ),
        (
            server
                .url()
                .replace("redis://", "redis://metrics:a%20pass%3Aword@"),
            "b",
        ),
        (format!("unix://{socket}?db=3"), "c"),
    ] {
        let registry = Registry::new();
        registry.counter("jobs_total", "").unwrap().add(3);
        let store = builder(&url, &registry)
            .namespace(namespace)
            .start()
            .unwrap();
        store.flush_blocking().unwrap();
        assert_eq!(total(&store, "jobs_total"), 3.0, "{url}");
        store.close_blocking().unwrap();
    }
    assert!(server.keys("*c}:*").is_empty());
}

#[test]
fn namespaces_and_shards_are_apart() {
    let server = Server::start();
    let mut stores = Vec::new();
    for i in 0..12 {
        let registry = Registry::new();
        registry.counter("jobs_total", "").unwrap().add(1 << i);
        registry.gauge("load", "").unwrap().set(f64::from(i));
        let store = builder(&server.url(), &registry).shards(3).start().unwrap();
        store.flush_blocking().unwrap();
        stores.push(store);
    }
    let other = builder(&server.url(), &Registry::new())
        .namespace("other")
        .start()
        .unwrap();
    for store in &stores {
        assert_eq!(total(store, "jobs_total"), 4095.0);
    }
    let seen = super::counting::view(&stores[0]);
    assert_eq!(
        seen.family("load").unwrap().len(),
        12,
        "no number is given twice"
    );
    assert_eq!(total(&other, "jobs_total"), 0.0);
    let last = stores.pop().unwrap();
    stores
        .iter()
        .for_each(|store| store.close_blocking().unwrap());
    assert_eq!(total(&last, "jobs_total"), 4095.0);
    assert!(
        server.keys("{tallies#*:test}:acc").len() > 1,
        "several shards are in use"
    );
}

/// A server that ends with all of its workers. Most of them cannot be folded in time, because the
/// folds get in each other's way.
#[test]
fn many_processes_close_at_once() {
    let server = Server::start();
    let stores: Vec<_> = (0..24)
        .map(|_| {
            let registry = Registry::new();
            let jobs = Counter::builder("jobs_total", "").labels(["queue"]);
            let jobs = jobs.register(&registry).unwrap();
            (0..200).for_each(|i| jobs.with([&*i.to_string()]).inc());
            registry.gauge("load", "").unwrap().set(1.0);
            quiet(&server.url(), &registry)
        })
        .collect();
    std::thread::scope(|scope| {
        for store in &stores {
            scope.spawn(|| store.close_blocking().unwrap());
        }
    });
    assert_eq!(server.keys("*}:g:*"), [""; 0]);
    let last = quiet(&server.url(), &Registry::new());
    let all = super::counting::view(&last);
    assert_eq!(all.family("load").map_or(0, |load| load.len()), 0);
    let jobs = all.family("jobs_total").unwrap();
    assert_eq!(jobs.len(), 200);
    assert_eq!(all.get("jobs_total", &[("queue", "7")]), Some(24.0));
    // Those that are left need not be silent first.
    last.fold_blocking(Duration::from_secs(3600)).unwrap();
    assert_eq!(server.keys("*}:w:*").len(), 1);
    assert_eq!(
        super::counting::view(&last).get("jobs_total", &[("queue", "7")]),
        Some(24.0)
    );
}

#[test]
fn a_cluster_has_each_namespace_in_one_slot() {
    let server = Server::with(&["--cluster-enabled", "yes"]);
    let () = server.run_command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    eventually("the cluster is up", || {
        let info: String = server.run_command(&["CLUSTER", "INFO"]);
        info.contains("cluster_state:ok")
    });
    let mut stores = Vec::new();
    for i in 0..4 {
        let registry = Registry::new();
        let jobs = Counter::builder("jobs_total", "")
            .labels(["queue"])
            .register(&registry)
            .unwrap();
        jobs.with([["a", "b"][i % 2]]).add(10);
        registry.gauge("load", "").unwrap().set(1.0);
        let store = builder(&server.url(), &registry)
            .cluster(&[])
            .unwrap()
            .shards(2)
            .start()
            .unwrap();
        store.flush_blocking().unwrap();
        stores.push(store);
    }
    for store in &stores {
        let seen = super::counting::view(store);
        for queue in ["a", "b"] {
            assert_eq!(seen.get("jobs_total", &[("queue", queue)]), Some(20.0));
        }
        assert_eq!(seen.family("load").unwrap().len(), 4);
    }
    let last = stores.pop().unwrap();
    stores
        .iter()
        .for_each(|store| store.close_blocking().unwrap());
    let seen = super::counting::view(&last);
    assert_eq!(seen.get("jobs_total", &[("queue", "b")]), Some(20.0));
    assert_eq!(seen.family("load").unwrap().len(), 1);
}

#[test]
fn nothing_searches_the_keyspace() {
    let server = Server::start();
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().inc();
    let (store, other) = (
        quiet(&server.url(), &registry),
        quiet(&server.url(), &Registry::new()),
    );
    store.flush_blocking().unwrap();
    total(&other, "jobs_total");
    store.overview_blocking().unwrap();
    other.fold_blocking(Duration::ZERO).unwrap();
    store.close_blocking().unwrap();
    let stats: String = server.run_command(&["INFO", "commandstats"]);
    assert!(stats.contains("cmdstat_evalsha"), "{stats}");
    for command in [
        "cmdstat_keys",
        "cmdstat_scan",
        "cmdstat_hscan",
        "cmdstat_hincrbyfloat",
    ] {
        assert!(!stats.contains(&format!("{command}:")), "{stats}");
    }
}

#[test]
fn certificates_are_checked_in_both_directions() {
    let dir = std::env::temp_dir().join(format!("tallies-redis-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let named = |names: Vec<String>, name: &str| {
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params
    };
    let mut authority = named(Vec::new(), "authority");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = named(vec![name.to_owned()], name);
        let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
        (leaf, key.serialize_pem())
    };
    let (certificate, key) = issue("localhost");
    let (ours, our_key) = issue("client");
    std::fs::write(path("root"), &root).unwrap();
    std::fs::write(path("certificate"), certificate).unwrap();
    std::fs::write(path("key"), key).unwrap();
    let port = crate::support::free_port();
    let (root_path, port_text) = (path("root"), port.to_string());
    let server = Server::with(&[
        "--tls-port",
        &port_text,
        "--tls-ca-cert-file",
        &root_path,
        "--tls-cert-file",
        &path("certificate"),
        "--tls-key-file",
        &path("key"),
    ]);
    let url = format!("rediss://localhost:{port}/");
    let registry = Registry::new();
    registry.counter("jobs_total", "").unwrap().add(3);
    let store = builder(&url, &registry)
        .root_certificates(root.as_bytes())
        .client_certificate(ours.as_bytes(), our_key.as_bytes());
    let store = store.start().unwrap();
    store.flush_blocking().unwrap();
    assert_eq!(total(&store, "jobs_total"), 3.0);
    let without_certificate = builder(&url, &registry).root_certificates(root.as_bytes());
    assert!(
        without_certificate
            .start()
            .unwrap()
            .flush_blocking()
            .is_err()
    );
    let unknown_root = builder(&url, &registry).start().unwrap();
    assert!(unknown_root.flush_blocking().is_err());
    drop(server);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_fork_is_told_to_start_a_store_of_its_own() {
    let server = Server::start();
    let mut process = Process::start(&server.url(), "test");
    assert_eq!(process.tell("count 100"), "ok");
    // A view that the parent has read is not one of the child.
    assert_eq!(process.tell("get jobs_total"), "Some(100.0)");
    assert_eq!(process.tell("fork"), "0");
    assert_eq!(process.tell("count 100"), "ok");
    assert_eq!(process.tell("close"), "ok");
    let store = quiet(&server.url(), &Registry::new());
    assert_eq!(total(&store, "jobs_total"), 200.0);
}
