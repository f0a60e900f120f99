//! Bytes against advertisements.

use std::net::IpAddr;

use proptest::{prelude::*, sample::Index};

use super::{
    Convention, EncodeError, Expected, Interval, MAX_MESSAGE, Packet, PacketError, Received,
    Version,
};

/// The checksum by its definition in RFC 1071: 16-bit words added with end-around carry.
/// 0 over a message with its checksum.
fn oracle(parts: &[&[u8]]) -> u16 {
    let mut bytes = parts.concat();
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    let mut sum = 0_u16;
    for at in (0..bytes.len()).step_by(2) {
        let (added, carry) = sum.overflowing_add(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        sum = added + u16::from(carry);
    }
    !sum
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// The pseudo-header: of IPv4 as RFC 9293 has it, of IPv6 by RFC 8200 section 8.1.
fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> Vec<u8> {
    let mut header = [octets(source), octets(destination)].concat();
    if source.is_ipv4() {
        header.extend([0, 112]);
        header.extend(u16::try_from(length).unwrap().to_be_bytes());
    } else {
        header.extend(u32::try_from(length).unwrap().to_be_bytes());
        header.extend([0, 0, 0, 112]);
    }
    header
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A message between two addresses, and the convention of its checksum.
struct Fixture {
    source: &'static str,
    destination: &'static str,
    convention: Convention,
    version: Version,
    bytes: &'static [u8],
    priority: u8,
    centiseconds: u16,
    addresses: &'static [&'static str],
}

/// Checksums were worked out by hand: the comments have the sums of the words.
const FIXTURES: [Fixture; 4] = [
    // 2133 + 6402 = 8535, + 0001 = 8536, + c0a8 = 1_45de, + 6414 = 1_a9f2, + c0a8 = 2_6a9a,
    // + 6415 = 2_ceaf → ceb1 → 314e.
    Fixture {
        source: "192.168.100.1",
        destination: "224.0.0.18",
        convention: Convention::PseudoHeader,
        version: Version::V2,
        bytes: &[
            0x21, 0x33, 0x64, 0x02, 0x00, 0x01, 0x31, 0x4e, 192, 168, 100, 20, 192, 168, 100, 21,
            0, 0, 0, 0, 0, 0, 0, 0,
        ],
        priority: 100,
        centiseconds: 100,
        addresses: &["192.168.100.20", "192.168.100.21"],
    },
    // 3133 + 6401 = 9534, + 0064 = 9598, + c0a8 = 1_5640, + 6414 = 1_ba54; pseudo-header: c0a8 + 6401
    // + e000 + 0012 + 0070 + 000c = 2_0537; together 3_bf8b → bf8e → 4071.
    Fixture {
        source: "192.168.100.1",
        destination: "224.0.0.18",
        convention: Convention::PseudoHeader,
        version: Version::V3,
        bytes: &[
            0x31, 0x33, 0x64, 0x01, 0x00, 0x64, 0x40, 0x71, 192, 168, 100, 20,
        ],
        priority: 100,
        centiseconds: 100,
        addresses: &["192.168.100.20"],
    },
    // The same without pseudo-header: 1_ba54 → ba55 → 45aa.
    Fixture {
        source: "192.168.100.1",
        destination: "224.0.0.18",
        convention: Convention::AsV2,
        version: Version::V3,
        bytes: &[
            0x31, 0x33, 0x64, 0x01, 0x00, 0x64, 0x45, 0xaa, 192, 168, 100, 20,
        ],
        priority: 100,
        centiseconds: 100,
        addresses: &["192.168.100.20"],
    },
    // 3107 + fe01 = 1_2f08, + 0002 = 1_2f0a, + fe80 = 2_2d8a, + 0001 = 2_2d8b; pseudo-header: fe80 + 000a
    // + ff02 + 0012 + 0018 + 0070 = 1_fe26; together 4_2bb1 → 2bb5 → d44a.
    Fixture {
        source: "fe80::a",
        destination: "ff02::12",
        convention: Convention::AsV2,
        version: Version::V3,
        bytes: &[
            0x31, 0x07, 0xfe, 0x01, 0x00, 0x02, 0xd4, 0x4a, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 0, 0, 1,
        ],
        priority: 254,
        centiseconds: 2,
        addresses: &["fe80::1"],
    },
];

impl Fixture {
    fn packet(&self) -> Packet {
        Packet {
            vrid: self.bytes[1],
            priority: self.priority,
            interval: Interval::from_centiseconds(self.version, self.centiseconds).unwrap(),
            addresses: self.addresses.iter().map(|address| ip(address)).collect(),
        }
    }

    fn expected(&self) -> Expected {
        Expected {
            version: self.version,
            vrid: self.bytes[1],
            convention: self.convention,
        }
    }

    fn received<'a>(&self, message: &'a [u8]) -> Received<'a> {
        Received {
            source: ip(self.source),
            destination: ip(self.destination),
            hop_limit: 255,
            message,
        }
    }
}

