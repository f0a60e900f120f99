//! What the standby still has to be told, in the order in which it is.

use std::collections::VecDeque;

use lb_common::flow::{Entry, Timeouts};

use super::{
    Action, Found, Limits, MILLISECOND, Now, Room, Scan, Shadow, Tables, Which,
    flight::{Flight, Load},
    rate::Rate,
    roster::{Item, Roster},
    seal::Sealer,
    wire::{Ack, ChunkWriter, ITEMS, Slot, ToStandby},
};

/// Ages are looked at so often in a tick, for they are counted in ticks,
const AGES_IN_A_TICK: u64 = 8;
/// but at least once in so many nanoseconds,
const AGES_WITHIN: u64 = 10_000 * MILLISECOND;
/// and in one of so many passes at most, for those take longer.
const AGES_EVERY: u64 = 8;
/// Milliseconds' comparing that one call makes up for.
const LATE: u64 = 8;

/// One session's way from the tables to datagrams.
#[derive(Debug)]
pub(super) struct Feed {
    limits: Limits,
    timeouts: Timeouts,
    /// Nanoseconds between passes that look at ages.
    ages_every: u64,
    shadows: [Shadow; 2],
    /// Parts of tables that are to be told whole.
    covers: VecDeque<(Which, usize, usize)>,
    flight: Flight,
    roster: Editions,
    pass: Pass,
    /// The standby's last request to be told everything again.
    again: u32,
    /// Slots told, those that were told again included.
    told: u64,
    /// When [`Feed::send`] was last called.
    called: u64,
    /// Until then passes follow each other without a pause.
    eager_until: u64,
}

/// What the standby knows of the roster.
#[derive(Debug, Default)]
struct Editions {
    edition: u32,
    told: Roster,
    /// The parts of this edition, and those of them that aren't on their way.
    parts: Vec<Vec<Item>>,
    to_send: VecDeque<u16>,
    on_the_way: usize,
}

/// Comparing both tables once.
#[derive(Debug, Default)]
struct Pass {
    /// When it began; `None` between two.
    began: Option<u64>,
    last_began: Option<u64>,
    /// The table it is at.
    at: usize,
    /// Whether it looks at ages.
    ages: bool,
    /// When the next one does.
    ages_due: u64,
    /// It passed something over, or a table wasn't known as a whole yet.
    is_partial: bool,
    /// When this number and all before it have arrived, the standby has everything up to that moment.
    awaited: Option<(u64, u64)>,
    synced: Option<u64>,
}

impl Feed {
    /// `tick_ns` is the length of a tick of this node's.
    pub(super) fn new(
        limits: Limits,
        timeouts: Timeouts,
        tick_ns: u64,
        tables: &Tables<'_>,
    ) -> Self {
        let ages_every = (tick_ns / AGES_IN_A_TICK).min(AGES_WITHIN);
        let mut feed = Feed {
            limits,
            timeouts,
            ages_every: ages_every.max(AGES_EVERY * limits.pass_every),
            shadows: Which::ALL.map(|table| Shadow::new(tables.of(table).slots())),
            covers: VecDeque::new(),
            flight: Flight::new(limits.resend_after),
            roster: Editions::default(),
            pass: Pass::default(),
            again: 0,
            told: 0,
            called: 0,
            eager_until: 0,
        };
        feed.cover_all();
        feed
    }

    fn cover_all(&mut self) {
        self.covers = Which::ALL
            .map(|table| (table, 0, self.shadows[table as usize].slots()))
            .into();
        self.pass.synced = None;
        self.pass.awaited = None;
        self.pass.is_partial = true;
    }

    /// Up to which moment the standby has everything, in nanoseconds.
    pub(super) fn synced(&self) -> Option<u64> {
        self.pass.synced
    }

    /// Slots told so far.
    pub(super) fn told(&self) -> u64 {
        self.told
    }

    /// Until then the standby is to hear of everything as soon as can be.
    pub(super) fn hurry(&mut self, until: u64) {
        self.eager_until = self.eager_until.max(until);
    }

    /// When there is something to do; 0 if that is now.
    pub(super) fn due(&self) -> u64 {
        let is_busy = self.called < self.eager_until
            || self.pass.began.is_some()
            || !self.covers.is_empty()
            || !self.roster.to_send.is_empty();
        match self.pass.last_began {
            Some(at) if !is_busy => (at + self.limits.pass_every).min(self.flight.due()),
            _ => 0,
        }
    }

    /// [`Feed::synced`] as a mark tells it.
    pub(super) fn mark(&self, now: Now, in_sync: bool) -> Vec<u8> {
        let lag = self
            .pass
            .synced
            .map(|at| now.ns.saturating_sub(at) / MILLISECOND);
        let lag = lag.map_or(u32::MAX, |lag| lag.try_into().unwrap_or(u32::MAX));
        ToStandby::mark(in_sync, lag, self.again)
    }

