//! Child processes: this test binary again, with a role in an environment variable.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROLE: &str = "TALLIES_TEST_ROLE";
pub const DIRECTORY: &str = "TALLIES_TEST_DIRECTORY";

/// A child process that plays a role. It is killed when it is dropped.
pub struct Role {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Role {
    /// Starts a child with a role, in a directory.
    pub fn start(role: &str, directory: &Path) -> Self {
        Self::start_with(role, directory, |_| ())
    }

    pub fn start_with(role: &str, directory: &Path, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "child::a_child_plays_its_role_and_ends",
                "--nocapture",
            ])
            .env(ROLE, role)
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            input: child.stdin.take(),
            output,
            child,
        }
    }

    /// Waits until the child says this word.
    pub fn wait_for(&mut self, word: &str) {
        let _ = self.answer(word);
    }

    /// Returns what follows a word that the child says.
    pub fn answer(&mut self, word: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.output.read_line(&mut line).unwrap();
            assert!(read > 0, "the child ended before it said `{word}`");
            // The test harness writes beside the child.
            if let Some((_, answer)) = line.split_once(&format!("child: {word}")) {
                return answer.trim().to_owned();
            }
        }
    }

    /// Returns what follows a word that a child said before it ended; `None` if there is no more.
    pub fn last_answer(&mut self, word: &str) -> Option<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            if let Some((_, answer)) = line.split_once(&format!("child: {word}")) {
                return Some(answer.trim().to_owned());
            }
            line.clear();
        }
        None
    }

    /// Tells the child a word, which it waits for.
    pub fn tell(&mut self, word: &str) {
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{word}").unwrap();
    }

    /// Kills the child with SIGKILL, and waits for its end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal.
    #[allow(unsafe_code, reason = "kill is a call to libc")]
    pub fn signal(&self, signal: i32) {
        // SAFETY: sends a signal to a child that was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Starts a child that does what it is told, and tells it to share its metrics.
    pub fn script(directory: &Path) -> Self {
        let mut role = Self::start("script", directory);
        role.run("share");
        role
    }

    /// Tells the child to do something, and returns its answer once it is done.
    pub fn run(&mut self, command: &str) -> String {
        self.tell(command);
        self.answer("did")
    }

    /// Waits for the end of the child, which has to succeed.
    pub fn join(mut self) {
        drop(self.input.take());
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.output, &mut rest).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {rest}");
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Says a word to the parent.
pub fn say(word: impl std::fmt::Display) {
    // One write, so that lines of several threads do not mix. Not `println!`: the harness captures
    // it.
    let line = format!("\nchild: {word}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

/// Waits for a word of the parent. Ends the process if the parent is gone.
pub fn hear() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap() == 0 {
        std::process::exit(0);
    }
    line.trim().to_owned()
}

/// The test that a child runs: there, it plays the role.
#[test]
fn a_child_plays_its_role_and_ends() {
    if let (Ok(role), Ok(directory)) = (std::env::var(ROLE), std::env::var(DIRECTORY)) {
        crate::roles::play(&role, Path::new(&directory));
        std::process::exit(0);
    }
    let directory = crate::directory::TestDirectory::new();
    let mut role = Role::script(directory.path());
    role.run("counter jobs_total 5");
    assert_eq!(role.run("own jobs_total"), "5");
    role.run("end");
    role.join();
}