#[test]
fn fixtures_decode_and_encode_to_the_byte() {
    for fixture in &FIXTURES {
        let packet = fixture.packet();
        let read = Packet::decode(&fixture.received(fixture.bytes), &fixture.expected());
        assert_eq!(read.as_ref(), Ok(&packet));
        let mut buffer = [0xaa; MAX_MESSAGE];
        let (source, destination) = (ip(fixture.source), ip(fixture.destination));
        let written = packet.encode(source, destination, fixture.convention, &mut buffer);
        assert_eq!(written, Ok(fixture.bytes));
    }
}

/// Each refusal, by what has to be done to a good packet.
#[test]
fn what_is_wrong_is_named() {
    let refused = |fixture: &Fixture, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fixture.bytes.to_vec();
        change(&mut bytes);
        // With a right checksum, so that it isn't the first thing that is wrong.
        if bytes.len() >= 8 {
            bytes[6..8].fill(0);
            let (source, destination) = (ip(fixture.source), ip(fixture.destination));
            let pseudo = match (fixture.version, fixture.convention) {
                (Version::V3, Convention::PseudoHeader) => {
                    pseudo_header(source, destination, bytes.len())
                }
                _ => Vec::new(),
            };
            let sum = oracle(&[&pseudo, &bytes]);
            bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        Packet::decode(&fixture.received(&bytes), &fixture.expected()).unwrap_err()
    };
    let [v2, v3, as_v2, _] = &FIXTURES;
    let length = |length, expected| PacketError::Length { length, expected };
    assert_eq!(refused(v3, &|b| b.truncate(7)), length(7, 8));
    assert_eq!(refused(v3, &|b| b.push(0)), length(13, 12));
    assert_eq!(refused(v3, &|b| b[3] = 2), length(12, 16));
    assert_eq!(refused(v2, &|b| b.truncate(16)), length(16, 24));
    let version = |version, expected| PacketError::Version { version, expected };
    assert_eq!(refused(v3, &|b| b[0] = 0x21), version(2, 3));
    assert_eq!(refused(v2, &|b| b[0] = 0x31), version(3, 2));
    assert_eq!(refused(v3, &|b| b[0] = 0x32), PacketError::Type(2));
    assert_eq!(refused(v3, &|b| b[1] = 9), PacketError::Vrid(9));
    assert_eq!(refused(v3, &|b| b[5] = 0), PacketError::Interval);
    assert_eq!(refused(v2, &|b| b[5] = 0), PacketError::Interval);
    assert_eq!(refused(v2, &|b| b[4] = 1), PacketError::Authentication(1));
    let no_address = |b: &mut Vec<u8>| {
        b[3] = 0;
        b.truncate(8);
    };
    assert_eq!(refused(v3, &no_address), PacketError::NoAddress);

    // The checksums of one convention, for a group with the other.
    let convention = |packet: &Fixture, group: &Fixture| {
        Packet::decode(&packet.received(packet.bytes), &group.expected()).unwrap_err()
    };
    assert_eq!(
        convention(v3, as_v2),
        PacketError::Convention(Convention::AsV2)
    );
    assert_eq!(
        convention(as_v2, v3),
        PacketError::Convention(Convention::PseudoHeader)
    );

    let mut routed = v3.received(v3.bytes);
    routed.hop_limit = 254;
    assert_eq!(
        Packet::decode(&routed, &v3.expected()),
        Err(PacketError::HopLimit(254))
    );
}

#[test]
fn reserved_bits_are_ignored() {
    let fixture = &FIXTURES[2];
    let mut bytes = fixture.bytes.to_vec();
    bytes[4] = 0xf0;
    // The word grew by f000, so its checksum shrinks by that: 45aa − f000 − 1 carried.
    bytes[6..8].copy_from_slice(&0x55a9_u16.to_be_bytes());
    let read = Packet::decode(&fixture.received(&bytes), &fixture.expected());
    assert_eq!(read, Ok(fixture.packet()));
}

