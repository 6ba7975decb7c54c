//! The log of an exporter, on standard error: lines for people, or JSON.

use std::io::Write;
use std::time::SystemTime;

use log::kv::{Error, Key, Value, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use serde_json::Map;
use tallies_names::Printable;

use super::args::{Format, Level};

/// Crates whose notes are about their own work.
const QUIET: [&str; 6] = ["h2", "hyper", "mio", "rustls", "tokio", "want"];

/// The target of records that are shown at the level `warning`, too, although they are no warnings.
pub(super) const NOTICE: &str = "tallies::notice";

struct Logger {
    level: LevelFilter,
    format: Format,
}

/// Installs the log. A program that has installed another logger keeps it.
pub(super) fn install(level: Level, format: Format) {
    let level = match level {
        Level::Critical | Level::Error => LevelFilter::Error,
        Level::Warning => LevelFilter::Warn,
        Level::Info => LevelFilter::Info,
        Level::Debug => LevelFilter::Debug,
    };
    if log::set_boxed_logger(Box::new(Logger { level, format })).is_ok() {
        // Notices are records of the level `info`.
        log::set_max_level(if level == LevelFilter::Warn {
            LevelFilter::Info
        } else {
            level
        });
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let origin = metadata.target().split("::").next().unwrap_or_default();
        let level = if QUIET.contains(&origin) {
            self.level.min(LevelFilter::Warn)
        } else {
            self.level
        };
        let is_notice = metadata.target() == NOTICE && level == LevelFilter::Warn;
        is_notice || metadata.level() <= level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let time = humantime::format_rfc3339_millis(SystemTime::now());
        let line = match self.format {
            Format::Plain => plain(record, &time.to_string()),
            Format::Json => json(record, &time.to_string()),
        };
        // One write, so that lines of several threads do not mix. A closed standard error is no
        // reason to fail.
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    fn flush(&self) {}
}

fn level(record: &Record<'_>) -> &'static str {
    match record.level() {
        log::Level::Error => "error",
        log::Level::Warn => "warning",
        log::Level::Info => "info",
        log::Level::Debug | log::Level::Trace => "debug",
    }
}

/// Collects the fields of a record.
struct Fields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let value = match (value.to_bool(), value.to_u64(), value.to_f64()) {
            (Some(flag), ..) => flag.into(),
            (None, Some(n), _) => n.into(),
            (None, None, Some(n)) => n.into(),
            (None, None, None) => value.to_string().into(),
        };
        self.0.insert(key.as_str().to_owned(), value);
        Ok(())
    }
}

fn fields(record: &Record<'_>, fields: Map<String, serde_json::Value>) -> Fields {
    let mut fields = Fields(fields);
    // Collecting fields does not fail.
    let _ = record.key_values().visit(&mut fields);
    fields
}

fn json(record: &Record<'_>, time: &str) -> String {
    let mut first = Map::new();
    first.insert("event".to_owned(), record.args().to_string().into());
    first.insert("level".to_owned(), level(record).into());
    first.insert("timestamp".to_owned(), time.into());
    let all = serde_json::Value::Object(fields(record, first).0);
    format!("{all}\n")
}

fn plain(record: &Record<'_>, time: &str) -> String {
    let event = record.args().to_string();
    let mut line = format!("{time} {:<7} {}", level(record), Printable(&event));
    for (name, value) in fields(record, Map::new()).0 {
        let value = match value {
            serde_json::Value::String(text) => {
                let is_word = !text.is_empty() && !text.contains([' ', '"', '=', '\\']);
                if is_word {
                    Printable(&text).to_string()
                } else {
                    let escaped = text.replace('\\', r"\\").replace('"', "\\\"");
                    format!("\"{}\"", Printable(&escaped))
                }
            }
            other => other.to_string(),
        };
        line.push_str(&format!(" {name}={value}"));
    }
    line.push('\n');
    line
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A path with a quote had the fields of its own choice.
    #[test]
    fn values_of_the_plain_log_end_where_they_end() {
        let values = [
            ("a", "word"),
            ("b", ""),
            ("c", "a\" status=200 \"b"),
            ("d", r"C:\new"),
            ("e", "two\nlines"),
        ];
        let record = Record::builder()
            .args(format_args!("request"))
            .key_values(&values)
            .build();
        let line = plain(&record, "now");
        let expected = r#"a=word b="" c="a\" status=200 \"b" d="C:\\new" e=two\nlines"#;
        assert!(line.ends_with(&format!("{expected}\n")), "{line}");
    }
}
