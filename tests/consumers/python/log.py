"""A log of operations beside the snapshots, as guest/client/LOG.md has it, in a directory that its host gives to no other.

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

    def __init__(self, path: str, snapshot: int | None, newest: int | None, apply) -> None:
        """Applies the operations after `snapshot`, and goes on after the last.

        `newest` is the number of the newest snapshot, damaged or not; both are none where there is no snapshot.
        """
        self.path = path
        snapshot = snapshot or 0
        names = (re.fullmatch(r"log_([0-9]{20})\.jsonl", name) for name in os.listdir(path))
        self.segments = sorted(first for first in (int(name[1]) for name in names if name) if 0 < first < 2**64)
        needed = max(0, sum(first <= snapshot + 1 for first in self.segments) - 1)
        self.last = min(snapshot, self.segments[needed] - 1) if self.segments else 0
        begun, end, torn = 0, 0, False
        for first in self.segments[needed:]:
            if first != self.last + 1:
                raise LogError(f"`{self.name(first)}` does not go on after {self.last}")
            operations, (begun, end), torn = self.read(first)
            for self.last, line, operation in operations:
                if self.last > snapshot:
                    apply(self.parsed(first, line, operation))
        if newest is not None and (self.last < newest or not self.segments or self.segments[-1] <= newest):
            raise LogError(f"the log in `{path}` was lost: it ends with {self.last}, and there is a snapshot {newest}")
        if self.segments:
            self.file = os.open(self.name(self.segments[-1]), os.O_RDWR)
            if torn:
                os.ftruncate(self.file, end)
            # Whoever wrote it may have been killed before its own syncs, or told that they failed: the system may have
            # forgotten then that the last write is not on the disk.
            last_write = read(self.file, begun, end)
            os.lseek(self.file, begun, os.SEEK_SET)
            write(self.file, last_write)
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
        json_text = json.dumps(operation, separators=(",", ":"), allow_nan=False)
        text = b'{"seq":%d,"op":%s' % (self.last + 1, json_text.encode())
        write(self.file, b'%s,"sum":"%08x"}\n' % (text, zlib.crc32(text)))
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
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        write(file, HEADER)
        os.fsync(file)
        if os.path.lexists(self.name(first)):
            raise LogError(f"another process writes to the log in `{self.path}`")
        os.rename(temporary, self.name(first))
        if self.segments:
            os.close(self.file)
        self.file = file
        self.sync()
        self.segments.append(first)

    def remove_up_to(self, oldest: int) -> None:
        """Removes the segments that no snapshot needs: `oldest` is what `oldest-kept` says."""
        while len(self.segments) > 1 and self.segments[1] <= oldest + 1:
            os.remove(self.name(self.segments[0]))
            del self.segments[0]

    def parsed(self, first: int, line: int, operation: bytes):
        try:
            return json.loads(operation)
        except ValueError as error:
            raise LogError(f"`{self.name(first)}`, line {line}: the operation is no JSON: {error}") from None

    def read(self, first: int):
        """The operations of a segment with their numbers and lines, where its last whole write is, and whether a torn end follows."""
        with open(self.name(first), "rb") as file:
            header, *lines = re.findall(rb"[^\n]*\n|[^\n]+", file.read()) or [b""]
        if re.fullmatch(HEADER[:-2] + rb"([2-9]|[1-9][0-9]+)\n", header):
            raise LogError(f"`{self.name(first)}` was written by a later version: use that one")
        if header != HEADER:
            raise LogError(f"`{self.name(first)}` is damaged: line 1 is not `{HEADER.decode().strip()}`")
        operations, batch, at, begun, end = [], [], len(header), len(header), len(header)
        for number, line in enumerate(lines):
            record, seq = parse(line), first + number
            if record is None and first == self.segments[-1] and is_torn(lines[number:], seq, at, end):
                break
            if record is None or record[0] != seq or record[1:3] != (seq - len(batch), batch[0][1] if batch else record[2]):
                raise LogError(f"`{self.name(first)}` is damaged: line {number + 2} is not what was written")
            batch.append((seq, record[2], number + 2, record[3]))
            at += len(line)
            if seq == record[2]:
                operations += [(seq, line, operation) for seq, _, line, operation in batch]
                batch, begun, end = [], end, at
        torn = at > end or len(operations) < len(lines)
        if torn and first != self.segments[-1]:
            raise LogError(f"`{self.name(first)}` is damaged: its end is missing")
        return operations, (begun, end), torn


def parse(line: bytes):
    """A record's number, those of the first and the last that were written with it, and its operation as text; or none."""
    match = LINE.fullmatch(line)
    if not match or zlib.crc32(match[1]) != int(match[6], 16) or not is_text(line):
        return None
    seq = int(match[2])
    first, last = int(match[3] or seq), int(match[4] or seq)
    return (seq, first, last, match[5]) if first <= seq <= last < 2**64 - 1 else None


def is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def read(file: int, at: int, end: int) -> bytes:
    """The bytes between two places of a file, of which one call need not read all."""
    os.lseek(file, at, os.SEEK_SET)
    data = b""
    while len(data) < end - at:
        more = os.read(file, end - at - len(data))
        if not more:
            raise LogError("the log was cut while it was read")
        data += more
    return data


def write(file: int, data: bytes) -> None:
    """Writes all of it, which one call need not do."""
    while data:
        data = data[os.write(file, data) :]


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
    if any(map(is_damaged, lines)):
        return False
    holes = [(start + hole.start(), start + hole.end()) for hole in re.finditer(rb"\0+", left)]
    end = start + len(left)

    def is_hole(at: int, to: int) -> bool:  # A block that the disk did not write, or not all of.
        return to == end or to % SECTOR == 0 and (to - at > 1 or at == write or at % SECTOR == 0)

    return all(is_hole(at, to) for at, to in holes) and (bool(holes) or b"\n" not in left)


def is_damaged(line: bytes) -> bool:
    """Whether no power cut leaves this of a line: all of it, with other bytes, or other bytes after a sum that fits."""
    if line.endswith(b"\n") and b"\0" not in line:
        return parse(line) is None
    for found in re.finditer(rb',"sum":"', line):
        sum, rest = line[found.end() :][:8], line[found.end() + 8 :]
        if sum == b"%08x" % zlib.crc32(line[: found.start()]):
            other = next((byte for byte, end in zip(rest, b'"}\n') if byte != end), 0)
            if other:
                return True
    return False
