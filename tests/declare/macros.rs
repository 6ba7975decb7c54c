//! The macros when the crate has another name, and their defaults.

use tallies::{
    Counter, Gauge, Histogram, LabelValue, Labels, Metrics, Registry, StateSet, register_all,
};

/// A crate that re-exports tallies under another name.
mod reexport {
    pub use tallies as t;
}

/// A crate that depends on tallies only through another crate.
mod through_another {
    use super::reexport;

    /// A module with the crate's name, which is not the crate.
    #[allow(dead_code, reason = "it stands in the way")]
    mod tallies {}

    #[derive(reexport::t::LabelValue, Clone, Copy)]
    #[label(crate = reexport::t)]
    pub enum Method {
        Get,
        #[label("POST")]
        Post,
    }

    #[derive(reexport::t::Labels)]
    #[label(crate = reexport::t)]
    pub struct Closed {
        pub method: Method,
        #[label("good")]
        pub ok: bool,
    }

    #[derive(reexport::t::Labels)]
    #[label(crate = super::reexport::t)]
    pub struct Open<'a> {
        pub route: &'a str,
    }

    #[derive(reexport::t::Metrics)]
    #[metric(crate = reexport::t)]
    pub struct Of {
        pub through_a_struct_total: reexport::t::Counter<Open<'static>>,
    }

    /// Calls.
    #[reexport::t::metric(crate = reexport::t)]
    pub static CALLS: reexport::t::Counter<Closed> =
        reexport::t::Counter::new("through_another_total");
}

#[test]
fn the_crate_may_have_another_name() {
    use through_another::{Closed, Method, Of, Open};

    let now = tallies::snapshot();
    let family = now.family("through_another_total").unwrap();
    assert_eq!((family.help(), family.len()), ("Calls.", 4));
    through_another::CALLS
        .with(Closed {
            method: Method::Post,
            ok: true,
        })
        .inc();
    let labels = [("method", "POST"), ("good", "true")];
    assert_eq!(
        tallies::snapshot().get("through_another_total", &labels),
        Some(1.0)
    );
    let _ = Method::Get;

    let registry = Registry::new();
    let of = Of::register(&registry).unwrap();
    of.through_a_struct_total.with(Open { route: "/" }).inc();
    let now = registry.snapshot();
    assert_eq!(
        now.get("through_a_struct_total", &[("route", "/")]),
        Some(1.0)
    );
}

#[test]
fn a_metric_has_the_name_of_its_field() {
    #[derive(Metrics)]
    struct Of {
        /// What it is.
        things_total: Counter,
        /// Raw.
        r#type: Counter,
        #[metric(unit = "seconds", buckets = [1.0])]
        took_seconds: Histogram,
        #[metric(name = "others_total")]
        others: Counter,
    }

    let registry = Registry::new();
    let of = Of::register(&registry).unwrap();
    of.things_total.inc();
    of.r#type.add(2);
    of.took_seconds.observe(0.5);
    of.others.add(3);
    let now = registry.snapshot();
    let value = |name| now.get(name, &[]);
    assert_eq!(
        ["things_total", "type", "others_total", "others"].map(value),
        [Some(1.0), Some(2.0), Some(3.0), None]
    );
    let help = |name| now.family(name).unwrap().help().to_owned();
    assert_eq!(help("things_total"), "What it is.");
    let took = now.family("took_seconds").unwrap();
    assert_eq!((took.unit(), took.help()), ("seconds", ""));
}

#[test]
fn an_invalid_field_name_is_an_error() {
    #[derive(Metrics, Debug)]
    struct Of {
        #[allow(dead_code, reason = "it is never made")]
        größe: Counter,
    }

    let error = Of::register(&Registry::new()).unwrap_err().to_string();
    assert!(error.contains("`größe`"), "{error}");
}

/// Without the attribute, as without the feature `link-time`.
#[test]
fn statics_are_exported_once_they_are_used() {
    let _alone = crate::REFUSALS.lock();
    #[derive(LabelValue, Clone, Copy)]
    enum State {
        Up,
        #[allow(dead_code, reason = "exported all the same")]
        Down,
    }
    #[derive(Labels)]
    struct Closed {
        state: State,
    }
    mod deep {
        pub(super) static CALLS: super::Counter = super::Counter::new("register_all_calls_total");
        pub(super) static TAKEN: super::Gauge = super::Gauge::new("register_all_calls_total");
    }
    static TIME: Histogram<Closed> = Histogram::new("register_all_seconds");
    static OPEN: Counter<[&str; 1]> = Counter::labelled("register_all_total", &["of"]);
    static STATE: StateSet<State> = StateSet::new("register_all_state");

    let families = || -> Vec<(String, usize)> {
        let now = tallies::snapshot();
        now.families()
            .filter(|family| family.name().starts_with("register_all"))
            .map(|family| (family.name().to_owned(), family.len()))
            .collect()
    };
    let refused = || {
        let now = tallies::snapshot();
        now.get("tallies_rejected_families_total", &[]).unwrap()
    };
    assert_eq!(families(), []);
    let before = refused();
    register_all!();
    register_all!(deep::CALLS, TIME, OPEN, STATE);
    TIME.with(Closed { state: State::Up }).observe(1.0);
    register_all!(TIME, deep::CALLS,);
    let all = [
        ("register_all_calls_total", 1),
        ("register_all_seconds", 2),
        ("register_all_state", 2),
        ("register_all_total", 0),
    ];
    assert_eq!(families(), all.map(|(name, len)| (name.to_owned(), len)));
    assert_eq!(
        TIME.find(Closed { state: State::Up })
            .map(|series| series.get())
            .unwrap()
            .count(),
        1
    );
    assert_eq!(refused(), before);
    register_all!(deep::TAKEN);
    register_all!(deep::TAKEN);
    assert_eq!(refused(), before + 1.0);
}

#[test]
fn addresses_are_label_values() {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use tallies::label::Scratch;

    fn text(value: impl LabelValue) -> String {
        value.text(&mut Scratch::default()).to_owned()
    }
    assert_eq!(text(Ipv4Addr::LOCALHOST), "127.0.0.1");
    assert_eq!(
        text(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        "2001:db8::1"
    );
    assert_eq!(text(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), "::");
    assert_eq!(
        text(Some(&IpAddr::V4(Ipv4Addr::BROADCAST))),
        "255.255.255.255"
    );
}
