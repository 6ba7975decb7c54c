//! The live page in a real Chromium: what it shows is what the snapshots hold, and nothing that
//! comes from outside does anything.

mod chromium;
mod figures;
mod hostile;
mod many;
mod pictures;
mod remembered;
mod shown;
#[path = "../../support/mod.rs"]
mod support;
mod tabs;
mod use_;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tallies::serve::Serving;
use tallies::snapshot::{Snapshot, Source};
use tallies::{Registry, serve::Server};

use chromium::{Browser, browse};
use support::eventually;

/// A registry that counts the snapshots of it.
#[derive(Clone)]
struct Counted {
    registry: Registry,
    snapshots: Arc<AtomicUsize>,
}

impl Counted {
    fn of(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            snapshots: Arc::default(),
        }
    }

    fn snapshots(&self) -> usize {
        self.snapshots.load(Relaxed)
    }
}

impl Source for Counted {
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        self.snapshots.fetch_add(1, Relaxed);
        self.registry.snapshot_into(snapshot);
    }
}

fn serve(registry: &(impl Source + Clone + 'static)) -> Serving {
    let server = Server::new().registry(registry).live();
    server.listen("127.0.0.1:0").unwrap()
}

fn url(serving: &Serving) -> String {
    format!("{}live", serving.root_url())
}

/// An expression for an element of the card of a family.
fn card(family: &str, selector: &str) -> String {
    format!("document.querySelector('[data-family=\"{family}\"] {selector}')")
}

/// Opens the page and waits until it is live.
async fn watch(browser: &Browser, serving: &Serving) {
    browser.open(&url(serving)).await;
    browser.eventually("document.body.dataset.state", "live");
}
