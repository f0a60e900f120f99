//! Sealed datagrams: ChaCha20-Poly1305 (RFC 8439) under keys that HKDF-SHA-256 (RFC 5869) makes
//! of the cluster key.
//!
//! Two kinds of headers, sent in the clear and authenticated:
//!
//! ```text
//! greeting   'F' 'R' version kind | session number (16) | sequence number (8) | sealed body | tag (16)
//! data       'F' 'R' version kind | key number (4)      | sequence number (8) | sealed body | tag (16)
//! ```
//!
//! All numbers are big-endian. The nonce is the sequence number. A greeting's key is made with its sender's session number
//! as salt, keys of data with both sides' numbers, and a key of its own for each direction. Session numbers are
//! random and drawn anew for every session, so no key meets a nonce twice, whatever a node
//! has forgotten by starting anew. Greetings look the same in every version, so a node of another one can be
//! told from a forger.

use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Prk, Salt},
};

use super::{
    ClusterKey, Discard,
    window::{Seen, Window},
};

/// The version of the protocol. Changes with any change of what is sent.
pub const VERSION: u8 = 2;
/// Bytes of the longest datagram, so that it fits an Ethernet frame in any ordinary tunnel.
pub const MOST: usize = 1_400;
/// Bytes of the longest body of a data datagram.
pub const BODY: usize = MOST - DATA_HEADER - TAG;

const MAGIC: [u8; 2] = *b"FR";
const TAG: usize = 16;
const GREETING_HEADER: usize = 4 + 16 + 8;
const DATA_HEADER: usize = 4 + 4 + 8;

/// A random number that one side draws for one session.
pub type Session = [u8; 16];

/// Where a datagram stands in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The standby's greeting.
    Hello = 1,
    /// The active node's answer.
    Welcome = 2,
    /// Data from the active node.
    ToStandby = 3,
    /// Data from the standby.
    ToActive = 4,
}

impl Kind {
    /// The kind of a datagram, by its header alone.
    ///
    /// # Errors
    ///
    /// [`Discard::Oversized`], or [`Discard::Malformed`] for what has no such header.
    pub fn of(datagram: &[u8]) -> Result<Self, Discard> {
        if datagram.len() > MOST {
            return Err(Discard::Oversized);
        }
        let (kind, header) = match datagram {
            [b'F', b'R', _, 1, ..] => (Kind::Hello, GREETING_HEADER),
            [b'F', b'R', _, 2, ..] => (Kind::Welcome, GREETING_HEADER),
            [b'F', b'R', _, 3, ..] => (Kind::ToStandby, DATA_HEADER),
            [b'F', b'R', _, 4, ..] => (Kind::ToActive, DATA_HEADER),
            _ => return Err(Discard::Malformed),
        };
        match datagram.len() >= header + TAG {
            true => Ok(kind),
            false => Err(Discard::Malformed),
        }
    }

    /// What tells this kind's keys from the others'.
    const fn label(self) -> &'static [u8] {
        match self {
            Kind::Hello => b"flowgate replication: hello",
            Kind::Welcome => b"flowgate replication: welcome",
            Kind::ToStandby => b"flowgate replication: to standby",
            Kind::ToActive => b"flowgate replication: to active",
        }
    }
}

/// Draws session numbers: each is made of the random seed and of how many came before.
#[derive(Debug)]
pub(super) struct Draw {
    seed: Prk,
    drawn: u64,
}

impl Draw {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Draw {
            seed: Prk::new_less_safe(HKDF_SHA256, seed),
            drawn: 0,
        }
    }

    pub(super) fn next(&mut self) -> Session {
        self.drawn += 1;
        let mut session = Session::default();
        fill(
            &self.seed,
            &[b"session", &self.drawn.to_be_bytes()],
            &mut session,
        );
        session
    }
}

/// Seals the datagrams of one kind and session.
#[derive(Debug)]
pub struct Sealer {
    key: LessSafeKey,
    /// The header up to the sequence number.
    header: Vec<u8>,
    next: u64,
}

impl Sealer {
    /// For greetings of the side whose session number this is.
    #[must_use]
    pub fn greeting(key: &ClusterKey, kind: Kind, session: &Session) -> Self {
        Sealer {
            key: aead(&derive(key, session), kind),
            header: header(kind, session),
            next: 0,
        }
    }

    /// For data; the session is known by the standby's number and the active node's.
    #[must_use]
    pub fn data(key: &ClusterKey, kind: Kind, standby: &Session, active: &Session) -> Self {
        let secret = derive(key, &[*standby, *active].concat());
        Sealer {
            key: aead(&secret, kind),
            header: header(kind, &key_number(&secret, kind)),
            next: 0,
        }
    }

    /// Speaks another version.
    #[cfg(test)]
    pub(super) fn speak(&mut self, version: u8) {
        self.header[2] = version;
    }

