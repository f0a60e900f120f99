//! What a trial's records say.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::{
    arp::Asked,
    bed::Side,
    load::{CONNECT, Connection, End},
    probe::Probe,
    waits::Waits,
};

/// Connections established for at least so long before the fault are to survive it.
pub const AGE: Duration = Duration::from_millis(100);
/// An open connection that has waited for an echo for so long is broken.
const SILENCE: Duration = Duration::from_secs(1);
/// How long before the fault the gaps of no fault are looked for.
const CALM: Duration = Duration::from_millis(500);
/// A probe that is answered later than this was kept waiting somewhere: that is no service.
const LATE: Duration = Duration::from_millis(5);
/// Questions that tell who has the VIP at the end.
const LAST: usize = 100;
/// Probes of the last moments may still be answered.
const TAIL: Duration = Duration::from_millis(100);

/// All that was noted in a trial, by one clock.
#[derive(Debug)]
pub struct Record {
    /// When the fault began.
    pub fault: Duration,
    /// When nothing was noted any more.
    pub end: Duration,
    /// Who is to have the VIP after it.
    pub heir: Side,
    /// The connections.
    pub connections: Vec<Connection>,
    /// New connections that were asked for.
    pub syns: Vec<Probe>,
    /// Datagrams of one flow, where the pair carries any.
    pub datagrams: Option<Vec<Probe>>,
    /// The same past the pair: they take the way of `syns`, without the load balancers.
    pub bypass: Vec<Probe>,
    /// The questions who has the VIP.
    pub asked: Vec<Asked>,
}

/// What became of it. Times are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The longest time in which no new connection was accepted within 5 ms, of those asked
    /// for in it, once each.
    pub syn_gap: f64,
    /// The longest time in which no datagram of a known flow was echoed within 5 ms, of those
    /// sent in it, once each.
    pub flow_gap: Option<f64>,
    /// [`Outcome::syn_gap`] past the pair: what isn't the load balancers' doing.
    pub bypass_gap: f64,
    /// The longer one of `syn_gap` and `flow_gap`, if a probe isn't charged with the time in
    /// which one past the pair waited as well.
    pub own_gap: f64,
    /// The longer one of `syn_gap` and `flow_gap` if what was answered late, at any time, counts
    /// as answered.
    pub lost_gap: f64,
    /// The longest time in which no echo arrived at any client.
    pub echo_gap: f64,
    /// The longest time between two echoes of one connection that was established before
    /// the fault and survived it; it holds the clients' own pause.
    pub connection_gap: f64,
    /// [`Outcome::syn_gap`] before the fault: what this machine makes of no fault.
    pub calm_syn_gap: f64,
    /// [`Outcome::echo_gap`] before the fault.
    pub calm_echo_gap: f64,
    /// From the fault to the first answer of the heir for the VIP.
    pub taken_over: Option<f64>,
    /// How long both nodes answered for the VIP, in sum.
    pub two_answering: f64,
    /// Whether they still did at the end.
    pub two_at_end: bool,
    /// Connections established at least [`AGE`] before the fault.
    pub established: usize,
    /// Those of them that broke.
    pub broken: usize,
    /// How long before the fault the oldest of these was established.
    pub oldest_broken: Option<f64>,
    /// Connections established later than that, but before the fault.
    pub young: usize,
    /// Those of them that broke.
    pub young_broken: usize,
    /// Connections established after the fault, or that should have been.
    pub new: usize,
    /// Those of them that failed or broke.
    pub new_failed: usize,
    /// Why connections broke or failed, with how many.
    pub reasons: BTreeMap<String, usize>,
    /// Connections that broke before the fault: what makes the trial worthless.
    pub broken_before: usize,
}

