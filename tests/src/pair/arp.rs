//! Who answers for the VIP: asked by ARP every millisecond.
//!
//! Each request comes from another address of `ASKERS`, and the answer repeats it: so
//! an answer tells which request it is to, and two answers to the same one tell that two
//! nodes hold the VIP at that moment.

use std::{
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;

use super::{
    bed::{Bed, Side, VIP},
    clock::Clock,
    pulse::Pulse,
};
use crate::{frames::Frames, link::End};

const ARP: u16 = 0x0806;
/// From one request to the next.
const PACE: Duration = Duration::from_millis(1);
/// How long a wait for an answer takes at most: bounds how late the end comes.
const PATIENCE: Duration = Duration::from_millis(50);
/// The last byte of the first address that requests come from, and how many there are:
/// an answer may be late by so many requests.
const ASKERS: (u8, usize) = (128, 100);
/// The MAC address that requests come from.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When it was sent.
    pub at: Duration,
    /// Which nodes answered it, by their number.
    pub by: [bool; 2],
}

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Arp {
    asked: Arc<Mutex<Vec<Asked>>>,
    _sender: Pulse,
    _receiver: Pulse,
}

impl Arp {
    /// Begins to ask.
    pub fn start(bed: &Bed, clock: Clock) -> Result<Self> {
        let frames = Arc::new(Frames::open(End::new(&bed.prober, "front"), ARP, PATIENCE)?);
        let asked = Arc::new(Mutex::new(Vec::<Asked>::new()));
        let (out, sent) = (Arc::clone(&frames), Arc::clone(&asked));
        let sender = Pulse::every(PACE, move || {
            let mut asked = sent.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = asked.len() % ASKERS.1;
            asked.push(Asked {
                at: clock.now(),
                by: [false; 2],
            });
            drop(asked);
            // What isn't sent isn't answered.
            let _ = out.send(&request(asker(slot)));
        });
        let heard = Arc::clone(&asked);
        let receiver = Pulse::always(move || {
            if let Ok(Some(frame)) = frames.next()
                && let Some((side, slot)) = answer(&frame)
            {
                note(
                    &mut heard.lock().unwrap_or_else(PoisonError::into_inner),
                    side,
                    slot,
                );
            }
        });
        Ok(Self {
            asked,
            _sender: sender,
            _receiver: receiver,
        })
    }

    /// Everything until now.
    pub fn asked(&self) -> Vec<Asked> {
        self.lock().clone()
    }

    /// Who has answered lately, by number.
    pub fn holders(&self) -> [bool; 2] {
        let asked = self.lock();
        let lately = asked.iter().rev().take(ASKERS.1 / 2);
        lately.fold([false; 2], |all, one| {
            [all[0] | one.by[0], all[1] | one.by[1]]
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters an answer at the latest request from that address.
fn note(asked: &mut [Asked], side: Side, slot: usize) {
    let newest = asked.len().saturating_sub(1);
    let back = (newest % ASKERS.1 + ASKERS.1 - slot) % ASKERS.1;
    if let Some(one) = newest.checked_sub(back).and_then(|at| asked.get_mut(at)) {
        one.by[side as usize] = true;
    }
}

fn asker(slot: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, ASKERS.0 + slot as u8)
}

/// "Who has the VIP? Tell …" (RFC 826).
fn request(asker: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(MAC);
    frame.extend(ARP.to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(MAC);
    frame.extend(asker.octets());
    frame.extend([0; 6]);
    frame.extend(VIP.octets());
    frame
}

/// Who says in this frame that it has the VIP, and in answer to whom.
fn answer(frame: &[u8]) -> Option<(Side, usize)> {
    let body = frame.get(14..42)?;
    let told = |range: std::ops::Range<usize>| body.get(range);
    if told(6..8)? != [0, 2] || told(14..18)? != VIP.octets() {
        return None;
    }
    let side = Side::BOTH
        .into_iter()
        .find(|side| body[8..14] == side.mac())?;
    let &[10, 0, 0, last] = told(24..28)? else {
        return None;
    };
    let slot = usize::from(last.checked_sub(ASKERS.0)?);
    (slot < ASKERS.1).then_some((side, slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(count: usize) -> Vec<Asked> {
        let one = |at| Asked {
            at: Duration::from_millis(at),
            by: [false; 2],
        };
        (0..count as u64).map(one).collect()
    }

    #[test]
    fn an_answer_is_to_the_latest_request_from_that_address() {
        let mut all = asked(2 * ASKERS.1 + 5);
        note(&mut all, Side::First, 4);
        note(&mut all, Side::Second, 5);
        let of = |side: Side| all.iter().position(|one| one.by[side as usize]);
        assert_eq!(of(Side::First), Some(2 * ASKERS.1 + 4));
        assert_eq!(of(Side::Second), Some(ASKERS.1 + 5));
    }

    #[test]
    fn an_answer_to_nothing_is_left_out() {
        let mut all = asked(3);
        note(&mut all, Side::First, 7);
        assert_eq!(all, asked(3));
        note(&mut [], Side::First, 0);
    }

    #[test]
    fn answers_are_told_from_the_rest() {
        let mut frame = request(asker(3));
        assert_eq!(answer(&frame), None);
        frame[20..22].copy_from_slice(&[0, 2]);
        frame[22..28].copy_from_slice(&Side::Second.mac());
        frame[28..32].copy_from_slice(&VIP.octets());
        frame[32..38].copy_from_slice(&MAC);
        frame[38..42].copy_from_slice(&asker(3).octets());
        assert_eq!(answer(&frame), Some((Side::Second, 3)));
        assert_eq!(answer(&frame[..41]), None);
    }
}
