//! Folding: adds the totals of a writer that has ended to those of all ended writers.
//!
//! The client calculates, and a script commits: only if the writer has flushed nothing since, no
//! other writer has been folded since, and this one has not been folded. So any number of processes
//! may fold the same writer, and one of them does.

use redis::RedisResult;
use tallies::share::store::{self, Merger};
use tallies::snapshot::Family;

use super::connection::Connection;
use super::content::{Content, description_field, family_id, series_field};
use super::scripts::{FOLD, Keys};
use super::writer::random_name;
use super::{KEEP, REMEMBER, millis};

/// The most fields that are sent in one command.
const CHUNK: usize = 1000;

/// Folds a writer. `silence` is the time in milliseconds for which it has to have been silent;
/// `None` if this process folds itself. Returns `false` if somebody else has folded it, if it has
/// flushed since, and if that is to be tried later: other writers are folded all the time, or a
/// newer version of this crate wrote something that this one cannot read.
pub(super) async fn fold(
    connection: &mut Connection,
    keys: &Keys,
    writer: &str,
    silence: Option<u64>,
) -> RedisResult<bool> {
    for _ in 0..20 {
        if let Some(folded) = try_fold(connection, keys, writer, silence).await? {
            return Ok(folded);
        }
    }
    Ok(false)
}

/// Returns `None` if something changed in between.
async fn try_fold(
    connection: &mut Connection,
    keys: &Keys,
    writer: &str,
    silence: Option<u64>,
) -> RedisResult<Option<bool>> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGET").arg(keys.acc()).arg("#ver");
    pipeline.cmd("HGETALL").arg(keys.totals(writer));
    let (version, ended): (Option<String>, Content) = connection.pipeline(&pipeline, 10).await?;
    let version = version.as_deref().unwrap_or("0");
    let seq = ended.word("#seq").unwrap_or("-1");
    if ended.malformed > 0 {
        return Ok(Some(false));
    }

    // Only the series that the writer has are read and written.
    let mut all = Vec::new();
    let families = ended.families.iter();
    for family in families.filter(|family| !family.is_live_only()) {
        if !add_family(&mut all, connection, keys, family).await? {
            // Until a version comes that can: else its totals would expire.
            let mut keep = redis::cmd("PEXPIRE");
            keep.arg(keys.totals(writer)).arg(millis(KEEP));
            connection.command::<()>(&keep, 1).await?;
            return Ok(Some(false));
        }
    }
    // The random name tells several processes apart that fold one writer at the same time.
    let staged = keys.key(format_args!("f:{}", random_name()));
    for chunk in all.chunks(CHUNK) {
        let mut pipeline = redis::pipe();
        // Without its time to live, the key would stay.
        pipeline.atomic();
        pipeline.cmd("HSET").arg(&staged).arg(chunk);
        pipeline.cmd("PEXPIRE").arg(&staged).arg(60_000);
        connection.pipeline::<()>(&pipeline, 2).await?;
    }
    let mut script = FOLD.key((keys.of(writer), keys.folded(writer), &staged));
    let silence = silence.map_or(-1, |silence| silence as i64);
    script.arg((writer, version, seq, silence));
    script.arg((millis(REMEMBER), millis(KEEP), random_name(), all.len()));
    let status: String = connection.script(&script, 10).await?;
    Ok(match &*status {
        "OK" => Some(true),
        "ALREADY" | "ALIVE" => Some(false),
        _ => None,
    })
}

/// Adds to `fields`, the fields of `acc` that change, the series of a family of the ended writer.
/// Returns `false` if one that is in `acc` cannot be read: replacing it would lose its total.
async fn add_family(
    fields: &mut Vec<(Vec<u8>, Vec<u8>)>,
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
    fields.push((description_field(id), description));
    let mut merger = Merger::new();
    merger.ended([&before]).ended([ended]);
    // They have one shape, so nothing is left out.
    let folded = merger.fold(|_| {});
    for family in folded.families() {
        for i in 0..family.len() {
            let mut value = Vec::new();
            store::write_series(family, i, &mut value);
            fields.push((series_field(id, family.label_text(i)), value));
        }
    }
    Ok(true)
}
