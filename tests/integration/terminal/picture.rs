//! The picture of the terminal in `docs/images`. `ACCEPT=1` in the environment writes it.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tallies::{Counter, Gauge, Histogram, Registry, Summary, collect::Collected, serve::Server};

use crate::screen::Terminal;
use crate::support::eventually;

const WIDTH: f64 = 8.4;
const HEIGHT: f64 = 17.0;

/// The sixteen colors of the terminal in the picture.
const PALETTE: [&str; 16] = [
    "#1d1f26", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#abb2bf",
    "#5c6370", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#ffffff",
];
const GROUND: &str = "#1d1f26";
const TEXT: &str = "#d7dae0";

fn color(color: vt100::Color, otherwise: &str) -> String {
    match color {
        vt100::Color::Default => otherwise.to_owned(),
        vt100::Color::Rgb(r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        vt100::Color::Idx(i @ 0..16) => PALETTE[usize::from(i)].to_owned(),
        vt100::Color::Idx(i @ 232..) => format!("#{0:02x}{0:02x}{0:02x}", 8 + (i - 232) * 10),
        vt100::Color::Idx(i) => {
            let level = |part: u8| if part == 0 { 0 } else { 55 + part * 40 };
            let i = i - 16;
            let [r, g, b] = [i / 36, i / 6 % 6, i % 6].map(level);
            format!("#{r:02x}{g:02x}{b:02x}")
        }
    }
}

/// How a cell is drawn. Neighbours that are drawn alike are drawn together.
#[derive(PartialEq)]
enum Look {
    Nothing,
    /// A bar of so many eighths, in a color.
    Bar(u32, String),
    /// A text in a color, dim or bold.
    Text(String, bool, bool),
}

fn look(cell: &vt100::Cell) -> Look {
    let ink = if cell.inverse() {
        GROUND.to_owned()
    } else {
        color(cell.fgcolor(), TEXT)
    };
    match cell.contents().chars().next() {
        Some(c @ '▁'..='█') => Look::Bar(c as u32 - '▁' as u32 + 1, ink),
        None | Some(' ') => Look::Nothing,
        Some(_) => Look::Text(ink, cell.dim(), cell.bold()),
    }
}

/// Returns the screen as an SVG. Bars are rectangles, so that they join in every font.
fn svg(screen: &vt100::Screen) -> String {
    let (rows, cols) = screen.size();
    let (rows, cols) = (rows.get(), cols.get());
    let (width, height) = (
        f64::from(cols) * WIDTH + 24.0,
        f64::from(rows) * HEIGHT + 24.0,
    );
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" font-size=\"14\" \
         shape-rendering=\"crispEdges\">\n<title>tallies top</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{GROUND}\"/>\n"
    );
    for row in 0..rows {
        let cells: Vec<_> = (0..cols)
            .map(|col| screen.cell(row, col).unwrap())
            .collect();
        let y = f64::from(row) * HEIGHT + 12.0;
        let mut col = 0;
        for run in cells.chunk_by(|a, b| look(a) == look(b) && a.inverse() == b.inverse()) {
            let (x, wide) = (col as f64 * WIDTH + 12.0, run.len() as f64 * WIDTH);
            col += run.len();
            let rect = |y: f64, tall: f64, fill: &str| {
                format!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\" \
                     fill=\"{fill}\"/>\n"
                )
            };
            if run[0].inverse() {
                svg += &rect(y, HEIGHT, TEXT);
            }
            match look(run[0]) {
                Look::Nothing => {}
                Look::Bar(eighths, ink) => {
                    let tall = HEIGHT * f64::from(eighths) / 8.0;
                    svg += &rect(y + HEIGHT - tall, tall, &ink);
                }
                Look::Text(ink, dim, bold) => {
                    let text: String = run.iter().map(|cell| cell.contents()).collect();
                    let text = text.replace('&', "&amp;").replace('<', "&lt;");
                    let dim = if dim { " opacity=\".6\"" } else { "" };
                    let bold = if bold { " font-weight=\"bold\"" } else { "" };
                    writeln!(
                        svg,
                        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{wide:.1}\" \
                         fill=\"{ink}\"{dim}{bold}>{text}</text>",
                        y + 13.0
                    )
                    .unwrap();
                }
            }
        }
    }
    svg + "</svg>\n"
}

