//! Announcements against frames that someone else builds.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{
    ArpEthIpv4Packet, ArpOperation, EtherType, Ethernet2Header, Icmpv6Type, IpNumber, NetSlice,
    PacketBuilder, SlicedPacket, icmpv6::NeighborAdvertisementHeader,
};

use super::announce_frame::Frame;

const MAC: [u8; 6] = [2, 0, 0, 0, 0xab, 0xcd];

#[test]
fn gratuitous_arp() {
    let vip = [203, 0, 113, 10];
    let mut expected = Vec::new();
    Ethernet2Header {
        source: MAC,
        destination: [0xff; 6],
        ether_type: EtherType::ARP,
    }
    .write(&mut expected)
    .expect("a header");
    let arp = ArpEthIpv4Packet {
        operation: ArpOperation::REQUEST,
        sender_mac: MAC,
        sender_ipv4: vip,
        target_mac: [0; 6],
        target_ipv4: vip,
    };
    expected.extend_from_slice(&arp.to_bytes());
    assert_eq!(Frame::new(IpAddr::from(vip), MAC).bytes(), expected);
}

#[test]
fn unsolicited_neighbour_advertisement() {
    for vip in [
        "2001:db8::ffff:10",
        "fe80::1",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        let vip: Ipv6Addr = vip.parse().expect("an address");
        let all_nodes: Ipv6Addr = "ff02::1".parse().expect("an address");
        let header = NeighborAdvertisementHeader {
            router: false,
            solicited: false,
            r#override: true,
        };
        let mut rest = vip.octets().to_vec();
        rest.extend_from_slice(&[2, 1]);
        rest.extend_from_slice(&MAC);
        let mut expected = Vec::new();
        PacketBuilder::ethernet2(MAC, [0x33, 0x33, 0, 0, 0, 1])
            .ipv6(vip.octets(), all_nodes.octets(), 255)
            .icmpv6(Icmpv6Type::NeighborAdvertisement(header))
            .write(&mut expected, &rest)
            .expect("a packet");
        let frame = Frame::new(vip.into(), MAC);
        assert_eq!(frame.bytes(), expected, "{vip}");

        let read = SlicedPacket::from_ethernet(frame.bytes()).expect("well formed");
        let Some(NetSlice::Ipv6(ip)) = read.net else {
            panic!("{:?}", read.net);
        };
        assert_eq!(ip.header().next_header(), IpNumber::IPV6_ICMP);
        assert_eq!(ip.header().hop_limit(), 255);
    }
}
