//! The oracle for packets of both IP versions: headers and checksums are etherparse's,
//! what it has no words for is laid out by hand. None of it is the code under test's.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel,
    Ipv6FragmentHeader, Ipv6Header, TcpHeader, UdpHeader,
};
use lb_common::abi::Mac;

use crate::{
    row::Bytes,
    site::{CLIENT_MAC, OWN},
};

/// What an IP packet carries.
#[derive(Clone)]
pub enum Transport {
    Tcp(Box<TcpHeader>),
    Udp { checked: bool },
    Icmp { kind: u8, code: u8, word: u32 },
    Other(u8),
}

/// An IP packet. Lengths and checksums follow from the rest.
#[derive(Clone)]
pub struct Packet {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub ttl: u8,
    /// DSCP and ECN.
    pub class: u8,
    pub label: u32,
    /// IPv4, and any fragment's.
    pub id: u32,
    pub may_split: bool,
    pub options: Vec<u8>,
    /// IPv6: each one's kind, and what is in it behind the next header's kind.
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub transport: Transport,
    pub payload: Vec<u8>,
}

impl Packet {
    fn new(source: SocketAddr, destination: SocketAddr, transport: Transport) -> Self {
        Packet {
            source,
            destination,
            ttl: 64,
            class: 0,
            label: 0,
            id: 0x1c46,
            may_split: false,
            options: Vec::new(),
            extensions: Vec::new(),
            transport,
            payload: Vec::new(),
        }
    }

