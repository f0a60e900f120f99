//! A cable on which keepalived's convention of VRRP version 3 checksums is another one.
//!
//! Debian 12's keepalived 2.2.7 has no `v3_checksum_as_v2`, which came with 2.2.8. So it goes on
//! counting the pseudo-header, and the cable takes that out of the checksums of what it sends, and
//! puts it into those of what it gets: by the difference alone, so what was wrong stays wrong, and
//! keepalived checks what Flowgate has summed up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::{frames::Frames, link::End};

/// Every EtherType (`ETH_P_ALL`).
const ALL: u16 = 3;
/// How long the end of it may go unnoticed.
const PATIENCE: Duration = Duration::from_millis(50);
const VRRP: u8 = 112;

/// Two threads, until it is dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What becomes of the pseudo-header in a checksum.
#[derive(Debug, Clone, Copy)]
enum Pseudo {
    In,
    Out,
}

impl Relay {
    /// Between the interface where keepalived's cable ends, and one that leads on.
    pub fn between(theirs: End<'_>, rest: End<'_>) -> Result<Self> {
        let theirs = Arc::new(Frames::open(theirs, ALL, PATIENCE)?);
        let rest = Arc::new(Frames::open(rest, ALL, PATIENCE)?);
        let stop = Arc::new(AtomicBool::new(false));
        let ways = [
            (Arc::clone(&theirs), Arc::clone(&rest), Pseudo::Out),
            (rest, theirs, Pseudo::In),
        ];
        let threads = ways.map(|(from, to, pseudo)| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok(Some(mut frame)) = from.next() {
                        translate(&mut frame, pseudo);
                        // What doesn't fit into the next queue gets lost, as on any cable.
                        let _ = to.send(&frame);
                    }
                }
            })
        });
        Ok(Self {
            stop,
            threads: threads.into(),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Changes the checksum of an IPv4 advertisement, by RFC 1624.
fn translate(frame: &mut [u8], pseudo: Pseudo) {
    let Some((_, ip)) = frame.split_at_mut_checked(14) else {
        return;
    };
    let is_ours = ip.len() >= 28 && ip[0] == 0x45 && ip[9] == VRRP && ip[20] >> 4 == 3;
    if !is_ours {
        return;
    }
    let word = |at: usize| u32::from(u16::from_be_bytes([ip[at], ip[at + 1]]));
    let length = word(2) - 20;
    let header = (12..20).step_by(2).map(word).sum::<u32>() + u32::from(VRRP) + length;
    let change = match pseudo {
        Pseudo::In => fold(header),
        Pseudo::Out => !fold(header),
    };
    let sum = !fold(u32::from(!(word(26) as u16)) + u32::from(change));
    ip[26..28].copy_from_slice(&sum.to_be_bytes());
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}
