//! Where wheels lie: runs of chunks in one map.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use lb_common::abi::{WHEEL_CHUNK, Wheel};

/// A freed run is not given again for this long: a packet on its way may be reading it.
pub const GRACE: Duration = Duration::from_millis(50);

/// No run of free chunks is long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Which chunks hold wheels.
#[derive(Debug, Clone)]
pub struct Chunks {
    total: u32,
    /// Runs of free chunks: the first → how many. No two touch.
    free: BTreeMap<u32, u32>,
    /// The same: how many, and the first.
    by_size: BTreeSet<(u32, u32)>,
    /// Runs that were freed, and since when; the earliest first.
    left: VecDeque<(Instant, u32, u32)>,
}

impl Chunks {
    /// All `total` chunks are free.
    #[must_use]
    pub fn new(total: u32) -> Self {
        Chunks {
            total,
            free: BTreeMap::from([(0, total)]),
            by_size: BTreeSet::from([(total, 0)]),
            left: VecDeque::new(),
        }
    }

    /// How many chunks there are.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// Marks a wheel's chunks as used. They must be free.
    pub fn occupy(&mut self, wheel: Wheel) {
        let count = chunks(wheel.length);
        let run = self.free.range(..=wheel.chunk).next_back();
        let Some((&start, &there)) =
            run.filter(|(start, there)| count > 0 && wheel.chunk + count <= *start + *there)
        else {
            return;
        };
        self.take(start, there);
        let (end, run_end) = (wheel.chunk + count, start + there);
        self.give(start, wheel.chunk - start);
        self.give(end, run_end.saturating_sub(end));
    }

    /// A place for a wheel of `length` entries, in the shortest run that has room. An empty
    /// wheel takes none.
    ///
    /// # Errors
    ///
    /// [`NoRoom`].
    pub fn allocate(&mut self, length: u32, now: Instant) -> Result<Wheel, NoRoom> {
        if length == 0 {
            return Ok(Wheel::default());
        }
        self.collect(now);
        let fitting = self.by_size.range((chunks(length), 0)..).next();
        let &(_, chunk) = fitting.ok_or(NoRoom)?;
        let wheel = Wheel { chunk, length };
        self.occupy(wheel);
        Ok(wheel)
    }

    /// A wheel's chunks are no longer used.
    pub fn free(&mut self, wheel: Wheel, now: Instant) {
        if wheel.length > 0 {
            self.left
                .push_back((now, wheel.chunk, chunks(wheel.length)));
        }
    }

    /// Whether there will be more room, [`GRACE`] after the last run was freed.
    #[must_use]
    pub fn are_awaited(&self) -> bool {
        !self.left.is_empty()
    }

    /// Frees what was left long enough ago.
    fn collect(&mut self, now: Instant) {
        while let Some(&(at, start, count)) = self.left.front()
            && now.duration_since(at) >= GRACE
        {
            self.left.pop_front();
            self.join(start, count);
        }
    }

    /// Frees a run, as one with those that it touches.
    fn join(&mut self, mut start: u32, mut count: u32) {
        if let Some(&behind) = self.free.get(&(start + count)) {
            self.take(start + count, behind);
            count += behind;
        }
        let before = self.free.range(..start).next_back();
        if let Some((&first, &length)) = before.filter(|(first, length)| *first + *length == start)
        {
            self.take(first, length);
            (start, count) = (first, count + length);
        }
        self.give(start, count);
    }

    fn take(&mut self, start: u32, count: u32) {
        self.free.remove(&start);
        self.by_size.remove(&(count, start));
    }

    fn give(&mut self, start: u32, count: u32) {
        if count > 0 {
            self.free.insert(start, count);
            self.by_size.insert((count, start));
        }
    }
}

/// How many chunks a wheel of `length` entries takes.
pub(super) fn chunks(length: u32) -> u32 {
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