impl Outcome {
    /// Judges a record.
    pub fn of(record: &Record) -> Self {
        let (fault, end) = (record.fault, record.end.saturating_sub(TAIL));
        let calm = fault.saturating_sub(CALM);
        let datagrams = record.datagrams.as_deref();
        let (nobody, all) = (Waits::none(), Waits::of(&record.bypass));
        let longest = |late, waits: &Waits| {
            let series = [Some(&record.syns[..]), datagrams].into_iter().flatten();
            let gaps = series.map(|probes| probe_gap(probes, fault, end, late, waits));
            ms(gaps.max().unwrap_or_default())
        };
        let mut echoes: Vec<Duration> = record
            .connections
            .iter()
            .flat_map(|one| one.heard.iter().copied())
            .collect();
        echoes.sort_unstable();
        let mut outcome = Self {
            syn_gap: ms(probe_gap(&record.syns, fault, end, LATE, &nobody)),
            flow_gap: datagrams.map(|all| ms(probe_gap(all, fault, end, LATE, &nobody))),
            bypass_gap: ms(probe_gap(&record.bypass, fault, end, LATE, &nobody)),
            own_gap: longest(LATE, &all),
            lost_gap: longest(Duration::MAX, &nobody),
            echo_gap: ms(gap(&echoes, fault, end)),
            connection_gap: 0.0,
            calm_syn_gap: ms(probe_gap(&record.syns, calm, fault, LATE, &nobody)),
            calm_echo_gap: ms(gap(&echoes, calm, fault)),
            taken_over: taken_over(&record.asked, fault, record.heir).map(ms),
            two_answering: ms(two_answering(&record.asked, fault, end)),
            two_at_end: two_at(&record.asked, end),
            established: 0,
            broken: 0,
            oldest_broken: None,
            young: 0,
            young_broken: 0,
            new: 0,
            new_failed: 0,
            reasons: BTreeMap::new(),
            broken_before: 0,
        };
        for connection in &record.connections {
            outcome.count(connection, record);
        }
        outcome
    }

    fn count(&mut self, connection: &Connection, record: &Record) {
        let Some(fate) = fate(connection, record) else {
            return;
        };
        let established = connection.established.filter(|at| *at <= record.fault);
        let (all, broken) = match established {
            _ if fate == Fate::Before => return self.broken_before += 1,
            Some(at) if record.fault - at >= AGE => (&mut self.established, &mut self.broken),
            Some(_) => (&mut self.young, &mut self.young_broken),
            None => (&mut self.new, &mut self.new_failed),
        };
        *all += 1;
        match fate {
            Fate::Broken(reason) => {
                *broken += 1;
                if let Some(at) = established {
                    let age = ms(record.fault - at);
                    self.oldest_broken = Some(self.oldest_broken.map_or(age, |old| old.max(age)));
                }
                *self.reasons.entry(reason).or_default() += 1;
            }
            _ if established.is_some() => {
                let end = match connection.end {
                    End::Open => record.end,
                    // There was nothing more to hear.
                    _ => connection.heard.last().copied().unwrap_or_default(),
                };
                let gap = ms(gap(&connection.heard, record.fault, end));
                self.connection_gap = self.connection_gap.max(gap);
            }
            _ => {}
        }
    }
}

#[derive(PartialEq)]
enum Fate {
    Fine,
    Broken(String),
    Before,
}

/// What became of a connection; nothing when it was over before the fault, or too young at
/// the end to tell.
fn fate(connection: &Connection, record: &Record) -> Option<Fate> {
    let last = connection.heard.last().copied();
    let silent = |since: Duration| record.end.saturating_sub(since) >= SILENCE;
    match &connection.end {
        End::Broken(at, _) if *at > record.end => None,
        End::Broken(at, _) if *at < record.fault => Some(Fate::Before),
        End::Broken(_, reason) => Some(Fate::Broken(reason.clone())),
        End::Done => (last >= Some(record.fault)).then_some(Fate::Fine),
        End::Open => match (connection.established, connection.waiting, last) {
            (_, Some(since), _) if silent(since) => Some(Fate::Broken("silence".to_owned())),
            // Connected, and the server didn't say its name.
            (Some(at), None, None) if silent(at) => Some(Fate::Broken("silence".to_owned())),
            (None, ..) if record.end.saturating_sub(connection.begun) > CONNECT => {
                Some(Fate::Broken("not connected in time".to_owned()))
            }
            (_, _, Some(_)) => Some(Fate::Fine),
            _ => None,
        },
    }
}