    /// A TCP segment; `flags` by their initials, as in "SA".
    pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: &str) -> Self {
        let mut tcp = TcpHeader::new(source.port(), destination.port(), 0x1234_5678, 64_240);
        let has = |flag| flags.contains(flag);
        (tcp.syn, tcp.ack, tcp.fin) = (has('S'), has('A'), has('F'));
        (tcp.rst, tcp.psh) = (has('R'), has('P'));
        Packet::new(source, destination, Transport::Tcp(Box::new(tcp)))
    }

    /// A UDP datagram.
    pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Self {
        Packet::new(source, destination, Transport::Udp { checked: true }).payload(payload)
    }

    /// An ICMP or ICMPv6 message.
    pub fn icmp(source: IpAddr, destination: IpAddr, kind: u8, code: u8, word: u32) -> Self {
        let transport = Transport::Icmp { kind, code, word };
        Packet::new((source, 0).into(), (destination, 0).into(), transport)
    }

    /// An echo request.
    pub fn echo(source: IpAddr, destination: IpAddr) -> Self {
        let kind = if source.is_ipv4() { 8 } else { 128 };
        Packet::icmp(source, destination, kind, 0, 0x4711_0003).payload(b"ping")
    }

    /// Some other protocol.
    pub fn other(source: IpAddr, destination: IpAddr, protocol: u8) -> Self {
        let transport = Transport::Other(protocol);
        Packet::new((source, 0).into(), (destination, 0).into(), transport).payload(&[0xee; 24])
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    pub fn from(mut self, source: SocketAddr) -> Self {
        self.source = source;
        self
    }

    pub fn to(mut self, destination: SocketAddr) -> Self {
        self.destination = destination;
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// One hop on.
    pub fn hop(self) -> Self {
        let ttl = self.ttl - 1;
        self.ttl(ttl)
    }

    pub fn class(mut self, class: u8) -> Self {
        self.class = class;
        self
    }

    pub fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    pub fn unchecked(mut self) -> Self {
        self.transport = Transport::Udp { checked: false };
        self
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    /// With one more extension header: its kind, and what is in it behind the next
    /// header's kind.
    pub fn extended(mut self, kind: u8, body: &[u8]) -> Self {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp(_) => 6,
            Transport::Udp { .. } => 17,
            Transport::Icmp { .. } if self.source.is_ipv4() => 1,
            Transport::Icmp { .. } => 58,
            Transport::Other(protocol) => protocol,
        }
    }

    /// What lies behind the IP header.
    pub fn body(&self) -> Vec<u8> {
        let payload = &self.payload[..];
        let (from, to) = (self.source.port(), self.destination.port());
        let ends = (self.source.ip(), self.destination.ip());
        let mut bytes = match (&self.transport, ends) {
            (Transport::Tcp(header), ends) => {
                let mut tcp = (**header).clone();
                (tcp.source_port, tcp.destination_port) = (from, to);
                let sum = match ends {
                    (IpAddr::V4(a), IpAddr::V4(b)) => {
                        tcp.calc_checksum_ipv4_raw(a.octets(), b.octets(), payload)
                    }
                    (IpAddr::V6(a), IpAddr::V6(b)) => {
                        tcp.calc_checksum_ipv6_raw(a.octets(), b.octets(), payload)
                    }
                    _ => panic!("one version"),
                };
                tcp.checksum = sum.expect("short enough");
                tcp.to_bytes().to_vec()
            }
            (Transport::Udp { checked }, ends) => {
                let udp = UdpHeader::without_ipv4_checksum(from, to, payload.len());
                let mut udp = udp.expect("short enough");
                let sum = match ends {
                    (IpAddr::V4(a), IpAddr::V4(b)) => {
                        udp.calc_checksum_ipv4_raw(a.octets(), b.octets(), payload)
                    }
                    (IpAddr::V6(a), IpAddr::V6(b)) => {
                        udp.calc_checksum_ipv6_raw(a.octets(), b.octets(), payload)
                    }
                    _ => panic!("one version"),
                };
                if *checked {
                    udp.checksum = sum.expect("short enough");
                }
                udp.to_bytes().to_vec()
            }
            (&Transport::Icmp { kind, code, word }, ends) => {
                let (type_u8, code_u8, bytes5to8) = (kind, code, word.to_be_bytes());
                match ends {
                    (IpAddr::V6(a), IpAddr::V6(b)) => {
                        let kind = Icmpv6Type::Unknown {
                            type_u8,
                            code_u8,
                            bytes5to8,
                        };
                        Icmpv6Header::with_checksum(kind, a.octets(), b.octets(), payload)
                            .expect("short enough")
                            .to_bytes()
                            .to_vec()
                    }
                    _ => {
                        let kind = Icmpv4Type::Unknown {
                            type_u8,
                            code_u8,
                            bytes5to8,
                        };
                        Icmpv4Header::with_checksum(kind, payload)
                            .to_bytes()
                            .to_vec()
                    }
                }
            }
            (Transport::Other(_), _) => Vec::new(),
        };
        bytes.extend(payload);
        bytes
    }

    /// The IP packet.
    pub fn ip(&self) -> Vec<u8> {
        self.part(&self.body(), None)
    }

    /// The packet in fragments, of which all but the last have this many bytes.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        let body = self.body();
        let count = body.len().div_ceil(size);
        body.chunks(size)
            .enumerate()
            .map(|(place, part)| {
                let offset = (place * size / 8) as u16;
                self.part(part, Some((offset, place + 1 < count)))
            })
            .collect()
    }

    /// A packet with this body, which is a fragment at this offset (in eights of bytes),
    /// and whether more follow.
    pub fn part(&self, body: &[u8], fragment: Option<(u16, bool)>) -> Vec<u8> {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (source, destination) = (source.octets(), destination.octets());
                let protocol = IpNumber(self.protocol());
                let mut ip = Ipv4Header::new(0, self.ttl, protocol, source, destination)
                    .expect("no payload yet");
                ip.identification = self.id as u16;
                ip.dont_fragment = !self.may_split && fragment.is_none();
                ip.dscp = (self.class >> 2).try_into().expect("six bits");
                ip.ecn = (self.class & 3).try_into().expect("two bits");
                ip.options = self.options[..].try_into().expect("short");
                if let Some((offset, more)) = fragment {
                    ip.fragment_offset = offset.try_into().expect("13 bits");
                    ip.more_fragments = more;
                }
                ip.set_payload_len(body.len()).expect("short enough");
                ip.header_checksum = ip.calc_header_checksum();
                [&ip.to_bytes(), body].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut extensions = self.extensions.clone();
                if let Some((offset, more)) = fragment {
                    let offset = offset.try_into().expect("13 bits");
                    let header =
                        Ipv6FragmentHeader::new(IpNumber(0), offset, more, self.id).to_bytes();
                    extensions.push((44, header[1..].to_vec()));
                }
                let mut behind = Vec::new();
                let kinds = extensions.iter().map(|(kind, _)| *kind);
                let kinds: Vec<u8> = kinds.chain([self.protocol()]).collect();
                for ((_, bytes), next) in extensions.iter().zip(&kinds[1..]) {
                    behind.push(*next);
                    behind.extend(bytes);
                }
                behind.extend(body);
                let ip = Ipv6Header {
                    traffic_class: self.class,
                    flow_label: Ipv6FlowLabel::try_new(self.label).expect("20 bits"),
                    payload_length: behind.len() as u16,
                    next_header: IpNumber(kinds[0]),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                [&ip.to_bytes()[..], &behind].concat()
            }
            _ => panic!("one version"),
        }
    }
}