    /// The sequence number of the next datagram.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The datagram with this body. Bodies are at most [`BODY`] bytes long.
    #[must_use]
    pub fn seal(&mut self, body: &[u8]) -> Vec<u8> {
        let sequence = self.next;
        self.next += 1;
        let mut datagram = Vec::with_capacity(self.header.len() + 8 + body.len() + TAG);
        datagram.extend_from_slice(&self.header);
        datagram.extend_from_slice(&sequence.to_be_bytes());
        let start = datagram.len();
        datagram.extend_from_slice(body);
        let (header, sealed) = datagram.split_at_mut(start);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(sequence), Aad::from(&*header), sealed)
            .expect("the cipher takes bodies up to 256 GiB");
        datagram.extend_from_slice(tag.as_ref());
        debug_assert!(datagram.len() <= MOST);
        datagram
    }
}

/// Opens the data datagrams of one direction and session, each of them once.
#[derive(Debug)]
pub struct Opener {
    key: LessSafeKey,
    number: [u8; 4],
    window: Window,
}

impl Opener {
    /// The counterpart of [`Sealer::data`].
    #[must_use]
    pub fn data(key: &ClusterKey, kind: Kind, standby: &Session, active: &Session) -> Self {
        let secret = derive(key, &[*standby, *active].concat());
        Opener {
            key: aead(&secret, kind),
            number: key_number(&secret, kind),
            window: Window::new(),
        }
    }

    /// Sequence number and body of a datagram for which [`Kind::of`] gave a kind of data.
    ///
    /// # Errors
    ///
    /// Of another session, or seen before, or too old, or not authentic. Nothing has changed then.
    pub fn open(&mut self, datagram: &[u8]) -> Result<(u64, Vec<u8>), Discard> {
        if datagram.len() < DATA_HEADER + TAG {
            return Err(Discard::Malformed);
        }
        let (header, sealed) = datagram.split_at(DATA_HEADER);
        if header[4..8] != self.number {
            return Err(Discard::OtherSession);
        }
        let sequence = number(&header[8..]);
        match self.window.look(sequence) {
            Seen::New => {}
            Seen::Before => return Err(Discard::Replayed),
            Seen::TooOld => return Err(Discard::TooOld),
        }
        let body = open(&self.key, header, sequence, sealed)?;
        self.window.note(sequence);
        Ok((sequence, body))
    }
}

/// A greeting that was sealed with the cluster key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// The version that its sender speaks. The body can be read only if it is [`VERSION`].
    pub version: u8,
    /// Its sender's session number.
    pub session: Session,
    /// What was sealed.
    pub body: Vec<u8>,
}

impl Greeting {
    /// Opens a datagram for which [`Kind::of`] gave `kind`, a kind of greeting.
    ///
    /// # Errors
    ///
    /// [`Discard::Unauthentic`], or [`Discard::Malformed`] when it is too short.
    pub fn open(key: &ClusterKey, kind: Kind, datagram: &[u8]) -> Result<Self, Discard> {
        if datagram.len() < GREETING_HEADER + TAG {
            return Err(Discard::Malformed);
        }
        let (header, sealed) = datagram.split_at(GREETING_HEADER);
        let mut session = Session::default();
        session.copy_from_slice(&header[4..20]);
        let secret = derive(key, &session);
        let body = open(&aead(&secret, kind), header, number(&header[20..]), sealed)?;
        Ok(Greeting {
            version: header[2],
            session,
            body,
        })
    }
}

