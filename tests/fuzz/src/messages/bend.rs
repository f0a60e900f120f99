//! What happens to messages on their way, or in a forger's workshop.

use fastrand::Rng;

const EDGES: [u8; 8] = [0, 1, 2, 3, 0x7f, 0x80, 0xfe, 0xff];

/// Any bytes, mostly few.
pub fn noise(random: &mut Rng, most: usize) -> Vec<u8> {
    let most = if random.u8(..8) == 0 {
        most
    } else {
        most.min(96)
    };
    let mut bytes = vec![0; random.usize(..=most)];
    random.fill(&mut bytes);
    bytes
}

/// Changes a message here and there, near its head mostly.
pub fn bend(random: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..random.u32(1..=3) {
        if bytes.is_empty() {
            bytes.push(random.u8(..));
        }
        let reach = match random.bool() {
            true => bytes.len(),
            false => bytes.len().min(28),
        };
        let at = random.usize(..reach);
        match random.u8(..8) {
            0 | 1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes[at] = EDGES[random.usize(..EDGES.len())],
            3 => bytes[at] = random.u8(..),
            4 => bytes.truncate(at),
            5 => bytes.insert(at, random.u8(..)),
            6 => {
                bytes.remove(at);
            }
            _ => {
                let length = random.usize(..24);
                bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(length));
            }
        }
    }
}
