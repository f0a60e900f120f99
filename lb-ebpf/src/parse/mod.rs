//! What kind of packet this is. Nothing is changed here, and only what is read is
//! checked: the rest is for the receiver to judge.

pub mod extension;
pub mod ipv4;
pub mod ipv6;
mod plain;

use lb_common::{flow::tcp, verdict::Verdict};
use network_types::ip::IpProto;

use crate::{
    ip::{Address, Ip},
    node,
    packet::{MAX_OFFSET, Packet},
};

pub use plain::{Head, Plain, Reading, Target};

/// Offsets into headers, and their lengths.
pub mod at {
    use core::mem::offset_of;

    use network_types::{
        arp::ArpHdr,
        icmp::Icmpv4Hdr,
        ip::{Ipv4Hdr, Ipv6Hdr},
        tcp::TcpHdr,
        udp::UdpHdr,
    };

    /// Length of an IPv4 header without options.
    pub const IPV4: usize = Ipv4Hdr::LEN;
    /// Length of an IPv6 header.
    pub const IPV6: usize = Ipv6Hdr::LEN;
    /// Length of a TCP header without options.
    pub const TCP: usize = TcpHdr::LEN;
    /// Length of a UDP header, and of what an ICMP message has of its own.
    pub const UDP: usize = UdpHdr::LEN;
    /// Length of an ARP body.
    pub const ARP: usize = ArpHdr::LEN;

    /// IPv4.
    pub mod ipv4 {
        use super::{Ipv4Hdr, offset_of};

        /// Version and header length.
        pub const VERSION: usize = offset_of!(Ipv4Hdr, vihl);
        /// DSCP and ECN.
        pub const TOS: usize = offset_of!(Ipv4Hdr, tos);
        /// Total length.
        pub const LENGTH: usize = offset_of!(Ipv4Hdr, tot_len);
        /// Identification.
        pub const ID: usize = offset_of!(Ipv4Hdr, id);
        /// Flags and fragment offset.
        pub const FRAGMENT: usize = offset_of!(Ipv4Hdr, frags);
        /// Time to live, and protocol behind it.
        pub const TTL: usize = offset_of!(Ipv4Hdr, ttl);
        /// Protocol.
        pub const PROTOCOL: usize = offset_of!(Ipv4Hdr, proto);
        /// Header checksum.
        pub const CHECKSUM: usize = offset_of!(Ipv4Hdr, check);
        /// Source address.
        pub const SOURCE: usize = offset_of!(Ipv4Hdr, src_addr);
        /// Destination address.
        pub const DESTINATION: usize = offset_of!(Ipv4Hdr, dst_addr);
    }

    /// IPv6.
    pub mod ipv6 {
        use super::{Ipv6Hdr, offset_of};

        /// Version, traffic class and flow label.
        pub const VERSION: usize = offset_of!(Ipv6Hdr, vcf);
        /// Payload length.
        pub const LENGTH: usize = offset_of!(Ipv6Hdr, payload_len);
        /// Next header, and hop limit behind it.
        pub const NEXT: usize = offset_of!(Ipv6Hdr, next_hdr);
        /// Hop limit.
        pub const HOP_LIMIT: usize = offset_of!(Ipv6Hdr, hop_limit);
        /// Source address.
        pub const SOURCE: usize = offset_of!(Ipv6Hdr, src_addr);
        /// Destination address.
        pub const DESTINATION: usize = offset_of!(Ipv6Hdr, dst_addr);
    }

    /// TCP and UDP.
    pub mod port {
        use super::{UdpHdr, offset_of};

        /// Source port, and destination port behind it.
        pub const SOURCE: usize = offset_of!(UdpHdr, src);
        /// Destination port.
        pub const DESTINATION: usize = offset_of!(UdpHdr, dst);
        /// UDP length.
        pub const LENGTH: usize = offset_of!(UdpHdr, len);
    }

    /// UDP checksum.
    pub const UDP_CHECKSUM: usize = offset_of!(UdpHdr, check);
    /// TCP checksum.
    pub const TCP_CHECKSUM: usize = offset_of!(TcpHdr, check);
    /// TCP flags (RFC 9293 section 3.1): the 14th byte.
    pub const TCP_FLAGS: usize = 13;

    /// ICMP and ICMPv6.
    pub mod icmp {
        use super::{Icmpv4Hdr, offset_of};

        /// Type, and code behind it.
        pub const TYPE: usize = offset_of!(Icmpv4Hdr, type_);
        /// Checksum.
        pub const CHECKSUM: usize = offset_of!(Icmpv4Hdr, check);
        /// The word that type and code give a meaning.
        pub const WORD: usize = offset_of!(Icmpv4Hdr, data);
    }

    /// ARP.
    pub mod arp {
        use super::{ArpHdr, offset_of};

        /// Hardware and protocol type.
        pub const HARDWARE: usize = offset_of!(ArpHdr, htype);
        /// Address lengths.
        pub const LENGTHS: usize = offset_of!(ArpHdr, hlen);
        /// Operation.
        pub const OPERATION: usize = offset_of!(ArpHdr, oper);
        /// Sender MAC.
        pub const SENDER_MAC: usize = offset_of!(ArpHdr, sha);
        /// Sender address.
        pub const SENDER: usize = offset_of!(ArpHdr, spa);
        /// Target MAC.
        pub const TARGET_MAC: usize = offset_of!(ArpHdr, tha);
        /// Target address.
        pub const TARGET: usize = offset_of!(ArpHdr, tpa);
    }
}