#[test]
fn what_cannot_be_written_is_named() {
    let mut buffer = [0; MAX_MESSAGE];
    let mut packet = FIXTURES[0].packet();
    let mut encode = |packet: &Packet, source: &str, destination: &str| {
        packet
            .encode(
                ip(source),
                ip(destination),
                Convention::PseudoHeader,
                &mut buffer,
            )
            .map(<[u8]>::len)
            .unwrap_err()
    };
    assert_eq!(
        encode(&packet, "fe80::1", "ff02::12"),
        EncodeError::Version2Ipv6
    );
    packet.addresses.push(ip("fe80::1"));
    let strange = EncodeError::Family {
        address: ip("fe80::1"),
        source_address: ip("10.0.0.1"),
    };
    assert_eq!(encode(&packet, "10.0.0.1", "224.0.0.18"), strange);
    packet.addresses.clear();
    assert_eq!(
        encode(&packet, "10.0.0.1", "224.0.0.18"),
        EncodeError::Count(0)
    );
    packet.addresses = vec![ip("10.0.0.2"); 256];
    assert_eq!(
        encode(&packet, "10.0.0.1", "224.0.0.18"),
        EncodeError::Count(256)
    );
    packet.addresses.pop();
    let whole = packet.encode(
        ip("10.0.0.1"),
        ip("224.0.0.18"),
        Convention::AsV2,
        &mut buffer,
    );
    assert_eq!(whole.unwrap().len(), 8 + 255 * 4 + 8);
}

#[test]
fn intervals_are_those_that_the_header_carries() {
    use std::time::Duration;
    let interval = |version, millis| Interval::new(version, Duration::from_millis(millis)).ok();
    for (version, millis) in [
        (Version::V2, 0),
        (Version::V2, 1_500),
        (Version::V2, 256_000),
    ] {
        assert_eq!(interval(version, millis), None);
    }
    for (version, millis) in [(Version::V3, 0), (Version::V3, 15), (Version::V3, 40_960)] {
        assert_eq!(interval(version, millis), None);
    }
    assert_eq!(
        interval(Version::V2, 255_000).unwrap().nanos(),
        255_000_000_000
    );
    assert_eq!(interval(Version::V3, 10).unwrap().nanos(), 10_000_000);
    assert_eq!(interval(Version::V3, 40_950).unwrap().centiseconds(), 4_095);
    assert_eq!(Interval::new(Version::V3, Duration::MAX).ok(), None);
}

#[test]
fn the_message_ends_where_the_ip_packet_does() {
    let mut packet = vec![
        0x46, 0xc0, 0, 36, 0, 1, 0x40, 0, 255, 112, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18,
    ];
    packet.extend([0x94, 4, 0, 0]);
    packet.extend(FIXTURES[1].bytes);
    packet.extend([0xee; 10]);
    let received = Received::from_ipv4(&packet).unwrap();
    assert_eq!(received.message, FIXTURES[1].bytes);
    assert_eq!(
        (received.source, received.destination),
        (ip("10.0.0.1"), ip("224.0.0.18"))
    );
    assert_eq!(received.hop_limit, 255);
    // Shorter than it says; a fragment; not VRRP; a header too short; IPv6.
    for (at, value) in [(3, 47), (6, 0x20), (7, 1), (9, 6), (0, 0x44), (0, 0x66)] {
        let mut packet = packet.clone();
        packet[at] = value;
        assert_eq!(
            Received::from_ipv4(&packet),
            Err(PacketError::IpHeader),
            "{at}"
        );
    }
}

fn family() -> impl Strategy<Value = (Version, bool)> {
    prop_oneof![
        Just((Version::V2, false)),
        Just((Version::V3, false)),
        Just((Version::V3, true)),
    ]
}

fn address(v6: bool) -> BoxedStrategy<IpAddr> {
    if v6 {
        any::<[u8; 16]>().prop_map(IpAddr::from).boxed()
    } else {
        any::<[u8; 4]>().prop_map(IpAddr::from).boxed()
    }
}

