//! Watches Prometheus endpoints in the terminal: rates, values, distributions.
//!
//!     tallies top http://127.0.0.1:9464/metrics
//!     tallies top localhost:9464 https://user:password@example.com/metrics
//!
//! `?` shows the keys.

mod app;
mod chart;
mod details;
mod endpoint;
mod history;
mod number;
mod view;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use clap::Args;
use crossterm::event::{self, Event, KeyEventKind};
use ratatui::DefaultTerminal;

use app::App;
use endpoint::{Endpoint, Report};

use crate::fetch::{Access, Client, seconds};

/// The screen is drawn again after so long, because it shows times.
const TICK: Duration = Duration::from_millis(500);

/// Watches Prometheus endpoints in the terminal.
#[derive(Args)]
pub struct TopOptions {
    /// URLs, http or https, with user:password@ if needed. HOST:PORT is short for
    /// http://HOST:PORT/metrics.
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Ask every so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    #[command(flatten)]
    access: Access,
    /// Search for this at the start.
    #[arg(long, value_name = "WORDS", default_value = "")]
    search: String,
}

/// Shows the endpoints until the user ends it.
pub fn run(options: TopOptions) -> Result<ExitCode, String> {
    let client = |url: &String| options.access.client(url, Duration::from_secs(5));
    let clients = options.urls.iter().map(client);
    let clients: Vec<Client> = clients.collect::<Result<_, _>>()?;
    if !std::io::stdout().is_terminal() {
        return Err("standard output has to be a terminal".to_owned());
    }
    let endpoints = clients.iter().map(Endpoint::of).collect();
    let reports = endpoint::start(clients, options.interval);
    let mut app = App {
        endpoints,
        interval: options.interval,
        search: options.search,
        details: true,
        ..App::default()
    };
    let ended = ratatui::try_init().and_then(|terminal| {
        let ended = show(terminal, &mut app, &reports);
        ratatui::try_restore()?;
        ended
    });
    let code = ended.map(|()| ExitCode::SUCCESS);
    Ok(code.unwrap_or_else(|error| crate::fail("top", 1, &error.to_string())))
}

/// Shows the reports until a key or a signal ends it.
fn show(
    mut terminal: DefaultTerminal,
    app: &mut App,
    reports: &Receiver<(usize, Report)>,
) -> std::io::Result<()> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    // https://no-color.org
    let color = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut drawn = Instant::now();
    let mut changed = true;
    while !app.quit && !ended.load(Ordering::Relaxed) {
        if changed || drawn.elapsed() >= TICK {
            terminal.draw(|frame| view::draw(app, color, frame))?;
            drawn = Instant::now();
        }
        changed = false;
        // A report waits for the next key or a twentieth of a second.
        if event::poll(Duration::from_millis(50))? {
            match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => app.key(key),
                _ => {}
            }
            changed = true;
        }
        while let Ok((i, report)) = reports.try_recv() {
            app.endpoints[i].apply(report, app.paused);
            changed = true;
        }
    }
    Ok(())
}
