//! The differential fuzzer: random and mutated packets through the real program in the
//! real kernel, and through a plain model of what should become of them. And messages of other nodes.

pub mod audit;
pub mod bytes;
pub mod corpus;
pub mod fuzz;
pub mod generate;
pub mod messages;
pub mod model;
pub mod report;
pub mod rig;
pub mod site;
pub mod sum;
