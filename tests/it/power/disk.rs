//! A disk with a file system of the test's own, in memory, which knows what a cut of power may leave of it.
//!
//! It is stricter than ext4 or XFS, and promises what POSIX does and no more:
//!
//! - A file's data and length are durable as of its last fsync or fdatasync (which takes the length along, as it is needed to read the
//!   data). Data that was written since may be there or not, each sector of 512 bytes on its own, in the state after any of the writes to
//!   it, and a sector may be torn in the middle. The length is one of those that the file had since.
//! - Names are durable as of the last fsync of their folder. Of new names, renames and removals since, some that came first are there: each
//!   folder's changes come in their order, but those of one folder say nothing about those of another, nor about files. The fsync of a new
//!   file does not make its name durable.
//! - After an fsync that failed, what was written before stays readable, but no later fsync makes it durable: Linux takes it for written.
//! - `sync_file_range` does not come here, and makes nothing durable.
//!
//! After a cut all files have new inode numbers, by which the store takes notice of another boot as it would of another boot id.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::dice::Dice;

pub const PAGE: u64 = 4096;
const SECTOR: usize = 512;
pub const ROOT: u64 = 1;
/// States of a page between two fsyncs that are remembered, at most.
const MAX_VERSIONS: usize = 6;

type Page = [u8; PAGE as usize];

fn zeros() -> Arc<Page> {
    static ZEROS: std::sync::OnceLock<Arc<Page>> = std::sync::OnceLock::new();
    ZEROS.get_or_init(|| Arc::new([0; PAGE as usize])).clone()
}

pub struct Disk {
    pub nodes: HashMap<u64, Node>,
    next: u64,
    /// Counts changes.
    time: u64,
}

pub struct Node {
    pub parent: u64,
    pub name: String,
    pub perm: u16,
    pub opened: u64,
    pub linked: bool,
    pub kind: Kind,
}

pub enum Kind {
    File(File),
    Folder(Folder),
}

#[derive(Default)]
pub struct File {
    pages: BTreeMap<u64, Arc<Page>>,
    pub len: u64,
    durable_len: u64,
    /// Since the last fsync, with their times.
    lens: Vec<(u64, u64)>,
    dirty: BTreeMap<u64, Dirty>,
}

/// A page that differs from what is durable.
struct Dirty {
    durable: Option<Arc<Page>>,
    versions: Vec<Arc<Page>>,
    /// An fsync failed on it, and the kernel forgot that it was not written.
    lost: bool,
}

#[derive(Default)]
pub struct Folder {
    pub names: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    /// Since the last fsync, with their times.
    changes: Vec<(u64, Change)>,
}

enum Change {
    Add(String, u64),
    Remove(String),
    Rename(String, String),
}

/// What is left of what was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    Nothing,
    /// As if only the process had been killed.
    Everything,
    /// Names and lengths without the data.
    Names,
    /// Data without names and lengths.
    Data,
    /// Names and lengths up to some moment, in the order of the whole file system, as with one journal of metadata; any data.
    Ordered,
    /// Any of it.
    Some,
}

impl Left {
    pub const ALL: [Self; 6] = [Self::Nothing, Self::Everything, Self::Names, Self::Data, Self::Ordered, Self::Some];
}

impl Default for Disk {
    fn default() -> Self {
        let root = Node { parent: ROOT, name: String::new(), perm: 0o755, opened: 0, linked: true, kind: Kind::Folder(Folder::default()) };
        Self { nodes: HashMap::from([(ROOT, root)]), next: ROOT + 1, time: 0 }
    }
}

impl Disk {
    pub fn path(&self, node: u64) -> String {
        let mut names = Vec::new();
        let mut at = node;
        while let Some(node) = self.nodes.get(&at).filter(|_| at != ROOT) {
            names.push(node.name.as_str());
            at = node.parent;
        }
        names.reverse();
        names.join("/")
    }

