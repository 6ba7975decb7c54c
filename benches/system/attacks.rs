//! Clients that attack a service, and an honest scraper beside them.
//!
//! Run it with `cargo bench -p tallies-system-benches --bench attacks`; names of attacks choose
//! some of them. Each attack gets a fresh process and 20 seconds. Once the attackers are there, the
//! honest scraper opens a connection for each of its requests: one page of metrics and one
//! `/-/healthy` after the other, with a break of 200 ms. It waits for 10 s at most. Attackers come
//! from 127.0.0.1, or from as many addresses as the name says; the scraper comes from an address of
//! its own, and in a second run from one of theirs.
//!
//! - *Answered* and *slowest* are of the honest scraper's pages, and of its `/-/healthy`.
//! - *Requests* are the attackers' that were answered with anything, in a second.
//! - *CPU* is the processor time of the process in a second. *Memory* is the most that it had.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tallies::serve::Server;
use tallies::{Counter, Registry};
use tallies_exporter::Exporter;

const TIME: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(10);
const ROLE: &str = "TALLIES_ATTACKS_ROLE";
/// `honest:secret`, as a client sends it.
const AUTHORIZED: &str = "Authorization: Basic aG9uZXN0OnNlY3JldA==\r\n";
const WRONG: &str = "Authorization: Basic aG9uZXN0Ondyb25n\r\n";

