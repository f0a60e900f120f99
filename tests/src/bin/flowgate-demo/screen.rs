//! What the demo looks like.

use std::{
    io::{IsTerminal, Write, stdout},
    time::Instant,
};

use anyhow::{Error, Result};
use flowgate_tests::{claims::Finding, lab::Mode};

const DSR: &str = "
  client ── router ──┬── lb    flowgate: VIP 203.0.113.10, ports 80 and 81
                     ├── web1  nginx, answers the client directly
                     └── web2  nginx, answers the client directly";
const NAT: &str = "
  client ── router ── lb ──┬── web1  nginx, answers through the load balancer
                      │    └── web2  nginx, answers through the load balancer
                      └ flowgate: VIP 203.0.113.10, ports 80 and 81";

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";

/// The terminal, or what stands in for it.
pub struct Screen {
    /// Whether lines may be written over.
    terminal: bool,
    colours: bool,
    began: Instant,
    held: usize,
    broken: usize,
}

impl Screen {
    pub fn new() -> Self {
        let terminal = stdout().is_terminal();
        Self {
            terminal,
            colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
            began: Instant::now(),
            held: 0,
            broken: 0,
        }
    }

    pub fn header(&self, mode: Mode) {
        let (long, picture) = match mode {
            Mode::Dsr => ("direct server return", DSR),
            Mode::Nat => ("network address translation", NAT),
        };
        let title = format!("Flowgate, forwarding mode {} ({long})", mode.name());
        self.line(&format!("\n{}", self.paint(BOLD, &title)));
        self.line(&format!("{picture}\n"));
    }

    pub fn progress(&self, step: &str) {
        self.line(&self.paint(DIM, &format!("  · {step}")));
    }

    pub fn begin_claims(&self) {
        self.line("");
    }

    /// Says what is being looked at, where that can be written over.
    pub fn checking(&self, title: &str) {
        if self.terminal {
            let mut out = stdout();
            let _ = write!(out, "  … {title}").and_then(|()| out.flush());
        }
    }

    /// Says what was found out, and returns whether the claim held.
    pub fn found(&mut self, title: &str, outcome: &Result<Finding>) -> bool {
        let (held, figures) = match outcome {
            Ok(finding) => (finding.held, finding.figures.clone()),
            Err(error) => (false, format!("could not be checked: {error:#}")),
        };
        let mark = match held {
            true => self.paint(GREEN, "✓"),
            false => self.paint(RED, "✗"),
        };
        self.erase();
        self.line(&format!("  {mark} {title}"));
        self.line(&self.paint(DIM, &format!("    {figures}")));
        self.held += usize::from(held);
        self.broken += usize::from(!held);
        held
    }

    pub fn details(&self, text: &str) {
        self.line("");
        self.line(text);
    }

    /// Says how it all went, and returns whether every claim held and nothing is
    /// left in the system.
    pub fn verdict(&self, left: &[String]) -> bool {
        let all = self.held + self.broken;
        let time = self.began.elapsed().as_secs();
        let text = match self.broken {
            0 => self.paint(GREEN, &format!("All {all} claims held")),
            broken => self.paint(RED, &format!("{broken} of {all} claims did not hold")),
        };
        self.line(&format!("\n{text}, in {time} s. {}", said_of(left)));
        self.broken == 0 && left.is_empty()
    }

    pub fn interrupted(&self, left: &[String]) {
        self.erase();
        self.line(&format!("Interrupted. {}", said_of(left)));
    }

    pub fn broken(&self, error: &Error) {
        self.erase();
        self.line(&format!("{} {error:#}", self.paint(RED, "error:")));
    }

    fn erase(&self) {
        if self.terminal {
            let _ = write!(stdout(), "\r\x1b[K");
        }
    }

    /// Writes a line. A reader that has gone away (`| head`) is no reason to stop
    /// before all is cleaned up.
    fn line(&self, text: &str) {
        let _ = writeln!(stdout(), "{text}");
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        match self.colours {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

fn said_of(left: &[String]) -> String {
    match left {
        [] => "Nothing of it is left.".to_owned(),
        left => format!("Left behind: {}.", left.join(", ")),
    }
}
