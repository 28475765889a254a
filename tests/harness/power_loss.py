"""What a disk would hold had the power gone: node folders made again from the record that
tests/harness/disk_recorder.c wrote, at any moment and without what was not synced by then.

The model is POSIX's own: a byte is safe when fsync or fdatasync of its file has returned after it was
written (or its descriptor is O_DSYNC); a name (of a new file, after a rename) is safe when its folder
was synced. Everything else is lost, or kept in part: see Disk.image."""
import collections
import os
import random
import struct

ENTRY = struct.Struct("<QIIQII")
OPEN, WRITE, CUT, SYNCING, SYNCED, RENAME, UNLINK, FOLDER = range(1, 9)
PAGE = 4096
VARIANTS = ("lost", "first", "torn", "scattered")
Event = collections.namedtuple("Event", "ns node operation number offset first second")


def read_record(path, node):
    """The events of one process, in their order."""
    events = []
    data = open(path, "rb").read()
    at = 0
    while at + ENTRY.size <= len(data):
        ns, operation, number, offset, first, second = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        a, b = data[at:at + first], data[at + first:at + first + second]
        if len(a) < first or len(b) < second:
            break
        at += first + second
        events.append(Event(ns, node, operation, number, offset, a, b))
    return events


class File:
    def __init__(self, content=b"", safe=False):
        self.safe = bytearray(content if safe else b"")
        self.waiting = []  # ("write", offset, data) and ("cut", size), not synced
        self.under_way = 0  # how many of them the sync that runs will make safe

    def apply(self, data, change, skip=None):
        if change[0] == "cut":
            size = change[1]
            del data[size:]
            data.extend(bytes(size - len(data)))
            return
        _, offset, new = change
        if len(data) < offset + len(new):
            data.extend(bytes(offset + len(new) - len(data)))
        if skip is None:
            data[offset:offset + len(new)] = new
            return
        at = 0  # page by page, as a page cache writes back
        while at < len(new):
            end = min(len(new), (offset + at) // PAGE * PAGE + PAGE - offset)
            if not skip((offset + at) // PAGE):
                data[offset + at:offset + end] = new[at:end]
            at = end

    def sync(self, count=None):
        count = len(self.waiting) if count is None else count
        for change in self.waiting[:count]:
            self.apply(self.safe, change)
        del self.waiting[:count]


class Disk:
    """One node's folder as the record tells it, up to wherever it was played."""

    def __init__(self, root):
        self.root = os.fsencode(str(root))
        self.names = {}       # path -> File: what the program sees
        self.safe_names = {}  # path -> File: what a power cut leaves
        self.folders = {self.root}
        self.open = {}        # descriptor -> File, or path of a folder
        self.syncs = 0

    def load(self, folder, rename=lambda path: path):
        """What stood there before the record began: all of it safe. rename: from a copy's path."""
        for base, _, names in os.walk(folder):
            self.folders.add(rename(os.fsencode(base)))
            for name in names:
                path = os.path.join(base, name)
                if os.path.isfile(path):
                    file = File(open(path, "rb").read(), safe=True)
                    path = rename(os.fsencode(path))
                    self.names[path] = self.safe_names[path] = file

    def play(self, e):
        if e.operation == OPEN:
            if e.first in self.folders:
                self.open[e.number] = e.first
                return
            file = self.names.get(e.first)
            if file is None:
                file = self.names[e.first] = File()
            elif e.offset & os.O_TRUNC:
                file.waiting.append(("cut", 0))
            self.open[e.number] = file
        elif e.operation == WRITE:
            self.open[e.number].waiting.append(("write", e.offset, e.first))
        elif e.operation == CUT:
            self.open[e.number].waiting.append(("cut", e.offset))
        elif e.operation == SYNCING and isinstance(self.open.get(e.number), File):
            self.open[e.number].under_way = len(self.open[e.number].waiting)
        elif e.operation == SYNCED:
            self.syncs += 1
            target = self.open.get(e.number)
            if isinstance(target, File):
                if e.offset == 1:  # O_DSYNC: the write before this, and no other
                    target.apply(target.safe, target.waiting.pop())
                else:
                    target.sync(target.under_way)
                    target.under_way = 0
            elif target is not None:
                self.sync_folder(target)
        elif e.operation == RENAME:
            self.names[e.second] = self.names.pop(e.first)
        elif e.operation == UNLINK:
            self.names.pop(e.first, None)
        elif e.operation == FOLDER:
            self.folders.add(e.first)

    def sync_folder(self, folder):
        for path in [p for p in self.safe_names if os.path.dirname(p) == folder]:
            if path not in self.names:
                del self.safe_names[path]
        for path, file in self.names.items():
            if os.path.dirname(path) == folder:
                self.safe_names[path] = file

    @staticmethod
    def seen(file):
        data = bytearray(file.safe)
        for change in file.waiting:
            file.apply(data, change)
        return bytes(data)

    def image(self, variant, seed, sector=1):
        """{path: bytes} after a loss of power now. lost: nothing that is not safe. first: of each
        file the changes up to a random one. torn: the same, the last one in part. scattered: of
        every change any pages. In these three at times also names that were not safe. killed: all
        that the program wrote, as after a kill -9. sector: what is never torn, where the program counts
        on it; LMDB does for its meta pages, by 512."""
        dice = random.Random(seed)
        if variant == "killed":
            return {path: self.seen(file) for path, file in self.names.items()}
        names = dict(self.safe_names)
        if variant != "lost" and dice.random() < 0.5:
            names = dict(self.names)
        out = {}
        for path, file in names.items():
            data = bytearray(file.safe)
            if variant == "scattered":
                gone = {}
                for change in file.waiting:
                    file.apply(data, change, lambda page: gone.setdefault(page, dice.random() < .5))
            elif variant != "lost" and file.waiting:
                keep = dice.randrange(len(file.waiting) + 1)
                for change in file.waiting[:keep]:
                    file.apply(data, change)
                if variant == "torn" and keep < len(file.waiting):
                    change = file.waiting[keep]
                    if change[0] == "write":
                        part = dice.randrange(len(change[2]))
                        part = max(0, part - (change[1] + part) % sector)
                        file.apply(data, ("write", change[1], change[2][:part]))
            out[path] = bytes(data)
        return out


def write_image(image, folders, root, folder):
    """Puts an image of the files below root into a folder."""
    for path in sorted(folders):
        os.makedirs(os.path.join(os.fsencode(str(folder)), os.path.relpath(path, root)),
                    exist_ok=True)
    for path, data in image.items():
        target = os.path.join(os.fsencode(str(folder)), os.path.relpath(path, root))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as f:
            f.write(data)
