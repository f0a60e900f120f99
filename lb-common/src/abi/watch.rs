use super::{Address, Record};
use crate::limits::MAX_SERVICES;

/// Words of a set of services.
const SERVICE_WORDS: usize = MAX_SERVICES as usize / 64;

/// What is to be told of new connections. Nothing is, unless somebody says so again and
/// again: a daemon that dies leaves nothing switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Watch {
    /// The services whose connections are told of: a bit for each number.
    pub services: [u64; SERVICE_WORDS],
    /// How many connections each CPU tells of in one window.
    pub most: u64,
    /// Until when, in ns of the kernel's monotonic clock; 0 for not at all. Written last.
    pub until: u64,
}

impl Watch {
    /// Nobody watches.
    pub const OFF: Watch = Watch {
        until: 0,
        most: 0,
        services: [0; SERVICE_WORDS],
    };
    /// Every service.
    pub const ALL: [u64; SERVICE_WORDS] = [u64::MAX; SERVICE_WORDS];

    /// Adds a service to those that are watched. A number that none has changes nothing.
    pub fn add(&mut self, service: u32) {
        if let Some(word) = self.services.get_mut(service as usize / 64) {
            *word |= 1 << (service % 64);
        }
    }
}

/// The word of a set of services that a service's bit is in, and the bit.
#[must_use]
#[inline(always)]
pub const fn service_bit(service: u16) -> (usize, u64) {
    (
        (service as usize / 64) & (SERVICE_WORDS - 1),
        1 << (service % 64),
    )
}

/// Length of a window: this many bits of the clock in ns, about a second.
const WINDOW_BITS: u32 = 30;

/// The window that a time of the monotonic clock, in ns, is in.
#[must_use]
#[inline(always)]
pub const fn window(ns: u64) -> u64 {
    ns >> WINDOW_BITS
}

/// A new connection that is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Opened {
    /// When, in ns of the monotonic clock.
    pub at: u64,
    /// The client's address.
    pub client: Address,
    /// The VIP.
    pub vip: Address,
    /// The client's port, in network byte order.
    pub client_port: u16,
    /// The VIP's port, in network byte order.
    pub vip_port: u16,
    /// The number of the backend that it goes to.
    pub backend: u16,
    /// The service's number.
    pub service: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`super::Family`].
    pub family: u8,
    /// Zero.
    pub reserved: [u8; 6],
}

/// What one CPU has told in the window under way, and what it has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct WatchCount {
    /// The window.
    pub window: u64,
    /// Connections that it has told of in it.
    pub told: u64,
    /// Connections that it has not told of since the map was made.
    pub untold: u64,
}

impl WatchCount {
    /// Whether one more connection may be told of in `window`, where `most` may; counts it.
    #[must_use]
    #[inline(always)]
    pub fn admits(&mut self, window: u64, most: u64) -> bool {
        if self.window != window {
            self.window = window;
            self.told = 0;
        }
        if self.told < most {
            self.told += 1;
            true
        } else {
            self.untold += 1;
            false
        }
    }
}

// SAFETY: u64 fields only.
unsafe impl Record for Watch {}
const _: () = assert!(size_of::<Watch>() == 16 + MAX_SERVICES as usize / 8);
const _: () = assert!(SERVICE_WORDS.is_power_of_two() && MAX_SERVICES.is_multiple_of(64));

// SAFETY: the fields' sizes add up to the checked size, so there is no padding.
unsafe impl Record for Opened {}
const _: () = assert!(8 + 16 + 16 + 4 * 2 + 2 + 6 == size_of::<Opened>());
const _: () = assert!(size_of::<Opened>() == 56);

// SAFETY: u64 fields only.
unsafe impl Record for WatchCount {}
const _: () = assert!(size_of::<WatchCount>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_so_many_and_the_rest_is_counted() {
        let mut count = WatchCount::default();
        let admitted =
            |count: &mut WatchCount, window| (0..10).filter(|_| count.admits(window, 3)).count();
        assert_eq!(admitted(&mut count, 7), 3);
        assert_eq!(admitted(&mut count, 7), 0);
        assert_eq!(admitted(&mut count, 8), 3, "another window");
        assert_eq!(admitted(&mut count, 2), 3, "the clock is another one");
        assert_eq!(count.untold, 31);
        assert!(!count.admits(9, 0));
    }

    #[test]
    fn services_have_a_bit_each() {
        let mut watch = Watch::OFF;
        for service in [0, 63, 64, MAX_SERVICES - 1, MAX_SERVICES, u32::MAX] {
            watch.add(service);
        }
        let watched = (0..MAX_SERVICES).filter(|&service| {
            let (word, bit) = service_bit(service as u16);
            watch.services[word] & bit != 0
        });
        assert!(watched.eq([0, 63, 64, MAX_SERVICES - 1]));
    }

    #[test]
    fn a_window_is_about_a_second() {
        let windows = window(10_000_000_000) - window(0);
        assert!((9..=10).contains(&windows));
    }
}
