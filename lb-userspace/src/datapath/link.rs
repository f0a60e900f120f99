//! What is left of linking when the program is loaded: the object names variables that are nowhere
//! defined, and what they stand for is written into the instructions that load their addresses. It is
//! done before aya reads the object, which leaves instructions alone that refer to nothing in the object
//! itself.

use aya_obj::generated::BPF_PSEUDO_MAP_VALUE;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionKind};
use thiserror::Error;

/// What a name in the object stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The memory of the map with this file descriptor.
    Memory(i32),
    /// A number.
    Number(u64),
}

/// Why an object can't be linked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// It isn't an ELF object of eBPF instructions.
    #[error("reading the object: {0}")]
    Object(#[from] object::Error),
    /// It asks for something that isn't there.
    #[error("the object names {0}, which nothing here stands for: it was built from other sources")]
    Unknown(String),
}

/// `object` with the meanings of names in its instructions.
///
/// # Errors
///
/// See [`LinkError`].
pub fn link(
    object: &[u8],
    meaning: impl Fn(&str) -> Option<Meaning>,
) -> Result<Vec<u8>, LinkError> {
    let mut linked = object.to_vec();
    let file = object::File::parse(object)?;
    let code = file.sections();
    for section in code.filter(|section| section.kind() == SectionKind::Text) {
        let Some((begin, _)) = section.file_range() else {
            continue;
        };
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                continue;
            };
            let symbol = file.symbol_by_index(symbol)?;
            if !symbol.is_undefined() {
                continue;
            }
            let name = symbol.name()?;
            let meaning = meaning(name).ok_or_else(|| LinkError::Unknown(name.to_owned()))?;
            let at = (begin + offset) as usize;
            write(&mut linked[at..][..WIDE], meaning);
        }
    }
    Ok(linked)
}

/// Bytes of an instruction that loads 64 bits: two ordinary ones.
const WIDE: usize = 16;

/// Makes an instruction load what is meant. Of a map's memory, it says itself which byte.
fn write(instruction: &mut [u8], meaning: Meaning) {
    let (first, second) = instruction.split_at_mut(WIDE / 2);
    let register = first[1] & 0x0f;
    match meaning {
        Meaning::Memory(fd) => {
            first[1] = register | (BPF_PSEUDO_MAP_VALUE as u8) << 4;
            second[4..].copy_from_slice(&first[4..]);
            first[4..].copy_from_slice(&fd.to_le_bytes());
        }
        Meaning::Number(number) => {
            first[4..].copy_from_slice(&(number as u32).to_le_bytes());
            second[4..].copy_from_slice(&((number >> 32) as u32).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::object::OBJECT;

    #[test]
    fn a_load_of_an_address_keeps_its_register_and_offset() {
        // r3 = variable + 16, as the compiler leaves it.
        let mut load = [0x18, 3, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        write(&mut load, Meaning::Memory(0x0102));
        let placed = [0x18, 0x23, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0];
        assert_eq!(load, placed);
    }

    #[test]
    fn a_number_takes_both_halves() {
        let mut load = [0x18, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        write(&mut load, Meaning::Number(0x0102_0304_0506_0708));
        let written = [0x18, 7, 0, 0, 8, 7, 6, 5, 0, 0, 0, 0, 4, 3, 2, 1];
        assert_eq!(load, written);
    }

    #[test]
    fn a_name_without_a_meaning_is_told() {
        let refused = link(OBJECT, |name| {
            (name != "CPUS").then_some(Meaning::Number(1))
        });
        assert!(matches!(refused, Err(LinkError::Unknown(name)) if name == "CPUS"));
    }
}
