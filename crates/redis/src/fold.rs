//! Folding: adds the totals of a writer that has ended to those of all ended writers.
//!
//! The client calculates, and a script commits: only if the writer has flushed nothing since, no
//! other writer has been folded since, and this one has not been folded. So any number of processes
//! may fold the same writer, and one of them does.

use redis::{RedisResult, Value as Reply};
use tallies::share::store::{self, Merger};
use tallies::snapshot::Family;

use super::connection::Connection;
use super::content::{Content, bytes, description_field, family_id, series_field};
use super::scripts::{FOLD, Keys};
use super::writer::random_name;

/// The most fields that are sent in one command.
const CHUNK: usize = 1000;

/// The result of an attempt to fold a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Folded {
    /// It is folded now.
    Yes,
    /// It was folded already.
    Already,
    /// It has flushed since.
    Alive,
    /// Not now: other writers are folded all the time, or a newer version of this crate wrote
    /// something that this one cannot read.
    Later,
}

/// Folds a writer. `silence` is the time in milliseconds for which it has to have been silent;
/// `None` if this process folds itself.
pub(super) async fn fold(
    connection: &mut Connection,
    keys: &Keys,
    writer: &str,
    silence: Option<u64>,
) -> RedisResult<Folded> {
    for _ in 0..20 {
        if let Some(folded) = try_fold(connection, keys, writer, silence).await? {
            return Ok(folded);
        }
    }
    Ok(Folded::Later)
}

/// Returns `None` if something changed in between.
async fn try_fold(
    connection: &mut Connection,
    keys: &Keys,
    writer: &str,
    silence: Option<u64>,
) -> RedisResult<Option<Folded>> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGET").arg(keys.acc()).arg("#ver");
    pipeline.cmd("HGETALL").arg(keys.totals(writer));
    let replies: Vec<Reply> = connection.pipeline(&pipeline, 10).await?;
    let [version, totals] = &replies[..] else {
        return Ok(None);
    };
    let version = bytes(version).map_or("0".into(), String::from_utf8_lossy);
    let ended = Content::read(totals);
    let seq = ended.word("#seq").unwrap_or("-1");
    if ended.malformed > 0 {
        return Ok(Some(Folded::Later));
    }

    // Only the series that the writer has are read and written.
    let mut fields = Fields::default();
    for family in ended
        .families
        .iter()
        .filter(|family| !family.is_live_only())
    {
        if !fields.add(connection, keys, family).await? {
            // Until a version comes that can: else its totals would expire.
            let mut keep = redis::cmd("PEXPIRE");
            keep.arg(keys.totals(writer))
                .arg(super::KEEP.as_millis() as u64);
            connection.command::<()>(&keep, 1).await?;
            return Ok(Some(Folded::Later));
        }
    }
    let all = fields.all;
    let is_staged = all.len() > CHUNK;
    let staged = keys.staged(&random_name());
    if is_staged {
        for chunk in all.chunks(CHUNK) {
            let mut pipeline = redis::pipe();
            let command = pipeline.cmd("HSET").arg(&staged);
            for (field, value) in chunk {
                command.arg(&field[..]).arg(&value[..]);
            }
            pipeline.cmd("PEXPIRE").arg(&staged).arg(60_000);
            connection.pipeline::<()>(&pipeline, 2).await?;
        }
    }
    let mut script = FOLD.key(keys.acc());
    script
        .key(keys.writers())
        .key(keys.slots())
        .key(keys.totals(writer))
        .key(keys.gauges(writer))
        .key(keys.folded(writer))
        .key(&staged)
        .arg(writer)
        .arg(&*version)
        .arg(seq)
        .arg(silence.map_or(-1, |silence| silence as i64))
        .arg(super::REMEMBER.as_millis() as u64)
        .arg(super::KEEP.as_millis() as u64)
        .arg(random_name())
        .arg(if is_staged { all.len() } else { 0 });
    if !is_staged {
        for (field, value) in &all {
            script.arg(&field[..]).arg(&value[..]);
        }
    }
    let status: String = connection.script(&script, 10).await?;
    Ok(match &*status {
        "OK" => Some(Folded::Yes),
        "ALREADY" => Some(Folded::Already),
        "ALIVE" => Some(Folded::Alive),
        _ => None,
    })
}

/// The fields of the folded totals that change.
#[derive(Default)]
struct Fields {
    all: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Fields {
    /// Adds the series of a family of the ended writer to those in `acc`. Returns `false` if one of
    /// these cannot be read: replacing it would lose its total.
    async fn add(
        &mut self,
        connection: &mut Connection,
        keys: &Keys,
        ended: &Family,
    ) -> RedisResult<bool> {
        let mut description = Vec::new();
        store::write_description(ended, &mut description);
        let id = family_id(&description);
        let Ok(mut before) = store::read_description(&description) else {
            return Ok(true);
        };
        let texts: Vec<_> = (0..ended.len()).map(|i| ended.label_text(i)).collect();
        for chunk in texts.chunks(CHUNK) {
            let mut command = redis::cmd("HMGET");
            command.arg(keys.acc());
            for text in chunk {
                command.arg(series_field(id, text));
            }
            let values: Vec<Option<Vec<u8>>> = connection.command(&command, 2).await?;
            for (text, value) in chunk.iter().zip(values) {
                let Some(value) = value else { continue };
                if store::read_series(&mut before, text, &value).is_err() {
                    return Ok(false);
                }
            }
        }
        self.all.push((description_field(id), description));
        let mut merger = Merger::new();
        merger.ended([&before]).ended([ended]);
        // They have one shape, so nothing is left out.
        let folded = merger.fold(|_| {});
        for family in folded.families() {
            for i in 0..family.len() {
                let mut value = Vec::new();
                store::write_series(family, i, &mut value);
                self.all
                    .push((series_field(id, family.label_text(i)), value));
            }
        }
        Ok(true)
    }
}