    pub fn folder(&self, node: u64) -> Option<&Folder> {
        match &self.nodes.get(&node)?.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::File(_) => None,
        }
    }

    fn folder_mut(&mut self, node: u64) -> Option<&mut Folder> {
        match &mut self.nodes.get_mut(&node)?.kind {
            Kind::Folder(folder) => Some(folder),
            Kind::File(_) => None,
        }
    }

    pub fn file(&self, node: u64) -> Option<&File> {
        match &self.nodes.get(&node)?.kind {
            Kind::File(file) => Some(file),
            Kind::Folder(_) => None,
        }
    }

    fn file_mut(&mut self, node: u64) -> Option<&mut File> {
        match &mut self.nodes.get_mut(&node)?.kind {
            Kind::File(file) => Some(file),
            Kind::Folder(_) => None,
        }
    }

    fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    /// Bytes that files take, also those that are removed but still open.
    pub fn used(&self) -> u64 {
        let held = self.nodes.values().filter(|node| node.linked || node.opened > 0);
        held.map(|node| if let Kind::File(file) = &node.kind { file.pages.len() as u64 * PAGE } else { 0 }).sum()
    }

    /// Bytes that writing or allocating there would newly take.
    pub fn lacking(&self, node: u64, offset: u64, length: u64) -> u64 {
        let Some(file) = self.file(node).filter(|_| length > 0) else { return 0 };
        let pages = offset / PAGE..=(offset + length - 1) / PAGE;
        let count = pages.end() - pages.start() + 1;
        (count - file.pages.range(pages).count() as u64) * PAGE
    }

    pub fn add(&mut self, parent: u64, name: &str, perm: u16, is_folder: bool) -> u64 {
        let (number, time) = (self.next, self.tick());
        self.next += 1;
        let kind = if is_folder { Kind::Folder(Folder::default()) } else { Kind::File(File::default()) };
        self.nodes.insert(number, Node { parent, name: name.to_owned(), perm, opened: 0, linked: true, kind });
        let folder = self.folder_mut(parent).expect("the parent is a folder");
        folder.names.insert(name.to_owned(), number);
        folder.changes.push((time, Change::Add(name.to_owned(), number)));
        number
    }

    pub fn remove(&mut self, parent: u64, name: &str) {
        let time = self.tick();
        let folder = self.folder_mut(parent).expect("the parent is a folder");
        let number = folder.names.remove(name).expect("the name is there");
        folder.changes.push((time, Change::Remove(name.to_owned())));
        self.nodes.get_mut(&number).expect("names have nodes").linked = false;
    }

    /// Within a folder.
    pub fn rename(&mut self, parent: u64, from: &str, to: &str) {
        let time = self.tick();
        let folder = self.folder_mut(parent).expect("the parent is a folder");
        let number = folder.names.remove(from).expect("the name is there");
        let replaced = folder.names.insert(to.to_owned(), number);
        folder.changes.push((time, Change::Rename(from.to_owned(), to.to_owned())));
        self.nodes.get_mut(&number).expect("names have nodes").name = to.to_owned();
        if let Some(node) = replaced.and_then(|replaced| self.nodes.get_mut(&replaced)) {
            node.linked = false;
        }
    }

    pub fn write(&mut self, node: u64, offset: u64, data: &[u8]) {
        let time = self.tick();
        let file = self.file_mut(node).expect("it is a file");
        let mut at = 0;
        while at < data.len() {
            let place = offset + at as u64;
            let (page, from) = (place / PAGE, (place % PAGE) as usize);
            let part = (PAGE as usize - from).min(data.len() - at);
            file.put(page, from, &data[at..at + part]);
            at += part;
        }
        file.extend(offset + data.len() as u64, time);
    }

    pub fn allocate(&mut self, node: u64, offset: u64, length: u64, keep_size: bool) {
        let time = self.tick();
        let file = self.file_mut(node).expect("it is a file");
        for page in offset / PAGE..(offset + length).div_ceil(PAGE) {
            file.pages.entry(page).or_insert_with(zeros);
        }
        if !keep_size {
            file.extend(offset + length, time);
        }
    }

    pub fn set_len(&mut self, node: u64, len: u64) {
        let time = self.tick();
        let file = self.file_mut(node).expect("it is a file");
        if len < file.len {
            let within = (len % PAGE) as usize;
            if within > 0 && file.pages.contains_key(&(len / PAGE)) {
                file.put(len / PAGE, within, &zeros()[within..]);
            }
            for (page, old) in file.pages.split_off(&len.div_ceil(PAGE)) {
                file.dirty.entry(page).or_insert_with(|| Dirty::of(Some(old))).push(zeros());
            }
        }
        if len != file.len {
            file.len = len;
            file.lens.push((time, len));
        }
    }

    pub fn sync(&mut self, node: u64) {
        match &mut self.nodes.get_mut(&node).expect("it is there").kind {
            Kind::File(file) => {
                file.dirty.retain(|_, dirty| dirty.lost);
                file.durable_len = file.len;
                file.lens.clear();
            }
            Kind::Folder(folder) => {
                folder.durable = folder.names.clone();
                folder.changes.clear();
            }
        }
    }

    /// Nothing of it reached the disk for certain, and nobody will try again.
    pub fn fail_sync(&mut self, node: u64) {
        if let Some(file) = self.file_mut(node) {
            file.dirty.values_mut().for_each(|dirty| dirty.lost = true);
        }
    }

    /// All that a reader sees, by path.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            for number in self.folder(folder).expect("it is a folder").names.values() {
                match &self.nodes[number].kind {
                    Kind::Folder(_) => folders.push(*number),
                    Kind::File(file) => drop(files.insert(self.path(*number), file.read(0, file.len))),
                }
            }
        }
        files
    }

    /// What is found when power is back.
    pub fn after_cut(&self, left: Left, dice: &mut Dice) -> Self {
        let moment = match left {
            Left::Ordered => self.first_unsynced().map_or(self.time, |first| first + dice.below(self.time - first + 2)),
            Left::Nothing | Left::Everything | Left::Names | Left::Data | Left::Some => 0,
        };
        let mut found = Self { next: self.next + 1 + dice.below(1 << 20), ..Self::default() };
        self.copy_folder(ROOT, ROOT, &mut found, left, moment, dice);
        for number in found.nodes.keys().copied().collect::<Vec<_>>() {
            found.sync(number);
        }
        found
    }

    fn first_unsynced(&self) -> Option<u64> {
        let times = self.nodes.values().filter_map(|node| match &node.kind {
            Kind::File(file) => file.lens.first().map(|(time, _)| *time),
            Kind::Folder(folder) => folder.changes.first().map(|(time, _)| *time),
        });
        times.min()
    }

    fn copy_folder(&self, from: u64, to: u64, found: &mut Self, left: Left, moment: u64, dice: &mut Dice) {
        let names = self.folder(from).expect("it is a folder").after_cut(left, moment, dice);
        for (name, number) in names {
            let node = &self.nodes[&number];
            match &node.kind {
                Kind::Folder(_) => {
                    let copy = found.add(to, &name, node.perm, true);
                    self.copy_folder(number, copy, found, left, moment, dice);
                }
                Kind::File(file) => {
                    let copy = found.add(to, &name, node.perm, false);
                    let kept = file.after_cut(left, moment, dice);
                    found.nodes.get_mut(&copy).expect("it was added").kind = Kind::File(kept);
                }
            }
        }
    }
}

