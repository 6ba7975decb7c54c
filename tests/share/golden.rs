//! A file of format 3 and its page: later versions have to read it, or have to change the version.
//!
//! `ACCEPT=1` writes both anew.

use std::fmt::Write;

use crate::child::Role;
use crate::directory::TestDirectory;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/share/format-3.words"
);
const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/golden/share/format-3.txt"
);
const NAME: &str = "golden";

/// The length of an extent, and the offsets of the boot id and of the id of the writer.
const EXTENT: usize = 256 << 10;
const BOOT: usize = 24;
const ID: usize = 64;

/// The actions of the process whose file it is.
const PROGRAM: &[&str] = &[
    "count plain_total 2000",
    "thread count plain_total 3",
    "float seconds_total 0.25",
    "labelled by_total x 1500",
    "labelled by_total y 2",
    "labelled by_total z 3",
    "retire by_total z",
    "scrape",
    "up in_flight 5",
    "up in_flight -2",
    "gauge peak max 7",
    "gauge latest recent 8",
    "gauge each live_all 9",
    "histogram latency 1,2,4 1.5 1500",
    "thread histogram latency 1,2,4 9 3",
    "native native 3 1500",
    "thread native native 3000 5",
    "summary sizes 5 3000",
    "thread summary sizes 7 3",
    "info build_info 1",
    "state pump on",
    "exemplar exemplars 1.5 5ca1ab1e",
];

/// Returns the words that are not 0, one in a line: offset and value.
fn to_words(bytes: &[u8]) -> String {
    let mut text = format!("{}\n", bytes.len());
    for (i, word) in bytes.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().unwrap());
        if word != 0 {
            writeln!(text, "{:x} {word:x}", 8 * i).unwrap();
        }
    }
    text
}

fn from_words(text: &str) -> Vec<u8> {
    let mut lines = text.lines();
    let mut bytes = vec![0; lines.next().unwrap().parse().unwrap()];
    for line in lines {
        let (offset, word) = line.split_once(' ').unwrap();
        let hex = |digits| u64::from_str_radix(digits, 16).unwrap();
        let at = hex(offset) as usize;
        bytes[at..at + 8].copy_from_slice(&hex(word).to_le_bytes());
    }
    bytes
}

/// Returns the page of a file whose process has died, and of one that is alive as far as the lock
/// tells.
fn page(bytes: &[u8]) -> String {
    let directory = TestDirectory::new();
    let reader = directory.reader();
    let id: String = bytes[ID..ID + 16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let path = directory.path().join(format!("{NAME}.{id}.pm"));
    std::fs::write(&path, bytes).unwrap();
    let file = std::fs::File::open(&path).unwrap();
    lock(&file);
    let page = reader.snapshot();
    let skipped = reader.dir.overview().unwrap().skipped;
    assert!(skipped.is_empty(), "{skipped:?}");
    let mut out = Vec::new();
    tallies::encode::Options::new().created(false).write(
        &page,
        tallies::encode::Format::OPEN_METRICS,
        &mut out,
    );
    let page = String::from_utf8(out).unwrap();
    // Later versions may say more of themselves.
    let lines = page.lines().filter(|line| !line.contains("tallies_share"));
    lines.fold(String::new(), |page, line| page + line + "\n")
}

#[allow(unsafe_code, reason = "flock is a call to libc")]
fn lock(file: &std::fs::File) {
    use std::os::fd::AsRawFd;
    // SAFETY: the file is open.
    let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
    assert_eq!(locked, 0);
}

#[test]
#[cfg(target_endian = "little")]
fn a_file_of_format_3_has_its_page() {
    if std::env::var_os("ACCEPT").is_some() {
        let directory = TestDirectory::new();
        drop(directory.reader());
        let mut role = Role::script(directory.path());
        PROGRAM.iter().for_each(|command| _ = role.run(command));
        role.kill();
        let bytes = std::fs::read(&directory.files(".pm")[0]).unwrap();
        std::fs::create_dir_all(std::path::Path::new(FILE).parent().unwrap()).unwrap();
        std::fs::write(FILE, to_words(&bytes)).unwrap();
        std::fs::write(PAGE, page(&bytes)).unwrap();
    }
    let mut bytes = from_words(&std::fs::read_to_string(FILE).unwrap());
    assert_eq!(bytes.len() % EXTENT, 0);
    // As if this system had been running.
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let hash = boot
        .trim()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    bytes[BOOT..BOOT + 8].copy_from_slice(&hash.to_le_bytes());
    assert_eq!(page(&bytes), std::fs::read_to_string(PAGE).unwrap());
}
