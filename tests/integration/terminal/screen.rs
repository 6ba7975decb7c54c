//! A pseudo-terminal with a program in it, and the screen that a user would see.

use std::io::{Read, Write};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex};

use crate::support::{eventually, examples};
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

pub static TOOL: LazyLock<PathBuf> = LazyLock::new(examples::build_tool);

/// A terminal. Its program is killed when the test ends.
pub struct Terminal {
    parser: Arc<Mutex<vt100::Parser>>,
    master: Box<dyn MasterPty + Send>,
    writer: Box<dyn Write + Send>,
    pub child: Box<dyn Child + Send + Sync>,
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The process may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, cols: u16) -> PtySize {
    PtySize {
        rows,
        cols,
        pixel_width: 0,
        pixel_height: 0,
    }
}

impl Terminal {
    /// Starts `top` with these arguments, asking ten times per second.
    pub fn top(rows: u16, cols: u16, arguments: &[&str]) -> Self {
        Self::with_colors(true, rows, cols, arguments)
    }

    /// Starts `top`, with `NO_COLOR` in its environment if it shall show none.
    pub fn with_colors(colors: bool, rows: u16, cols: u16, arguments: &[&str]) -> Self {
        let mut command = CommandBuilder::new(&*TOOL);
        command.args(["top", "--interval", "0.1"]);
        command.args(arguments);
        match colors {
            true => command.env_remove("NO_COLOR"),
            false => command.env("NO_COLOR", "1"),
        }
        Self::start(rows, cols, command)
    }

    /// Starts a program.
    pub fn start(rows: u16, cols: u16, mut command: CommandBuilder) -> Self {
        let pair = native_pty_system().openpty(size(rows, cols)).unwrap();
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let [rows, cols] = [rows, cols].map(|n| NonZeroU16::new(n).unwrap());
        let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, cols, 0)));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let shown = Arc::clone(&parser);
        // Ends when the program has ended.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..n]);
            }
        });
        let writer = pair.master.take_writer().unwrap();
        Self {
            parser,
            master: pair.master,
            writer,
            child,
        }
    }

    pub fn screen(&self) -> vt100::Screen {
        self.parser.lock().unwrap().screen().clone()
    }

    pub fn text(&self) -> String {
        self.screen().contents()
    }

    pub fn keys(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).unwrap();
        self.writer.flush().unwrap();
    }

    pub fn resize(&self, rows: u16, cols: u16) {
        let [r, c] = [rows, cols].map(|n| NonZeroU16::new(n).unwrap());
        self.parser.lock().unwrap().set_size(r, c);
        self.master.resize(size(rows, cols)).unwrap();
    }

    /// Waits, for a bounded time, until the screen is as described, and returns it.
    pub fn eventually(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        eventually(what, || {
            let text = self.text();
            if holds(&text) { Ok(text) } else { Err(text) }
        })
    }

    /// Waits until a line has all of these words, and returns the line.
    pub fn line(&self, words: &[&str]) -> String {
        let text = self.eventually(&format!("{words:?}"), |text| {
            line_with(text, words).is_some()
        });
        line_with(&text, words).unwrap().to_owned()
    }

    /// Waits until the program has ended, and returns its exit code.
    pub fn ended(&mut self) -> u32 {
        eventually("the end", || self.child.try_wait().unwrap()).exit_code()
    }
}

/// The first line of `text` that has all of these words.
pub fn line_with<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    text.lines()
        .find(|line| words.iter().all(|word| line.contains(word)))
}