fn header(kind: Kind, rest: &[u8]) -> Vec<u8> {
    [&MAGIC[..], &[VERSION, kind as u8], rest].concat()
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn nonce(sequence: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - 8..].copy_from_slice(&sequence.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn open(
    key: &LessSafeKey,
    header: &[u8],
    sequence: u64,
    sealed: &[u8],
) -> Result<Vec<u8>, Discard> {
    let mut body = sealed.to_vec();
    let length = key
        .open_in_place(nonce(sequence), Aad::from(header), &mut body)
        .map_err(|_| Discard::Unauthentic)?
        .len();
    body.truncate(length);
    Ok(body)
}

fn derive(key: &ClusterKey, salt: &[u8]) -> Prk {
    Salt::new(HKDF_SHA256, salt).extract(key.bytes())
}

fn aead(secret: &Prk, kind: Kind) -> LessSafeKey {
    let label = [kind.label()];
    let key = secret
        .expand(&label, &CHACHA20_POLY1305)
        .expect("a key is shorter than HKDF's limit");
    LessSafeKey::new(UnboundKey::from(key))
}

/// Bytes that are the cluster's own, for a purpose that the label names.
pub(super) fn of_cluster(key: &ClusterKey, label: &[&[u8]], into: &mut [u8]) {
    // Sessions' keys are made with a salt of their numbers; this has none.
    fill(&derive(key, &[]), label, into);
}

/// What a session's data is recognised by before its key is tried.
fn key_number(secret: &Prk, kind: Kind) -> [u8; 4] {
    let mut number = [0; 4];
    fill(secret, &[kind.label(), b": number"], &mut number);
    number
}

fn fill(secret: &Prk, label: &[&[u8]], into: &mut [u8]) {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    secret
        .expand(label, Length(into.len()))
        .and_then(|made| made.fill(into))
        .expect("a few bytes are below HKDF's limit");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: &str) -> ClusterKey {
        ClusterKey::parse(&format!("{}{last}", "01".repeat(31))).expect("a key")
    }

    fn pair(kind: Kind) -> (Sealer, Opener) {
        let key = key("ff");
        (
            Sealer::data(&key, kind, &[1; 16], &[2; 16]),
            Opener::data(&key, kind, &[1; 16], &[2; 16]),
        )
    }

    #[test]
    fn what_was_sealed_is_opened_once() {
        let (mut sealer, mut opener) = pair(Kind::ToStandby);
        let first = sealer.seal(b"first");
        let second = sealer.seal(&[7; BODY]);
        assert_eq!(second.len(), MOST);
        assert_eq!(Kind::of(&second), Ok(Kind::ToStandby));
        assert_eq!(opener.open(&second), Ok((1, vec![7; BODY])));
        assert_eq!(opener.open(&first), Ok((0, b"first".to_vec())));
        assert_eq!(opener.open(&first), Err(Discard::Replayed));
        assert_eq!(opener.open(&second), Err(Discard::Replayed));
    }

    #[test]
    fn any_changed_bit_shows_and_marks_nothing_as_seen() {
        let (mut sealer, mut opener) = pair(Kind::ToActive);
        let datagram = sealer.seal(b"body");
        for bit in 0..datagram.len() * 8 {
            let mut forged = datagram.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let opened = opener.open(&forged);
            let expected = match bit / 8 {
                4..8 => Discard::OtherSession,
                _ => Discard::Unauthentic,
            };
            assert_eq!(opened, Err(expected), "bit {bit}");
        }
        assert_eq!(opener.open(&datagram), Ok((0, b"body".to_vec())));
    }

    #[test]
    fn directions_sessions_and_cluster_keys_have_keys_of_their_own() {
        let (mut sealer, _) = pair(Kind::ToStandby);
        let mut datagram = sealer.seal(b"body");
        let others = [
            (key("ff"), Kind::ToActive, [1; 16], [2; 16]),
            (key("ff"), Kind::ToStandby, [1; 16], [3; 16]),
            (key("ff"), Kind::ToStandby, [3; 16], [2; 16]),
            (key("ff"), Kind::ToStandby, [2; 16], [1; 16]),
            (key("fe"), Kind::ToStandby, [1; 16], [2; 16]),
        ];
        for (key, kind, standby, active) in others {
            let mut opener = Opener::data(&key, kind, &standby, &active);
            assert_eq!(opener.open(&datagram), Err(Discard::OtherSession));
            // Nor is it the key's number alone that tells.
            datagram[4..8].copy_from_slice(&opener.number);
            assert_eq!(opener.open(&datagram), Err(Discard::Unauthentic));
        }
    }

    #[test]
    fn greetings_open_under_the_cluster_key_whatever_their_version() {
        let mut sealer = Sealer::greeting(&key("ff"), Kind::Hello, &[9; 16]);
        sealer.speak(VERSION + 1);
        let datagram = sealer.seal(b"body");
        let greeting = Greeting::open(&key("ff"), Kind::Hello, &datagram).expect("authentic");
        assert_eq!(greeting.version, VERSION + 1);
        assert_eq!(greeting.session, [9; 16]);
        let mut forged = datagram.clone();
        forged[2] = VERSION;
        let refused = |key, kind, datagram: &[u8]| Greeting::open(&key, kind, datagram);
        assert_eq!(
            refused(key("ff"), Kind::Hello, &forged),
            Err(Discard::Unauthentic)
        );
        assert_eq!(
            refused(key("fe"), Kind::Hello, &datagram),
            Err(Discard::Unauthentic)
        );
        assert_eq!(
            refused(key("ff"), Kind::Welcome, &datagram),
            Err(Discard::Unauthentic)
        );
    }

    #[test]
    fn lengths_and_headers_are_checked() {
        assert_eq!(Kind::of(&[0; MOST + 1]), Err(Discard::Oversized));
        assert_eq!(Kind::of(&[0; 64]), Err(Discard::Malformed));
        assert_eq!(Kind::of(b"FR\x01\x05"), Err(Discard::Malformed));
        let (mut sealer, _) = pair(Kind::ToStandby);
        let datagram = sealer.seal(b"");
        assert_eq!(Kind::of(&datagram), Ok(Kind::ToStandby));
        assert_eq!(
            Kind::of(&datagram[..datagram.len() - 1]),
            Err(Discard::Malformed)
        );
    }

    #[test]
    fn no_session_number_is_drawn_twice() {
        let mut draw = Draw::new(&[3; 32]);
        let (first, second) = (draw.next(), draw.next());
        assert_ne!(first, second);
        assert_ne!(first, Draw::new(&[4; 32]).next());
    }
}
