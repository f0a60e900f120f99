//! What either side does with a greeting before it looks at what is said in it.

use super::{
    ClusterKey, Discard, Refusal,
    seal::{Greeting, Kind, Session, VERSION},
    wire::{Terms, read_greeting},
};

/// A greeting that authenticates, of this version.
pub(super) struct Heard {
    /// The peer's session number.
    pub(super) session: Session,
    /// The number that it answers.
    pub(super) echo: Session,
    /// How its tables are made.
    pub(super) terms: Terms,
}

/// A greeting that isn't.
pub(super) struct Unheard {
    pub(super) why: Discard,
    /// What is to be told of it.
    pub(super) refusal: Option<Refusal>,
    /// The peer's session number, if it is known to be the peer's; else zeros.
    pub(super) session: Session,
}

/// Reads a datagram for which [`Kind::of`] gave `kind`, a kind of greeting.
pub(super) fn hear(key: &ClusterKey, kind: Kind, datagram: &[u8]) -> Result<Heard, Unheard> {
    let unheard = |why, refusal, session| Unheard {
        why,
        refusal,
        session,
    };
    let greeting = Greeting::open(key, kind, datagram)
        .map_err(|why| unheard(why, Some(Refusal::Key), Session::default()))?;
    let (session, theirs) = (greeting.session, greeting.version);
    if theirs != VERSION {
        let refusal = Refusal::Version { theirs };
        return Err(unheard(Discard::Version, Some(refusal), session));
    }
    let (echo, terms) =
        read_greeting(&greeting.body).ok_or_else(|| unheard(Discard::Malformed, None, session))?;
    Ok(Heard {
        session,
        echo,
        terms,
    })
}
