//! The model against packets that etherparse builds, which computes every checksum from
//! scratch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel,
    Ipv6Header, TcpHeader, UdpHeader, icmpv4,
};
use flowgate_fuzz::{
    bytes::Mac,
    model::{Got, Model, Outcome, Way},
    site::{Backend, OTHER, OWN, standard},
};
use lb_common::verdict::Verdict;

const CLIENT: Mac = [2, 0, 0, 0, 0xc, 9];
const ROUTER: Mac = [2, 0, 0, 0, 0xe, 1];
const FROM: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const FROM6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10);

fn frame(to: Mac, from: Mac, tags: &[u8], kind: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &from, tags, &kind.to_be_bytes(), body].concat()
}

fn ip4(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpNumber,
    ttl: u8,
    upper: &[u8],
) -> Vec<u8> {
    let mut header = Ipv4Header::new(
        upper.len() as u16,
        ttl,
        protocol,
        source.octets(),
        destination.octets(),
    )
    .unwrap();
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], upper].concat()
}

fn ip6(source: Ipv6Addr, destination: Ipv6Addr, next: IpNumber, hops: u8, upper: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        traffic_class: 0,
        flow_label: Ipv6FlowLabel::ZERO,
        payload_length: upper.len() as u16,
        next_header: next,
        hop_limit: hops,
        source: source.octets(),
        destination: destination.octets(),
    };
    [&header.to_bytes()[..], upper].concat()
}

fn tcp(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), ttl: u8, syn: bool, payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(from.1, to.1, 7, 1_000);
    (header.syn, header.ack) = (syn, !syn);
    header.checksum = header
        .calc_checksum_ipv4_raw(from.0.octets(), to.0.octets(), payload)
        .unwrap();
    let upper = [&header.to_bytes()[..], payload].concat();
    ip4(from.0, to.0, IpNumber::TCP, ttl, &upper)
}

fn udp6(from: (Ipv6Addr, u16), to: (Ipv6Addr, u16), hops: u8, payload: &[u8]) -> Vec<u8> {
    let header = UdpHeader::with_ipv6_checksum(
        from.1,
        to.1,
        &Ipv6Header {
            source: from.0.octets(),
            destination: to.0.octets(),
            ..Ipv6Header::default()
        },
        payload,
    )
    .unwrap();
    let upper = [&header.to_bytes()[..], payload].concat();
    ip6(from.0, to.0, IpNumber::UDP, hops, &upper)
}

fn to_us(kind: u16, body: &[u8]) -> Vec<u8> {
    frame(OWN, CLIENT, &[], kind, body)
}

/// The one outcome, taken for what happened.
fn only(model: &mut Model, frame: &[u8]) -> Outcome {
    let nothing = Got {
        verdict: Verdict::PassProtocol,
        way: Way::Pass,
        frame: &[],
    };
    let outcome = model.outcomes(frame, &nothing).swap_remove(0);
    let sent = outcome.frame.clone().unwrap_or_default();
    let got = Got {
        verdict: outcome.verdict,
        way: outcome.way,
        frame: &sent,
    };
    model.judge(frame, &got).expect("its own word");
    outcome
}

/// The backend whose turn is first.
fn first(model: &Model, vip: IpAddr, port: u16, protocol: u8) -> Backend {
    let service = model.site.service(vip, port, protocol).unwrap();
    let number = model.site.services[service].wheel[0];
    model.site.backend(number).unwrap().clone()
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => panic!("an IPv4 address"),
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => panic!("an IPv6 address"),
    }
}

/// The tags of a hop, without priority.
fn tags(backend: &Backend) -> Vec<u8> {
    let tags = backend.hop.tags.iter();
    tags.flat_map(|&(kind, id)| [kind.to_be_bytes(), id.to_be_bytes()].concat())
        .collect()
}

fn own(backend: &Backend) -> Mac {
    if backend.hop.other { OTHER } else { OWN }
}

fn expect(outcome: &Outcome, verdict: Verdict, frame: &[u8]) {
    assert_eq!(outcome.verdict, verdict);
    assert_eq!(outcome.frame.as_deref(), Some(frame));
}

#[test]
fn dsr_changes_mac_addresses_and_tags() {
    let mut model = Model::new(standard());
    let packet = tcp((FROM, 40_000), (VIP, 80), 1, true, b"");
    let backend = first(&model, VIP.into(), 80, 6);
    let outcome = only(&mut model, &to_us(0x0800, &packet));
    let sent = frame(
        backend.hop.to,
        own(&backend),
        &tags(&backend),
        0x0800,
        &packet,
    );
    expect(&outcome, Verdict::ForwardNew, &sent);
    assert_eq!(outcome.way, Way::Redirect);
}

