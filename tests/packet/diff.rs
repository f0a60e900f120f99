//! Two packets side by side, for a person.

use std::fmt::Write as _;

use etherparse::PacketHeaders;

/// From this byte on only lines that differ are shown, and so many lines at most.
const HEADERS: usize = 256;
const MOST: usize = 32;

/// Both packets as hex, differing bytes marked, and what they decode to.
pub fn of(expected: &[u8], got: &[u8]) -> String {
    let mut text = format!("  expected {} bytes, got {}\n", expected.len(), got.len());
    let length = expected.len().max(got.len());
    let mut shown = 0;
    for start in (0..length).step_by(16) {
        let line = |bytes: &[u8]| -> String {
            (start..start + 16)
                .map(|i| {
                    bytes
                        .get(i)
                        .map_or("   ".into(), |byte| format!("{byte:02x} "))
                })
                .collect()
        };
        let marks: String = (start..start + 16)
            .map(|i| {
                if expected.get(i) == got.get(i) {
                    "   "
                } else {
                    "^^ "
                }
            })
            .collect();
        if start >= HEADERS && !marks.contains('^') {
            continue;
        }
        shown += 1;
        if shown > MOST {
            let _ = writeln!(text, "  …");
            break;
        }
        let _ = writeln!(text, "  {start:04x} expected {}", line(expected));
        if marks.contains('^') {
            let _ = writeln!(text, "  {start:04x} got      {}", line(got));
            let _ = writeln!(text, "                {marks}");
        }
    }
    if expected != got {
        let _ = writeln!(text, "  expected {}", fields(expected));
        let _ = writeln!(text, "  got      {}", fields(got));
    }
    text
}

fn fields(bytes: &[u8]) -> String {
    match PacketHeaders::from_ethernet_slice(bytes) {
        Ok(packet) => format!(
            "{:?}\n           {:?}\n           {:?}",
            packet.link, packet.net, packet.transport
        ),
        Err(error) => format!("(undecodable: {error})"),
    }
}
