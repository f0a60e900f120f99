//! Advertisements.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use fastrand::Rng;
use flowgate::vrrp::{
    Convention, Expected, HOP_LIMIT, Interval, MAX_MESSAGE, PROTOCOL, Packet, PacketError,
    Received, Version,
};

use super::{
    Outcomes, Wrong,
    bend::{bend, noise},
};

/// Who is said to have sent it, to whom, and what concerns the group.
struct Case {
    source: IpAddr,
    destination: IpAddr,
    expected: Expected,
}

impl Case {
    fn new(random: &mut Rng) -> Self {
        let is_v6 = random.u8(..3) == 0;
        let mut address = |group: bool| -> IpAddr {
            match (is_v6, group) {
                (false, true) => Ipv4Addr::new(224, 0, 0, 18).into(),
                (false, false) => Ipv4Addr::from(random.u32(..)).into(),
                (true, true) => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12).into(),
                (true, false) => Ipv6Addr::from(random.u128(..)).into(),
            }
        };
        let (source, destination) = (address(false), address(true));
        Case {
            source,
            destination,
            expected: Expected {
                version: match !is_v6 && random.bool() {
                    true => Version::V2,
                    false => Version::V3,
                },
                vrid: random.u8(1..),
                convention: convention(random),
            },
        }
    }

    /// An advertisement of the group.
    fn packet(&self, random: &mut Rng) -> Packet {
        let most = if random.u8(..64) == 0 { 255 } else { 9 };
        let addresses = (0..random.usize(1..=most)).map(|_| match self.source {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::from(random.u32(..))),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::from(random.u128(..))),
        });
        let addresses = addresses.collect();
        let version = self.expected.version;
        let centiseconds = match version {
            Version::V2 => random.u16(1..=255) * 100,
            Version::V3 => random.u16(1..=4_095),
        };
        Packet {
            vrid: self.expected.vrid,
            priority: random.u8(..),
            interval: Interval::from_centiseconds(version, centiseconds).expect("one that fits"),
            addresses,
        }
    }

    fn encode(&self, packet: &Packet, convention: Convention) -> Vec<u8> {
        let mut buffer = [0; MAX_MESSAGE];
        let encoded = packet.encode(self.source, self.destination, convention, &mut buffer);
        encoded.expect("a packet that can be written").to_vec()
    }
}

fn convention(random: &mut Rng) -> Convention {
    match random.bool() {
        true => Convention::PseudoHeader,
        false => Convention::AsV2,
    }
}

/// One message.
pub fn step(random: &mut Rng, outcomes: &mut Outcomes) -> Result<(), Wrong> {
    let case = Case::new(random);
    let packet = case.packet(random);
    let kind = random.u8(..8);
    let mut message = match kind {
        0 => noise(random, 5_000),
        // The other convention now and then.
        1 => case.encode(&packet, convention(random)),
        _ => case.encode(&packet, case.expected.convention),
    };
    let is_bent = random.u8(..4) != 0;
    if is_bent {
        bend(random, &mut message);
        if random.u8(..4) != 0 {
            mend(&case, &mut message);
        }
    }
    let hop_limit = if random.u8(..16) == 0 {
        random.u8(..)
    } else {
        HOP_LIMIT
    };
    let mut whole = (kind > 1 && !is_bent && hop_limit == HOP_LIMIT).then_some(&packet);
    let (source, destination) = match (case.source, case.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => (source, destination),
        _ => {
            let received = Received {
                source: case.source,
                destination: case.destination,
                hop_limit,
                message: &message,
            };
            return check(random, &case, &received, whole, outcomes);
        }
    };
    let mut frame = header(random, source, destination, hop_limit, message.len());
    frame.extend_from_slice(&message);
    // What fills the frame up.
    frame.resize(frame.len() + random.usize(..20), 0);
    if random.u8(..4) == 0 {
        bend(random, &mut frame);
        whole = None;
    }
    match Received::from_ipv4(&frame) {
        Ok(received) => {
            let length = usize::from(frame[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
            if frame.get(length..total) != Some(received.message) {
                return Err(Wrong::new(&frame, "another part than the header says"));
            }
            check(random, &case, &received, whole, outcomes)
        }
        Err(error) if whole.is_some() => Err(Wrong::new(&frame, format!("refused: {error}"))),
        Err(error) => refused(random, &frame, error, outcomes),
    }
}

/// An IPv4 header, with options now and then.
fn header(
    random: &mut Rng,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    hop_limit: u8,
    length: usize,
) -> Vec<u8> {
    let words = if random.u8(..8) == 0 {
        random.u8(5..16)
    } else {
        5
    };
    let mut header = vec![0; usize::from(words) * 4];
    let total = (header.len() + length) as u16;
    header[0] = 4 << 4 | words;
    header[2..4].copy_from_slice(&total.to_be_bytes());
    header[8] = hop_limit;
    header[9] = PROTOCOL;
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&destination.octets());
    header
}

/// The sum of 16-bit words, as RFC 1071 has it.
fn sum(bytes: &[u8], start: u32) -> u32 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).fold(start, |sum, word| {
        let sum = sum + word;
        (sum & 0xffff) + (sum >> 16)
    })
}

