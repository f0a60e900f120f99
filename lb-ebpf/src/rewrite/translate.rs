//! Other addresses and ports in a packet, and checksums that follow.

use lb_common::checksum::Delta;

use super::Carried;
use crate::{
    frame::Frame,
    icmp::{Message, Quoted},
    ip::{Edit, Ip, New},
    packet::{Packet, Window},
    parse::{Reading, TCP, at},
};

/// Other addresses and ports.
#[derive(Clone, Copy)]
pub struct Translation<I: Ip> {
    /// What changes in the IP header.
    pub edit: Edit<I>,
    /// Another source port.
    pub source_port: New<u16>,
    /// Another destination port.
    pub destination_port: New<u16>,
}

impl<I: Ip> Translation<I> {
    /// Writes the ports; `delta` and the difference that they make.
    #[inline(always)]
    fn ports(&self, head: Window<{ at::UDP }>, delta: Delta) -> Delta {
        let mut delta = delta;
        if self.source_port.is_given {
            let new = self.source_port.value;
            delta = delta.word(head.load::<u16, { at::port::SOURCE }>(), new);
            head.store::<u16, { at::port::SOURCE }>(new);
        }
        if self.destination_port.is_given {
            let new = self.destination_port.value;
            delta = delta.word(head.load::<u16, { at::port::DESTINATION }>(), new);
            head.store::<u16, { at::port::DESTINATION }>(new);
        }
        delta
    }
}

/// Translates a segment or a fragment.
#[inline(always)]
pub fn packet<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &impl Reading<I>,
    carried: Carried,
    to: &Translation<I>,
) -> Option<()> {
    let delta = I::edit(packet, frame, &to.edit)?;
    if carried == Carried::Fragment {
        return Some(());
    }
    if segment.protocol() == TCP {
        let tcp = segment.tcp(packet)?;
        let delta = to.ports(tcp.narrow(), delta);
        let checksum = tcp.load::<u16, { at::TCP_CHECKSUM }>();
        tcp.store::<u16, { at::TCP_CHECKSUM }>(delta.apply(checksum));
    } else {
        let udp = segment.udp(packet)?;
        let delta = to.ports(udp, delta);
        let checksum = udp.load::<u16, { at::UDP_CHECKSUM }>();
        udp.store::<u16, { at::UDP_CHECKSUM }>(delta.apply_udp(checksum));
    }
    Some(())
}

/// Translates an ICMP error: `outer` in its own IP header, `inner` in the packet that it
/// quotes (RFC 5508 section 4.2).
#[inline(always)]
pub fn error<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
    quote: &Quoted,
    outer: &Edit<I>,
    inner: &Translation<I>,
) -> Option<()> {
    // The ICMP checksum covers all that changes in the quote, checksums too, and in IPv6
    // the addresses of the packet itself.
    let around = I::pseudo(I::edit(packet, frame, outer)?);
    let quoted = Frame {
        ip: quote.at,
        ..*frame
    };
    let before = I::checksum(packet, &quoted)?;
    let inside = I::edit(packet, &quoted, &inner.edit)?;
    let head = packet.at::<{ at::UDP }>(quote.l4)?;
    let inside = inner.ports(head, inside);
    let mut all = around
        .and(inside)
        .word(before, I::checksum(packet, &quoted)?);
    if !quote.is_tcp {
        let old = head.load::<u16, { at::UDP_CHECKSUM }>();
        let new = inside.apply_udp(old);
        head.store::<u16, { at::UDP_CHECKSUM }>(new);
        all = all.word(old, new);
    } else if quote.has_tcp_checksum {
        let checksum = packet.at::<2>(quote.l4 + at::TCP_CHECKSUM)?;
        let old = checksum.load::<u16, 0>();
        let new = inside.apply(old);
        checksum.store::<u16, 0>(new);
        all = all.word(old, new);
    }
    let message = packet.at::<{ at::UDP }>(error.l4)?;
    let checksum = message.load::<u16, { at::icmp::CHECKSUM }>();
    message.store::<u16, { at::icmp::CHECKSUM }>(all.apply(checksum));
    Some(())
}
