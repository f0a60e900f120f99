//! Finds a toolchain that can build `lb-ebpf` for `bpfel-unknown-none`, and
//! builds it.
//!
//! Rust's stable toolchain can't: the target has no prebuilt `core`, and
//! aya-ebpf needs unstable features. Two toolchains can, and either will do:
//!
//! * **debian**: the packages `rustc-web` and `libstd-rust-web-dev-bpf`, which
//!   bring a compiler at `/usr/bin/rustc` and a prebuilt `core` for it.
//! * **nightly**: a nightly of rustup's with the component `rust-src`, from
//!   which cargo builds `core` itself.
//!
//! Both need `bpf-linker`. [`find`] looks for them and says what is missing,
//! [`build`] compiles one program, and [`build_script`] is all that a
//! `build.rs` needs in order to embed one.

mod compile;
mod linker;
mod script;
mod toolchain;

pub use compile::{BuildError, build};
pub use linker::{LINKER_INSTALL, LINKER_PACKAGES, LINKER_VERSION, find_linker};
pub use script::build_script;
pub use toolchain::{
    DEBIAN_PACKAGES, Kind, Missing, TOOLCHAIN_VARIABLE, Toolchain, find, find_compiler,
};

/// The target that the kernel runs: eBPF, little-endian, no operating system.
pub const TARGET: &str = "bpfel-unknown-none";
