//! What kind of packet this is. Nothing is changed here, and only what is read is
//! checked: the rest is for the receiver to judge.

use core::mem::offset_of;

use lb_common::{flow::tcp, verdict::Verdict};
use network_types::{
    arp::ArpHdr,
    eth::EthHdr,
    icmp::Icmpv4Hdr,
    ip::{IpProto, Ipv4Hdr},
    tcp::TcpHdr,
    udp::UdpHdr,
};

use crate::{
    node,
    packet::{Packet, Window},
};

/// Length of the frames' parts, for IPv4 without options.
pub const IP: usize = EthHdr::LEN;
/// Where the transport header begins.
pub const L4: usize = IP + Ipv4Hdr::LEN;
/// A frame up to the end of its ARP body.
pub const ARP_LEN: usize = EthHdr::LEN + ArpHdr::LEN;
/// A frame up to the end of its UDP or ICMP header.
pub const UDP_LEN: usize = L4 + UdpHdr::LEN;
/// A frame up to the end of its TCP header.
pub const TCP_LEN: usize = L4 + TcpHdr::LEN;

/// Offsets into a frame.
pub mod at {
    use super::{ArpHdr, EthHdr, IP, Icmpv4Hdr, Ipv4Hdr, L4, TcpHdr, UdpHdr, offset_of};

    /// Destination MAC.
    pub const MAC_DESTINATION: usize = offset_of!(EthHdr, dst_addr);
    /// Source MAC.
    pub const MAC_SOURCE: usize = offset_of!(EthHdr, src_addr);
    /// EtherType.
    pub const ETHER_TYPE: usize = offset_of!(EthHdr, ether_type);
    /// IPv4 version and header length.
    pub const IP_VERSION: usize = IP + offset_of!(Ipv4Hdr, vihl);
    /// IPv4 total length.
    pub const IP_LENGTH: usize = IP + offset_of!(Ipv4Hdr, tot_len);
    /// IPv4 flags and fragment offset.
    pub const IP_FRAGMENT: usize = IP + offset_of!(Ipv4Hdr, frags);
    /// IPv4 time to live, and protocol behind it.
    pub const IP_TTL: usize = IP + offset_of!(Ipv4Hdr, ttl);
    /// IPv4 protocol.
    pub const IP_PROTOCOL: usize = IP + offset_of!(Ipv4Hdr, proto);
    /// IPv4 header checksum.
    pub const IP_CHECKSUM: usize = IP + offset_of!(Ipv4Hdr, check);
    /// IPv4 source address.
    pub const IP_SOURCE: usize = IP + offset_of!(Ipv4Hdr, src_addr);
    /// IPv4 destination address.
    pub const IP_DESTINATION: usize = IP + offset_of!(Ipv4Hdr, dst_addr);
    /// TCP or UDP source port.
    pub const PORT_SOURCE: usize = L4 + offset_of!(UdpHdr, src);
    /// TCP or UDP destination port.
    pub const PORT_DESTINATION: usize = L4 + offset_of!(UdpHdr, dst);
    /// UDP checksum.
    pub const UDP_CHECKSUM: usize = L4 + offset_of!(UdpHdr, check);
    /// TCP checksum.
    pub const TCP_CHECKSUM: usize = L4 + offset_of!(TcpHdr, check);
    /// TCP flags (RFC 9293 section 3.1): the 14th byte.
    pub const TCP_FLAGS: usize = L4 + 13;
    /// ICMP type, and code behind it.
    pub const ICMP_TYPE: usize = L4 + offset_of!(Icmpv4Hdr, type_);
    /// ICMP checksum.
    pub const ICMP_CHECKSUM: usize = L4 + offset_of!(Icmpv4Hdr, check);
    /// ARP hardware and protocol type.
    pub const ARP_HARDWARE: usize = EthHdr::LEN + offset_of!(ArpHdr, htype);
    /// ARP address lengths.
    pub const ARP_LENGTHS: usize = EthHdr::LEN + offset_of!(ArpHdr, hlen);
    /// ARP operation.
    pub const ARP_OPERATION: usize = EthHdr::LEN + offset_of!(ArpHdr, oper);
    /// ARP sender MAC.
    pub const ARP_SENDER_MAC: usize = EthHdr::LEN + offset_of!(ArpHdr, sha);
    /// ARP sender address.
    pub const ARP_SENDER: usize = EthHdr::LEN + offset_of!(ArpHdr, spa);
    /// ARP target MAC.
    pub const ARP_TARGET_MAC: usize = EthHdr::LEN + offset_of!(ArpHdr, tha);
    /// ARP target address.
    pub const ARP_TARGET: usize = EthHdr::LEN + offset_of!(ArpHdr, tpa);
}

