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
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use app::App;
use endpoint::{Endpoint, Report};

use crate::fetch::{Client, Target};
use crate::printable::Printable;

/// Watches Prometheus endpoints in the terminal.
#[derive(Args)]
pub struct Options {
    /// URLs, http or https, with user:password@ if needed. HOST:PORT is short for
    /// http://HOST:PORT/metrics.
    #[arg(required = true, value_name = "URL")]
    urls: Vec<String>,
    /// Ask every so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Give up waiting for a page after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    timeout: Duration,
    /// Trust the certificates in this PEM file instead of the public ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Search for this at the start.
    #[arg(long, value_name = "WORDS", default_value = "")]
    search: String,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("`{text}`: {e}"))?;
    match seconds {
        0.05..=3600.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it has to be from 0.05 to 3600".to_owned()),
    }
}

/// Shows the endpoints until the user ends it.
pub fn run(options: Options) -> ExitCode {
    let clients = match clients(&options) {
        Ok(clients) => clients,
        Err(error) => {
            eprintln!("tallies top: {}", Printable(&error));
            return ExitCode::from(2);
        }
    };
    if !std::io::stdout().is_terminal() {
        eprintln!("tallies top: standard output has to be a terminal");
        return ExitCode::from(2);
    }
    let (endpoints, clients) = clients.into_iter().unzip();
    let reports = endpoint::start(clients, options.interval);
    let mut app = App::new(endpoints, options.interval);
    app.search = options.search;
    match ratatui::try_init().and_then(|terminal| {
        let ended = show(terminal, &mut app, &reports);
        ratatui::try_restore()?;
        ended
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tallies top: {error}");
            ExitCode::from(1)
        }
    }
}

fn clients(options: &Options) -> Result<Vec<(Endpoint, Client)>, String> {
    let client = |url: &String| {
        let target = Target::parse(url)?;
        let endpoint = Endpoint::new(&target);
        let client = Client::new(target, options.timeout, options.ca.as_deref())?;
        Ok((endpoint, client))
    };
    options.urls.iter().map(client).collect()
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
        if changed || view::next_tick(drawn).is_zero() {
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
            app.apply(i, report);
            changed = true;
        }
    }
    Ok(())
}
