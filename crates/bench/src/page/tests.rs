//! Pages of real measurements, as text.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::Load;
use crate::compare::Compare;

/// A name that is markup wherever it is not escaped.
const NAME: &str = "</title><script>alert('&')</script><p title=\"";

fn loads() -> [LoadReport; 3] {
    // Each run has a registry of its own.
    let load = || Load::new().warm_up(Duration::ZERO);
    let fail = |request: crate::load::Request| match request.number() {
        7 => Err(NAME),
        _ => Ok(()),
    };
    let [closed, single] = [
        load().closed(2).stop_after(1000).run(fail),
        load().constant(5000.0).stop_after(1).run(fail),
    ]
    .map(Result::unwrap);
    [closed, single, LoadReport::empty()]
}

fn page() -> String {
    let compare = Compare::new().time(Duration::from_millis(100));
    let reports = [compare.clone(), compare.fail_above(0.02)];
    let reports = reports.map(|compare| compare.closures(NAME, || 1, || 2).unwrap());
    let [closed, single, empty] = loads();
    let page = Page::new(NAME).load(NAME, &closed).load("single", &single);
    let page = page.load("empty", &empty);
    page.comparisons(&reports).comparisons(&[]).to_html()
}

#[test]
fn names_are_text_and_the_page_loads_nothing() {
    let html = page();
    assert!(html.contains("&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"));
    for reference in [
        "<script", "<link", "<img", "http://", "https://", "src=", "href=", "@import", "url(",
    ] {
        assert!(!html.contains(reference), "{reference}");
    }
    // Each quote begins or ends an attribute.
    for tag in html.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
    }
}

#[test]
fn every_element_is_closed() {
    let html = page();
    for name in [
        "section",
        "figure",
        "figcaption",
        "ul",
        "li",
        "svg",
        "text",
        "div",
        "table",
        "tr",
        "td",
        "dl",
        "dd",
        "p",
        "h2",
        "title",
        "style",
    ] {
        let begins =
            [format!("<{name}>"), format!("<{name} ")].map(|tag| html.matches(&tag).count());
        let ends = html.matches(&format!("</{name}>")).count();
        assert_eq!(begins[0] + begins[1], ends, "{name}");
    }
}

#[test]
fn what_is_empty_or_one_value_is_drawn_without_nan() {
    let html = page();
    assert!(html.contains("no data"));
    for wrong in ["NaN", "inf ", "inf\"", "infL"] {
        assert!(!html.contains(wrong), "{wrong}");
    }
}

#[test]
fn a_page_names_the_machine() {
    let html = page();
    assert!(html.contains(&format!(
        "<dt>tallies-bench</dt><dd>{}</dd>",
        env!("CARGO_PKG_VERSION")
    )));
    assert!(html.contains("<dt>cores</dt>"));
}

/// A published package has no live page beside it.
#[test]
fn the_colors_are_those_of_the_live_page() {
    let live = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src/serve/live/style.css");
    if let Ok(live) = std::fs::read_to_string(live) {
        for color in STYLE.lines().filter(|line| line.contains("light-dark(")) {
            assert!(live.contains(color), "{color}");
        }
    }
}
