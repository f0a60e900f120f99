//! A difference, for a person.

use std::fmt::Write as _;

use crate::{
    audit::network,
    bytes::{address4, address6, long, word},
    fuzz::Difference,
};

/// Bytes as hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A frame, a line for each header.
#[must_use]
pub fn decoded(frame: &[u8]) -> String {
    let mut lines = Vec::new();
    let Some((at, kind)) = network(frame) else {
        return format!("    {} bytes, no EtherType\n", frame.len());
    };
    let macs = (hex(&frame[..6]), hex(&frame[6..12]));
    let tags = hex(&frame[12..at - 2]);
    lines.push(format!(
        "Ethernet {} bytes, {} > {}, tags [{tags}], type {kind:04x}",
        frame.len(),
        macs.1,
        macs.0
    ));
    if matches!(kind, 0x0800 | 0x86dd) {
        ip(frame, at, 0, &mut lines);
    }
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "    {line}");
        text
    })
}

fn ip(frame: &[u8], at: usize, depth: u32, lines: &mut Vec<String>) {
    let there = frame.len().saturating_sub(at);
    let version = frame.get(at).map_or(0, |byte| byte >> 4);
    let (protocol, upper) = if version == 4 && there >= 20 {
        let place = word(frame, at + 6);
        lines.push(format!(
            "IPv4 {} > {}, header {}, length {} of {there}, class {:02x}, id {}, fragment {place:04x}, ttl {}, protocol {}, checksum {:04x}",
            address4(frame, at + 12), address4(frame, at + 16),
            (frame[at] & 15) * 4, word(frame, at + 2), frame[at + 1],
            word(frame, at + 4), frame[at + 8], frame[at + 9], word(frame, at + 10)
        ));
        let header = usize::from(frame[at] & 15) * 4;
        let protocol = if place & 0x1fff == 0 {
            frame[at + 9]
        } else {
            255
        };
        (protocol, at + header.max(20))
    } else if version == 6 && there >= 40 {
        lines.push(format!(
            "IPv6 {} > {}, payload {} of {}, class {:02x}, label {:05x}, hop limit {}, next {}",
            address6(frame, at + 8),
            address6(frame, at + 24),
            word(frame, at + 4),
            there - 40,
            (word(frame, at) >> 4) as u8,
            long(frame, at) & 0xf_ffff,
            frame[at + 7],
            frame[at + 6]
        ));
        extensions(frame, frame[at + 6], at + 40, lines)
    } else {
        lines.push(format!(
            "{there} bytes that are no IP: {}",
            hex(&frame[at.min(frame.len())..][..there.min(40)])
        ));
        return;
    };
    transport(frame, protocol, upper, depth, lines);
}

fn extensions(frame: &[u8], mut next: u8, mut at: usize, lines: &mut Vec<String>) -> (u8, usize) {
    while matches!(next, 0 | 43 | 44 | 60) && frame.len() >= at + 8 {
        lines.push(format!("extension {next}: {}", hex(&frame[at..at + 8])));
        let is_later = next == 44 && word(frame, at + 2) & 0xfff8 != 0;
        let length = if next == 44 {
            8
        } else {
            usize::from(frame[at + 1]) * 8 + 8
        };
        next = if is_later { 255 } else { frame[at] };
        at += length;
    }
    (next, at)
}

fn transport(frame: &[u8], protocol: u8, at: usize, depth: u32, lines: &mut Vec<String>) {
    let there = frame.len().saturating_sub(at);
    match protocol {
        6 if there >= 20 => lines.push(format!(
            "TCP {} > {}, flags {:02x}, checksum {:04x}",
            word(frame, at),
            word(frame, at + 2),
            frame[at + 13],
            word(frame, at + 16)
        )),
        17 if there >= 8 => {
            lines.push(format!(
                "UDP {} > {}, length {}, checksum {:04x}",
                word(frame, at),
                word(frame, at + 2),
                word(frame, at + 4),
                word(frame, at + 6)
            ));
            if word(frame, at + 2) == crate::site::GUE_PORT && depth < 3 {
                ip(frame, at + 8, depth + 1, lines);
            }
        }
        1 | 58 if there >= 8 => {
            lines.push(format!(
                "ICMP {}/{}, checksum {:04x}, {:08x}",
                frame[at],
                frame[at + 1],
                word(frame, at + 2),
                long(frame, at + 4)
            ));
            let is_error = if protocol == 1 {
                matches!(frame[at], 3 | 11 | 12)
            } else {
                frame[at] < 5
            };
            if is_error && there > 8 && depth < 3 {
                ip(frame, at + 8, depth + 1, lines);
            }
        }
        4 | 41 if depth < 3 => ip(frame, at, depth + 1, lines),
        _ => lines.push(format!("protocol {protocol}, {there} bytes")),
    }
}

/// Where two frames differ: sixteen bytes a line, only lines that do.
#[must_use]
pub fn differing(expected: &[u8], got: &[u8]) -> String {
    let mut text = String::new();
    for start in (0..expected.len().max(got.len())).step_by(16) {
        let line = |bytes: &[u8]| {
            bytes
                .get(start..)
                .map_or(&[][..], |b| &b[..b.len().min(16)])
                .to_vec()
        };
        let (ours, theirs) = (line(expected), line(got));
        if ours != theirs {
            let _ = writeln!(text, "    {start:04x} expected {}", hex(&ours));
            let _ = writeln!(text, "    {start:04x} got      {}", hex(&theirs));
        }
    }
    text
}

/// All about a difference.
#[must_use]
pub fn report(difference: &Difference, seed: u64) -> String {
    let d = difference;
    let mut text = format!("packet {} of seed {seed}: {}\n", d.index, hex(&d.packet));
    text += &decoded(&d.packet);
    let _ = writeln!(text, "  got {:?}, {:?}", d.verdict, d.way);
    if d.packet == d.frame {
        text += "    the frame as it came\n";
    } else {
        text += &decoded(&d.frame);
    }
    if let Some(sum) = d.checksum {
        let _ = writeln!(
            text,
            "  the checksum of {} at {} is {:04x} and should be {:04x}",
            sum.of, sum.at, sum.is, sum.right
        );
    }
    for expected in &d.expected {
        let _ = writeln!(
            text,
            "  expected {:?}, {:?}",
            expected.verdict, expected.way
        );
        if let Some(frame) = expected.frame.as_ref().filter(|frame| **frame != d.frame) {
            text += &decoded(frame);
            text += &differing(frame, &d.frame);
        }
    }
    let _ = writeln!(
        text,
        "  again: cargo xtask fuzz --seed {seed} --at {}",
        d.index
    );
    text
}