prop_compose! {
    fn advertisement()((version, v6) in family())(
        version in Just(version),
        vrid in 1..=255_u8,
        priority in any::<u8>(),
        centiseconds in match version {
            Version::V2 => (1..=255_u16).prop_map(|seconds| seconds * 100).boxed(),
            Version::V3 => (1..=0xfff_u16).boxed(),
        },
        addresses in prop::collection::vec(address(v6), 1..=255),
        ends in (address(v6), address(v6)),
        as_v2 in any::<bool>(),
    ) -> (Packet, IpAddr, IpAddr, Expected) {
        let interval = Interval::from_centiseconds(version, centiseconds).unwrap();
        let convention = if as_v2 { Convention::AsV2 } else { Convention::PseudoHeader };
        let packet = Packet { vrid, priority, interval, addresses };
        (packet, ends.0, ends.1, Expected { version, vrid, convention })
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        (packet, source, destination, expected) in advertisement(),
        bit in any::<Index>(),
        hop_limit in any::<u8>(),
    ) {
        let mut buffer = [0xaa; MAX_MESSAGE];
        let message = packet.encode(source, destination, expected.convention, &mut buffer).unwrap();

        let plain = expected.version == Version::V2
            || source.is_ipv4() && expected.convention == Convention::AsV2;
        let pseudo = if plain {
            Vec::new()
        } else {
            pseudo_header(source, destination, message.len())
        };
        prop_assert_eq!(oracle(&[&pseudo, message]), 0);

        let mut message = message.to_vec();
        let received = Received { source, destination, hop_limit, message: &message };
        let read = Packet::decode(&received, &expected);
        if hop_limit != 255 {
            prop_assert_eq!(read, Err(PacketError::HopLimit(hop_limit)));
        }
        let received = Received { hop_limit: 255, ..received };
        prop_assert_eq!(Packet::decode(&received, &expected), Ok(packet));

        // A broken bit is always seen.
        let bit = bit.index(message.len() * 8);
        message[bit / 8] ^= 1 << (bit % 8);
        let received = Received { source, destination, hop_limit: 255, message: &message };
        prop_assert!(Packet::decode(&received, &expected).is_err());
    }

    /// With the pseudo-header, so is a broken address.
    #[test]
    fn addresses_are_covered((packet, source, destination, expected) in advertisement(), bit in any::<Index>()) {
        let mut buffer = [0; MAX_MESSAGE];
        let message = packet.encode(source, destination, expected.convention, &mut buffer).unwrap();
        let mut octets = octets(source);
        let bit = bit.index(octets.len() * 8);
        octets[bit / 8] ^= 1 << (bit % 8);
        let source = match source {
            IpAddr::V4(_) => IpAddr::from(<[u8; 4]>::try_from(octets).unwrap()),
            IpAddr::V6(_) => IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()),
        };
        let received = Received { source, destination, hop_limit: 255, message };
        let plain = expected.version == Version::V2
            || source.is_ipv4() && expected.convention == Convention::AsV2;
        prop_assert_eq!(Packet::decode(&received, &expected).is_ok(), plain);
    }

    /// Arbitrary bytes, made to look right to different depths, are refused or say exactly what they
    /// are read as.
    #[test]
    fn arbitrary_bytes_are_survived(
        (version, v6) in family(),
        mut message in prop::collection::vec(any::<u8>(), 0..80),
        (plausible, summed, fitting) in any::<(bool, bool, bool)>(),
        ends in any::<([u8; 16], [u8; 16])>(),
    ) {
        let end = |octets: [u8; 16]| -> IpAddr {
            if v6 { octets.into() } else { [octets[0], octets[1], octets[2], octets[3]].into() }
        };
        let (source, destination) = (end(ends.0), end(ends.1));
        let expected = Expected { version, vrid: 7, convention: Convention::PseudoHeader };
        if plausible && message.len() >= 8 {
            message[0] = version.number() << 4 | 1;
            message[1] = 7;
            message[4] &= if version == Version::V2 { 0 } else { 0x0f };
            if fitting {
                message[3] %= 5;
                let each = if v6 { 16 } else { 4 };
                let tail = if version == Version::V2 { 8 } else { 0 };
                message.resize(8 + usize::from(message[3]) * each + tail, 0);
            }
        }
        if summed && message.len() >= 8 {
            message[6..8].fill(0);
            let pseudo = match version {
                Version::V2 => Vec::new(),
                Version::V3 => pseudo_header(source, destination, message.len()),
            };
            let sum = oracle(&[&pseudo, &message]);
            message[6..8].copy_from_slice(&sum.to_be_bytes());
        }
        let received = Received { source, destination, hop_limit: 255, message: &message };
        if let Ok(packet) = Packet::decode(&received, &expected) {
            let mut buffer = [0; MAX_MESSAGE];
            let again = packet.encode(source, destination, expected.convention, &mut buffer).unwrap();
            // Version 2's authentication data says nothing, so it need not be zero.
            let told = if version == Version::V2 { message.len() - 8 } else { message.len() };
            prop_assert_eq!(&again[..6], &message[..6]);
            prop_assert_eq!(&again[8..told], &message[8..told]);
        }
    }

    #[test]
    fn arbitrary_ip_packets_are_survived(packet in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(received) = Received::from_ipv4(&packet) {
            prop_assert!(received.message.len() + 20 <= packet.len());
        }
    }
}
