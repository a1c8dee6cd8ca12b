//! `ig top` on a terminal, which tmux provides.

mod common;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::{Ig, eventually, skip};

/// A terminal of 120 columns and 24 lines in which a shell has started a command.
struct Tmux {
    socket: String,
}

impl Tmux {
    /// `None` if there is no tmux. The shell says how the command ended and what the terminal's settings are then.
    fn start(command: &str) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skip("tmux");
            return None;
        }
        let tmux = Self {
            socket: common::docker::unique("tmux"),
        };
        let script = format!(
            "{command}; echo ENDED:$?; stty -a | grep -o -e '.echo ' -e '.icanon'; echo SETTINGS; exec sleep 100000"
        );
        tmux.run(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "120",
            "-y",
            "24",
            "sh",
            "-c",
            &script,
        ]);
        Some(tmux)
    }

    /// One in which `ig` runs with the words of `line`.
    fn ig(ig: &Ig, line: &str) -> Option<Self> {
        let command = ig.command(line.split_whitespace());
        let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_str().expect("text").replace('\'', "'\\''"));
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(quoted)
            .collect();
        Self::start(&words.join(" "))
    }

    fn run(&self, args: &[&str]) -> String {
        let output = Command::new("tmux")
            .args(["-L", &self.socket])
            .args(args)
            .output()
            .expect("tmux can be run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn press(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    /// What is on the screen.
    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Waits until the screen fits.
    #[track_caller]
    fn wait(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(what, || Some(self.screen()).filter(|screen| fits(screen)))
        }));
        found.unwrap_or_else(|_| panic!("{what} did not come: {}", self.screen()))
    }

    /// The id of the `ig` that runs in it.
    fn pid_of_ig(&self) -> i32 {
        let pane = self.run(&["display-message", "-p", "#{pane_pid}"]);
        let children = Command::new("pgrep")
            .args(["-P", pane.trim()])
            .output()
            .expect("pgrep can be run");
        let pid = String::from_utf8_lossy(&children.stdout).trim().parse();
        pid.expect("one child")
    }

    /// The command has ended with `status` and the terminal is as it was.
    #[track_caller]
    fn assert_restored(&self, status: i32) -> String {
        let screen = self.wait("the end", |screen| screen.contains("SETTINGS"));
        assert!(screen.contains(&format!("ENDED:{status}\n")), "{screen}");
        assert!(
            screen.contains(" echo") && screen.contains(" icanon"),
            "it is still raw: {screen}"
        );
        let state = self.run(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        assert_eq!(state.trim(), "0 1", "the other screen, or no cursor");
        screen
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

/// A child with this name that sleeps.
struct Named(Child);

impl Named {
    fn start(name: &str) -> Self {
        let mut command = Command::new("python3");
        let script = format!(
            "import sys,time\nopen('/proc/self/comm','wb').write(bytes({:?}))\nprint('ready',flush=True)\ntime.sleep(100000)",
            name.as_bytes()
        );
        let mut child = command
            .args(["-c", &script])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 can be run");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("it answers");
        assert_eq!(line, "ready\n");
        Self(child)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const PROCESSES: &str = "top top_process --pull never --host --interval 100ms --fields pid,comm,nice,uid,threadCount";

/// The header and the rows.
fn table(screen: &str) -> Vec<&str> {
    screen
        .lines()
        .skip(1)
        .take(22)
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn keys_change_what_is_shown() {
    let Some(ig) = Ig::new() else { return };
    let mut nice = Command::new("sleep");
    // SAFETY: the function only makes a system call.
    let _nice = unsafe {
        nice.arg("100000").pre_exec(|| {
            libc::setpriority(libc::PRIO_PROCESS, 0, 13);
            Ok(())
        })
    };
    let nice = Named(nice.spawn().unwrap());
    let _named = Named::start("ig-top-named");
    let Some(tmux) = Tmux::ig(&ig, PROCESSES) else { return };
    let screen = tmux.wait("a table", |screen| {
        screen.contains("COMMAND") && screen.contains("every 0.")
    });
    assert!(screen.starts_with("ig top top_process on the host  "), "{screen}");
    assert!(screen.contains("q end  ? help"), "{screen}");

    tmux.press(&["/", "i", "g", "-", "T", "O", "P", "-", "n", "Enter"]);
    let screen = tmux.wait("one row", |screen| screen.contains(" 1 of "));
    assert!(screen.contains("ig-top-named") && table(&screen).len() == 2, "{screen}");
    tmux.press(&["Escape"]);
    let screen = tmux.wait("all rows", |screen| !screen.contains(" of "));
    assert!(table(&screen).len() > 5, "{screen}");

    // Sorted by the nice value, the highest first.
    for _ in 0..4 {
        tmux.press(&["<"]);
    }
    tmux.press(&[">", ">"]);
    let pid = nice.0.id().to_string();
    let screen = tmux.wait("sorted by nice value", |screen| screen.contains("NI▼"));
    assert!(screen.contains("TREND"), "{screen}");
    tmux.wait("the nice one at the top", |screen| {
        table(screen)
            .iter()
            .skip(1)
            .take(5)
            .any(|row| row.split_whitespace().next() == Some(&pid))
    });
    tmux.press(&["r"]);
    tmux.wait("the other order", |screen| screen.contains("NI▲"));
    tmux.press(&["g"]);
    tmux.wait("no trend", |screen| !screen.contains("TREND"));

    tmux.press(&["Space"]);
    let paused = tmux.wait("a pause", |screen| screen.contains("PAUSED"));
    drop(nice);
    tmux.press(&["Space"]);
    tmux.wait("it goes on", |screen| !screen.contains("PAUSED"));
    assert!(!paused.contains("turn the order around"));
    tmux.press(&["?"]);
    tmux.wait("the help", |screen| screen.contains("turn the order around"));
    tmux.press(&["x"]);
    tmux.wait("the table again", |screen| screen.contains("COMMAND"));
    tmux.press(&["q"]);
    let screen = tmux.assert_restored(0);
    assert!(!screen.contains("COMMAND"), "what was there before: {screen}");
}

#[test]
fn hostile_names_are_shown_escaped() {
    let Some(ig) = Ig::new() else { return };
    let _named = Named::start("x\u{1b}[2J\u{1b}]0;y\u{7}");
    let Some(tmux) = Tmux::ig(&ig, PROCESSES) else { return };
    tmux.wait("a table", |screen| screen.contains("COMMAND"));
    tmux.press(&["/", "2", "J", "Enter"]);
    let screen = tmux.wait("the name", |screen| screen.contains(r"x\x1b[2J\x1b]0;y\a"));
    assert!(screen.contains("COMMAND"), "nothing was cleared: {screen}");
    tmux.press(&["C-c"]);
    tmux.assert_restored(0);
}

#[test]
fn signals_and_timeouts_give_the_terminal_back() {
    let Some(ig) = Ig::new() else { return };
    for signal in ["TERM", "INT"] {
        let Some(tmux) = Tmux::ig(&ig, PROCESSES) else { return };
        tmux.wait("a table", |screen| screen.contains("COMMAND"));
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(tmux.pid_of_ig().to_string())
            .status();
        assert!(status.unwrap().success());
        tmux.assert_restored(0);
    }
    let Some(tmux) = Tmux::ig(&ig, &format!("{PROCESSES} --timeout 1")) else {
        return;
    };
    tmux.assert_restored(0);
}

/// The test binary that has the library's own tests is not known here, so it is looked for beside this one.
#[test]
fn a_panic_gives_the_terminal_back() {
    let here = std::env::current_exe().unwrap();
    let tests = here.parent().map(Path::to_owned).unwrap();
    let newest = std::fs::read_dir(tests)
        .unwrap()
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("inspektor_gadget-") && !name.contains('.')
        })
        .max_by_key(|entry| entry.metadata().and_then(|metadata| metadata.modified()).ok());
    let Some(newest) = newest else {
        return skip("the library's tests (cargo test --lib --no-run)");
    };
    let test = "cli::top::screen::tests::a_panic_of_another_thread";
    let command = format!("'{}' --ignored --exact {test} --nocapture", newest.path().display());
    let Some(tmux) = Tmux::start(&command) else { return };
    let screen = tmux.assert_restored(0);
    assert!(
        screen.contains("this is the panic") && screen.contains("1 passed"),
        "{screen}"
    );
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let Some(ig) = Ig::new() else { return };
    ig.line("top top_process --pull never --host")
        .fails_with(&["ig top needs a terminal", "ig run"]);
    ig.line("top top_process --pull never --host -o json")
        .fails_with(&["flag --output", "ig run"]);
    ig.line("top top_process --pull never --record x")
        .fails_with(&["unknown flag: --record"]);
    let Some(tmux) = Tmux::ig(&ig, "top trace_open --pull never --host") else {
        return;
    };
    let screen = tmux.wait("the refusal", |screen| screen.contains("ENDED:"));
    assert!(
        screen.contains("this gadget reports single events") && screen.contains("ENDED:1"),
        "{screen}"
    );
    let page = ig.line("top --help").ok().stdout;
    assert!(
        page.contains("ig top GADGET [flags]") && page.contains("space pauses"),
        "{page}"
    );
}