/// As it comes from a client, by its router.
impl Bytes for Packet {
    fn wire(&self) -> Vec<u8> {
        arriving(&self.ip())
    }
}

/// VLAN tags, outermost first: type, and priority with identifier.
pub type Tags<'a> = &'a [(u16, u16)];

/// An IP packet in its frame.
pub fn framed(destination: Mac, source: Mac, tags: Tags<'_>, ip: &[u8]) -> Vec<u8> {
    let ether_type: u16 = if ip[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
    let mut bytes = [destination, source].concat();
    for (kind, tag) in tags {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(tag.to_be_bytes());
    }
    bytes.extend(ether_type.to_be_bytes());
    bytes.extend(ip);
    bytes
}

/// An IP packet as it comes to us.
pub fn arriving(ip: &[u8]) -> Vec<u8> {
    framed(OWN, CLIENT_MAC, &[], ip)
}

/// A frame with tags between its MAC addresses and the rest.
pub fn tagged(mut frame: Vec<u8>, tags: Tags<'_>) -> Vec<u8> {
    let bytes = tags
        .iter()
        .flat_map(|(kind, tag)| [kind.to_be_bytes(), tag.to_be_bytes()].concat());
    frame.splice(12..12, bytes);
    frame
}

/// "Too big", as the sender of a packet is told.
pub fn too_big(packet: &[u8], mtu: u32) -> Packet {
    let (source, destination) = ends(packet);
    if source.is_ipv4() {
        let quoted = [548, 128, 68, 28].into_iter().find(|&n| packet.len() >= n);
        let quote = &packet[..quoted.expect("long enough")];
        let mut told = Packet::icmp(destination.ip(), source.ip(), 3, 4, mtu).payload(quote);
        (told.class, told.id, told.may_split) = (0xc0, 0, true);
        return told;
    }
    let quoted = [1232, 512, 128, 48]
        .into_iter()
        .find(|&n| packet.len() >= n);
    let quote = &packet[..quoted.expect("long enough")];
    Packet::icmp(destination.ip(), source.ip(), 2, 0, mtu.max(1280)).payload(quote)
}

/// Both ends of an IP packet without options or extensions.
pub fn ends(ip: &[u8]) -> (SocketAddr, SocketAddr) {
    let port = |at: usize| u16::from_be_bytes([ip[at], ip[at + 1]]);
    let four = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&ip[at..at + 4]).expect("four"));
    let six = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&ip[at..at + 16]).expect("16"));
    if ip[0] >> 4 == 4 {
        ((four(12), port(20)).into(), (four(16), port(22)).into())
    } else {
        ((six(8), port(40)).into(), (six(24), port(42)).into())
    }
}

/// The answer to an echo request.
pub fn echo_reply(request: &Packet) -> Packet {
    let mut reply = request.clone().ttl(64);
    (reply.source, reply.destination) = (request.destination, request.source);
    if let Transport::Icmp { kind, .. } = &mut reply.transport {
        *kind = if *kind == 8 { 0 } else { 129 };
    }
    reply
}