impl Folder {
    fn after_cut(&self, left: Left, moment: u64, dice: &mut Dice) -> BTreeMap<String, u64> {
        let kept = match left {
            Left::Nothing | Left::Data => 0,
            Left::Everything | Left::Names => self.changes.len(),
            Left::Ordered => self.changes.iter().take_while(|(time, _)| *time < moment).count(),
            Left::Some => dice.below(self.changes.len() as u64 + 1) as usize,
        };
        let mut names = self.durable.clone();
        for (_, change) in &self.changes[..kept] {
            match change {
                Change::Add(name, number) => drop(names.insert(name.clone(), *number)),
                Change::Remove(name) => drop(names.remove(name)),
                Change::Rename(from, to) => {
                    let number = names.remove(from).expect("changes come in their order");
                    names.insert(to.clone(), number);
                }
            }
        }
        names
    }
}

impl Dirty {
    fn of(durable: Option<Arc<Page>>) -> Self {
        Self { durable, versions: Vec::new(), lost: false }
    }

    fn push(&mut self, page: Arc<Page>) {
        self.lost = false;
        if self.versions.len() == MAX_VERSIONS {
            self.versions.remove(MAX_VERSIONS / 2);
        }
        self.versions.push(page);
    }

    /// The state of a sector or page after `count` of the writes to it.
    fn version(&self, count: usize) -> Arc<Page> {
        match count {
            0 => self.durable.clone().unwrap_or_else(zeros),
            _ => self.versions[count - 1].clone(),
        }
    }