    /// The standby has these.
    pub(super) fn acknowledged(&mut self, ack: &Ack, now: Now) {
        for load in self.flight.acknowledged(ack, now.ns) {
            match load {
                Load::Roster(_) => self.roster.on_the_way -= 1,
                Load::Slots(table, slots) => {
                    let shadow = &mut self.shadows[table as usize];
                    slots.iter().for_each(|slot| shadow.arrived(*slot as usize));
                }
                Load::Cover(table, start, end) => {
                    self.shadows[table as usize].uncovered(start as usize, end as usize);
                }
            }
        }
        if ack.again > self.again {
            self.again = ack.again;
            self.cover_all();
        }
    }

    fn give_up(&mut self, now: Now) {
        for load in self.flight.given_up(now.ns) {
            match load {
                Load::Roster(part) => {
                    self.roster.on_the_way -= 1;
                    self.roster.to_send.push_back(part);
                }
                Load::Slots(table, slots) => {
                    let shadow = &mut self.shadows[table as usize];
                    slots.iter().for_each(|slot| shadow.lost(*slot as usize));
                    // What a pass that has ended told of them is not there.
                    self.pass.awaited = None;
                    self.pass.is_partial = true;
                }
                Load::Cover(table, start, end) => {
                    let (start, end) = (start as usize, end as usize);
                    self.shadows[table as usize].uncovered(start, end);
                    self.covers.push_front((table, start, end));
                    self.pass.awaited = None;
                    self.pass.is_partial = true;
                }
            }
        }
    }

    /// Sends what the rate allows.
    pub(super) fn send(
        &mut self,
        now: Now,
        tables: &Tables<'_>,
        roster: &Roster,
        way: &mut Way<'_>,
    ) {
        let called = std::mem::replace(&mut self.called, now.ns);
        self.give_up(now);
        if self.tell_roster(now, roster, way) {
            // Who is called late in the middle of a pass, as on a busy machine, compares more at once.
            let late = match self.pass.began {
                _ if now.ns < self.eager_until => LATE as usize,
                Some(_) => (now.ns.saturating_sub(called) / MILLISECOND).clamp(1, LATE) as usize,
                None => 1,
            };
            let mut slots = self.limits.slots_per_poll * late;
            self.tell_changes(now, tables, &mut slots, way);
            self.tell_covers(now, tables, slots.max(self.limits.slots_per_poll / 4), way);
        }
        if let Some((number, began)) = self.pass.awaited
            && self.flight.floor(way.sealer.next()) >= number
        {
            self.pass.synced = Some(began);
            self.pass.awaited = None;
        }
    }

    /// True when the standby knows the roster: only then does it understand the slots.
    fn tell_roster(&mut self, now: Now, roster: &Roster, way: &mut Way<'_>) -> bool {
        let editions = &mut self.roster;
        let is_known = editions.to_send.is_empty() && editions.on_the_way == 0;
        if is_known && (editions.edition == 0 || editions.told != *roster) {
            let items = roster.since(&editions.told);
            editions.edition += 1;
            editions.told = roster.clone();
            editions.parts = items.chunks(ITEMS).map(<[Item]>::to_vec).collect();
            if editions.parts.is_empty() {
                editions.parts.push(Vec::new());
            }
            editions.to_send = (0..editions.parts.len() as u16).collect();
        }
        let parts = editions.parts.len() as u16;
        while way.has_room(&self.flight) {
            let Some(part) = editions.to_send.pop_front() else {
                break;
            };
            let items = &editions.parts[usize::from(part)];
            let body = ToStandby::roster(editions.edition, part, parts, items);
            editions.on_the_way += 1;
            way.send(&body, now, Load::Roster(part), &mut self.flight);
        }
        editions.to_send.is_empty() && editions.on_the_way == 0
    }

