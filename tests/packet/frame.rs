//! The oracle: packets built from scratch by etherparse, never by the code under test.

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header, IcmpEchoHeader, Icmpv4Header,
    Icmpv4Type, IpNumber, Ipv4Header, TcpHeader, UdpHeader,
};
use lb_common::abi::Mac;

use crate::site::{CLIENT_MAC, OWN};

/// Address and port.
pub type Socket = ([u8; 4], u16);

/// What an IPv4 packet carries.
#[derive(Clone)]
pub enum L4 {
    Tcp(Box<TcpHeader>),
    Udp {
        source: u16,
        destination: u16,
        checksum: bool,
    },
    Icmp(Icmpv4Type),
    Other(IpNumber),
}

/// An IPv4 packet in an Ethernet frame. Lengths and checksums follow from the rest.
#[derive(Clone)]
pub struct Frame {
    pub destination: Mac,
    pub source: Mac,
    pub ip: Ipv4Header,
    pub l4: L4,
    pub payload: Vec<u8>,
    /// What the link adds behind a short packet.
    pub padding: Vec<u8>,
}

impl Frame {
    fn new(client: [u8; 4], server: [u8; 4], l4: L4) -> Self {
        let mut ip = Ipv4Header::new(0, 64, IpNumber(0), client, server).expect("no payload yet");
        ip.identification = 0x1c46;
        ip.dont_fragment = true;
        Frame {
            destination: OWN,
            source: CLIENT_MAC,
            ip,
            l4,
            payload: Vec::new(),
            padding: Vec::new(),
        }
    }

    /// A TCP segment; `flags` by their initials, as in "SA".
    pub fn tcp(from: Socket, to: Socket, flags: &str) -> Self {
        let mut tcp = TcpHeader::new(from.1, to.1, 0x1234_5678, 64_240);
        for flag in flags.chars() {
            match flag {
                'S' => tcp.syn = true,
                'A' => tcp.ack = true,
                'F' => tcp.fin = true,
                'R' => tcp.rst = true,
                'P' => tcp.psh = true,
                other => panic!("no TCP flag {other}"),
            }
        }
        if tcp.ack {
            tcp.acknowledgment_number = 0x9abc_def0;
        }
        Frame::new(from.0, to.0, L4::Tcp(Box::new(tcp)))
    }

    /// A UDP datagram.
    pub fn udp(from: Socket, to: Socket, payload: &[u8]) -> Self {
        let l4 = L4::Udp {
            source: from.1,
            destination: to.1,
            checksum: true,
        };
        Frame::new(from.0, to.0, l4).payload(payload)
    }

    /// An echo request.
    pub fn echo(from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Self {
        let echo = IcmpEchoHeader { id: 0x4711, seq: 3 };
        Frame::icmp(from, to, Icmpv4Type::EchoRequest(echo)).payload(payload)
    }

    /// Any ICMP message.
    pub fn icmp(from: [u8; 4], to: [u8; 4], message: Icmpv4Type) -> Self {
        Frame::new(from, to, L4::Icmp(message))
    }

    /// Some other protocol.
    pub fn other(from: [u8; 4], to: [u8; 4], protocol: u8) -> Self {
        Frame::new(from, to, L4::Other(IpNumber(protocol))).payload(&[0xee; 24])
    }

    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Without a UDP checksum.
    pub fn unchecked(mut self) -> Self {
        if let L4::Udp { checksum, .. } = &mut self.l4 {
            *checksum = false;
        }
        self
    }

    /// Padded to the least length of an Ethernet frame; not with zeros, so that it shows.
    pub fn padded(mut self) -> Self {
        self.padding = vec![0x5a; 60usize.saturating_sub(self.bytes().len())];
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip.time_to_live = ttl;
        self
    }

    pub fn macs(mut self, source: Mac, destination: Mac) -> Self {
        (self.source, self.destination) = (source, destination);
        self
    }

    /// With any change of the IPv4 header.
    pub fn ip(mut self, change: impl FnOnce(&mut Ipv4Header)) -> Self {
        change(&mut self.ip);
        self
    }

    /// With any change of the TCP header.
    pub fn tcp_header(mut self, change: impl FnOnce(&mut TcpHeader)) -> Self {
        if let L4::Tcp(tcp) = &mut self.l4 {
            change(tcp);
        }
        self
    }

    pub fn destined(mut self, (address, port): Socket) -> Self {
        self.ip.destination = address;
        match &mut self.l4 {
            L4::Tcp(tcp) => tcp.destination_port = port,
            L4::Udp { destination, .. } => *destination = port,
            L4::Icmp(_) | L4::Other(_) => {}
        }
        self
    }

    pub fn sourced(mut self, (address, port): Socket) -> Self {
        self.ip.source = address;
        match &mut self.l4 {
            L4::Tcp(tcp) => tcp.source_port = port,
            L4::Udp { source, .. } => *source = port,
            L4::Icmp(_) | L4::Other(_) => {}
        }
        self
    }

    /// The frame on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut ip = self.ip.clone();
        let (protocol, body) = self.body();
        ip.protocol = protocol;
        ip.set_payload_len(body.len()).expect("short enough");
        ip.header_checksum = ip.calc_header_checksum();
        let mut bytes = ethernet(self.destination, self.source, EtherType::IPV4);
        bytes.extend(ip.to_bytes());
        bytes.extend(body);
        bytes.extend(&self.padding);
        bytes
    }

    fn body(&self) -> (IpNumber, Vec<u8>) {
        let payload = &self.payload;
        let (protocol, mut bytes) = match &self.l4 {
            L4::Tcp(header) => {
                let mut tcp = (**header).clone();
                tcp.checksum = tcp.calc_checksum_ipv4(&self.ip, payload).expect("fits");
                (IpNumber::TCP, tcp.to_bytes().to_vec())
            }
            &L4::Udp {
                source,
                destination,
                checksum,
            } => {
                let udp = if checksum {
                    UdpHeader::with_ipv4_checksum(source, destination, &self.ip, payload)
                } else {
                    UdpHeader::without_ipv4_checksum(source, destination, payload.len())
                };
                (IpNumber::UDP, udp.expect("fits").to_bytes().to_vec())
            }
            L4::Icmp(message) => {
                let icmp = Icmpv4Header::with_checksum(message.clone(), payload);
                (IpNumber::ICMP, icmp.to_bytes().to_vec())
            }
            L4::Other(protocol) => (*protocol, Vec::new()),
        };
        bytes.extend(payload);
        (protocol, bytes)
    }
}

/// An Ethernet header.
pub fn ethernet(destination: Mac, source: Mac, ether_type: EtherType) -> Vec<u8> {
    let header = Ethernet2Header {
        destination,
        source,
        ether_type,
    };
    header.to_bytes().to_vec()
}

/// An ARP request for an IPv4 address, to everybody.
pub fn arp_request(sender: (Mac, [u8; 4]), target: [u8; 4]) -> ArpEthIpv4Packet {
    ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: sender.0,
        sender_ipv4: sender.1,
        target_mac: [0; 6],
        target_ipv4: target,
    }
}

/// An ARP packet in a frame, padded to the least length.
pub fn arp(destination: Mac, source: Mac, packet: &ArpEthIpv4Packet) -> Vec<u8> {
    let mut bytes = ethernet(destination, source, EtherType::ARP);
    bytes.extend(packet.to_bytes());
    bytes.resize(60, 0x5a);
    bytes
}