/// The longest time between two of the sorted times, as far as it is between `from` and
/// `to`; the first may be before, and nothing is needed at the end.
fn gap(times: &[Duration], from: Duration, to: Duration) -> Duration {
    let first = times.partition_point(|at| *at < from);
    let before = first.checked_sub(1).map_or(from, |at| times[at]);
    let after = times[first..].iter().copied().take_while(|at| *at <= to);
    let mut longest = Duration::ZERO;
    let mut last = before;
    for at in after.chain((to > from).then_some(to)) {
        longest = longest.max(at - last);
        last = at;
    }
    longest
}

/// The longest time from a probe without an answer by `late` after it to the next with one,
/// of those sent between `from` and `to`. The time in `waits` isn't counted as a probe's wait.
fn probe_gap(
    probes: &[Probe],
    from: Duration,
    to: Duration,
    late: Duration,
    waits: &Waits,
) -> Duration {
    let (mut longest, mut since) = (Duration::ZERO, None);
    let sent = probes.iter().filter(|probe| (from..to).contains(&probe.at));
    for probe in sent {
        let waited = |at| at - probe.at - waits.within(probe.at, at);
        let in_time = probe.answered.filter(|at| waited(*at) <= late);
        match (in_time, since) {
            (Some(_), Some(begin)) => {
                longest = longest.max(probe.at - begin);
                since = None;
            }
            (None, None) => since = Some(probe.at),
            _ => {}
        }
    }
    since.map_or(longest, |begin| longest.max(to - begin))
}

fn taken_over(asked: &[Asked], fault: Duration, heir: Side) -> Option<Duration> {
    let later = asked.iter().filter(|one| one.at >= fault);
    let first = later.clone().find(|one| one.by[heir as usize])?;
    Some(first.at - fault)
}

/// The time that questions stand for which both nodes answered.
fn two_answering(asked: &[Asked], from: Duration, to: Duration) -> Duration {
    asked
        .windows(2)
        .filter(|pair| (from..to).contains(&pair[0].at) && pair[0].by == [true; 2])
        .map(|pair| pair[1].at - pair[0].at)
        .sum()
}