/// The actions of an attacker on each of its connections, again and again.
enum Way {
    /// Sends a request and waits for its response on the same connection.
    Ask(&'static str),
    /// Sends requests and looks at what arrives only now and then.
    Pipeline(&'static str),
    /// Sends a request and reads nothing.
    Hold(&'static str),
    /// Leaves after the first bytes.
    Leave(&'static str),
    /// Connects, sends half a request, and begins again when it is disconnected.
    Half,
}

struct Attack {
    name: &'static str,
    /// The target: an exporter, `open` or `locked`, or a page of so many families and series.
    target: &'static str,
    connections: usize,
    hosts: u8,
    way: Way,
    /// The path that the honest scraper asks for.
    page: &'static str,
}

const SEARCH: &str = "/live/stream?match=,t&all=1";
const ONE: &str = "/metrics?name[]=family_1_total";

const ATTACKS: [Attack; 10] = [
    attack("passwords", "locked", 200, Way::Ask(WRONG), "/metrics"),
    attack("probes", "open", 256, Way::Ask("probe"), "/metrics"),
    attack("pipelines", "10x100", 300, Way::Pipeline(ONE), "/metrics"),
    attack("streams", "10x30000", 64, Way::Ask(SEARCH), ONE),
    attack(
        "streams that leave",
        "10x30000",
        150,
        Way::Leave(SEARCH),
        ONE,
    ),
    attack(
        "streams that read nothing",
        "10x30000",
        60,
        Way::Hold(SEARCH),
        ONE,
    ),
    attack(
        "reports",
        "5000x1",
        200,
        Way::Ask("/-/cardinality"),
        "/metrics",
    ),
    attack("slow readers", "10x30000", 256, Way::Hold("/metrics"), ONE),
    Attack {
        hosts: 64,
        ..attack(
            "64 hosts, half requests",
            "10x100",
            512,
            Way::Half,
            "/metrics",
        )
    },
    Attack {
        hosts: 64,
        ..attack(
            "64 hosts, slow readers",
            "10x30000",
            512,
            Way::Hold("/metrics"),
            ONE,
        )
    },
];

const fn attack(
    name: &'static str,
    target: &'static str,
    connections: usize,
    way: Way,
    page: &'static str,
) -> Attack {
    Attack {
        name,
        target,
        connections,
        hosts: 1,
        way,
        page,
    }
}

/// Opens a connection from this address.
fn connect(from: Ipv4Addr, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // From there without: the kernel then uses ports again that were used a moment ago.
    if from != Ipv4Addr::LOCALHOST {
        socket.bind(&SocketAddrV4::new(from, 0).into())?;
    }
    socket.connect_timeout(&to.into(), patience)?;
    socket.set_read_timeout(Some(patience))?;
    socket.set_write_timeout(Some(patience))?;
    Ok(socket.into())
}

fn request(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// Asks once, on a connection of its own. Returns whether there was a whole page in time.
fn honest(from: Ipv4Addr, to: SocketAddr, path: &str) -> bool {
    let end = Instant::now() + PATIENCE;
    let headers = format!("{AUTHORIZED}Connection: close\r\n");
    let ask = || -> io::Result<bool> {
        let mut stream = connect(from, to, PATIENCE)?;
        stream.write_all(request("GET", path, &headers).as_bytes())?;
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match stream.read(&mut buffer)? {
                0 => return Ok(answer.starts_with(b"HTTP/1.1 200")),
                n => answer.extend_from_slice(&buffer[..n]),
            }
        }
    };
    ask().unwrap_or(false)
}

/// Attacks on one connection until it is over, and counts the responses.
fn once(
    way: &Way,
    from: Ipv4Addr,
    to: SocketAddr,
    responses: &AtomicU64,
    stop: &AtomicBool,
) -> io::Result<()> {
    let mut stream = connect(from, to, Duration::from_secs(1))?;
    let mut buffer = vec![0; 1 << 14];
    let probe = "X-Prometheus-Scrape-Timeout-Seconds: 60\r\n";
    let (bytes, quick) = match way {
        Way::Ask(WRONG) => (request("GET", "/metrics", WRONG), false),
        Way::Ask("probe") => (request("GET", "/probe?target=hang", probe), false),
        Way::Ask(path) | Way::Hold(path) | Way::Leave(path) => (request("GET", path, ""), false),
        Way::Pipeline(path) => (request("HEAD", path, "").repeat(50), true),
        Way::Half => ("GET /metrics HTTP/1.1\r\nHost: local".to_owned(), true),
    };
    let wait = Duration::from_millis(if quick { 1 } else { 200 });
    stream.set_read_timeout(Some(wait))?;
    stream.write_all(bytes.as_bytes())?;
    while !stop.load(Relaxed) {
        if let Way::Hold(_) = way {
            std::thread::sleep(wait);
            continue;
        }
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                let heads = buffer[..n].windows(9).filter(|at| at == b"HTTP/1.1 ");
                let heads = heads.count() as u64;
                responses.fetch_add(heads, Relaxed);
                match way {
                    Way::Leave(_) => break,
                    Way::Ask(_) if heads > 0 => stream.write_all(bytes.as_bytes())?,
                    _ => {}
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        if let Way::Pipeline(_) = way {
            stream.write_all(bytes.as_bytes())?;
        }
    }
    Ok(())
}

/// The processor time and the most memory of a process, in seconds and MB.
fn used(child: &Child) -> (f64, u64) {
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", child.id()));
    let stat = of("stat").unwrap_or_default();
    let ticks: f64 = stat.rsplit(')').next().map_or(0.0, |rest| {
        let fields = rest.split_whitespace().skip(11).take(2);
        fields.filter_map(|field| field.parse::<f64>().ok()).sum()
    });
    let status = of("status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    (ticks / 100.0, peak.unwrap_or(0) / 1024)
}

/// The honest scraper's tries.
#[derive(Default)]
struct Tries {
    tried: u32,
    answered: u32,
    slowest: Duration,
}

impl Tries {
    fn ask(&mut self, from: Ipv4Addr, to: SocketAddr, path: &str) {
        let asked = Instant::now();
        self.tried += 1;
        self.answered += u32::from(honest(from, to, path));
        self.slowest = self.slowest.max(asked.elapsed());
    }
}

impl std::fmt::Display for Tries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.slowest.as_secs_f64();
        write!(f, "{} of {} | {seconds:.3}", self.answered, self.tried)
    }
}

/// A process that is attacked. It is killed at the end.
struct Target {
    child: Child,
    address: SocketAddr,
}

impl Target {
    fn start(role: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role).env("ADDRESS", address.to_string());
        command.args(["-H", "127.0.0.1", "-p", &address.port().to_string()]);
        if role == "locked" {
            let file = std::env::temp_dir().join(format!("attacks-{}.yml", address.port()));
            let hash = bcrypt::hash("secret", 10).unwrap();
            std::fs::write(&file, format!("basic_auth_users:\n  honest: {hash}\n")).unwrap();
            command.arg("--web.config.file").arg(file);
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let target = Self {
            child: command.spawn().unwrap(),
            address,
        };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < end, "{role} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        target
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(attack: &Attack, from: Ipv4Addr) {
    let target = Target::start(attack.target);
    let (stop, responses) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut pages, mut healthy) = (Tries::default(), Tries::default());
    std::thread::scope(|scope| {
        for i in 0..attack.connections {
            let host = Ipv4Addr::new(127, 0, 0, 1 + (i % attack.hosts as usize) as u8);
            let (stop, responses, to) = (&stop, &responses, target.address);
            let work = move || {
                while !stop.load(Relaxed) {
                    // An error is a connection that the service ended.
                    let _ = once(&attack.way, host, to, responses, stop);
                    std::thread::sleep(Duration::from_millis(1));
                }
            };
            let thread = std::thread::Builder::new().stack_size(128 << 10);
            thread.spawn_scoped(scope, work).unwrap();
        }
        std::thread::sleep(Duration::from_secs(1));
        let (begun, before) = (Instant::now(), used(&target.child).0);
        while begun.elapsed() < TIME {
            pages.ask(from, target.address, attack.page);
            healthy.ask(from, target.address, "/-/healthy");
            std::thread::sleep(Duration::from_millis(200));
        }
        let seconds = begun.elapsed().as_secs_f64();
        let (cpu, memory) = used(&target.child);
        stop.store(true, Relaxed);
        println!(
            "| {} | {from} | {pages} | {healthy} | {:.0} | {:.2} | {memory} |",
            attack.name,
            responses.load(Relaxed) as f64 / seconds,
            (cpu - before) / seconds,
        );
    });
}

/// Serves until it is killed.
fn serve(role: &str) {
    if let Some((families, series)) = role.split_once('x') {
        let registry = Registry::new();
        registry.set_lint(false);
        for family in 0..families.parse().unwrap() {
            let family = Counter::builder(&format!("family_{family}_total"), "One of many.")
                .labels(["first", "second"])
                .limit(series.parse().unwrap())
                .register(&registry)
                .unwrap();
            for i in 0..series.parse().unwrap() {
                let (i, text): (u32, _) = (i, "the same text");
                family.with([&*i.to_string(), text]).inc();
            }
        }
        let server = Server::new().registry(&registry).live();
        let serving = server.listen(&*std::env::var("ADDRESS").unwrap());
        let _serving = serving.unwrap();
        loop {
            std::thread::park();
        }
    }
    #[derive(clap::Args)]
    struct Options {}
    let exporter = Exporter::new("attacked", "1.0.0", "An exporter that is attacked.");
    let exit = exporter.configure(|setup, _: Options| {
        setup.registry().gauge("up_since", "A metric.")?.set(1.0);
        setup.probe("/probe", |_| std::future::pending());
        Ok(())
    });
    let _ = exit.run();
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return serve(&role);
    }
    let chosen: Vec<_> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    println!(
        "| attack | scraper | answered | slowest (s) | healthy | slowest (s) | requests | CPU | memory (MB) |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|");
    for attack in &ATTACKS {
        if chosen.is_empty()
            || chosen
                .iter()
                .any(|name| attack.name.contains(name.as_str()))
        {
            run(attack, Ipv4Addr::new(127, 0, 1, 1));
            run(attack, Ipv4Addr::LOCALHOST);
        }
    }
}
