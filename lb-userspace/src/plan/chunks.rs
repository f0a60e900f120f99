//! Where wheels lie: runs of chunks in one map.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lb_common::abi::{WHEEL_CHUNK, Wheel};

/// A freed run is not given again for this long: a packet on its way may be reading it.
const GRACE: Duration = Duration::from_millis(50);

/// No run of free chunks is long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Which chunks hold wheels.
#[derive(Debug, Clone)]
pub struct Chunks {
    total: u32,
    /// First chunk → how many, and since when it has been free.
    runs: BTreeMap<u32, (u32, Option<Instant>)>,
}

impl Chunks {
    /// All `total` chunks are free.
    #[must_use]
    pub fn new(total: u32) -> Self {
        Chunks {
            total,
            runs: BTreeMap::new(),
        }
    }

    /// Marks a wheel's chunks as used.
    pub fn occupy(&mut self, wheel: Wheel) {
        if wheel.length > 0 {
            self.runs.insert(wheel.chunk, (chunks(wheel.length), None));
        }
    }

    /// A place for a wheel of `length` entries. An empty wheel takes none.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    pub fn allocate(&mut self, length: u32, now: Instant) -> Result<Wheel, NoRoom> {
        if length == 0 {
            return Ok(Wheel::default());
        }
        self.runs
            .retain(|_, (_, freed)| freed.is_none_or(|at| now.duration_since(at) < GRACE));
        let needed = chunks(length);
        let mut chunk = 0;
        for (&start, &(count, _)) in &self.runs {
            if start - chunk >= needed {
                break;
            }
            chunk = start + count;
        }
        if chunk + needed > self.total {
            return Err(NoRoom);
        }
        let wheel = Wheel { chunk, length };
        self.occupy(wheel);
        Ok(wheel)
    }

    /// A wheel's chunks are no longer used.
    pub fn free(&mut self, wheel: Wheel, now: Instant) {
        if let Some(run) = self.runs.get_mut(&wheel.chunk)
            && wheel.length > 0
        {
            run.1 = Some(now);
        }
    }
}

fn chunks(length: u32) -> u32 {
    length.div_ceil(WHEEL_CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_do_not_overlap_and_are_given_again_after_the_grace() {
        let start = Instant::now();
        let mut chunks = Chunks::new(10);
        let a = chunks.allocate(50, start).unwrap();
        let b = chunks.allocate(17, start).unwrap();
        let c = chunks.allocate(64, start).unwrap();
        assert_eq!((a.chunk, b.chunk, c.chunk), (0, 4, 6));
        assert_eq!(chunks.allocate(1, start), Err(NoRoom));
        chunks.free(b, start);
        assert_eq!(chunks.allocate(1, start), Err(NoRoom));
        assert_eq!(chunks.allocate(33, start + GRACE), Err(NoRoom));
        assert_eq!(chunks.allocate(32, start + GRACE).unwrap().chunk, 4);
    }

    #[test]
    fn an_empty_wheel_takes_no_room() {
        let now = Instant::now();
        let mut chunks = Chunks::new(1);
        assert_eq!(chunks.allocate(0, now), Ok(Wheel::default()));
        assert_eq!(chunks.allocate(16, now).unwrap().chunk, 0);
    }
}