    fn tell_changes(
        &mut self,
        now: Now,
        tables: &Tables<'_>,
        slots: &mut usize,
        way: &mut Way<'_>,
    ) {
        if self.pass.began.is_none() {
            let due = self
                .pass
                .last_began
                .map_or(0, |at| at + self.limits.pass_every);
            if now.ns < due && now.ns >= self.eager_until {
                return;
            }
            self.pass.began = Some(now.ns);
            self.pass.last_began = Some(now.ns);
            self.pass.is_partial = !self.covers.is_empty();
            self.pass.ages = now.ns >= self.pass.ages_due;
            if self.pass.ages {
                self.pass.ages_due = now.ns + self.ages_every;
            }
        }
        while let Some(&table) = Which::ALL.get(self.pass.at) {
            let datagrams = way
                .rate
                .datagrams()
                .min(self.flight.room(way.sealer.next()));
            let each = ChunkWriter::surely(table);
            let mut room = Room {
                slots: *slots,
                changes: datagrams * each,
                ages: self.pass.ages,
                reserve: way.rate.burst() as usize / super::seal::MOST / 2 * each,
            };
            let mut found = Vec::new();
            let shadow = &mut self.shadows[table as usize];
            let view = tables.of(table);
            let (scan, passed_over) =
                shadow.scan(view, now.tick, self.timeouts, &mut room, &mut found);
            *slots = room.slots;
            self.pass.is_partial |= passed_over;
            self.tell(table, &found, now, tables, way);
            if scan == Scan::Paused {
                return;
            }
            self.pass.at += 1;
        }
        let began = self.pass.began.take();
        self.pass.at = 0;
        if !self.pass.is_partial && self.pass.awaited.is_none() {
            self.pass.awaited = began.map(|began| (way.sealer.next(), began));
        }
    }

    /// Tells changes that were found, for which there is room.
    fn tell(
        &mut self,
        table: Which,
        found: &[Found],
        now: Now,
        tables: &Tables<'_>,
        way: &mut Way<'_>,
    ) {
        for found in found.chunks(ChunkWriter::surely(table)) {
            let floor = self.flight.floor(way.sealer.next());
            let start = found[0].slot;
            let mut chunk = ChunkWriter::new(table, self.roster.edition, floor, false, start);
            let mut told = Vec::with_capacity(found.len());
            for &Found { slot, word } in found {
                let owner = match table {
                    Which::Flows => None,
                    Which::Ports => match tables.read(table, slot as usize) {
                        Some((still, owner)) if still == word => owner,
                        _ => {
                            self.shadows[table as usize].lost(slot as usize);
                            self.pass.is_partial = true;
                            continue;
                        }
                    },
                };
                let word = aged(word, now);
                chunk.push(&Slot { slot, word, owner });
                told.push(slot);
            }
            if !told.is_empty() {
                self.told += told.len() as u64;
                let load = Load::Slots(table, told);
                way.send(&chunk.body(0), now, load, &mut self.flight);
            }
        }
    }

    fn tell_covers(&mut self, now: Now, tables: &Tables<'_>, mut slots: usize, way: &mut Way<'_>) {
        while slots > 0 && way.has_room(&self.flight) {
            let Some((table, start, end)) = self.covers.pop_front() else {
                return;
            };
            let shadow = &mut self.shadows[table as usize];
            let free = shadow.free_until(start, end.min(start + slots));
            let floor = self.flight.floor(way.sealer.next());
            let edition = self.roster.edition;
            let mut chunk = ChunkWriter::new(table, edition, floor, true, start as u32);
            let mut at = start;
            while at < free && chunk.has_room() {
                let read = tables.read(table, at);
                shadow.cover(at, read.map(|(word, _)| word));
                if let Some((word, owner)) = read.filter(|(word, _)| *word != 0) {
                    let (slot, word) = (at as u32, aged(word, now));
                    chunk.push(&Slot { slot, word, owner });
                    self.told += 1;
                }
                at += 1;
            }
            if at < end {
                self.covers.push_front((table, at, end));
            }
            if at == start && start < end {
                // The slot is on its way with an earlier datagram.
                return;
            }
            if at > start {
                shadow.covered(start, at);
                let load = Load::Cover(table, start as u32, at as u32);
                way.send(&chunk.body(at as u32), now, load, &mut self.flight);
            }
            slots -= at - start;
        }
    }
}

/// The entry with the time since its last packet in its age's place.
fn aged(word: u64, now: Now) -> u64 {
    if word == 0 {
        return 0;
    }
    let entry = Entry::from_bits(word);
    entry.touched(entry.idle(now.tick), entry.state()).bits()
}

/// What datagrams leave by.
pub(super) struct Way<'a> {
    pub(super) sealer: &'a mut Sealer,
    pub(super) rate: &'a mut Rate,
    pub(super) out: &'a mut Vec<Action>,
}

impl Way<'_> {
    fn has_room(&self, flight: &Flight) -> bool {
        self.rate.datagrams() > 0 && flight.has_room(self.sealer.next())
    }

    /// Sends a datagram that has to be acknowledged, for which there is room.
    fn send(&mut self, body: &[u8], now: Now, load: Load, flight: &mut Flight) {
        flight.add(self.sealer.next(), now.ns, load);
        let datagram = self.sealer.seal(body);
        self.rate.take(datagram.len());
        self.out.push(Action::Send(datagram));
    }
}