const TCP: u8 = IpProto::Tcp as u8;
const UDP: u8 = IpProto::Udp as u8;
const ICMP: u8 = IpProto::Icmp as u8;
const ETHER_IPV4: u16 = 0x0800u16.to_be();
const ETHER_ARP: u16 = 0x0806u16.to_be();
/// Everything of the fragment field but "don't fragment" and the reserved bit.
const FRAGMENT: u16 = 0x3fffu16.to_be();
const VERSION_4_NO_OPTIONS: u8 = 0x45;
/// Type 8, code 0 (RFC 792).
const ECHO_REQUEST: u16 = 0x0800u16.to_be();
const MAC_BITS: u64 = (1 << 48) - 1;
/// The group bit of a MAC address whose bytes are a little-endian word.
const MAC_GROUP: u64 = 1;

/// A kind of packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment or UDP datagram, whole and without options.
    Segment,
    /// An ICMP echo request.
    Echo,
    /// An ARP packet.
    Arp,
    /// For a certain address, and dropped with a certain verdict if that is a VIP.
    Stray,
    /// Not ours, whomever it is for.
    Foreign,
}

/// What parsing tells. Plain fields, all of them always set, rather than an enum with
/// different contents: the compiler would copy the unset ones, and the verifier
/// refuses a program that reads what was never written.
#[derive(Clone, Copy)]
pub struct Parsed {
    /// What kind of packet it is.
    pub kind: Kind,
    /// Segment: all of it. Stray: its destination.
    pub segment: Segment,
    /// Stray and foreign: the verdict.
    pub verdict: Verdict,
}

impl Parsed {
    #[inline(always)]
    fn foreign(verdict: Verdict) -> Self {
        Parsed {
            kind: Kind::Foreign,
            segment: Segment::NONE,
            verdict,
        }
    }

    #[inline(always)]
    fn stray(destination: u32, verdict: Verdict) -> Self {
        let segment = Segment {
            destination,
            ..Segment::NONE
        };
        Parsed {
            kind: Kind::Stray,
            segment,
            verdict,
        }
    }

    #[inline(always)]
    fn of(kind: Kind, segment: Segment) -> Self {
        Parsed {
            kind,
            segment,
            verdict: Verdict::DropInternal,
        }
    }
}

/// A flow as the client began it; addresses and ports as they lie in the packet.
#[derive(Clone, Copy)]
pub struct Flow {
    /// The client's address.
    pub client: u32,
    /// The VIP.
    pub vip: u32,
    /// The client's port.
    pub client_port: u16,
    /// The service's port.
    pub vip_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// A TCP segment or UDP datagram; addresses and ports as they lie in the packet.
#[derive(Clone, Copy)]
pub struct Segment {
    /// Whether it is TCP.
    pub is_tcp: bool,
    /// Length of the frame in bytes.
    pub length: usize,
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// TCP flags; 0 for UDP.
    pub flags: u8,
}

impl Segment {
    const NONE: Segment = Segment {
        is_tcp: false,
        length: 0,
        source: 0,
        destination: 0,
        source_port: 0,
        destination_port: 0,
        flags: 0,
    };

    /// IP protocol number.
    #[inline(always)]
    #[must_use]
    pub fn protocol(&self) -> u8 {
        if self.is_tcp { TCP } else { UDP }
    }

    /// Whether it asks for a new TCP connection.
    #[inline(always)]
    #[must_use]
    pub fn opens(&self) -> bool {
        self.is_tcp && tcp::opens(self.flags)
    }

