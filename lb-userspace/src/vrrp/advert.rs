//! Advertisements as they are sent: written once, sent many times.

use std::net::IpAddr;

use super::{Convention, EncodeError, Interval, MAX_MESSAGE, Packet};

/// A group's advertisement, ready for each destination.
#[derive(Debug)]
pub struct Advert {
    packet: Packet,
    source: IpAddr,
    convention: Convention,
    destinations: Vec<IpAddr>,
    /// One for each destination: its address may count in the checksum.
    messages: Vec<Vec<u8>>,
    /// The virtual addresses in order, for comparing.
    addresses: Vec<IpAddr>,
}

impl Advert {
    /// That of virtual router `vrid` for `addresses`, from `source`.
    ///
    /// # Errors
    /// No message can carry these addresses.
    pub fn new(
        (vrid, interval): (u8, Interval),
        addresses: Vec<IpAddr>,
        source: IpAddr,
        destinations: Vec<IpAddr>,
        convention: Convention,
    ) -> Result<Self, EncodeError> {
        let mut sorted = addresses.clone();
        sorted.sort_unstable();
        let mut advert = Self {
            packet: Packet {
                vrid,
                priority: 0,
                interval,
                addresses,
            },
            source,
            convention,
            messages: vec![Vec::new(); destinations.len()],
            destinations,
            addresses: sorted,
        };
        advert.write()?;
        Ok(advert)
    }

    /// The message for each destination, in their order, with this priority and interval.
    pub fn messages(
        &mut self,
        priority: u8,
        interval: Interval,
    ) -> Result<impl Iterator<Item = &[u8]>, EncodeError> {
        if self.packet.priority != priority || self.packet.interval != interval {
            self.packet.priority = priority;
            self.packet.interval = interval;
            self.write()?;
        }
        Ok(self.messages.iter().map(Vec::as_slice))
    }

    /// Whether these are the same virtual addresses, in any order.
    pub fn has(&self, mut addresses: Vec<IpAddr>) -> bool {
        addresses.sort_unstable();
        addresses == self.addresses
    }

    fn write(&mut self) -> Result<(), EncodeError> {
        let mut buffer = [0; MAX_MESSAGE];
        for (&destination, message) in self.destinations.iter().zip(&mut self.messages) {
            let encoded =
                self.packet
                    .encode(self.source, destination, self.convention, &mut buffer)?;
            message.clear();
            message.extend_from_slice(encoded);
        }
        Ok(())
    }
}
