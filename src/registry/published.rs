//! The registry whose families other processes read: how the process begins to publish its metrics,
//! and the locks of the registry around a `fork`.

use std::sync::MutexGuard;

use crate::family::published::all_living;
use crate::observe;

use crate::sync::lock;

use super::families::RegistryNames;
use super::{Attached, Registry, RegistrySettings};

impl Registry {
    /// Runs `f`, with which the process begins to publish its metrics, while no thread updates
    /// cells that are not its own. Then lets other processes read all families, from now on those
    /// that are registered later, too.
    ///
    /// `f` calls its argument with the region's lock, right before the region becomes a file: no
    /// series gets a slot between the list of blocks to move and that.
    pub(crate) fn publish<E>(&self, f: impl FnOnce(&dyn Fn()) -> Result<(), E>) -> Result<(), E> {
        self.enlist();
        // Scrapes lock the families in a pass, so the pass comes first.
        let mut pass = observe::engine().pass();
        let mut names = self.lock();
        let families = all_living().all();
        let locks: Vec<_> = families.iter().flat_map(|family| family.locks()).collect();
        let list = || {
            let blocks = families.iter().flat_map(|family| family.blocks_to_move());
            observe::list_blocks(&pass, blocks.collect());
        };
        observe::while_locked(&locks, || f(&list))?;
        drop(locks);
        pass.request();
        names.is_published = true;
        names.publish_all();
        drop(names);
        drop(pass);
        // Sends the request.
        drop(observe::engine().pass());
        Ok(())
    }

    /// Locks what scrapes and registration lock, around a `fork`.
    pub(crate) fn before_fork(&self) -> LockedRegistry<'_> {
        let settings = lock(&self.0.settings);
        let names = self.lock();
        let _attached = lock(&self.0.attached);
        LockedRegistry {
            _attached,
            names,
            settings,
        }
    }
}

/// A registry, locked around a `fork`.
pub(crate) struct LockedRegistry<'a> {
    _attached: MutexGuard<'a, Attached>,
    names: MutexGuard<'a, RegistryNames>,
    settings: MutexGuard<'a, RegistrySettings>,
}

impl LockedRegistry<'_> {
    /// Notes that this process, a child of `fork`, has started over.
    pub(crate) fn note_process(&mut self) {
        self.settings.process = std::process::id();
    }

    /// Lets other processes read the families again.
    pub(crate) fn publish_all(&self) {
        self.names.publish_all();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;
    use std::sync::atomic::Ordering::Relaxed;
    use std::sync::{Barrier, mpsc};

    use crate::mapped::region;
    use crate::{Counter, Summary};

    use super::*;

    /// Runs a test in a process of its own, in which this returns `true`.
    fn is_alone(test: &str) -> bool {
        let variable = "TALLIES_BEGINS";
        if std::env::var_os(variable).is_some() {
            return true;
        }
        let test = format!("registry::published::tests::{test}");
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &*test, "--test-threads=1"])
            .env(variable, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{said}");
        false
    }

    /// Makes the region a file without a name.
    fn begin(list_blocks: &dyn Fn()) -> std::io::Result<()> {
        let path = std::env::temp_dir().join(format!("tallies-begins-{}", std::process::id()));
        let mut options = File::options();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        std::fs::remove_file(&path)?;
        let mut memory = region::lock();
        list_blocks();
        region::publish(&mut memory, file, 0, || (), || Ok(()))
    }

    /// Regression: a thread that was making a series could miss the words for label texts, and the
    /// publisher its text, because each stores one and then loads the other.
    #[test]
    fn a_process_begins_while_no_thread_makes_a_series() {
        if !is_alone("a_process_begins_while_no_thread_makes_a_series") {
            return;
        }
        let registry = &Registry::new();
        let made = Counter::builder("made_total", "Made.").labels(["x"]);
        let _made = made.register(registry).unwrap();
        let families = all_living().all();
        let making: Vec<_> = families.iter().map(|family| family.lock()).collect();
        let (begins, wait) = mpsc::channel();
        std::thread::scope(|scope| {
            let begun = scope.spawn(move || {
                let path = std::fs::canonicalize("/proc/thread-self").unwrap();
                begins.send(path.join("status")).unwrap();
                registry.publish(begin).unwrap();
            });
            let status = wait.recv().unwrap();
            let sleeps = || -> u64 {
                let status = std::fs::read_to_string(&status).unwrap();
                let count = status.split("\nvoluntary_ctxt_switches:").nth(1).unwrap();
                count.lines().next().unwrap().trim().parse().unwrap()
            };
            // It sleeps again and again while it waits.
            let before = sleeps();
            while sleeps() < before + 50 {
                assert!(!begun.is_finished(), "it did not wait");
            }
            drop(making);
        });
    }

    /// Regression: if a thread replaced its slab between the moment in which the region became a
    /// file and the request to move, it moved no streams, and other processes never read them. Nor
    /// did the collector move those of a thread that ended then.
    #[test]
    fn threads_that_grow_or_end_while_their_process_begins_have_their_streams_moved() {
        let name = "threads_that_grow_or_end_while_their_process_begins_have_their_streams_moved";
        if !is_alone(name) {
            return;
        }
        let registry = &Registry::new();
        let sizes = Summary::builder("sizes", "Sizes.").hot();
        let sizes = &sizes.register(registry).unwrap();
        let later = Summary::builder("later", "First observed by then.").hot();
        let later = &later.register(registry).unwrap();
        let counters: Vec<_> = (0..40)
            .map(|i| {
                let counter = Counter::builder(&format!("c{i}_total"), "Counts.").hot();
                counter.register(registry).unwrap()
            })
            .collect();
        let begins = &Barrier::new(2);
        let ends = &Barrier::new(2);
        std::thread::scope(|scope| {
            let ending = scope.spawn(|| {
                sizes.observe(3.0);
                ends.wait();
                ends.wait();
            });
            scope.spawn(|| {
                sizes.observe(1.0);
                begins.wait();
                begins.wait();
                // Its slot is before the end of this thread's slab, and not in the list.
                later.observe(1.0);
                // The slots of these are behind the end.
                counters.iter().for_each(Counter::inc);
                begins.wait();
                begins.wait();
                sizes.observe(2.0);
                let pass = observe::engine().pass();
                let families = all_living().all();
                let blocks = families.iter().flat_map(|family| family.blocks_to_move());
                let mut streams = 0;
                for (last, _) in blocks {
                    for cell in pass
                        .cells(Some(last), 0)
                        .filter(|cell| cell.load(Relaxed) != 0)
                    {
                        let stream = std::ptr::with_exposed_provenance(cell.load(Relaxed) as usize);
                        assert!(region::contains(stream), "a stream is on the heap");
                        streams += 1;
                    }
                }
                assert_eq!(streams, 3);
            });
            begins.wait();
            ends.wait();
            let published = registry.publish(|list_blocks| {
                begin(list_blocks)?;
                begins.wait();
                begins.wait();
                ends.wait();
                ending.join().unwrap();
                std::io::Result::Ok(())
            });
            published.unwrap();
            begins.wait();
        });
        assert_eq!(sizes.get().count(), 3);
        // Two of these take over the shards of the threads above, the others get new ones.
        let all = &Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    counters[0].inc();
                    all.wait();
                    assert!(!observe::must_move_blocks(), "it has none of the list");
                });
            }
        });
    }
}
