//! What a person types after `cargo xtask`.
fn main() {}
