//! What a node's numbers of backends and services mean.

use std::collections::{BTreeMap, HashMap};

use ring::digest::{Context, SHA256};

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A server in a service.
    Backend = 0,
    /// A service.
    Service = 1,
}

/// Who a backend or service is, on any node: a digest of what names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member(pub [u8; 16]);

impl Member {
    /// The member that these parts name together, in this order: of a service VIP, port and protocol, of
    /// a backend those of its service and the server's address and port.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        Member(fold(parts))
    }
}

/// A digest of these parts in this order: the first half of SHA-256.
#[must_use]
pub fn fold(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        // With its length, so that what one part lacks can't be in the next.
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = [0; 16];
    digest.copy_from_slice(&context.finish().as_ref()[..16]);
    digest
}

/// A node's numbers and whom they stand for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Roster(BTreeMap<(Kind, u16), Member>);

/// A number, and whom it stands for from now on; nobody if `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// What it counts.
    pub kind: Kind,
    /// The number.
    pub number: u16,
    /// Whom it stands for.
    pub member: Option<Member>,
}

impl Roster {
    /// Nobody.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets a number stand for somebody.
    pub fn set(&mut self, kind: Kind, number: u16, member: Member) {
        self.0.insert((kind, number), member);
    }

    /// What has to be told to whoever knows `before`, so that they know this.
    pub(super) fn since(&self, before: &Roster) -> Vec<Item> {
        let item = |(kind, number): (Kind, u16), member| Item {
            kind,
            number,
            member,
        };
        let gone = before.0.keys().filter(|key| !self.0.contains_key(key));
        let changed = self
            .0
            .iter()
            .filter(|(key, member)| before.0.get(key) != Some(member));
        gone.map(|key| item(*key, None))
            .chain(changed.map(|(key, member)| item(*key, Some(*member))))
            .collect()
    }
}

/// What a change of this node's numbers does to the peer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moved {
    /// A number that had a counterpart has another one, or none.
    pub(super) known: bool,
    /// A number that had none has one.
    pub(super) found: bool,
}

/// The peer's numbers in terms of this node's.
#[derive(Debug)]
pub(super) struct Translation {
    local: HashMap<(Kind, Member), u16>,
    theirs: Roster,
    /// By kind and the peer's number. 0 is a service's number too, so none is `None`.
    numbers: [Vec<Option<u16>>; 2],
}

impl Translation {
    pub(super) fn new(local: &Roster) -> Self {
        let mut translation = Translation {
            local: HashMap::new(),
            theirs: Roster::new(),
            numbers: [vec![None; 1 << 16], vec![None; 1 << 16]],
        };
        translation.set_local(local);
        translation
    }

    /// This node's numbers have changed.
    pub(super) fn set_local(&mut self, local: &Roster) -> Moved {
        let mut moved = Moved::default();
        let turned = |(key, member): (&(Kind, u16), &Member)| ((key.0, *member), key.1);
        self.local = local.0.iter().map(turned).collect();
        for ((kind, number), member) in &self.theirs.0 {
            let place = &mut self.numbers[*kind as usize][usize::from(*number)];
            let before = std::mem::replace(place, self.local.get(&(*kind, *member)).copied());
            moved.known |= before.is_some() && before != *place;
            moved.found |= before.is_none() && place.is_some();
        }
        moved
    }

    /// The peer's roster is unknown again.
    pub(super) fn forget(&mut self) {
        self.theirs = Roster::new();
        self.numbers
            .iter_mut()
            .for_each(|numbers| numbers.fill(None));
    }

    /// One of the peer's numbers has another meaning.
    pub(super) fn set(&mut self, item: Item) {
        let key = (item.kind, item.number);
        match item.member {
            Some(member) => self.theirs.0.insert(key, member),
            None => self.theirs.0.remove(&key),
        };
        let local = item
            .member
            .and_then(|member| self.local.get(&(item.kind, member)));
        self.numbers[item.kind as usize][usize::from(item.number)] = local.copied();
    }

    /// This node's number for one of the peer's.
    pub(super) fn number(&self, kind: Kind, theirs: u16) -> Option<u16> {
        self.numbers[kind as usize][usize::from(theirs)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_dont_run_into_each_other() {
        assert_ne!(Member::of(&[b"ab", b"c"]), Member::of(&[b"a", b"bc"]));
        assert_eq!(Member::of(&[b"ab", b"c"]), Member::of(&[b"ab", b"c"]));
    }

    #[test]
    fn differences_lead_from_one_roster_to_the_next() {
        let [a, b, c] = [b"a", b"b", b"c"].map(|name| Member::of(&[name]));
        let (mut first, mut second) = (Roster::new(), Roster::new());
        first.set(Kind::Backend, 1, a);
        first.set(Kind::Backend, 2, b);
        first.set(Kind::Service, 1, c);
        second.set(Kind::Backend, 1, a);
        second.set(Kind::Backend, 3, b);
        second.set(Kind::Service, 1, a);
        let mut local = Roster::new();
        local.set(Kind::Backend, 40, b);
        local.set(Kind::Service, 0, a);
        let mut translation = Translation::new(&local);
        for item in first.since(&Roster::new()) {
            translation.set(item);
        }
        assert_eq!(translation.number(Kind::Backend, 2), Some(40));
        assert_eq!(translation.number(Kind::Backend, 1), None);
        let changes = second.since(&first);
        assert_eq!(changes.len(), 3);
        for item in changes {
            translation.set(item);
        }
        assert_eq!(translation.number(Kind::Backend, 2), None);
        assert_eq!(translation.number(Kind::Backend, 3), Some(40));
        assert_eq!(translation.number(Kind::Service, 1), Some(0));
        local.set(Kind::Backend, 41, a);
        let moved = translation.set_local(&local);
        assert!(moved.found && !moved.known);
        assert_eq!(translation.set_local(&local), Moved::default());
        assert_eq!(translation.number(Kind::Backend, 1), Some(41));
        local.set(Kind::Backend, 42, b);
        local.0.remove(&(Kind::Backend, 40));
        let moved = translation.set_local(&local);
        assert!(moved.known && !moved.found);
    }
}
