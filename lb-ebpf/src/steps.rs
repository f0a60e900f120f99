//! The steps of a packet's way that have a stack of their own, and their order.

use crate::{
    answer::too_big,
    flow::Table,
    frame, full, icmp,
    ip::{V4, V6},
    outcome::{Outcome, Step},
    packet::{Context, Packet},
    pipeline,
};

/// The whole way of a packet: that of a plain one, as nearly all are, in the program itself, so
/// that no call is paid for.
#[inline(always)]
#[must_use]
pub fn run(packet: &Packet) -> Outcome {
    let context = packet.context();
    let mut outcome = match frame::kind(packet) {
        Some((frame::IPV4, least)) => {
            let outcome = pipeline::plain::<V4, Table>(packet, least);
            if !outcome.is_step() {
                return outcome;
            }
            direct4(context, outcome)
        }
        Some((frame::IPV6, least)) => {
            let outcome = pipeline::plain::<V6, Table>(packet, least);
            if !outcome.is_step() {
                return outcome;
            }
            direct6(context, outcome)
        }
        _ => Outcome::next::<V4>(Step::General),
    };
    if outcome.takes::<V4>(Step::General) {
        outcome = Outcome::from_word(step_general4(context));
    }
    if outcome.takes::<V6>(Step::General) {
        outcome = Outcome::from_word(step_general6(context));
    }
    if !outcome.is_step() {
        return outcome;
    }
    if outcome.takes::<V4>(Step::Question) || outcome.takes::<V6>(Step::Question) {
        return Outcome::from_word(step_question(context));
    }
    let outcome = detour4(context, outcome);
    if !outcome.is_step() {
        return outcome;
    }
    detour6(context, outcome)
}

/// Steps as functions that the verifier looks at once each, and by themselves: those with
/// a name of their own in the object, with numbers for arguments. `direct4` and its like
/// take the ones that they are told of, in the order in which one leads to another.
macro_rules! steps {
    ($detour:ident, $version:ty: $($step:ident = $name:ident($($told:ident)?), $body:path;)+) => {
        $(
            #[inline(never)]
            // SAFETY: no other symbol of the object has this name.
            #[unsafe(no_mangle)]
            extern "C" fn $name(context: Context $(, $told: u64)?) -> u64 {
                $body(context $(, Outcome::from_word($told))?).word()
            }
        )+

        #[inline(always)]
        fn $detour(context: Context, outcome: Outcome) -> Outcome {
            let mut word = outcome.word();
            $(
                if Outcome::from_word(word).takes::<$version>(Step::$step) {
                    // What a step isn't told, it has no argument for: the verifier wants
                    // arguments that are set, and the compiler drops unused ones.
                    $(let $told = word;)?
                    word = $name(context $(, $told)?);
                    if !Outcome::from_word(word).is_step() {
                        return Outcome::from_word(word);
                    }
                }
            )+
            Outcome::from_word(word)
        }
    };
}

steps! {
    direct4, V4:
    PlainFull = step_plain_full4(told), full::plain::<V4>;
    PlainFromFull = step_plain_from_full4(told), full::plain_from_server::<V4>;
}

steps! {
    direct6, V6:
    PlainFull = step_plain_full6(told), full::plain::<V6>;
    PlainFromFull = step_plain_from_full6(told), full::plain_from_server::<V6>;
}

steps! {
    detour4, V4:
    Answer = step_answer4(told), pipeline::answer::<V4>;
    Full = step_full4(), full::port::<V4>;
    ToFull = step_to_full4(told), full::to_server::<V4>;
    FromFull = step_from_full4(), full::from_server::<V4>;
    Fragment = step_fragment4(), pipeline::fragment::<V4>;
    Error = step_error4(told), icmp::step::error::<V4, Table>;
    ErrorToBackend = step_error_to_backend4(told), icmp::step::to_backend::<V4>;
    Changing = step_changing4(), pipeline::changing::<V4, Table>;
    Chosen = step_chosen4(told), pipeline::chosen::<V4>;
    Tunnel = step_tunnel4(told), pipeline::tunnel::<V4>;
    TooBig = step_too_big4(told), too_big::answer::<V4>;
    ErrorToPool = step_error_to_pool4(told), icmp::step::to_pool::<V4>;
    ErrorFromPort = step_error_from_port4(told), icmp::step::from_port::<V4>;
    ErrorToClient = step_error_to_client4(told), icmp::step::to_client::<V4, Table>;
    ErrorAbout = step_error_about4(told), icmp::step::about::<V4>;
    ErrorInTunnel = step_error_in_tunnel4(told), icmp::step::in_tunnel::<V4, Table>;
}

steps! {
    detour6, V6:
    Answer = step_answer6(told), pipeline::answer::<V6>;
    Full = step_full6(), full::port::<V6>;
    ToFull = step_to_full6(told), full::to_server::<V6>;
    FromFull = step_from_full6(), full::from_server::<V6>;
    Fragment = step_fragment6(), pipeline::fragment::<V6>;
    Error = step_error6(told), icmp::step::error::<V6, Table>;
    ErrorToBackend = step_error_to_backend6(told), icmp::step::to_backend::<V6>;
    Changing = step_changing6(), pipeline::changing::<V6, Table>;
    Chosen = step_chosen6(told), pipeline::chosen::<V6>;
    Tunnel = step_tunnel6(told), pipeline::tunnel::<V6>;
    TooBig = step_too_big6(told), too_big::answer::<V6>;
    ErrorToPool = step_error_to_pool6(told), icmp::step::to_pool::<V6>;
    ErrorFromPort = step_error_from_port6(told), icmp::step::from_port::<V6>;
    ErrorToClient = step_error_to_client6(told), icmp::step::to_client::<V6, Table>;
    ErrorAbout = step_error_about6(told), icmp::step::about::<V6>;
    ErrorInTunnel = step_error_in_tunnel6(told), icmp::step::in_tunnel::<V6, Table>;
}

#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_general4(context: Context) -> u64 {
    pipeline::general::<Table>(context).word()
}

#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_general6(context: Context) -> u64 {
    pipeline::general6::<Table>(context).word()
}

#[inline(never)]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
extern "C" fn step_question(context: Context) -> u64 {
    pipeline::question(context).word()
}