/// Makes the checksum right, so that what is behind it is reached.
fn mend(case: &Case, message: &mut [u8]) {
    if message.len() < 8 {
        return;
    }
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let is_plain = case.expected.version == Version::V2
        || (case.source.is_ipv4() && case.expected.convention == Convention::AsV2);
    let mut start = 0;
    if !is_plain {
        start = sum(&octets(case.source), start);
        start = sum(&octets(case.destination), start);
        start = sum(&[0, PROTOCOL], start);
        start = sum(&(message.len() as u16).to_be_bytes(), start);
    }
    message[6..8].fill(0);
    let checksum = !(sum(message, start) as u16);
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
}

fn check(
    random: &mut Rng,
    case: &Case,
    received: &Received<'_>,
    whole: Option<&Packet>,
    outcomes: &mut Outcomes,
) -> Result<(), Wrong> {
    let message = received.message;
    let decoded = Packet::decode(received, &case.expected);
    if whole.is_some_and(|packet| decoded.as_ref() != Ok(packet)) {
        return Err(Wrong::new(
            message,
            format!("{whole:?} arrives as {decoded:?}"),
        ));
    }
    let packet = match decoded {
        Ok(packet) => packet,
        Err(error) => return refused(random, message, error, outcomes),
    };
    *outcomes.entry("taken").or_default() += 1;
    let wrong = |what: &str| Err(Wrong::new(message, format!("{what}: {packet:?}")));
    let version = case.expected.version;
    let is_ours = received.hop_limit == HOP_LIMIT
        && message[0] == version.number() << 4 | 1
        && packet.vrid == case.expected.vrid
        && packet.interval.version() == version;
    if !is_ours || packet.addresses.is_empty() {
        return wrong("taken, but none of the group's");
    }
    let mut buffer = [0; MAX_MESSAGE];
    let (source, destination) = (received.source, received.destination);
    let Ok(again) = packet.encode(source, destination, case.expected.convention, &mut buffer)
    else {
        return wrong("taken, but can't be written");
    };
    let twin = Received {
        message: again,
        ..*received
    };
    if Packet::decode(&twin, &case.expected).as_ref() != Ok(&packet) {
        return wrong("comes back as another");
    }
    // Reserved bits (version 3) and authentication data (version 2) are ignored; else there is one way to
    // write it, but for a checksum of 0, of which there are two.
    let mut plain = message.to_vec();
    match version {
        Version::V2 => plain[again.len() - 8..].fill(0),
        Version::V3 => plain[4] &= 0x0f,
    }
    let is_plain = plain == message;
    let (theirs, ours) = ([plain[6], plain[7]], [again[6], again[7]]);
    let zero = |sum: [u8; 2]| sum == [0; 2] || sum == [0xff; 2];
    plain[6..8].copy_from_slice(&ours);
    if plain != again || (is_plain && theirs != ours && !(zero(theirs) && zero(ours))) {
        return wrong("is written in another way");
    }
    Ok(())
}

fn refused(
    random: &mut Rng,
    message: &[u8],
    error: PacketError,
    outcomes: &mut Outcomes,
) -> Result<(), Wrong> {
    *outcomes.entry(error.label()).or_default() += 1;
    if random.u8(..64) == 0 {
        let mut text = String::new();
        if write!(text, "{error}").is_err() || text.is_empty() {
            return Err(Wrong::new(message, "refused without a reason"));
        }
    }
    Ok(())
}
