//! The cluster key, as a file holds it.

use std::fmt;

use thiserror::Error;

/// Bytes of a cluster key.
const LENGTH: usize = 32;

/// The secret that the nodes of a cluster share.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; LENGTH]);

/// Why a text is no cluster key. Never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It has another length.
    #[error(
        "a cluster key is 32 bytes: 64 hexadecimal digits or 44 characters of base64, not {found} characters; \
         make one with `openssl rand -hex 32`"
    )]
    Length {
        /// Characters without the white space around them.
        found: usize,
    },
    /// It is written in neither way.
    #[error(
        "character {at} of the cluster key is neither hexadecimal nor base64, whichever the length asks for"
    )]
    Character {
        /// Counted from 1.
        at: usize,
    },
    /// All its bytes are the same.
    #[error("all bytes of the cluster key are the same: make one with `openssl rand -hex 32`")]
    Constant,
}

impl ClusterKey {
    /// Reads the text of a key file: 64 hexadecimal digits, or base64 of 32 bytes with or without
    /// its `=`. White space around it doesn't count.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim().as_bytes();
        let bytes = match text.len() {
            64 => hexadecimal(text)?,
            43 => base64(text)?,
            44 if text[43] == b'=' => base64(&text[..43])?,
            found => return Err(KeyError::Length { found }),
        };
        match bytes.iter().all(|byte| *byte == bytes[0]) {
            true => Err(KeyError::Constant),
            false => Ok(ClusterKey(bytes)),
        }
    }

    pub(super) fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }
}

/// Doesn't show the key.
impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey")
    }
}

fn hexadecimal(text: &[u8]) -> Result<[u8; LENGTH], KeyError> {
    let mut key = [0; LENGTH];
    for (i, character) in text.iter().enumerate() {
        let digit = char::from(*character).to_digit(16);
        let digit = digit.ok_or(KeyError::Character { at: i + 1 })?;
        key[i / 2] = key[i / 2] << 4 | digit as u8;
    }
    Ok(key)
}

/// 43 characters are 258 bits: the last two must be 0.
fn base64(text: &[u8]) -> Result<[u8; LENGTH], KeyError> {
    let mut key = [0; LENGTH];
    let (mut bits, mut held, mut filled) = (0u32, 0, 0);
    for (i, character) in text.iter().enumerate() {
        let six = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err(KeyError::Character { at: i + 1 }),
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            key[filled] = (bits >> held) as u8;
            filled += 1;
            bits &= (1 << held) - 1;
        }
    }
    match bits {
        0 => Ok(key),
        _ => Err(KeyError::Character { at: text.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_writing_give_the_same_key() {
        let bytes: Vec<u8> = (0..32).collect();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let base64 = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let key = ClusterKey::parse(&hex).expect("a key");
        assert_eq!(key.bytes(), &bytes[..]);
        assert_eq!(ClusterKey::parse(&hex.to_uppercase()), Ok(key.clone()));
        assert_eq!(ClusterKey::parse(&format!(" {base64}\n")), Ok(key.clone()));
        assert_eq!(ClusterKey::parse(base64.trim_end_matches('=')), Ok(key));
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_shown() {
        let found = |text: &str| ClusterKey::parse(text).expect_err("no key");
        assert_eq!(found(""), KeyError::Length { found: 0 });
        assert_eq!(found(&"0".repeat(63)), KeyError::Length { found: 63 });
        assert_eq!(found(&"0".repeat(64)), KeyError::Constant);
        let mut text = "01".repeat(32);
        text.replace_range(9..10, "g");
        assert_eq!(found(&text), KeyError::Character { at: 10 });
        // 43 characters whose last two bits aren't 0.
        assert_eq!(found(&"B".repeat(43)), KeyError::Character { at: 43 });
        assert_eq!(found(&"é".repeat(32)), KeyError::Character { at: 1 });
        let key = ClusterKey::parse(&"01".repeat(31).replace("0101", "0123")).err();
        assert_eq!(key, Some(KeyError::Length { found: 62 }));
        let key = ClusterKey::parse(&format!("{}ff", "01".repeat(31))).expect("a key");
        assert_eq!(format!("{key:?}"), "ClusterKey");
    }
}