#[test]
fn nat_there_and_back_and_an_error_about_it() {
    let mut model = Model::new(standard());
    let backend = first(&model, VIP.into(), 82, 6);
    let server = (v4(backend.address), backend.port);
    let outcome = only(
        &mut model,
        &to_us(0x0800, &tcp((FROM, 40_000), (VIP, 82), 64, true, b"")),
    );
    let there = tcp((FROM, 40_000), server, 63, true, b"");
    let sent = frame(
        backend.hop.to,
        own(&backend),
        &tags(&backend),
        0x0800,
        &there,
    );
    expect(&outcome, Verdict::ForwardNew, &sent);

    let answer = tcp(server, (FROM, 40_000), 64, false, b"x");
    let outcome = only(&mut model, &to_us(0x0800, &answer));
    let back = tcp((VIP, 82), (FROM, 40_000), 63, false, b"x");
    let sent = frame(ROUTER, OWN, &[], 0x0800, &back);
    expect(&outcome, Verdict::ReturnNat, &sent);

    // A router beyond the client finds what we sent back too far: it quotes that, and the
    // server sees what it sent itself.
    let error = |quoted: &[u8]| {
        let kind = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
        let header = Icmpv4Header::with_checksum(kind, quoted);
        [&header.to_bytes()[..], quoted].concat()
    };
    let router = Ipv4Addr::new(198, 51, 100, 2);
    let report = ip4(router, VIP, IpNumber::ICMP, 9, &error(&back));
    let outcome = only(&mut model, &to_us(0x0800, &report));
    let seen = tcp(server, (FROM, 40_000), 63, false, b"x");
    let report = ip4(router, server.0, IpNumber::ICMP, 8, &error(&seen));
    let sent = frame(
        backend.hop.to,
        own(&backend),
        &tags(&backend),
        0x0800,
        &report,
    );
    expect(&outcome, Verdict::ForwardError, &sent);

    // One behind us, about what the client sent.
    let report = ip4(server.0, FROM, IpNumber::ICMP, 9, &error(&there));
    let outcome = only(&mut model, &to_us(0x0800, &report));
    let seen = tcp((FROM, 40_000), (VIP, 82), 63, true, b"");
    let report = ip4(VIP, FROM, IpNumber::ICMP, 8, &error(&seen));
    let sent = frame(ROUTER, OWN, &[], 0x0800, &report);
    expect(&outcome, Verdict::ReturnError, &sent);
}

#[test]
fn ipip_and_gue_put_headers_before_the_packet() {
    let mut model = Model::new(standard());
    let backend = first(&model, VIP.into(), 86, 6);
    let packet = tcp((FROM, 40_000), (VIP, 86), 64, true, b"");
    let outcome = only(&mut model, &to_us(0x0800, &packet));
    let inner = tcp((FROM, 40_000), (VIP, 86), 63, true, b"");
    let source = v4(backend.tunnel.unwrap().source);
    let outer = ip4(source, v4(backend.address), IpNumber::IPV4, 64, &inner);
    let mut header = Ipv4Header::from_slice(&outer).unwrap().0;
    header.dont_fragment = true;
    header.header_checksum = header.calc_header_checksum();
    let body = [&header.to_bytes()[..], &inner].concat();
    let sent = frame(
        backend.hop.to,
        own(&backend),
        &tags(&backend),
        0x0800,
        &body,
    );
    expect(&outcome, Verdict::ForwardNew, &sent);

    let backend = first(&model, VIP6.into(), 92, 17);
    let packet = udp6((FROM6, 40_000), (VIP6, 92), 64, b"hello");
    let outcome = only(&mut model, &to_us(0x86dd, &packet));
    let inner = udp6((FROM6, 40_000), (VIP6, 92), 63, b"hello");
    let udp = UdpHeader {
        source_port: 0xc000,
        destination_port: 6_080,
        length: 8 + inner.len() as u16,
        checksum: 0,
    };
    let payload = [&udp.to_bytes()[..], &inner].concat();
    let source = v6(backend.tunnel.unwrap().source);
    let body = ip6(source, v6(backend.address), IpNumber::UDP, 64, &payload);
    let sent = frame(
        backend.hop.to,
        own(&backend),
        &tags(&backend),
        0x86dd,
        &body,
    );
    expect(&outcome, Verdict::ForwardNew, &sent);
}