    /// The flow of a packet that goes to the VIP.
    #[inline(always)]
    #[must_use]
    pub fn flow(&self) -> Flow {
        Flow {
            client: self.source,
            vip: self.destination,
            client_port: self.source_port,
            vip_port: self.destination_port,
            protocol: self.protocol(),
        }
    }
}

/// Tells what kind of packet this is.
#[inline(always)]
#[must_use]
pub fn parse(packet: &Packet) -> Parsed {
    let Some(frame) = packet.window::<{ EthHdr::LEN }>() else {
        return Parsed::foreign(Verdict::PassMalformed);
    };
    let mac = frame.load::<u64, { at::MAC_DESTINATION }>() & MAC_BITS;
    match frame.load::<u16, { at::ETHER_TYPE }>() {
        ETHER_IPV4 if mac == node::mac() => ipv4(packet),
        ETHER_ARP if mac == node::mac() || mac & MAC_GROUP != 0 => {
            Parsed::of(Kind::Arp, Segment::NONE)
        }
        ETHER_IPV4 | ETHER_ARP => Parsed::foreign(Verdict::PassOtherHost),
        _ => Parsed::foreign(Verdict::PassProtocol),
    }
}

#[inline(always)]
fn ipv4(packet: &Packet) -> Parsed {
    let Some(frame) = packet.window::<L4>() else {
        return Parsed::foreign(Verdict::PassMalformed);
    };
    let version = frame.load::<u8, { at::IP_VERSION }>();
    if version >> 4 != 4 {
        return Parsed::foreign(Verdict::PassMalformed);
    }
    let destination = frame.load::<u32, { at::IP_DESTINATION }>();
    if version != VERSION_4_NO_OPTIONS {
        let options = version > VERSION_4_NO_OPTIONS;
        let verdict = if options {
            Verdict::DropIpOptions
        } else {
            Verdict::DropMalformed
        };
        return Parsed::stray(destination, verdict);
    }
    if frame.load::<u16, { at::IP_FRAGMENT }>() & FRAGMENT != 0 {
        return Parsed::stray(destination, Verdict::DropFragment);
    }
    let total = IP + u16::from_be(frame.load::<u16, { at::IP_LENGTH }>()) as usize;
    if total > packet.length() {
        return Parsed::stray(destination, broken(frame));
    }
    match frame.load::<u8, { at::IP_PROTOCOL }>() {
        TCP => match packet.window::<TCP_LEN>() {
            Some(tcp) if total >= TCP_LEN => {
                let flags = tcp.load::<u8, { at::TCP_FLAGS }>();
                Parsed::of(Kind::Segment, segment(packet, tcp.narrow(), true, flags))
            }
            _ => Parsed::stray(destination, Verdict::DropMalformed),
        },
        UDP => match packet.window::<UDP_LEN>() {
            Some(udp) if total >= UDP_LEN => {
                Parsed::of(Kind::Segment, segment(packet, udp, false, 0))
            }
            _ => Parsed::stray(destination, Verdict::DropMalformed),
        },
        ICMP => match packet.window::<UDP_LEN>() {
            Some(icmp) if total >= UDP_LEN => {
                if icmp.load::<u16, { at::ICMP_TYPE }>() == ECHO_REQUEST {
                    Parsed::of(Kind::Echo, Segment::NONE)
                } else {
                    Parsed::stray(destination, Verdict::DropVipProtocol)
                }
            }
            _ => Parsed::stray(destination, Verdict::DropMalformed),
        },
        _ => Parsed::stray(destination, Verdict::DropVipProtocol),
    }
}

/// The verdict on a packet for a VIP that says it is longer than its frame.
#[inline(always)]
fn broken(frame: Window<L4>) -> Verdict {
    match frame.load::<u8, { at::IP_PROTOCOL }>() {
        TCP | UDP | ICMP => Verdict::DropMalformed,
        _ => Verdict::DropVipProtocol,
    }
}

#[inline(always)]
fn segment(packet: &Packet, head: Window<UDP_LEN>, is_tcp: bool, flags: u8) -> Segment {
    Segment {
        is_tcp,
        length: packet.length(),
        source: head.load::<u32, { at::IP_SOURCE }>(),
        destination: head.load::<u32, { at::IP_DESTINATION }>(),
        source_port: head.load::<u16, { at::PORT_SOURCE }>(),
        destination_port: head.load::<u16, { at::PORT_DESTINATION }>(),
        flags,
    }
}
