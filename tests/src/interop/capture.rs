//! Everything that Flowgate sends, in a file that tshark reads.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use anyhow::Result;

use super::wire::Node;
use crate::{frames::Frames, link::End};

/// Every EtherType (`ETH_P_ALL`).
const ALL: u16 = 3;
/// How long the end may go unnoticed.
const PATIENCE: Duration = Duration::from_millis(50);

/// A frame, and when it came.
#[derive(Debug, Clone)]
pub struct Frame {
    at: SystemTime,
    /// From its destination MAC address on.
    pub bytes: Vec<u8>,
}

/// A thread that captures, until it is dropped.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Frame>>>,
}

impl Capture {
    /// Captures what arrives at the switch's end of Flowgate's cable.
    pub fn start(port: End<'_>) -> Result<Self> {
        let frames = Frames::open(port, ALL, PATIENCE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut all = Vec::new();
            loop {
                let is_last = stopped.load(Ordering::Relaxed) && frames.end().is_ok();
                let frame = frames.next().ok().flatten();
                // What has come until the end belongs to it, however late this thread reads it.
                if is_last && frame.is_none() {
                    return all;
                }
                let from_ours = |frame: &Vec<u8>| frame.get(6..12) == Some(&Node::Ours.mac()[..]);
                if let Some(bytes) = frame.filter(from_ours) {
                    all.push(Frame {
                        at: SystemTime::now(),
                        bytes,
                    });
                }
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends it, and gives what it has.
    pub fn finish(mut self) -> Vec<Frame> {
        self.join()
    }

    fn join(&mut self) -> Vec<Frame> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.join();
    }
}

/// Writes frames into a file of libpcap's old form (version 2.4, microseconds, Ethernet).
pub fn write(frames: &[Frame], path: &Path) -> Result<()> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_ne_bytes());
    }
    for frame in frames {
        let at = frame.at.duration_since(SystemTime::UNIX_EPOCH)?;
        let length = u32::try_from(frame.bytes.len())?;
        let seconds = u32::try_from(at.as_secs())?;
        for word in [seconds, at.subsec_micros(), length, length] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(&frame.bytes);
    }
    Ok(fs::write(path, bytes)?)
}

impl Frame {
    /// One that came just now.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self {
            at: SystemTime::now(),
            bytes,
        }
    }
}