#[test]
fn too_big_is_told_with_the_packet_as_it_came() {
    let mut model = Model::new(standard());
    let backend = first(&model, VIP.into(), 86, 6);
    let packet = tcp((FROM, 40_000), (VIP, 86), 64, false, &[7; 3_000]);
    let outcome = only(&mut model, &to_us(0x0800, &packet));
    let quoted = &packet[..548];
    let kind =
        Icmpv4Type::DestinationUnreachable(icmpv4::DestUnreachableHeader::FragmentationNeeded {
            next_hop_mtu: backend.hop.mtu - 20,
        });
    let upper = [
        &Icmpv4Header::with_checksum(kind, quoted).to_bytes()[..],
        quoted,
    ]
    .concat();
    let mut body = ip4(VIP, FROM, IpNumber::ICMP, 64, &upper);
    let mut header = Ipv4Header::from_slice(&body).unwrap().0;
    header.dont_fragment = false;
    header.dscp = 48.try_into().unwrap();
    header.header_checksum = header.calc_header_checksum();
    body.splice(..20, header.to_bytes());
    let sent = frame(CLIENT, OWN, &[], 0x0800, &body);
    expect(&outcome, Verdict::AnswerTooBig, &sent);

    let backend = first(&model, VIP6.into(), 80, 17);
    let packet = udp6((FROM6, 40_000), (VIP6, 80), 64, &[7; 3_000]);
    let outcome = only(&mut model, &to_us(0x86dd, &packet));
    let quoted = &packet[..1_232];
    let kind = Icmpv6Type::PacketTooBig {
        mtu: u32::from(backend.hop.mtu).max(1_280),
    };
    let header = Icmpv6Header::with_checksum(kind, VIP6.octets(), FROM6.octets(), quoted).unwrap();
    let upper = [&header.to_bytes()[..], quoted].concat();
    let body = ip6(VIP6, FROM6, IpNumber::IPV6_ICMP, 64, &upper);
    expect(
        &outcome,
        Verdict::AnswerTooBig,
        &frame(CLIENT, OWN, &[], 0x86dd, &body),
    );
}

#[test]
fn an_echo_request_and_a_solicitation_are_answered() {
    let mut model = Model::new(standard());
    let echo = Icmpv6Type::EchoRequest(etherparse::IcmpEchoHeader { id: 7, seq: 8 });
    let message = |kind: Icmpv6Type, from: Ipv6Addr, to: Ipv6Addr, rest: &[u8]| {
        let header = Icmpv6Header::with_checksum(kind, from.octets(), to.octets(), rest).unwrap();
        [&header.to_bytes()[..], rest].concat()
    };
    let request = ip6(
        FROM6,
        VIP6,
        IpNumber::IPV6_ICMP,
        3,
        &message(echo, FROM6, VIP6, b"abc"),
    );
    let outcome = only(&mut model, &to_us(0x86dd, &request));
    let echo = Icmpv6Type::EchoReply(etherparse::IcmpEchoHeader { id: 7, seq: 8 });
    let reply = ip6(
        VIP6,
        FROM6,
        IpNumber::IPV6_ICMP,
        64,
        &message(echo, VIP6, FROM6, b"abc"),
    );
    expect(
        &outcome,
        Verdict::AnswerEcho,
        &frame(CLIENT, OWN, &[], 0x86dd, &reply),
    );

    let raw = |type_u8: u8, bytes5to8: [u8; 4]| Icmpv6Type::Unknown {
        type_u8,
        code_u8: 0,
        bytes5to8,
    };
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0x10);
    let asked = message(raw(135, [0; 4]), FROM6, group, &VIP6.octets());
    let body = ip6(FROM6, group, IpNumber::IPV6_ICMP, 255, &asked);
    let tag = [0x81, 0x00, 0xa0, 0x07];
    let mac = [0x33, 0x33, 0xff, 0, 0, 0x10];
    let outcome = only(&mut model, &frame(mac, CLIENT, &tag, 0x86dd, &body));
    let rest = [&VIP6.octets()[..], &[2, 1], &OWN].concat();
    let told = message(raw(136, [0x60, 0, 0, 0]), VIP6, FROM6, &rest);
    let body = ip6(VIP6, FROM6, IpNumber::IPV6_ICMP, 255, &told);
    expect(
        &outcome,
        Verdict::AnswerSolicitation,
        &frame(CLIENT, OWN, &tag, 0x86dd, &body),
    );
}

#[test]
fn priority_stays_when_tags_change() {
    let mut model = Model::new(standard());
    let packet = tcp((FROM, 40_000), (VIP, 80), 64, true, b"");
    // Priority 5 in a tag of VLAN 77; the backend is in VLAN 5.
    let came = frame(OWN, CLIENT, &[0x81, 0, 0xa0, 77], 0x0800, &packet);
    let backend = first(&model, VIP.into(), 80, 6);
    let outcome = only(&mut model, &came);
    let sent = frame(backend.hop.to, OTHER, &[0x81, 0, 0xa0, 5], 0x0800, &packet);
    expect(&outcome, Verdict::ForwardNew, &sent);
}