/// Whether both nodes answered one of the last questions before that moment that were answered at
/// all: those who ask may be kept waiting for longer than any span of time that is looked at.
fn two_at(asked: &[Asked], moment: Duration) -> bool {
    let before = asked.iter().rev().filter(|one| one.at < moment);
    let answered = before.filter(|one| one.by != [false; 2]);
    answered.take(LAST).any(|one| one.by == [true; 2])
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn connection(established: u64, heard: &[u64], end: End) -> Connection {
        Connection {
            stays: true,
            begun: at(established),
            established: Some(at(established)),
            waiting: None,
            heard: heard.iter().copied().map(at).collect(),
            end,
        }
    }

    /// A fault at one second, an end at five.
    fn outcome(connections: Vec<Connection>) -> Outcome {
        Outcome::of(&Record {
            fault: at(1000),
            end: at(5000),
            heir: Side::Second,
            connections,
            syns: Vec::new(),
            datagrams: None,
            bypass: Vec::new(),
            asked: Vec::new(),
        })
    }

    fn broken(when: u64) -> End {
        End::Broken(at(when), "reset".to_owned())
    }

    #[test]
    fn the_broken_are_counted_by_their_age() {
        let outcome = outcome(vec![
            connection(900, &[950], broken(1500)),
            connection(901, &[950], broken(1500)),
            connection(1001, &[], broken(1500)),
            connection(0, &[900, 4900], End::Open),
        ]);
        assert_eq!((outcome.established, outcome.broken), (2, 1));
        assert_eq!(outcome.oldest_broken, Some(100.0));
        assert_eq!((outcome.young, outcome.young_broken), (1, 1));
        assert_eq!((outcome.new, outcome.new_failed), (1, 1));
        assert_eq!(outcome.reasons["reset"], 3);
        assert_eq!(outcome.connection_gap, 4000.0);
    }

    #[test]
    fn silence_is_broken_and_the_latest_are_left_out() {
        let mut silent = connection(0, &[900], End::Open);
        silent.waiting = Some(at(4000));
        let mut talking = connection(0, &[900, 4950], End::Open);
        talking.waiting = Some(at(4990));
        let mut late = connection(0, &[], End::Open);
        (late.begun, late.established) = (at(4000), None);
        let mut never = late.clone();
        never.begun = at(1500);
        let outcome = outcome(vec![silent, talking, late, never]);
        assert_eq!((outcome.established, outcome.broken), (2, 1));
        assert_eq!((outcome.new, outcome.new_failed), (1, 1));
    }

    #[test]
    fn what_was_over_before_is_no_part_of_it() {
        let outcome = outcome(vec![
            connection(0, &[500], End::Done),
            connection(0, &[500], broken(900)),
            connection(0, &[900, 1100], End::Done),
        ]);
        assert_eq!((outcome.established, outcome.broken), (1, 0));
        assert_eq!(outcome.broken_before, 1);
        assert_eq!(outcome.connection_gap, 200.0);
    }

    #[test]
    fn a_gap_may_begin_before_and_last_to_the_end() {
        let times = [at(10), at(20), at(70), at(80)];
        assert_eq!(gap(&times, at(30), at(90)), at(50));
        assert_eq!(gap(&times, at(75), at(200)), at(120));
        assert_eq!(gap(&[], at(5), at(9)), at(4));
        assert_eq!(gap(&times, at(0), at(15)), at(10));
    }

    #[test]
    fn a_gap_of_probes_is_from_lost_to_answered() {
        let probe = |sent, answered: bool| Probe {
            at: at(sent),
            answered: answered.then_some(at(sent)),
        };
        let probes = [
            probe(0, false),
            probe(1, true),
            probe(2, false),
            probe(3, false),
            probe(4, true),
            probe(5, false),
        ];
        let gap = |probes: &[Probe], from, to| probe_gap(probes, from, to, LATE, &Waits::none());
        assert_eq!(gap(&probes, at(0), at(9)), at(4));
        assert_eq!(gap(&probes, at(0), at(5)), at(2));
        assert_eq!(gap(&probes, at(1), at(2)), at(0));
        // It waited in a queue.
        let mut late = probe(2, true);
        late.answered = Some(at(9));
        let probes = [probe(1, true), late, probe(4, true)];
        assert_eq!(gap(&probes, at(0), at(9)), at(2));
    }

    #[test]
    fn what_waits_past_the_pair_too_is_no_gap_of_its_own() {
        let probe = |sent, answered| Probe {
            at: at(sent),
            answered: Some(at(answered)),
        };
        let record = |syns: Vec<Probe>, bypass: Vec<Probe>| Record {
            fault: at(1000),
            end: at(5000),
            heir: Side::Second,
            connections: Vec::new(),
            syns,
            datagrams: None,
            bypass,
            asked: Vec::new(),
        };
        let gaps = |syns: &[Probe], bypass: &[Probe]| {
            let outcome = Outcome::of(&record(syns.to_vec(), bypass.to_vec()));
            (outcome.syn_gap, outcome.bypass_gap, outcome.own_gap)
        };
        let (late, prompt) = (probe(1100, 1120), probe(1102, 1102));
        assert_eq!(gaps(&[late, prompt], &[]), (2.0, 0.0, 2.0));
        // All of it but four milliseconds.
        let beside = [probe(1101, 1117), probe(1103, 1103)];
        assert_eq!(gaps(&[late, prompt], &beside), (2.0, 2.0, 0.0));
        // Six are left: the pair's.
        let beside = [probe(1101, 1115), probe(1103, 1103)];
        assert_eq!(gaps(&[late, prompt], &beside), (2.0, 2.0, 2.0));
        // What never came is lost, whoever waited.
        let lost = Probe {
            answered: None,
            ..late
        };
        assert_eq!(gaps(&[lost, prompt], &[probe(1100, 1200)]).2, 2.0);
    }

    #[test]
    fn two_answer_when_both_answer_the_same_question() {
        let one = |sent, by| Asked { at: at(sent), by };
        let asked = [
            one(0, [true, true]),
            one(1, [true, false]),
            one(2, [false, true]),
            one(3, [true, true]),
            one(5, [false, true]),
        ];
        assert_eq!(two_answering(&asked, at(0), at(9)), at(3));
        assert_eq!(two_answering(&asked, at(1), at(9)), at(2));
        assert!(two_at(&asked, at(9)) && !two_at(&asked[1..3], at(9)));
        assert_eq!(taken_over(&asked, at(1), Side::Second), Some(at(1)));
    }
}
