//! Four worker processes behind one port, and one page for all of them.
//!
//!     cargo run --release --example workers
//!
//! The program starts four copies of itself. Each of them serves an application and `/metrics` on
//! the same port, and counts in a file of its own in a shared directory. Whichever worker answers a
//! scrape, the page has the totals of all. Every few seconds the program kills a worker with
//! SIGKILL and starts another one. The total never drops, and it includes every request that was
//! answered.
//!
//! Ctrl-C ends the program; `--rounds 3` ends it after three kills.

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    workers::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("Mapped files need Linux.");
}

#[cfg(target_os = "linux")]
mod workers {
    use std::error::Error;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::{Duration, Instant};

    use axum::Router;
    use axum::extract::Request;
    use axum::response::Response;
    use axum::routing::{any, get};
    use clap::Parser;
    use socket2::{Domain, Socket, Type};
    use tallies::{Counter, Histogram, serve::MetricsService};

    /// Requests answered.
    #[tallies::metric]
    static REQUESTS: Counter = Counter::new("requests_total");

    /// Time to answer.
    #[tallies::metric]
    static LATENCY: Histogram = Histogram::new("request_seconds");

    /// Requests that the traffic below got an answer to.
    static ANSWERED: AtomicU64 = AtomicU64::new(0);

    const WORKERS: usize = 4;

    /// Four worker processes behind one port, and one page for all of them.
    #[derive(Parser)]
    struct Options {
        /// Address that the workers listen on.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Directory of the mapped files. It should be on a tmpfs.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Number of kills after which the program ends.
        #[arg(long)]
        rounds: Option<u32>,
        /// The number of this worker. The program sets it for its copies.
        #[arg(long, hide = true)]
        worker: Option<usize>,
    }

    pub(super) fn main() -> Result<(), Box<dyn Error>> {
        let options = Options::parse();
        let directory = match &options.dir {
            Some(directory) => directory.clone(),
            None => PathBuf::from(format!("/dev/shm/tallies-workers-{}", std::process::id())),
        };
        match options.worker {
            Some(number) => work(number, options.listen, &directory),
            None => supervise(&options, &directory),
        }
    }

    /// Opens a socket that shares its port with the sockets of the other workers.
    fn socket(address: SocketAddr) -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        Ok(socket)
    }

    async fn hello() -> &'static str {
        let timer = LATENCY.start_timer();
        REQUESTS.inc();
        drop(timer);
        "hello\n"
    }

    /// A worker: an application with a page of metrics.
    #[tokio::main(flavor = "current_thread")]
    async fn work(
        number: usize,
        address: SocketAddr,
        directory: &Path,
    ) -> Result<(), Box<dyn Error>> {
        // From here on, this process counts in a mapped file. The page has the totals of every
        // process that uses the directory.
        let shared = tallies::share::dir(directory)?;
        let metrics = MetricsService::of([&shared]);
        let metrics = any(move |request: Request| metrics.answer(&request));
        let app = Router::new()
            .route("/", get(hello))
            .route("/metrics", metrics)
            .layer(axum::middleware::map_response(
                move |mut response: Response| async move {
                    response.headers_mut().insert("x-worker", number.into());
                    response
                },
            ));
        let socket = socket(address)?;
        socket.listen(1024)?;
        axum::serve(tokio::net::TcpListener::from_std(socket.into())?, app).await?;
        Ok(())
    }

    /// Starts the workers, sends them requests, scrapes them, and kills one from time to time.
    fn supervise(options: &Options, directory: &Path) -> Result<(), Box<dyn Error>> {
        // Never listens: it only reserves the port.
        let reserved = socket(options.listen)?;
        let address = reserved
            .local_addr()?
            .as_socket()
            .ok_or("not an address of TCP")?;
        let start = |number: usize| {
            Command::new(std::env::current_exe()?)
                .arg(format!("--listen={address}"))
                .arg(format!("--worker={number}"))
                .arg("--dir")
                .arg(directory)
                .spawn()
        };
        let mut workers = Workers(Vec::new());
        for number in 0..WORKERS {
            workers.0.push(start(number)?);
        }
        println!("{WORKERS} workers answer on http://{address}/");
        println!("Any of them serves the page: curl http://{address}/metrics");
        std::thread::spawn(move || traffic(address));
        let (begin, mut total, mut rounds) = (Instant::now(), 0, 0);
        for tick in 1.. {
            std::thread::sleep(Duration::from_millis(500));
            // Every request that was answered has been counted, so the page has it.
            let answered = ANSWERED.load(Ordering::Relaxed);
            if let Some(page) = request(address, "/metrics") {
                let now = value(&page, "requests_total ").unwrap_or(0);
                let live = value(&page, "tallies_share_writers ").unwrap_or(0);
                let worker = page
                    .lines()
                    .find_map(|line| line.strip_prefix("x-worker: "));
                println!(
                    "{:5.1} s  worker {} says: {live} workers, {now} requests ({answered} answered before)",
                    begin.elapsed().as_secs_f64(),
                    worker.unwrap_or("?"),
                );
                if now < total.max(answered) {
                    return Err(format!("the total went from {total} to {now}").into());
                }
                total = now;
            }
            if tick % 6 == 4 {
                let number = rounds as usize % WORKERS;
                let worker = &mut workers.0[number];
                worker.kill()?;
                worker.wait()?;
                println!(
                    "         Worker {number} (process {}) was killed with SIGKILL",
                    worker.id()
                );
                rounds += 1;
            }
            if tick % 6 == 0 {
                let number = (rounds - 1) as usize % WORKERS;
                workers.0[number] = start(number)?;
                println!(
                    "         Worker {number} is process {} now",
                    workers.0[number].id()
                );
                if options.rounds.is_some_and(|wanted| rounds >= wanted) {
                    break;
                }
            }
        }
        println!("The total never dropped, and has every request that was answered.");
        drop(workers);
        if options.dir.is_none() {
            std::fs::remove_dir_all(directory)?;
        }
        Ok(())
    }

    /// The worker processes. They end with this program.
    struct Workers(Vec<Child>);

    impl Drop for Workers {
        fn drop(&mut self) {
            for worker in &mut self.0 {
                let _ = worker.kill();
                let _ = worker.wait();
            }
        }
    }

    /// Sends some hundred requests a second.
    fn traffic(address: SocketAddr) {
        loop {
            // A request to a worker that is killed has no answer.
            if request(address, "/").is_some_and(|answer| answer.ends_with("hello\n")) {
                ANSWERED.fetch_add(1, Ordering::Relaxed);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Returns the answer to a GET request, if there is a complete one.
    fn request(address: SocketAddr, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    }

    /// Returns the value of the sample that begins with `sample`.
    fn value(page: &str, sample: &str) -> Option<u64> {
        let mut lines = page.lines();
        lines.find_map(|line| line.strip_prefix(sample)?.parse().ok())
    }
}
