//! The disk as a mounted file system, which can fail and lose power.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::disk::{Disk, Kind, PAGE};

/// Nobody but the kernel changes anything: it may remember for long.
const TTL: Duration = Duration::from_secs(3_600);
/// Of operations, for whoever looks for a fault.
const MAX_TRACE: usize = 40;

/// What goes wrong, and when.
#[derive(Default)]
pub struct Plan {
    pub cut: Option<Moment>,
    pub faults: Vec<Fault>,
    /// Bytes that the disk has.
    pub quota: Option<u64>,
    /// From an operation on there is as much left as that, and no more.
    pub quota_from: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Of fsync and fdatasync of files and folders, from 0: the power goes before anything of it is done.
    BeforeSync(u64),
    /// It is done and answered, and nothing after it.
    AfterSync(u64),
    /// Of all that changes or syncs anything.
    BeforeOperation(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Sync,
    Write,
    Allocate,
    Name,
}

/// Operations on paths that contain some text fail.
#[derive(Debug, Clone)]
pub struct Fault {
    pub operation: Operation,
    pub path: &'static str,
    /// So many go well before.
    pub skip: u64,
    /// So many fail then.
    pub times: u64,
    pub error: i32,
}

#[derive(Default)]
pub struct Drive {
    pub disk: Disk,
    pub plan: Plan,
    /// Nothing works any more.
    pub is_off: bool,
    pub syncs: u64,
    pub operations: u64,
    /// How often a fault of the plan happened, or the quota was met.
    pub failures: u64,
    pub trace: Vec<String>,
}

impl Drive {
    pub fn new(disk: Disk) -> Self {
        Self { disk, ..Self::default() }
    }

    pub fn told(&self) -> String {
        self.trace.join("\n")
    }

    /// Whether an operation is let through.
    fn may(&mut self, operation: Operation, path: impl FnOnce(&Disk) -> String) -> Result<(), Errno> {
        if self.is_off {
            return Err(Errno::EIO);
        }
        let number = self.operations;
        self.operations += 1;
        if self.is_cut_before(number, operation) {
            self.is_off = true;
            return Err(Errno::EIO);
        }
        if let Some((_, left)) = self.plan.quota_from.take_if(|(from, _)| number >= *from) {
            self.plan.quota = Some(self.disk.used() + left);
        }
        let path = path(&self.disk);
        if self.trace.len() == MAX_TRACE {
            self.trace.remove(0);
        }
        self.trace.push(format!("{number} {operation:?} {path}"));
        for fault in &mut self.plan.faults {
            if fault.operation != operation || !path.contains(fault.path) {
                continue;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                self.failures += 1;
                self.trace.push(format!("{number} failed"));
                return Err(Errno::from_i32(fault.error));
            }
        }
        Ok(())
    }

    fn is_cut_before(&self, number: u64, operation: Operation) -> bool {
        match self.plan.cut {
            Some(Moment::BeforeOperation(cut)) => number >= cut,
            Some(Moment::BeforeSync(cut)) => operation == Operation::Sync && self.syncs >= cut,
            Some(Moment::AfterSync(_)) | None => false,
        }
    }

    fn sync(&mut self, node: u64) -> Result<(), Errno> {
        if let Err(error) = self.may(Operation::Sync, |disk| disk.path(node)) {
            if !self.is_off {
                self.disk.fail_sync(node);
            }
            return Err(error);
        }
        self.disk.sync(node);
        self.is_off = self.plan.cut == Some(Moment::AfterSync(self.syncs));
        self.syncs += 1;
        Ok(())
    }

    fn has_room(&mut self, node: u64, offset: u64, length: u64) -> Result<(), Errno> {
        let Some(quota) = self.plan.quota else { return Ok(()) };
        let lacking = self.disk.lacking(node, offset, length);
        if lacking == 0 || self.disk.used() + lacking <= quota {
            return Ok(());
        }
        self.failures += 1;
        Err(Errno::ENOSPC)
    }