/// Protocol number of TCP.
pub const TCP: u8 = IpProto::Tcp as u8;
/// Protocol number of UDP.
pub const UDP: u8 = IpProto::Udp as u8;

/// A kind of packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment or UDP datagram, whole or its first fragment.
    Segment,
    /// A later fragment.
    Fragment,
    /// An ICMP error.
    Error,
    /// An ICMP echo request.
    Echo,
    /// A neighbour solicitation.
    Solicitation,
    /// For a certain address, and dropped with a certain verdict if that is a VIP.
    Stray,
    /// Not ours, whomever it is for.
    Foreign,
}

/// What parsing tells. Plain fields, all of them always set, rather than an enum with
/// different contents: the compiler would copy the unset ones, and the verifier
/// refuses a program that reads what was never written.
#[derive(Clone, Copy)]
pub struct Parsed<I: Ip> {
    /// What kind of packet it is.
    pub kind: Kind,
    /// Segment: all of it. Others: what the IP header says.
    pub segment: Segment<I>,
    /// Stray and foreign: the verdict.
    pub verdict: Verdict,
}

impl<I: Ip> Parsed<I> {
    #[inline(always)]
    fn foreign(verdict: Verdict) -> Self {
        Parsed {
            kind: Kind::Foreign,
            segment: Segment::NONE,
            verdict,
        }
    }

    #[inline(always)]
    fn stray(segment: Segment<I>, verdict: Verdict) -> Self {
        Parsed {
            kind: Kind::Stray,
            segment,
            verdict,
        }
    }

    #[inline(always)]
    fn of(kind: Kind, segment: Segment<I>) -> Self {
        Parsed {
            kind,
            segment,
            verdict: Verdict::DropInternal,
        }
    }
}

/// A flow of a VIP as the client began it; address and ports as they lie in the packet.
#[derive(Clone, Copy)]
pub struct Flow<I: Ip> {
    /// The client's address.
    pub client: I::Address,
    /// The client's port.
    pub client_port: u16,
    /// The port of the VIP that it speaks to.
    pub vip_port: u16,
}

impl<I: Ip> Flow<I> {
    /// Both ports in one word, the client's below.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self) -> u32 {
        u32::from(self.client_port) | u32::from(self.vip_port) << 16
    }
}

/// A TCP segment or UDP datagram; addresses and ports as they lie in the packet.
#[derive(Clone, Copy)]
pub struct Segment<I: Ip> {
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags; 0 for UDP.
    pub flags: u8,
    /// Whether more fragments follow.
    pub is_first: bool,
    /// Length of the IP packet in bytes.
    pub length: usize,
    /// Where the TCP, UDP or ICMP header begins in the frame.
    pub l4: usize,
    /// Source address.
    pub source: I::Address,
    /// Destination address.
    pub destination: I::Address,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// Fragment: its packet's identification, as it lies in the packet.
    pub id: u32,
}

impl<I: Ip> Segment<I> {
    const NONE: Segment<I> = Segment {
        protocol: 0,
        flags: 0,
        is_first: false,
        length: 0,
        l4: 0,
        source: I::Address::NONE,
        destination: I::Address::NONE,
        source_port: 0,
        destination_port: 0,
        id: 0,
    };

    /// The same segment, of which the verifier doesn't know which it is.
    #[inline(always)]
    #[must_use]
    pub fn any(self) -> Self {
        Segment {
            is_first: node::any(u64::from(self.is_first)) & 1 != 0,
            l4: node::any(self.l4 as u64) as usize & MAX_OFFSET,
            id: node::any(u64::from(self.id)) as u32,
            protocol: node::any(u64::from(self.protocol)) as u8,
            flags: node::any(u64::from(self.flags)) as u8,
            ..self
        }
    }

    /// Whether it is TCP.
    #[inline(always)]
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Whether it asks for a new TCP connection.
    #[inline(always)]
    #[must_use]
    pub fn opens(&self) -> bool {
        tcp::opens(self.flags)
    }

    /// The flow of a packet that goes to the VIP.
    #[inline(always)]
    #[must_use]
    pub fn flow(&self) -> Flow<I> {
        Flow {
            client: self.source,
            client_port: self.source_port,
            vip_port: self.destination_port,
        }
    }
}

/// Reads what TCP and UDP have of a segment, of whose packet `payload` bytes are theirs.
/// `None` when their header isn't there.
#[inline(always)]
fn with_ports<I: Ip>(packet: &Packet, segment: Segment<I>, payload: usize) -> Option<Segment<I>> {
    let mut segment = segment;
    let least = if segment.is_tcp() { at::TCP } else { at::UDP };
    if payload < least {
        return None;
    }
    let head = if segment.is_tcp() {
        let tcp = packet.at::<{ at::TCP }>(segment.l4)?;
        segment.flags = tcp.load::<u8, { at::TCP_FLAGS }>();
        tcp.narrow::<{ at::UDP }>()
    } else {
        packet.at::<{ at::UDP }>(segment.l4)?
    };
    segment.source_port = head.load::<u16, { at::port::SOURCE }>();
    segment.destination_port = head.load::<u16, { at::port::DESTINATION }>();
    Some(segment)
}

/// [`with_ports`], told as a packet's kind.
#[inline(always)]
fn ports<I: Ip>(packet: &Packet, segment: Segment<I>, payload: usize) -> Parsed<I> {
    match with_ports(packet, segment, payload) {
        Some(segment) => Parsed::of(Kind::Segment, segment),
        None => Parsed::stray(segment, Verdict::DropMalformed),
    }
}
