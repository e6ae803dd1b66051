"""A log of operations beside the snapshots, as guest/client/LOG.md has it: for a component's directory, or any other.

Each operation is written by itself. What another program wrote in a batch is read.
"""

import json
import os
import re
import zlib

HEADER = b"// MINISTORE JOURNAL v0.1.4, minisnap log v1\n"
LINE = re.compile(rb'(\{"seq":(\d+)(?:,"batch":\[(\d+),(\d+)\])?,"op":(.*)),"sum":"([0-9a-f]{8})"\}\n', re.DOTALL)
SECTOR = 512
TEMPORARY = "log.tmp"


class LogError(Exception):
    """The log is damaged, or lacks what is needed."""


class Log:
    """The log in a directory. After an error of a call, it must be opened again."""

    def __init__(self, path: str, snapshot: int, newest: int, apply) -> None:
        """Applies the operations after `snapshot`, and goes on after the last.

        `newest` is the number of the newest snapshot, damaged or not; both are 0 where there is none.
        """
        self.path = path
        names = (re.fullmatch(r"log_(\d{20})\.jsonl", name) for name in os.listdir(path))
        self.segments = sorted(int(name[1]) for name in names if name)
        needed = max(0, sum(first <= snapshot + 1 for first in self.segments) - 1)
        self.last = min(snapshot, self.segments[needed] - 1) if self.segments else 0
        end, torn = 0, False
        for first in self.segments[needed:]:
            if first != self.last + 1:
                raise LogError(f"`{self.name(first)}` does not go on after {self.last}")
            operations, end, torn = self.read(first)
            for self.last, operation in operations:
                if self.last > snapshot:
                    apply(operation)
        if self.last < newest or newest and self.segments[-1] <= newest:
            raise LogError(f"the log in `{path}` was lost: it ends with {self.last}, and there is a snapshot {newest}")
        if self.segments:
            self.file = os.open(self.name(self.segments[-1]), os.O_RDWR)
            if torn:
                os.ftruncate(self.file, end)
            # Whoever wrote it may have been killed before its own syncs.
            os.lseek(self.file, end, os.SEEK_SET)
            os.fsync(self.file)
            self.sync()
        else:
            self.begin_segment()

    def name(self, first: int) -> str:
        return f"{self.path}/log_{first:020}.jsonl"

    def sync(self) -> None:
        """Makes the names in the directory durable."""
        directory = os.open(self.path, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def append(self, operation) -> int:
        """Writes the next operation; it is durable when this returns its number."""
        text = b'{"seq":%d,"op":%s' % (self.last + 1, json.dumps(operation, separators=(",", ":")).encode())
        line = b'%s,"sum":"%08x"}\n' % (text, zlib.crc32(text))
        while line:
            line = line[os.write(self.file, line) :]
        os.fsync(self.file)
        self.last += 1
        return self.last

    def begin_segment(self) -> None:
        """Begins the segment of what comes next: before a snapshot is made."""
        first = self.last + 1
        if self.segments[-1:] == [first]:
            return
        temporary = f"{self.path}/{TEMPORARY}"
        if os.path.lexists(temporary):
            os.remove(temporary)
        self.file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.write(self.file, HEADER)
        os.fsync(self.file)
        os.rename(temporary, self.name(first))
        self.sync()
        self.segments.append(first)

    def remove_up_to(self, oldest: int) -> None:
        """Removes the segments that no snapshot needs: `oldest` is what `oldest-kept` says."""
        while len(self.segments) > 1 and self.segments[1] <= oldest + 1:
            os.remove(self.name(self.segments[0]))
            del self.segments[0]

    def read(self, first: int):
        """The operations of a segment with their numbers, where what is whole ends, and whether a torn end follows."""
        with open(self.name(first), "rb") as file:
            header, *lines = re.findall(rb"[^\n]*\n|[^\n]+", file.read()) or [b""]
        if header != HEADER:
            raise LogError(f"`{self.name(first)}` is damaged: line 1 is not `{HEADER.decode().strip()}`")
        operations, batch, at, end = [], [], len(header), len(header)
        for number, line in enumerate(lines):
            record, seq = parse(line), first + number
            if record is None and first == self.segments[-1] and is_torn(lines[number:], seq, at, end):
                break
            if record is None or record[0] != seq or record[1] != seq - len(batch):
                raise LogError(f"`{self.name(first)}` is damaged: line {number + 2} is not what was written")
            batch.append((seq, record[3]))
            at += len(line)
            if seq == record[2]:
                operations, batch, end = operations + batch, [], at
        torn = at > end or len(operations) < len(lines)
        if torn and first != self.segments[-1]:
            raise LogError(f"`{self.name(first)}` is damaged: its end is missing")
        return operations, end, torn


def parse(line: bytes):
    """A record's number, those of the first and the last that were written with it, and its operation; or none."""
    match = LINE.fullmatch(line)
    if not match or zlib.crc32(match[1]) != int(match[6], 16):
        return None
    seq = int(match[2])
    return seq, int(match[3] or seq), int(match[4] or seq), json.loads(match[5])


def is_torn(lines: list[bytes], seq: int, start: int, write: int) -> bool:
    """Whether one write that was not synced may have left these lines, of which the first is not whole."""
    left = b"".join(lines)
    begun = left.split(b"\0")[0]
    heads = (b'{"seq":%d,"op":' % seq, b'{"seq":%d,"batch":[' % seq)
    if not any(begun[: len(head)] == head[: len(begun)] for head in heads):
        return False
    later = filter(None, map(parse, lines[1:]))
    if any(not first <= seq <= last for _, first, last, _ in later):
        return False  # What was written later proves that this was durable.
    holes = ((start + hole.start(), start + hole.end()) for hole in re.finditer(rb"\0+", left))
    end = start + len(left)
    if any((to - at > 1 or at == write or at % SECTOR == 0) and (to == end or to % SECTOR == 0) for at, to in holes):
        return True  # A block that the disk did not write, or not all of.
    text, found, rest = left.rpartition(b',"sum":"')
    was_whole = found and rest[:8] == b"%08x" % zlib.crc32(text) and not b'"}'.startswith(rest[8:])
    return b"\n" not in left and not was_whole
