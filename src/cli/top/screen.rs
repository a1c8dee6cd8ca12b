//! The terminal while it is ours, and its way back: at the end, at an error, at a panic of any thread, and at signals.
//!
//! Only what kills the process without asking (SIGKILL) leaves it as it is.

use std::io::{Stdout, Write, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::{Frame, Terminal};

use crate::cli::logging;
use crate::{Result, ResultExt};

/// Whether the terminal is ours.
static OURS: AtomicBool = AtomicBool::new(false);

/// The whole terminal, until this is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal. There can be one at a time.
    pub(super) fn enter() -> Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                // First, so that the message can be read.
                restore();
                before(info);
            }));
        });
        OURS.store(true, Ordering::SeqCst);
        logging::hold();
        let entered = Self::take();
        if entered.is_err() {
            restore();
        }
        entered.context("taking the terminal")
    }

    fn take() -> std::io::Result<Self> {
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, Hide)?;
        Ok(Self {
            terminal: Terminal::new(CrosstermBackend::new(stdout()))?,
        })
    }

    /// `false` when something has given the terminal back, as a panic does.
    pub(super) fn is_ours(&self) -> bool {
        OURS.load(Ordering::SeqCst)
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> Result<()> {
        self.terminal.draw(draw).context("drawing")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back if it is ours. May be called at any time, by any thread.
pub(in crate::cli) fn restore() {
    if !OURS.swap(false, Ordering::SeqCst) {
        return;
    }
    // Where this fails, there is no terminal any more.
    let _ = execute!(stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
    let _ = stdout().flush();
    logging::release();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Run by `tests/top.rs` on a terminal.
    #[test]
    #[ignore = "needs a terminal that it may spoil"]
    fn a_panic_of_another_thread() {
        let screen = Screen::enter().unwrap();
        let thread = std::thread::spawn(|| panic!("this is the panic"));
        thread.join().unwrap_err();
        assert!(!screen.is_ours());
    }
}
