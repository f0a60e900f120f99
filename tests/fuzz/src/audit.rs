//! Every checksum of a frame: found, checked, repaired. Quoted and tunnelled packets too.

use std::net::IpAddr;

use crate::{
    bytes::{address4, address6, put_word, word},
    site::GUE_PORT,
    sum::{add, nonzero, pseudo, sum},
};

/// A checksum in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    /// What it is of.
    pub of: &'static str,
    /// Its offset.
    pub at: usize,
    /// What it is.
    pub is: u16,
    /// What it should be; all ones for 0 where that says that there is none.
    pub right: u16,
    /// Whether a receiver takes it.
    pub valid: bool,
}

/// The checksums of a frame.
#[must_use]
pub fn checksums(frame: &[u8]) -> Vec<Checksum> {
    let mut visit = Visit {
        frame: frame.to_vec(),
        repair: false,
        found: Vec::new(),
    };
    visit.link();
    visit.found
}

/// Makes every checksum right; those of UDP that are 0 stay so.
pub fn repair(frame: &mut Vec<u8>) {
    let mut visit = Visit {
        frame: std::mem::take(frame),
        repair: true,
        found: Vec::new(),
    };
    visit.link();
    *frame = visit.frame;
}

/// Where the IP packet of a frame begins and its EtherType, past at most two tags.
#[must_use]
pub fn network(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    for _ in 0..2 {
        match frame.get(at..at + 2)? {
            [0x81, 0x00] | [0x88, 0xa8] => at += 4,
            _ => break,
        }
    }
    frame.get(at..at + 2)?;
    Some((at + 2, word(frame, at)))
}

struct Visit {
    frame: Vec<u8>,
    repair: bool,
    found: Vec<Checksum>,
}

/// Deeper than any packet that makes sense.
const DEEPEST: u32 = 4;

impl Visit {
    fn link(&mut self) {
        if let Some((at, 0x0800 | 0x86dd)) = network(&self.frame) {
            self.ip(at, self.frame.len(), 0);
        }
    }

    fn ip(&mut self, at: usize, end: usize, depth: u32) {
        if at >= end || depth > DEEPEST {
            return;
        }
        match self.frame[at] >> 4 {
            4 => self.ipv4(at, end, depth),
            6 => self.ipv6(at, end, depth),
            _ => {}
        }
    }

    fn ipv4(&mut self, at: usize, end: usize, depth: u32) {
        if end < at + 20 {
            return;
        }
        let header = usize::from(self.frame[at] & 15) * 4;
        if header < 20 || end < at + header {
            return;
        }
        let total = usize::from(word(&self.frame, at + 2));
        let fragment = word(&self.frame, at + 6) & 0x3fff != 0;
        let addresses = (
            address4(&self.frame, at + 12),
            address4(&self.frame, at + 16),
        );
        let protocol = self.frame[at + 9];
        if !fragment && total >= header {
            self.inside(protocol, addresses, (at + header, at + total), end, depth);
        }
        self.one("IPv4 header", at + 10, (at, at + header), 0, false);
    }

    fn ipv6(&mut self, at: usize, end: usize, depth: u32) {
        if end < at + 40 {
            return;
        }
        let stop = at + 40 + usize::from(word(&self.frame, at + 4));
        let addresses = (
            address6(&self.frame, at + 8),
            address6(&self.frame, at + 24),
        );
        let (mut next, mut from) = (self.frame[at + 6], at + 40);
        while matches!(next, 0 | 43 | 44 | 60) {
            if end.min(stop) < from + 8 {
                return;
            }
            if next == 44 && word(&self.frame, from + 2) & 0xfff9 != 0 {
                return;
            }
            let length = match next {
                44 => 8,
                _ => usize::from(self.frame[from + 1]) * 8 + 8,
            };
            next = self.frame[from];
            from += length;
        }
        if from <= stop {
            self.inside(next, addresses, (from, stop), end, depth);
        }
    }

    /// What an IP packet carries, from its transport header to its end, which may lie
    /// beyond the last byte that is there.
    fn inside(
        &mut self,
        protocol: u8,
        addresses: (IpAddr, IpAddr),
        (from, stop): (usize, usize),
        end: usize,
        depth: u32,
    ) {
        let there = stop.min(end);
        let length = stop - from;
        let whole = stop <= end;
        let start = pseudo(addresses.0, addresses.1, protocol, length);
        let has = |bytes: usize| there >= from + bytes;
        match protocol {
            6 if whole && has(20) => self.one("TCP", from + 16, (from, stop), start, false),
            17 if has(8) => {
                if word(&self.frame, from + 2) == GUE_PORT {
                    self.ip(from + 8, there, depth + 1);
                }
                if whole && word(&self.frame, from + 6) != 0 {
                    self.one("UDP", from + 6, (from, stop), start, true);
                }
            }
            1 if has(8) => {
                if matches!(self.frame[from], 3 | 4 | 5 | 11 | 12) {
                    self.ip(from + 8, there, depth + 1);
                }
                if whole {
                    self.one("ICMP", from + 2, (from, stop), 0, false);
                }
            }
            58 if has(8) => {
                if matches!(self.frame[from], 1..=4) {
                    self.ip(from + 8, there, depth + 1);
                }
                if whole {
                    self.one("ICMPv6", from + 2, (from, stop), start, false);
                }
            }
            4 | 41 => self.ip(from, there, depth + 1),
            _ => {}
        }
    }

    fn one(
        &mut self,
        of: &'static str,
        at: usize,
        (from, stop): (usize, usize),
        start: u16,
        is_udp: bool,
    ) {
        let is = word(&self.frame, at);
        let with = add(start, sum(&self.frame[from..stop]));
        put_word(&mut self.frame, at, 0);
        let mut right = !add(start, sum(&self.frame[from..stop]));
        if is_udp {
            right = nonzero(right);
        }
        put_word(&mut self.frame, at, if self.repair { right } else { is });
        self.found.push(Checksum {
            of,
            at,
            is,
            right,
            valid: with == 0xffff,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv6([1; 16], [2; 16], 64)
            .udp(7, 8)
            .write(&mut bytes, payload)
            .unwrap();
        bytes
    }

    #[test]
    fn what_etherparse_makes_is_valid_and_a_flipped_bit_is_seen() {
        let good = frame(b"hello");
        let found = checksums(&good);
        assert_eq!(found.len(), 1);
        assert!(found[0].valid, "{found:?}");
        let mut bad = good;
        bad[58] ^= 1;
        assert!(!checksums(&bad)[0].valid);
        repair(&mut bad);
        assert!(checksums(&bad)[0].valid);
    }

    #[test]
    fn quoted_packets_are_looked_into() {
        let mut inner = Vec::new();
        PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 3)
            .udp(7, 8)
            .write(&mut inner, b"abc")
            .unwrap();
        let mut outer = vec![3, 1, 0, 0, 0, 0, 0, 0];
        outer.extend(&inner);
        let mut bytes = Vec::new();
        PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([10, 0, 0, 9], [10, 0, 0, 1], 3)
            .icmpv4_raw(3, 1, [0; 4])
            .write(&mut bytes, &inner)
            .unwrap();
        let found: Vec<&str> = checksums(&bytes).iter().map(|sum| sum.of).collect();
        assert_eq!(found, ["UDP", "IPv4 header", "ICMP", "IPv4 header"]);
        assert!(checksums(&bytes).iter().all(|sum| sum.valid));
    }
}
