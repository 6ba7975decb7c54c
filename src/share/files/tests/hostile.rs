//! Files that are not what a writer writes.

use std::os::unix::fs::FileExt;

use rustix::fs::FlockOperation;

use super::super::format::{CellKind, EXTENT, MOST_EXTENTS, family, header};
use super::super::read::read_bytes;
use super::image::{BASE, Describe, Image, cold, hot, retired};
use super::kinds::TestDirectory;

/// A file with every kind of record.
fn every_kind() -> Image {
    let mut image = Image::new(1);
    image.shard(&[7; 40]);
    let (record, first) = image.family(Describe::counter("jobs_total").labelled(), [3, 0, 0]);
    image.store(first, hot(0, 1));
    let series = [
        (cold(0), [1, 0, 0], Some((0, r#"a="x""#))),
        (retired(1, 2), [20, 0, 0], None),
    ];
    image.chunk(record, 0, &series);
    let exemplar = image.words(&[0, 0, 0, 0, 2, 3, 1.0_f64.to_bits(), 5000]);
    let at = (exemplar - BASE) as usize;
    image.set_u32(at + 12, 1);
    image.set_u32(at + 32 + 8, 5);
    image.words(&[u64::from_ne_bytes(*b"a=\"x\"\0\0\0"); 28]);
    image.store(record + family::EXEMPLARS as u64, exemplar);
    let histogram = Describe {
        kinds: (2, CellKind::Histogram),
        width: 5,
        bounds: &[1.0],
        ..Describe::counter("latency_seconds")
    };
    let cold = image.words(&[3, 2, 0, 0, 5 << 1]);
    let (_, first) = image.family(histogram, [cold, 0, 0]);
    image.store(first, hot(0, 10));
    let native = Describe {
        kinds: (2, CellKind::Native),
        bounds: &[1.0],
        native: Some(3),
        ..Describe::counter("native_seconds")
    };
    let words = image.words(&[0, 2, 0, 0, 2 << 1, 1 << 15, 1 << 31 | 1 << 32]);
    let table = image.words(&[1, words, 0, 49]);
    let cell = image.words(&[table]);
    image.family(native, [cell, 0, 0]);
    let summary = Describe {
        kinds: (3, CellKind::Summary),
        targets: &[(0.5, 0.05)],
        ..Describe::counter("sizes_bytes")
    };
    let key = crate::snapshot::sketch::key_of(7.0);
    let words = image.words(&[1, 1, 0, 1 << 1, 0, 0, key, 1 << 32]);
    let ages = image.words(&[1, 1 << 1, key, 1 << 32]);
    let history = image.words(&[1, 1, ages, 4]);
    let page = image.words(&[2, 2, history, words, 8]);
    let stream = image.words(&[2, 0, page]);
    let folded = image.words(&[6, 1, 0, 1, 1 << 1, key, 1 << 32]);
    image.family(summary, [0, stream, folded]);
    let gauge = Describe {
        kinds: (1, CellKind::Gauge),
        ..Describe::counter("level")
    };
    image.family(gauge, [0; 3]);
    let in_flight = Describe {
        kinds: (1, CellKind::UpDown),
        width: 2,
        ..Describe::counter("in_flight")
    };
    image.family(in_flight, [2, 1, 0]);
    image
}

#[test]
fn the_file_with_every_record_is_read() {
    let page = read_bytes(&every_kind().bytes).unwrap();
    assert_eq!(page.families.len(), 6);
    assert_eq!(page.get("native_seconds_count", &[]), Some(2.0));
    assert_eq!(page.get("sizes_bytes_count", &[]), Some(3.0));
    let exemplars = page.family("jobs_total").unwrap().exemplars(0).count();
    assert_eq!(exemplars, 1);
}

/// Replaces each word by numbers out of range: ids, lengths, addresses, states. A loop over a
/// length would take longer than a test may.
#[test]
fn no_word_of_a_file_makes_a_reader_crash_or_loop() {
    let good = every_kind();
    let used = good.bytes.iter().rposition(|byte| *byte != 0).unwrap() / 8 + 1;
    let words = (0..used).filter(|word| good.word(8 * word) != 0 || word % 16 == 0);
    let (mut refused, mut read) = (0, 0);
    for at in words.map(|word| 8 * word) {
        let old = good.word(at);
        let values = [
            0,
            1,
            old.wrapping_add(1),
            old.wrapping_add(8),
            old ^ 1 << 40,
            old << 20,
            u64::from(u32::MAX),
            1 << 63,
            u64::MAX,
            BASE,
            BASE + at as u64,
            BASE + (EXTENT - 8) as u64,
        ];
        for value in values {
            let mut bad = good.clone();
            bad.set_word(at, value);
            match read_bytes(&bad.bytes) {
                Ok(page) => {
                    read += 1;
                    // A page can be made of it.
                    let text = crate::encode::text(&page);
                    crate::pages::read_text(text.as_bytes()).unwrap();
                    let _ = crate::encode::protobuf(&page);
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 500 && read > 500, "{refused} and {read}");
}

#[test]
fn counts_that_do_not_fit_end_at_the_largest_number() {
    let mut image = Image::new(1);
    let histogram = Describe {
        kinds: (2, CellKind::Histogram),
        width: 5,
        bounds: &[1.0],
        ..Describe::counter("latency_seconds")
    };
    let cold = image.words(&[3, u64::MAX - 1, 0, 0, 1 << 1]);
    image.family(histogram, [cold, 0, 0]);
    let mut page = read_bytes(&image.bytes).unwrap();
    page.merge(&page.clone()).unwrap();
    let family = page.family("latency_seconds").unwrap();
    let (_, crate::snapshot::Value::Histogram(both)) = family.series().next().unwrap() else {
        panic!("a histogram");
    };
    let counts: Vec<_> = both.buckets().map(|(_, count)| count).collect();
    assert_eq!(counts, [u64::MAX, u64::MAX]);
    assert_eq!(both.count(), u64::MAX);
    let text = crate::encode::text(&page);
    crate::pages::read_text(text.as_bytes()).unwrap();
}

#[test]
fn files_that_are_not_a_writers_are_skipped_and_counted() {
    let directory = TestDirectory::new("hostile");
    let good = every_kind();
    good.write(&directory.0);
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.0.join(name), bytes).unwrap();
    write("empty.pm", b"");
    write("short.pm", b"TALLIES\0");
    write("other.pm", &[7; 10_000]);
    // A copy would count twice.
    write("copy.00.pm", &good.bytes);
    // Not a file of a writer, and not of the totals.
    write("notes.txt", b"hello");
    write("totals-99", b"hello");
    write("totals-+7", b"hello");
    let mut number = 1;
    let mut variant = |change: &dyn Fn(&mut Image)| {
        number += 1;
        let mut image = every_kind();
        image.id = [number; 16];
        image.bytes[header::ID..header::ID + 16].copy_from_slice(&[number; 16]);
        change(&mut image);
        image.write(&directory.0)
    };
    variant(&|image| image.set_u32(header::VERSION, 0));
    variant(&|image| image.set_u32(header::VERSION, 4));
    variant(&|image| image.set_u32(header::BYTE_ORDER, 0x0403_0201));
    variant(&|image| image.set_u32(header::ADDRESS_BYTES, 4));
    variant(&|image| image.set_word(header::BOOT, 1));
    variant(&|image| image.set_word(header::EXTENTS, 0));
    variant(&|image| image.set_word(header::EXTENTS, u64::MAX));
    variant(&|image| image.set_word(header::EXTENTS, 2));
    variant(&|image| image.bytes.truncate(EXTENT - 1));
    variant(&|image| image.bytes.truncate(header::BYTES));
    let sparse = variant(&|image| image.set_word(header::EXTENTS, MOST_EXTENTS as u64));
    sparse.set_len(64 << 30).unwrap();
    std::os::unix::fs::symlink(directory.0.join(good.name()), directory.0.join("link.pm")).unwrap();
    std::fs::create_dir(directory.0.join("directory.pm")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        directory.0.join("pipe.pm"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let dir = directory.reader();
    for count in [19, 17] {
        let page = dir.snapshot().unwrap();
        assert_eq!(page.get("level", &[]), None, "the writer is dead");
        assert_eq!(page.get("latency_seconds_count", &[]), Some(19.0));
        let skipped = dir.overview().unwrap().skipped;
        let names: Vec<_> = skipped.iter().map(|(name, _)| &**name).collect();
        assert_eq!(skipped.len(), count, "{skipped:#?}");
        assert!(!names.contains(&"notes.txt"));
        assert_eq!(
            page.get("tallies_share_files_skipped", &[]),
            Some(count as f64)
        );
        // The totals of the next fold are above the generation that is not one. It removes that,
        // and the file from before the system was started.
        dir.fold().unwrap();
    }
    assert!(directory.0.join("totals-100").exists());
}

/// A file that is cut off while its writer is alive, and mapped.
#[test]
fn a_file_that_is_cut_off_later_is_skipped() {
    let directory = TestDirectory::new("cut");
    let file = every_kind().write(&directory.0);
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let dir = directory.reader();
    assert_eq!(dir.snapshot().unwrap().get("in_flight", &[]), Some(1.0));
    file.set_len(100).unwrap();
    let page = dir.snapshot().unwrap();
    assert_eq!(page.get("in_flight", &[]), None);
    assert_eq!(page.get("tallies_share_files_skipped", &[]), Some(1.0));
    file.set_len(0).unwrap();
    assert_eq!(dir.overview().unwrap().skipped.len(), 1);
}

/// A heartbeat is unsigned, and only shown to people: no value of it makes a writer dead or alive.
#[test]
fn a_heartbeat_decides_nothing() {
    for heartbeat in [0, 1, 1 << 63, u64::MAX] {
        let directory = TestDirectory::new("heartbeat");
        let mut image = every_kind();
        image.set_word(header::HEARTBEAT, heartbeat);
        // Nor does the time at which it was made: clocks jump.
        image.set_word(header::CREATED, heartbeat);
        let file = image.write(&directory.0);
        let dir = directory.reader();
        assert!(!dir.overview().unwrap().processes[0].is_alive);
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let dir = directory.reader();
        assert!(dir.overview().unwrap().processes[0].is_alive);
        assert_eq!(dir.fold().unwrap(), 0);
        rustix::fs::flock(&file, FlockOperation::Unlock).unwrap();
        assert_eq!(directory.reader().fold().unwrap(), 1);
    }
}

#[test]
fn a_file_that_is_written_in_place_is_read_again() {
    let directory = TestDirectory::new("place");
    let mut image = Image::new(1);
    let (_, first) = image.family(Describe::counter("jobs_total"), [5, 0, 0]);
    let file = image.write(&directory.0);
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let dir = directory.reader();
    assert_eq!(dir.snapshot().unwrap().get("jobs_total", &[]), Some(5.0));
    file.write_all_at(&6_u64.to_ne_bytes(), first - BASE + 16)
        .unwrap();
    assert_eq!(dir.snapshot().unwrap().get("jobs_total", &[]), Some(6.0));
}

/// A file of a real process; `tests/share/golden.rs` writes it.
fn golden() -> (Vec<u8>, Vec<usize>) {
    let mut lines = include_str!("../../../../tests/golden/share/format-3.words").lines();
    let mut bytes = vec![0; lines.next().unwrap().parse().unwrap()];
    let mut used = Vec::new();
    for line in lines {
        let (offset, word) = line.split_once(' ').unwrap();
        let at = usize::from_str_radix(offset, 16).unwrap();
        let word = u64::from_str_radix(word, 16).unwrap();
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
        used.push(at);
    }
    (bytes, used)
}

/// The work of the fuzzer, for a moment: several words of a real file are changed at once.
#[test]
#[cfg(target_endian = "little")]
fn a_real_file_with_changed_words_is_read_or_refused() {
    let (good, used) = golden();
    read_bytes(&good).unwrap();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let base = word(&good, header::BASE);
    let mut seed = 7_u64;
    let mut random = || {
        // xorshift64: the same changes in every run.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut read = 0;
    for _ in 0..500 {
        let mut bytes = good.clone();
        for _ in 0..=random() % 3 {
            let at = used[random() as usize % used.len()];
            let old = word(&bytes, at);
            let new = match random() % 6 {
                0 => random() % 256,
                1 => old.wrapping_add(8),
                2 => base + random() % bytes.len() as u64 / 8 * 8,
                3 => word(&bytes, used[random() as usize % used.len()]),
                4 => old ^ 1 << (random() % 64),
                _ => random(),
            };
            bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
        }
        if let Ok(page) = read_bytes(&bytes) {
            read += 1;
            let text = crate::encode::text(&page);
            crate::pages::read_text(text.as_bytes()).unwrap();
            let _ = crate::encode::protobuf(&page);
            let mut both = page.clone();
            both.merge(&page).unwrap();
        }
    }
    assert!((25..475).contains(&read), "{read}");
}

/// A counter with a resolution, which nobody had checked, made buckets of it.
#[test]
fn only_native_histograms_have_a_resolution() {
    let mut image = Image::new(1);
    let counter = Describe {
        native: Some(-128),
        ..Describe::counter("jobs_total")
    };
    image.family(counter, [3, 0, 0]);
    let page = read_bytes(&image.bytes).unwrap();
    assert_eq!(page.get("jobs_total", &[]), Some(3.0));
}

/// Many families with the same series would keep a reader busy for the square of the length.
#[test]
fn families_that_share_their_series_are_refused() {
    let mut image = Image::new(1);
    let all = [(cold(0), [1, 0, 0], Some((0, r#"a="x""#))); 1000];
    let (record, _) = image.family(Describe::counter("jobs_total").labelled(), [0; 3]);
    image.chunk(record, 0, &all);
    let chunk = image.word((record - BASE) as usize + family::CHUNKS);
    for i in 0..100 {
        let name = format!("jobs_{i}_total");
        let (record, _) = image.family(Describe::counter(&name).labelled(), [0; 3]);
        image.store(record + family::CHUNKS as u64, chunk);
    }
    let error = read_bytes(&image.bytes).unwrap_err();
    assert!(error.contains("overlap"), "{error}");
}

/// A list of shards that does not end, and one slab for all of them.
#[test]
fn shards_without_an_end_are_refused() {
    let mut image = every_kind();
    image.shard(&[7]);
    let record = image.word(header::SHARDS);
    image.store(record, record);
    let error = read_bytes(&image.bytes).unwrap_err();
    assert!(error.contains("overlap"), "{error}");
}

/// The copy was folded, and the file of the live process was then taken for one of the totals and
/// removed.
#[test]
fn a_copy_of_a_file_is_not_folded() {
    let directory = TestDirectory::new("copies");
    let mut image = Image::new(1);
    image.family(Describe::counter("jobs_total"), [5, 0, 0]);
    let file = image.write(&directory.0);
    let copy = directory.0.join(format!("a-{}", image.name()));
    std::fs::copy(directory.0.join(image.name()), &copy).unwrap();
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let dir = directory.reader();
    let check = || {
        let page = dir.snapshot().unwrap();
        assert_eq!(page.get("jobs_total", &[]), Some(5.0));
    };
    check();
    assert_eq!(dir.overview().unwrap().skipped.len(), 1);
    assert_eq!(dir.fold().unwrap(), 0);
    check();
    assert!(directory.0.join(image.name()).exists());
    rustix::fs::flock(&file, FlockOperation::Unlock).unwrap();
    // Of two that are dead, one is folded.
    for folded in [1, 0] {
        assert_eq!(dir.fold().unwrap(), folded);
        check();
    }
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1);
}

/// Two containers with boot ids of their own removed the files of each other.
#[test]
fn a_file_of_another_boot_stays_while_its_process_lives() {
    let directory = TestDirectory::new("boot");
    let mut image = Image::new(1);
    image.set_word(header::BOOT, 7);
    let file = image.write(&directory.0);
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let dir = directory.reader();
    dir.fold().unwrap();
    assert!(directory.0.join(image.name()).exists());
    rustix::fs::flock(&file, FlockOperation::Unlock).unwrap();
    dir.fold().unwrap();
    assert!(!directory.0.join(image.name()).exists());
}

/// The next generation had a number that readers do not take for one.
#[test]
fn a_foreign_file_with_the_last_generation_loses_no_totals() {
    let directory = TestDirectory::new("generation");
    let write = |number, jobs| {
        let mut image = Image::new(number);
        image.family(Describe::counter("jobs_total"), [jobs, 0, 0]);
        image.write(&directory.0);
    };
    write(1, 5);
    assert_eq!(directory.reader().fold().unwrap(), 1);
    let last = format!("totals-{}", u64::MAX / 2 - 1);
    std::fs::write(directory.0.join(&last), b"foreign").unwrap();
    write(2, 7);
    let error = directory.reader().fold().unwrap_err();
    assert!(error.to_string().contains(&last), "{error}");
    let jobs = || {
        directory
            .reader()
            .snapshot()
            .unwrap()
            .get("jobs_total", &[])
    };
    assert_eq!(jobs(), Some(12.0));
    std::fs::remove_file(directory.0.join(&last)).unwrap();
    assert_eq!(directory.reader().fold().unwrap(), 1);
    assert_eq!(jobs(), Some(12.0));
}
