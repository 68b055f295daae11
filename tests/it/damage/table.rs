//! What is expected of damage to each kind of file; the README has the same in words.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{backup::is_compressed, power::dice::Dice};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Stopped in order: the tables have all rows.
    Stopped,
    /// Killed: the tables are behind the journal.
    Killed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// One byte is another one.
    Flip,
    /// A block is zeros, as when a write was lost.
    Block,
    /// The end is gone.
    Cut,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Lock,
    LastSegment,
    ClosedSegment,
    CompressedSegment,
    Keys,
    Sled,
    Redo,
    Checkpoint,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It serves, and nothing is lost.
    Healed,
    /// Some answers failed until the next start, which heals it.
    HealedAtNextStart,
    /// It does not start, names the file and says what to do; with the file restored nothing is lost.
    Refused,
    /// It serves, but for what the damaged file has; those answers fail, and say which file.
    AnswersRefused,
    /// Nothing reads the damaged place to serve; `loyaltyd check` names it.
    FoundByCheck,
    /// Commits at the journal's end that the tables do not know yet, because the process was killed: when they cannot be read any more they
    /// cannot be told from one that was being written, and are cut off.
    EndGone,
}

pub fn expected(kind: Kind, damage: Damage, state: State) -> &'static [Outcome] {
    match (kind, damage, state) {
        (Kind::Lock | Kind::Redo | Kind::Checkpoint, _, _) => &[Outcome::Healed],
        (Kind::Sled, _, _) => &[Outcome::Healed, Outcome::HealedAtNextStart],
        (Kind::LastSegment, _, State::Stopped) => &[Outcome::Healed, Outcome::Refused],
        (Kind::LastSegment, _, State::Killed) => &[Outcome::Healed, Outcome::Refused, Outcome::EndGone],
        (Kind::ClosedSegment | Kind::CompressedSegment | Kind::Keys, Damage::Delete, _) => &[Outcome::Refused],
        // What lies behind its last record is read by nobody.
        (Kind::ClosedSegment | Kind::CompressedSegment, Damage::Flip | Damage::Block | Damage::Cut, _) => {
            &[Outcome::Healed, Outcome::Refused, Outcome::AnswersRefused, Outcome::FoundByCheck]
        }
        (Kind::Keys, Damage::Flip | Damage::Block | Damage::Cut, _) => &[Outcome::Healed, Outcome::Refused, Outcome::AnswersRefused],
    }
}

/// Segments of the journal that are not compressed, the last one among them.
pub fn plain_segments(folder: &Path) -> usize {
    let files = fs::read_dir(folder.join("journal")).expect("there is a journal").map(|file| file.expect("it is listed").path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "seg") && !is_compressed(path)).count()
}

/// One file of each kind, and of the closed segments, compressed and not, two each.
pub fn kinds(folder: &Path, paths: &[PathBuf], dice: &mut Dice) -> Vec<(PathBuf, Kind)> {
    let mut segments: Vec<&PathBuf> = paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "seg")).collect();
    segments.sort();
    let last = segments.pop().expect("there is a segment");
    let mut kinds = vec![(last.clone(), Kind::LastSegment)];
    let (compressed, plain): (Vec<&PathBuf>, Vec<&PathBuf>) = segments.into_iter().partition(|path| is_compressed(&folder.join(path)));
    for (segments, kind) in [(compressed, Kind::CompressedSegment), (plain, Kind::ClosedSegment)] {
        assert!(segments.len() > 1, "there are {} of {kind:?}", segments.len());
        kinds.push((segments[0].clone(), kind));
        kinds.push((segments[1 + dice.below(segments.len() as u64 - 1) as usize].clone(), kind));
    }
    for path in paths {
        let kind = match path.to_str().expect("paths are text") {
            "LOCK" => Kind::Lock,
            "keys" => Kind::Keys,
            "tables/REDO" => Kind::Redo,
            "tables/CHECKPOINT" => Kind::Checkpoint,
            _ if path.starts_with(Path::new("tables/sled")) => Kind::Sled,
            _ => {
                assert!(path.starts_with("journal"), "{} is of no kind that is known", path.display());
                continue;
            }
        };
        kinds.push((path.clone(), kind));
    }
    kinds
}

impl Kind {
    /// From the journal, or from nothing.
    pub fn is_made_again(self) -> bool {
        match self {
            Self::Lock | Self::Sled | Self::Redo | Self::Checkpoint => true,
            Self::LastSegment | Self::ClosedSegment | Self::CompressedSegment | Self::Keys => false,
        }
    }

    /// Where to change a byte: most of all in what is in use.
    pub fn place(self, end: u64, dice: &mut Dice) -> u64 {
        // The beginnings of files are headers.
        if dice.below(4) == 0 { dice.below(end.min(192)) } else { dice.below(end) }
    }
}