/// A shop with some traffic. The numbers are made up, but they are the same in every run.
fn shop(registry: &Registry) -> impl FnMut(u32) + use<> {
    let requests = Counter::builder("http_requests_total", "Requests by route and status.");
    let requests = requests
        .labels(["route", "status"])
        .register(registry)
        .unwrap();
    let latency = Histogram::builder("http_request_seconds", "Time to answer a request.");
    let bounds = tallies::buckets::exponential(0.001, 2.0, 14).unwrap();
    let latency = latency
        .buckets(&bounds)
        .labels(["route"])
        .register(registry)
        .unwrap();
    let queries = Summary::builder("db_query_seconds", "Time of a query.");
    let queries = queries.register(registry).unwrap();
    let sent = Counter::builder("http_sent_bytes_total", "Bytes sent.").unit("bytes");
    let sent = sent.register(registry).unwrap();
    let pool = Gauge::builder("db_pool_connections", "Connections by state.");
    let pool = pool.labels(["state"]).register(registry).unwrap();
    let memory = registry
        .gauge("resident_memory_bytes", "Resident memory.")
        .unwrap();
    let orders = registry.counter("orders_total", "Orders placed.").unwrap();
    let mut state = 1_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1_u64 << 24) as f64
    };
    move |tick| {
        let wave = (f64::from(tick) / 9.0).sin() * 0.5 + 0.6;
        for (route, share, middle) in [
            ("/", 60.0, 0.004),
            ("/cart", 25.0, 0.03),
            ("/search", 12.0, 0.2),
        ] {
            for _ in 0..(share * wave * (0.8 + 0.4 * random())) as u32 {
                let spread = (random() + random() + random() - 1.5) * 1.6;
                let slow = if tick % 30 > 22 { 3.0 } else { 1.0 };
                latency.with([route]).observe(middle * slow * spread.exp());
                let status = if random() < 0.02 { "500" } else { "200" };
                requests.with([route, status]).inc();
                queries.observe(0.002 + random() * random() * 0.05);
                sent.add((random() * 40_000.0) as u64);
            }
        }
        orders.add((3.0 * wave * random()) as u64);
        pool.with(["busy"]).set((10.0 * wave).round());
        pool.with(["idle"]).set(20.0 - (10.0 * wave).round());
        memory.set(180e6 + f64::from(tick) * 3e5 - f64::from(tick % 20) * 2e6);
    }
}

/// The picture shows what a user sees after a while: a heat map, and the rates of counters.
#[test]
fn the_picture_of_a_busy_terminal() {
    let registry = Registry::new();
    let mut tick = shop(&registry);
    let scrapes = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&scrapes);
    let count = move |_: &mut Collected| Ok(_ = count.fetch_add(1, Relaxed));
    registry.add_collector("scrapes", count).unwrap();
    let serving = Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    let url = serving.metrics_url();
    let mut terminal = Terminal::top(34, 116, &[&url]);
    terminal.eventually("the page", |text| text.contains("orders_total"));
    let accept = std::env::var_os("ACCEPT").is_some();
    // The rates are those of the traffic, and the picture has a column for each page.
    for i in 0..if accept { 80 } else { 10 } {
        let before = scrapes.load(Relaxed);
        tick(i);
        eventually("a page", || scrapes.load(Relaxed) > before);
    }
    terminal.keys("j\x1b[B\x1b[C");
    let text = terminal.eventually("a heat map", |text| {
        text.contains("≤") && text.contains('█')
    });
    assert!(text.contains("http_request_seconds"), "{text}");
    let svg = svg(&terminal.screen());
    assert!(svg.matches("<rect").count() > 20);
    if accept {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/images/top.svg");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, svg).unwrap();
    }
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
}
