//! Choices: which addresses, ports, lengths and flags packets have.

use std::net::IpAddr;

use fastrand::Rng;

use crate::site::{Site, UDP};

/// Random choices, the same for the same seed.
pub struct Dice(pub Rng);

/// Clients of each family: behind every kind of route, and such as there can't be.
const CLIENTS: [&str; 11] = [
    "198.51.100.1",
    "198.51.100.2",
    "198.51.100.200",
    "192.0.2.7",
    "192.0.2.8",
    "192.0.2.9",
    "100.64.0.1",
    "8.8.8.8",
    "0.1.2.3",
    "127.0.0.1",
    "239.1.2.3",
];
const CLIENTS6: [&str; 11] = [
    "2001:db8:c::1",
    "2001:db8:c::2",
    "2001:db8:c:0:9000::1",
    "2001:db8:d::7",
    "2001:db8:d::8",
    "fe80::1",
    "2001:db8:e::1",
    "2620:fe::fe",
    "::",
    "::1",
    "ff02::5",
];

/// TCP flags that packets have, the ordinary ones oftener.
const FLAGS: [u8; 16] = [
    0x02, 0x02, 0x02, 0x10, 0x10, 0x10, 0x18, 0x18, 0x11, 0x04, 0x14, 0x12, 0x03, 0x00, 0xff, 0xc2,
];

impl Dice {
    /// One time in so many.
    pub fn one_in(&mut self, many: u32) -> bool {
        self.0.u32(0..many) == 0
    }

    /// One of them.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.usize(0..all.len())]
    }

    /// An address of one of ours: VIPs and pool.
    pub fn vip(&mut self, site: &Site) -> IpAddr {
        let place = self.0.usize(0..site.vips.len());
        site.vips[place].address
    }

    /// A client. One that there can't be comes seldom.
    pub fn client(&mut self, is_v6: bool) -> IpAddr {
        let among = if self.one_in(40) { 11 } else { 8 };
        let place = self.0.usize(0..among);
        let text = if is_v6 { CLIENTS6 } else { CLIENTS }[place];
        text.parse().expect("an address")
    }

    /// A client's port.
    pub fn client_port(&mut self) -> u16 {
        if self.one_in(50) {
            self.0.u16(..)
        } else {
            40_000 + self.0.u16(0..48)
        }
    }

    /// TCP flags; none for UDP.
    pub fn flags(&mut self, protocol: u8) -> u8 {
        if protocol == UDP {
            return 0;
        }
        self.one_of(&FLAGS)
    }

    /// A TTL: seldom one that runs out.
    pub fn ttl(&mut self) -> u8 {
        match self.0.u32(0..40) {
            0 => 1,
            1 => 0,
            2 => 2,
            3 => 255,
            4 => self.0.u8(..),
            _ => 64,
        }
    }

    /// A TOS or traffic class.
    pub fn class(&mut self) -> u8 {
        if self.one_in(3) { self.0.u8(..) } else { 0 }
    }

    /// A payload: short mostly, at times as long as some way takes, or one byte more.
    pub fn payload(&mut self) -> Vec<u8> {
        let length = match self.0.u32(0..16) {
            0 => {
                let near = self.one_of(&[600, 1_280, 1_300, 1_320, 1_400, 1_500, 2_000]);
                near - self.0.usize(0..110)
            }
            1 => self.0.usize(0..3_200),
            2 => self.0.usize(300..700),
            3 => 0,
            _ => self.0.usize(0..48),
        };
        let mut bytes = vec![0; length];
        self.0.fill(&mut bytes[..length.min(64)]);
        bytes
    }

    /// A frame's tags.
    pub fn tags(&mut self) -> Vec<(u16, u16)> {
        let count = match self.0.u32(0..10) {
            0..6 => 0,
            6..9 => 1,
            _ => 2,
        };
        (0..count)
            .map(|_| {
                let kind = self.one_of(&[0x8100, 0x8100, 0x88a8]);
                let id = self.one_of(&[0, 5, 7, 6, 100, 9, 0x123, 2, 3]);
                let id = if self.one_in(9) { self.0.u16(..) } else { id };
                let priority = if self.one_in(2) {
                    self.0.u16(..) & 0xf000
                } else {
                    0
                };
                (kind, id & 0xfff | priority)
            })
            .collect()
    }

    /// IPv4 options.
    pub fn options(&mut self) -> Vec<u8> {
        if !self.one_in(8) {
            return Vec::new();
        }
        let mut options = vec![1; self.0.usize(1..=10) * 4];
        if self.one_in(2) {
            self.0.fill(&mut options);
        }
        options
    }

    /// IPv6 extension headers, mostly such as may be.
    pub fn extensions(&mut self) -> Vec<(u8, Vec<u8>)> {
        if !self.one_in(5) {
            return Vec::new();
        }
        let count = match self.0.u32(0..16) {
            0 => 5,
            1..4 => 4,
            4..6 => 3,
            6..9 => 2,
            _ => 1,
        };
        (0..count)
            .map(|place| {
                let number = match self.0.u32(0..12) {
                    0..3 if place == 0 || self.one_in(6) => 0,
                    3..5 => 43,
                    5..7 => 44,
                    _ => 60,
                };
                let units = match self.0.u32(0..20) {
                    0 => 32,
                    1 => 33,
                    2..5 => self.0.usize(2..32),
                    _ => 1,
                };
                let mut bytes = vec![0; if number == 44 { 8 } else { units * 8 }];
                if number == 43 && self.one_in(6) {
                    bytes[3] = self.0.u8(..);
                }
                (number, bytes)
            })
            .collect()
    }
}
