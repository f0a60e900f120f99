//! Echo for the VIPs.

use etherparse::{IcmpEchoHeader, Icmpv4Type};
use lb_common::verdict::Verdict;

use crate::{
    diff,
    frame::{Frame, L4},
    row::{Row, check, row},
    site::{self, CLIENT, CLIENT_MAC, EXPIRED, LEASED, NOT_VIP, OWN, VIP},
};

/// The answer to an echo request.
fn reply(request: &Frame) -> Vec<u8> {
    let mut reply = request.clone().ttl(64).macs(OWN, request.source);
    (reply.ip.source, reply.ip.destination) = (request.ip.destination, request.ip.source);
    if let L4::Icmp(Icmpv4Type::EchoRequest(echo)) = request.l4 {
        reply.l4 = L4::Icmp(Icmpv4Type::EchoReply(echo));
    }
    let mut bytes = reply.bytes();
    // All ones and 0 are the same checksum, except that all zeros add up with all ones
    // only; so that is what an update, which doesn't see the message, must give.
    if bytes[CHECKSUM..CHECKSUM + 2] == [0, 0] {
        bytes[CHECKSUM..CHECKSUM + 2].fill(0xff);
    }
    bytes
}

/// Where an ICMP checksum lies.
const CHECKSUM: usize = 36;

fn echo(to: [u8; 4], payload: &[u8]) -> Frame {
    Frame::echo(CLIENT, to, payload)
}

fn numbered(id: u16, seq: u16, payload: &[u8]) -> Frame {
    let echo = IcmpEchoHeader { id, seq };
    Frame::icmp(CLIENT, VIP, Icmpv4Type::EchoRequest(echo)).payload(payload)
}

pub fn rows() -> Vec<Row> {
    let mut rows = answered();
    rows.extend(unanswered());
    rows
}

fn answered() -> Vec<Row> {
    use Verdict::AnswerEcho;
    let marked = echo(VIP, b"tos").ip(|ip| ip.dscp = 46.try_into().expect("six bits"));
    [
        ("a request", "RFC 1122 3.2.2.6", echo(VIP, &[0xa5; 56])),
        ("a request of odd length", "RFC 1071 2", echo(VIP, b"odd")),
        ("an empty request", "", echo(VIP, b"")),
        ("a padded request", "RFC 894", echo(VIP, b"x").padded()),
        (
            "a TTL of 1 is enough to reach us",
            "RFC 1812 5.3.1",
            echo(VIP, b"x").ttl(1),
        ),
        ("a TTL of 255", "", echo(VIP, b"x").ttl(255)),
        (
            "the kind of service is the asker's",
            "RFC 1122 3.2.2.6",
            marked,
        ),
        ("a request under a lease", "", echo(LEASED, b"x")),
        ("a long request", "RFC 1122 3.2.2.6", echo(VIP, &[7; 1_472])),
        ("a request of zeros", "RFC 1071 1", numbered(0, 0, &[0; 8])),
    ]
    .map(|(name, rfc, request)| {
        let out = reply(&request);
        row(name, request).rfc(rfc).answers(AnswerEcho, out)
    })
    .into()
}

fn unanswered() -> Vec<Row> {
    use Verdict::{DropMalformed, DropNotHeld, DropVipProtocol, PassNotVip, PassOtherHost};
    let from = |source| Frame::echo(source, VIP, b"x");
    let one = IcmpEchoHeader { id: 1, seq: 1 };
    let mut coded = echo(VIP, b"x").bytes();
    coded[35] = 1;
    vec![
        row("a request after the lease", echo(EXPIRED, b"x")).drops(DropNotHeld),
        row("a request to another address", echo(NOT_VIP, b"x")).passes(PassNotVip),
        row(
            "a reply",
            Frame::icmp(CLIENT, VIP, Icmpv4Type::EchoReply(one)),
        )
        .drops(DropVipProtocol),
        row(
            "a reply to another address",
            Frame::icmp(CLIENT, NOT_VIP, Icmpv4Type::EchoReply(one)),
        )
        .passes(PassNotVip),
        row("a request with a code", coded)
            .rfc("RFC 792")
            .drops(DropVipProtocol),
        row("from this network", from([0, 1, 2, 3]))
            .rfc("RFC 1122 3.2.1.3")
            .drops(DropMalformed),
        row("from a loopback address", from([127, 0, 0, 1]))
            .rfc("RFC 1122 3.2.1.3")
            .drops(DropMalformed),
        row("from a multicast address", from([224, 0, 0, 1]))
            .rfc("RFC 1122 3.2.1.3")
            .drops(DropMalformed),
        row("from the broadcast address", from([255; 4]))
            .rfc("RFC 1122 3.2.1.3")
            .drops(DropMalformed),
        row(
            "from the last address of a host",
            Frame::echo([223, 255, 255, 255], VIP, b"x"),
        )
        .answers(
            Verdict::AnswerEcho,
            reply(&Frame::echo([223, 255, 255, 255], VIP, b"x")),
        ),
        row("from the VIP itself", from(VIP)).drops(DropMalformed),
        row(
            "to another host's MAC",
            echo(VIP, b"x").macs(CLIENT_MAC, [2, 0, 0, 0, 9, 9]),
        )
        .passes(PassOtherHost),
    ]
}

#[test]
fn echo_for_the_vips() {
    check(&rows());
}

/// Two bytes of payload take the checksum through every value that it can have.
#[test]
fn every_checksum_is_updated_right() {
    let mut rig = site::rig();
    for value in 0..=u16::MAX {
        let request = echo(VIP, &value.to_be_bytes());
        let (_, got) = rig.run(&request.bytes());
        let expected = reply(&request);
        assert!(
            got == expected,
            "payload {value:#06x}\n{}",
            diff::of(&expected, &got)
        );
    }
}