    fn lookup(&self, parent: u64, name: &str) -> Result<u64, Errno> {
        if self.is_off {
            return Err(Errno::EIO);
        }
        let folder = self.disk.folder(parent).ok_or(Errno::ENOTDIR)?;
        folder.names.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn add(&mut self, parent: u64, name: &str, mode: u32, is_folder: bool) -> Result<FileAttr, Errno> {
        self.may(Operation::Name, |disk| format!("{}/{name}", disk.path(parent)))?;
        if self.lookup(parent, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        let number = self.disk.add(parent, name, (mode & 0o7777) as u16, is_folder);
        self.attributes(number)
    }

    fn remove(&mut self, parent: u64, name: &str, is_folder: bool) -> Result<(), Errno> {
        self.may(Operation::Name, |disk| format!("{}/{name}", disk.path(parent)))?;
        let number = self.lookup(parent, name)?;
        match (self.disk.folder(number), is_folder) {
            (Some(folder), true) if !folder.names.is_empty() => return Err(Errno::ENOTEMPTY),
            (Some(_), false) => return Err(Errno::EISDIR),
            (None, true) => return Err(Errno::ENOTDIR),
            (Some(_), true) | (None, false) => {}
        }
        self.disk.remove(parent, name);
        Ok(())
    }

    fn attributes(&self, number: u64) -> Result<FileAttr, Errno> {
        if self.is_off {
            return Err(Errno::EIO);
        }
        let node = self.disk.nodes.get(&number).ok_or(Errno::ESTALE)?;
        let (kind, size) = match &node.kind {
            Kind::File(file) => (FileType::RegularFile, file.len),
            Kind::Folder(_) => (FileType::Directory, PAGE),
        };
        let epoch = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(512),
            atime: epoch,
            mtime: epoch,
            ctime: epoch,
            crtime: epoch,
            kind,
            perm: node.perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: PAGE as u32,
            flags: 0,
        })
    }
}

type Listed = (u64, FileType, String);

#[derive(Clone)]
struct Adapter {
    drive: Arc<Mutex<Drive>>,
    /// What was in folders when they were opened.
    listings: Arc<Mutex<HashMap<u64, Vec<Listed>>>>,
}

impl Adapter {
    fn drive(&self) -> MutexGuard<'_, Drive> {
        self.drive.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(name: &OsStr) -> &str {
    name.to_str().expect("names are text")
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(result: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match result {
        Ok(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Adapter {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let drive = self.drive();
        entry(drive.lookup(parent.0, text(name)).and_then(|number| drive.attributes(number)), reply);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.drive().attributes(number.0) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut drive = self.drive();
        if let Some(size) = size {
            if let Err(error) = drive.may(Operation::Write, |disk| disk.path(number.0)) {
                return reply.error(error);
            }
            drive.disk.set_len(number.0, size);
        }
        if let (Some(mode), Some(node)) = (mode, drive.disk.nodes.get_mut(&number.0)) {
            node.perm = (mode & 0o7777) as u16;
        }
        match drive.attributes(number.0) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        entry(self.drive().add(parent.0, text(name), mode, true), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.drive().remove(parent.0, text(name), false), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.drive().remove(parent.0, text(name), true), reply);
    }

    fn rename(&self, _: &Request, parent: INodeNo, from: &OsStr, to_parent: INodeNo, to: &OsStr, _: RenameFlags, reply: ReplyEmpty) {
        let mut drive = self.drive();
        let (from, to) = (text(from), text(to));
        if parent != to_parent {
            return reply.error(Errno::EXDEV);
        }
        let allowed = drive.may(Operation::Name, |disk| format!("{}/{from} to {to}", disk.path(parent.0)));
        let renamed = allowed.and_then(|()| drive.lookup(parent.0, from)).map(|_| drive.disk.rename(parent.0, from, to));
        done(renamed, reply);
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let mut drive = self.drive();
        match drive.attributes(number.0) {
            Ok(_) => {
                drive.disk.nodes.get_mut(&number.0).expect("it has attributes").opened += 1;
                reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, _: i32, reply: ReplyCreate) {
        let mut drive = self.drive();
        match drive.add(parent.0, text(name), mode, false) {
            Ok(attributes) => {
                drive.disk.nodes.get_mut(&attributes.ino.0).expect("it was added").opened += 1;
                reply.created(&TTL, &attributes, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let drive = self.drive();
        match drive.disk.file(number.0).filter(|_| !drive.is_off) {
            Some(file) => reply.data(&file.read(offset, u64::from(size))),
            None => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut drive = self.drive();
        let allowed = drive.may(Operation::Write, |disk| disk.path(number.0));
        match allowed.and_then(|()| drive.has_room(number.0, offset, data.len() as u64)) {
            Ok(()) => {
                drive.disk.write(number.0, offset, data);
                reply.written(data.len() as u32);
            }
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(&self, _: &Request, number: INodeNo, _: FileHandle, _: OpenFlags, _: Option<LockOwner>, _: bool, reply: ReplyEmpty) {
        if let Some(node) = self.drive().disk.nodes.get_mut(&number.0) {
            node.opened -= 1;
        }
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.drive().sync(number.0), reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.drive().sync(number.0), reply);
    }

    fn opendir(&self, request: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let drive = self.drive();
        let Some(folder) = drive.disk.folder(number.0).filter(|_| !drive.is_off) else { return reply.error(Errno::EIO) };
        let mut listing = Vec::new();
        for (name, number) in &folder.names {
            let is_file = drive.disk.file(*number).is_some();
            listing.push((*number, if is_file { FileType::RegularFile } else { FileType::Directory }, name.clone()));
        }
        let handle = request.unique().0;
        self.listings.lock().unwrap().insert(handle, listing);
        reply.opened(FileHandle(handle), FopenFlags::empty());
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listings = self.listings.lock().unwrap();
        for (place, (number, kind, name)) in listings[&handle.0].iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(*number), place as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.lock().unwrap().remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let drive = self.drive();
        let blocks = drive.plan.quota.unwrap_or(1 << 40) / PAGE;
        let free = blocks.saturating_sub(drive.disk.used() / PAGE);
        reply.statfs(blocks, free, free, 1 << 20, 1 << 20, PAGE as u32, 255, PAGE as u32);
    }

    fn fallocate(&self, _: &Request, number: INodeNo, _: FileHandle, offset: u64, length: u64, mode: i32, reply: ReplyEmpty) {
        const KEEP_SIZE: i32 = 1;
        let mut drive = self.drive();
        if mode & !KEEP_SIZE != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let allowed = drive.may(Operation::Allocate, |disk| disk.path(number.0));
        let allowed = allowed.and_then(|()| drive.has_room(number.0, offset, length));
        done(allowed.map(|()| drive.disk.allocate(number.0, offset, length, mode == KEEP_SIZE)), reply);
    }
}

/// A mounted drive. It is unmounted when it is dropped.
pub struct Mounted {
    drive: Arc<Mutex<Drive>>,
    session: Option<BackgroundSession>,
    folder: Option<tempfile::TempDir>,
}

impl Mounted {
    pub fn new(drive: Drive) -> Self {
        Self::try_new(drive).expect("a file system of this process can be mounted, as before")
    }

    fn try_new(drive: Drive) -> io::Result<Self> {
        let drive = Arc::new(Mutex::new(drive));
        let folder = tempfile::tempdir()?;
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("loyaltyd-power-test".to_owned()), MountOption::NoAtime];
        let adapter = Adapter { drive: drive.clone(), listings: Arc::default() };
        let session = fuser::spawn_mount(adapter, folder.path(), &config)?;
        Ok(Self { drive, session: Some(session), folder: Some(folder) })
    }

    pub fn path(&self) -> &Path {
        self.folder.as_ref().expect("it is there until the drop").path()
    }

    pub fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn drive(&self) -> MutexGuard<'_, Drive> {
        self.drive.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is read or written from now on.
    pub fn switch_off(&self) {
        self.drive().is_off = true;
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let (session, folder) = (self.session.take().expect("it is dropped once"), self.folder.take().expect("it is dropped once"));
        if session.umount_and_join().is_err() {
            // Something that is just ending still has a file open.
            let _ = std::process::Command::new("umount").arg("-l").arg(folder.path()).status();
        }
    }
}

/// Says what is not tested, also when the output of tests that pass is not shown. A failure where `LOYALTYD_TEST_REQUIRE_FUSE` is set.
pub fn untested(what: &str) {
    assert!(
        std::env::var_os("LOYALTYD_TEST_REQUIRE_FUSE").is_none(),
        "LOYALTYD_TEST_REQUIRE_FUSE is set, and this cannot be tested: {what}"
    );
    // Not by a macro: what those print is captured.
    let _ = io::stderr().write_all(format!("\n!!! NOT TESTED: {what}\n").as_bytes());
}

/// Whether this machine lets a process mount a file system of its own; if not, says loudly what is not tested.
pub fn can_mount(what: &str) -> bool {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    let answer = ANSWER.get_or_init(|| {
        let mounted = Mounted::try_new(Drive::default()).map_err(|error| error.to_string())?;
        std::fs::write(mounted.path().join("probe"), b"x").map_err(|error| error.to_string())
    });
    if let Err(error) = answer {
        untested(&format!("{what}. No file system can be mounted here (/dev/fuse, as root or with fusermount3): {error}"));
    }
    answer.is_ok()
}
