//! Asks a real Prometheus about the pages of `support/scraped.rs`: whether it scrapes each of them,
//! how many samples it finds, and whether a snapshot has the values that it stores. Each Prometheus
//! of this machine is asked: the one of the system, and the one in `target/servers`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tallies::snapshot::Snapshot;
use tallies_check::{read_as_scraped, read_open_metrics, read_text};

#[path = "../support/scraped.rs"]
mod scraped;
#[path = "../support/mod.rs"]
mod support;

use scraped::{PAGES, Page, Verdict, serve};
use support::{Running, eventually, free_port, http};

fn get(prometheus: &str, path: &str) -> Value {
    let answer = http::get(prometheus, path, &[]);
    let body = answer.text();
    let body: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {path}: {body}"));
    body["data"].clone()
}

fn query(prometheus: &str, query: &str) -> Vec<Value> {
    let encoded: String = query.bytes().map(|b| format!("%{b:02X}")).collect();
    let data = get(prometheus, &format!("/api/v1/query?query={encoded}"));
    data["result"].as_array().unwrap().clone()
}

/// Returns how many series that Prometheus has of a page a snapshot lacks, or has with another
/// value.
fn differing(stored: &[Value], read: &Snapshot) -> usize {
    let differs = |series: &&Value| {
        let metric = series["metric"].as_object().unwrap();
        let name = metric["__name__"].as_str().unwrap();
        let labels = metric
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
        let own = |(name, _): &(&str, &str)| !["__name__", "job", "instance"].contains(name);
        let labels: Vec<_> = labels.filter(own).collect();
        // Prometheus 2 keeps bounds as they are on the page.
        let canonical = |(name, value): &(_, &str)| match value.parse::<f64>() {
            Ok(number) if number.is_finite() => (*name, format!("{number:?}")),
            Ok(number) if number > 0.0 => (*name, "+Inf".to_owned()),
            _ => (*name, value.to_string()),
        };
        let canonical: Vec<_> = labels.iter().map(canonical).collect();
        let canonical: Vec<_> = canonical
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let stored: f64 = series["value"][1].as_str().unwrap().parse().unwrap();
        let ours = read
            .get(name, &labels)
            .or_else(|| read.get(name, &canonical));
        ours.is_none_or(|ours| ours != stored && !(ours.is_nan() && stored.is_nan()))
    };
    stored.iter().filter(differs).count()
}

/// Asks one Prometheus about all pages, and returns how many samples it scrapes from each.
fn ask(program: &Path, major: u32, pages: &str) -> Vec<Option<u32>> {
    let name = format!("tallies-scraped-{}-{major}", std::process::id());
    let dir = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let mut config =
        "global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs:\n".to_owned();
    for i in 0..PAGES.len() {
        config += &format!(
            "- job_name: 'p{i}'\n  metrics_path: /{i}\n  static_configs: [{{targets: ['{pages}']}}]\n"
        );
    }
    let file = dir.join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let prometheus = format!("127.0.0.1:{}", free_port());
    let child = Command::new(program)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("data").display()
        ))
        .arg(format!("--web.listen-address={prometheus}"))
        .stderr(std::fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .expect("prometheus: tests/run.sh installs it");
    let _running = Running(child);
    let ready =
        || http::try_get(&*prometheus, "/-/ready").is_ok_and(|answer| answer.status() == 200);
    eventually("Prometheus is ready", ready);
    let mut health = BTreeMap::new();
    eventually("all pages were scraped", || {
        let targets = get(&prometheus, "/api/v1/targets");
        for target in targets["activeTargets"].as_array().unwrap() {
            let job = target["labels"]["job"].as_str().unwrap().to_owned();
            health.insert(job, target["health"].as_str().unwrap().to_owned());
        }
        let up = query(&prometheus, "up").len();
        up == PAGES.len() && health.values().all(|health| health != "unknown")
    });
    let mut counts = BTreeMap::new();
    for series in query(&prometheus, "scrape_samples_scraped") {
        let job = series["metric"]["job"].as_str().unwrap().to_owned();
        counts.insert(job, series["value"][1].as_str().unwrap().parse().unwrap());
    }
    let mut stored: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for series in query(&prometheus, "{job!=\"\",__name__!~\"scrape_.*|up\"}") {
        let job = series["metric"]["job"].as_str().unwrap().to_owned();
        stored.entry(job).or_default().push(series);
    }
    let mut wrong = Vec::new();
    for (i, page) in PAGES.iter().enumerate() {
        let stored = stored.get(&format!("p{i}")).map_or(&[][..], Vec::as_slice);
        let Ok(read) = read_as_scraped(page.body, Some(page.content_type)) else {
            continue;
        };
        let differs = differing(stored, read.snapshot());
        if differs > page.differs || (major > 2 && differs < page.differs) {
            wrong.push(format!(
                "{:?}: {differs} of {} differ",
                page.name,
                stored.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    std::fs::remove_dir_all(&dir).unwrap();
    let of = |i: usize| {
        let job = format!("p{i}");
        (health[&job] == "up").then(|| counts[&job])
    };
    (0..PAGES.len()).map(of).collect()
}

/// Returns the major version.
fn version(program: &Path) -> Option<u32> {
    let run = Command::new(program).arg("--version").output().ok()?;
    let said = String::from_utf8([run.stdout, run.stderr].concat()).unwrap();
    println!("{}", said.lines().next().unwrap_or_default());
    let version = said.split("version ").nth(1)?;
    version.split('.').next()?.parse().ok()
}

fn strict(page: &Page) -> Result<Snapshot, tallies::Error> {
    match page.content_type.contains("openmetrics") {
        true => read_open_metrics(page.body),
        false => read_text(page.body),
    }
}

#[test]
fn prometheus_takes_and_refuses_the_pages_that_the_table_says() {
    let pages = serve();
    let ours =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/servers/usr/bin/prometheus");
    let mut asked = 0;
    for program in [PathBuf::from("prometheus"), ours] {
        let Some(major) = version(&program) else {
            continue;
        };
        asked += 1;
        let mut wrong = Vec::new();
        println!("| page | Prometheus {major} | strict reader | remarks of `top` and `lint` |");
        println!("|---|---|---|---|");
        for (page, said) in PAGES.iter().zip(ask(&program, major, &pages)) {
            let expected = match page.prometheus {
                Verdict::Taken(samples) => Some(samples),
                Verdict::TakenBy3(samples) => Some(samples).filter(|_| major > 2),
                Verdict::TakenBy2(samples) => Some(samples).filter(|_| major == 2),
                Verdict::Refused => None,
            };
            if said != expected {
                wrong.push(format!("{:?}: {said:?}, not {expected:?}", page.name));
            }
            let said = said.map_or("refused".to_owned(), |samples| format!("{samples} samples"));
            let strict = if strict(page).is_ok() {
                "reads"
            } else {
                "error"
            };
            println!(
                "| {} | {said} | {strict} | {} |",
                page.name,
                page.remarks.join("; ")
            );
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
    assert!(asked > 0, "tests/run.sh installs Prometheus");
}