    fn after_cut(&self, left: Left, dice: &mut Dice) -> Arc<Page> {
        let last = self.versions.len();
        match left {
            Left::Nothing | Left::Names => self.version(0),
            Left::Everything if self.lost => self.version(0),
            Left::Everything => self.version(last),
            Left::Data | Left::Ordered | Left::Some => match dice.below(4) {
                0 => self.version(0),
                1 => self.version(last),
                _ => self.by_sectors(last, dice),
            },
        }
    }

    fn by_sectors(&self, last: usize, dice: &mut Dice) -> Arc<Page> {
        let mut page = [0; PAGE as usize];
        for (at, sector) in page.chunks_mut(SECTOR).enumerate() {
            let place = at * SECTOR..(at + 1) * SECTOR;
            sector.copy_from_slice(&self.version(dice.below(last as u64 + 1) as usize)[place.clone()]);
            if dice.below(8) == 0 {
                let torn = dice.below(SECTOR as u64) as usize;
                sector[torn..].copy_from_slice(&self.version(0)[place][torn..]);
            }
        }
        Arc::new(page)
    }
}

impl File {
    pub fn read(&self, offset: u64, length: u64) -> Vec<u8> {
        let end = (offset + length).min(self.len);
        let mut bytes = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let (page, from) = (at / PAGE, (at % PAGE) as usize);
            let part = (PAGE as usize - from).min((end - at) as usize);
            match self.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[from..from + part]),
                None => bytes.resize(bytes.len() + part, 0),
            }
            at += part as u64;
        }
        bytes
    }

    fn put(&mut self, page: u64, from: usize, part: &[u8]) {
        let old = self.pages.get(&page);
        let same = old.map_or_else(|| part.iter().all(|byte| *byte == 0), |old| old[from..from + part.len()] == *part);
        if same && !self.dirty.contains_key(&page) {
            self.pages.entry(page).or_insert_with(zeros);
            return;
        }
        let old = old.cloned();
        let mut new = old.clone().unwrap_or_else(zeros);
        Arc::make_mut(&mut new)[from..from + part.len()].copy_from_slice(part);
        self.dirty.entry(page).or_insert_with(|| Dirty::of(old)).push(new.clone());
        self.pages.insert(page, new);
    }

    fn extend(&mut self, len: u64, time: u64) {
        if len > self.len {
            self.len = len;
            self.lens.push((time, len));
        }
    }

    fn after_cut(&self, left: Left, moment: u64, dice: &mut Dice) -> Self {
        let len = match left {
            Left::Nothing | Left::Data => self.durable_len,
            Left::Everything | Left::Names => self.len,
            Left::Ordered => self.lens.iter().rfind(|(time, _)| *time < moment).map_or(self.durable_len, |(_, len)| *len),
            Left::Some => match dice.below(self.lens.len() as u64 + 1) {
                0 => self.durable_len,
                number => self.lens[number as usize - 1].1,
            },
        };
        let mut pages = self.pages.clone();
        for (page, dirty) in &self.dirty {
            pages.insert(*page, dirty.after_cut(left, dice));
        }
        pages.split_off(&len.div_ceil(PAGE));
        let within = (len % PAGE) as usize;
        if let Some(page) = pages.get_mut(&(len / PAGE)).filter(|_| within > 0) {
            Arc::make_mut(page)[within..].fill(0);
        }
        Self { pages, len, durable_len: len, lens: Vec::new(), dirty: BTreeMap::new() }
    }
}
