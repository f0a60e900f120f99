//! A short run, and the corpus. Needs root, as whatever loads a program does.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use flowgate_fuzz::{corpus::Fixture, fuzz::Fuzz, report};

/// Packets of each of the two runs.
const PACKETS: u64 = 100_000;

fn run(seed: u64) {
    println!("seed {seed}");
    let mut fuzz = Fuzz::new(seed).expect("loading, which needs root");
    for index in 0..PACKETS {
        if let Err(difference) = fuzz.step(index).expect("a test run") {
            panic!("{}", report::report(&difference, seed));
        }
    }
}

#[test]
fn the_program_does_what_the_model_says() {
    run(3);
}

#[test]
fn it_does_so_with_packets_that_never_were() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    run(now.expect("after 1970").as_millis() as u64);
}

fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus");
    let files = std::fs::read_dir(&folder).expect("the corpus");
    let files = files.map(|file| file.expect("a file").path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    files
}

#[test]
fn what_once_went_wrong_goes_right() {
    let files = corpus();
    assert!(!files.is_empty(), "the corpus has gone");
    let mut fuzz = Fuzz::new(1).expect("loading, which needs root");
    let mut wrong = String::new();
    for path in files {
        let fixture = Fixture::read(&path).expect("a fixture");
        if let Err(text) = fixture.replay(&mut fuzz).expect("a test run") {
            wrong += &format!("{}:\n{}{text}\n", path.display(), fixture.story);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
