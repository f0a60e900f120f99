//! What makes two hosts a pair.

use std::time::Duration;

use anyhow::Result;

use super::{
    bed::{Bed, Side},
    way::Way,
};

/// Software that two nodes run, in one of its configurations.
pub trait Contender {
    /// Its name and what is special about this configuration.
    fn name(&self) -> String;

    /// How it forwards.
    fn way(&self) -> Way;

    /// Prepares a node: writes its files. Nothing runs yet.
    fn node<'a>(&self, bed: &'a Bed, side: Side) -> Result<Box<dyn Running + 'a>>;

    /// For how long a node may go on to answer for the VIP after its last advertisement, if
    /// that is bounded at all.
    fn lease(&self) -> Option<Duration>;
}

/// A contender's programs on one node. On drop they are killed.
pub trait Running {
    /// Starts them, and returns without waiting for anything.
    fn start(&mut self) -> Result<()>;

    /// Whether they are as ready as they get: the one node active, or the other one ready to
    /// take over. Fails if a program has ended by itself.
    fn is_ready(&mut self, active: bool) -> Result<bool>;

    /// Sends all of them SIGKILL; their end isn't waited for.
    fn kill(&mut self) -> Result<()>;

    /// Sends all of them SIGSTOP.
    fn stall(&mut self) -> Result<()>;

    /// Tells them to end in order; their end isn't waited for.
    fn stop(&mut self) -> Result<()>;

    /// Tells the active node to hand over to the other one.
    fn hand_over(&mut self) -> Result<()>;

    /// What helps to find out why something went wrong.
    fn describe(&self) -> String;
}
