//! What happens to a pair.

use std::fmt;

/// What happens, to the active node if to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// SIGKILL of its programs.
    Kill,
    /// SIGSTOP of its programs.
    Stall,
    /// Its interface on the front network goes down.
    LinkDown,
    /// It is cut off from both networks; its own links stay up.
    Gone,
    /// Its programs are told to end.
    Stop,
    /// It is told to hand over.
    HandOver,
    /// Neither node ran before, and both start at once.
    ColdStart,
    /// The nodes don't hear each other any more, but both reach everybody else; later
    /// they do again.
    Split,
    /// The second node is active; the first, which has the higher priority, starts.
    Return,
}

/// What may be expected of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody knows in advance.
    Crash,
    /// It is known in advance.
    Orderly,
    /// Neither: there was no service before, or two nodes serve.
    Other,
}

impl Fault {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::Kill,
        Self::Stall,
        Self::LinkDown,
        Self::Gone,
        Self::Stop,
        Self::HandOver,
        Self::ColdStart,
        Self::Split,
        Self::Return,
    ];

    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stall => "stall",
            Self::LinkDown => "link-down",
            Self::Gone => "gone",
            Self::Stop => "stop",
            Self::HandOver => "hand-over",
            Self::ColdStart => "cold-start",
            Self::Split => "split",
            Self::Return => "return",
        }
    }

    /// What may be expected of it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Kill | Self::Stall | Self::LinkDown | Self::Gone => Kind::Crash,
            Self::Stop | Self::HandOver | Self::Return => Kind::Orderly,
            Self::ColdStart | Self::Split => Kind::Other,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
