//! Packets that once went wrong, each with its story.
//!
//! A file has lines `# text`, `before HEX` for packets that go before, `in HEX`,
//! `verdict name`, and `out HEX` for what must come out (none for what is dropped).

use std::{fmt::Write as _, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    fuzz::{Difference, Fuzz},
    report::hex,
};

/// One of them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fixture {
    /// What it is about.
    pub story: String,
    /// Packets that go before it.
    pub before: Vec<Vec<u8>>,
    /// The packet.
    pub packet: Vec<u8>,
    /// The verdict's label.
    pub verdict: String,
    /// What must come out.
    pub out: Option<Vec<u8>>,
}

fn bytes(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).context("not hexadecimal"))
        .collect::<Result<_>>()?;
    if digits.len() % 2 == 1 {
        bail!("half a byte");
    }
    Ok(digits.chunks(2).map(|d| (d[0] << 4 | d[1]) as u8).collect())
}

impl Fixture {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// The line that isn't understood.
    pub fn parse(text: &str) -> Result<Self> {
        let mut fixture = Fixture::default();
        for (number, line) in text.lines().enumerate() {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let place = || format!("line {}", number + 1);
            match word {
                "#" => {
                    fixture.story += rest;
                    fixture.story.push('\n');
                }
                "before" => fixture.before.push(bytes(rest).with_context(place)?),
                "in" => fixture.packet = bytes(rest).with_context(place)?,
                "verdict" => fixture.verdict = rest.trim().to_owned(),
                "out" => fixture.out = Some(bytes(rest).with_context(place)?),
                "" => {}
                other => bail!("{}: `{other}` is no word of ours", place()),
            }
        }
        if fixture.story.trim().is_empty() || fixture.packet.is_empty() {
            bail!("a fixture has a story (`# …`) and a packet (`in …`)");
        }
        Ok(fixture)
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// The file and its line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Fixture::parse(&text).with_context(|| path.display().to_string())
    }

    /// What a difference should be kept as, for a person to tell its story.
    #[must_use]
    pub fn skeleton(difference: &Difference, before: Option<&[Vec<u8>]>, seed: u64) -> String {
        let d = difference;
        let mut text = format!(
            "# Say what this was. Found with seed {seed} at {}.\n",
            d.index
        );
        let _ = writeln!(text, "# The program said {}.", d.verdict.label());
        if before.is_none() {
            text += "# It takes a change of the site, which a fixture can't tell.\n";
        }
        for packet in before.unwrap_or_default() {
            let _ = writeln!(text, "before {}", hex(packet));
        }
        let _ = writeln!(text, "in {}", hex(&d.packet));
        if let Some(expected) = d.expected.first() {
            let _ = writeln!(text, "verdict {}", expected.verdict.label());
            if let Some(frame) = &expected.frame {
                let _ = writeln!(text, "out {}", hex(frame));
            }
        }
        text
    }

    /// Replays it on empty tables. The text says what went wrong.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn replay(&self, fuzz: &mut Fuzz) -> Result<Result<(), String>> {
        fuzz.begin(0)?;
        for (place, packet) in self.before.iter().enumerate() {
            if let Err(difference) = fuzz.send(place as u64, packet)? {
                return Ok(Err(crate::report::report(&difference, 0)));
            }
        }
        let (judged, verdict, frame) = fuzz.look(&self.packet)?;
        if let Err(difference) = judged {
            return Ok(Err(crate::report::report(&difference, 0)));
        }
        if verdict.label() != self.verdict {
            return Ok(Err(format!("expected {}, got {verdict:?}", self.verdict)));
        }
        match &self.out {
            Some(out) if *out != frame => Ok(Err(crate::report::differing(out, &frame))),
            _ => Ok(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_a_bad_line_is_named() {
        let fixture =
            Fixture::parse("# A story.\nbefore 00 01\nin 0203\nverdict pass_arp\nout 02\n");
        let fixture = fixture.unwrap();
        assert_eq!(fixture.before, [[0, 1]]);
        assert_eq!(fixture.packet, [2, 3]);
        assert_eq!(fixture.out, Some(vec![2]));
        let error = Fixture::parse("# A story.\nin 0\n").unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
        assert!(Fixture::parse("in 00").is_err());
    }
}
