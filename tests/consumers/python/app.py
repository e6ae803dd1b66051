"""The script that the consumers in every language do, a line of output a step."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import snapshot_store
from wit_world.imports.snapshot_store import Snapshot, SnapshotInfo, SnapshotReader, SnapshotWriter, Store

# Non-ASCII text, plain and escaped, and every other escape.
TEXT = r'{"é":"日本語 \u00e9 \ud83d\ude00 \"\\\/\b\f\n\r\t","😀":"𝄞"}'
# Numbers that a 64-bit floating-point number does not hold.
NUMBERS = '{"big":123456789012345678901234567890,"above 2^53":9007199254740993,"float":1.0e400}'
# A state in pieces that are cut inside a character.
PIECES = [b'["caf\xc3', b'\xa9",', b" 1]"]
MAX_SEQ = 2**64 - 1


class Run(exports.Run):
    """The export wasi:cli/run."""

    def run(self) -> None:
        script()


def script() -> None:
    step("open ../x", lambda: try_open("../x"))
    step("open agent-7", lambda: try_open("agent-7"))
    step("names", lambda: str(len(snapshot_store.names())))
    with snapshot_store.open("") as store:
        use(store)


def use(store: Store) -> None:
    def create(state: str, seq: int) -> str:
        store.create(state, seq)
        return "ok"

    def restore() -> str:
        return restored(store.restore())

    step("newest-seq", lambda: number(store.newest_seq()))
    step("restore", restore)
    step("create 7", lambda: create('{"counter":1}', 7))
    step("restore", restore)
    step("newest-seq", lambda: number(store.newest_seq()))

    step("create 6", lambda: create("{}", 6))
    step("create 8, not JSON", lambda: create('{"counter":}', 8))
    step("create 8, text", lambda: create(TEXT, 8))
    step("restore", restore)
    step("create 9, numbers", lambda: create(NUMBERS, 9))
    step("restore", restore)

    large = '"' + "é" * 2_621_439 + '"'
    step(f"create 10, {len(large.encode())} bytes", lambda: create(large, 10))
    step("restore", lambda: same(store.restore(), large))

    step("stream 11", lambda: stream(store, 11))
    step("restore", restore)
    with store.open_writer(12) as writer:
        writer.write(PIECES[0])
        step("create 12, beside a writer", lambda: create("{}", 12))
    step("restore, after the writer was dropped", restore)
    step("discard 12", lambda: discard(store, 12))
    step("read in pieces", lambda: read_in_pieces(store.open_reader()))

    step(f"create {MAX_SEQ}", lambda: create("null", MAX_SEQ))
    step("restore", restore)
    step(f"create {MAX_SEQ - 1}", lambda: create("null", MAX_SEQ - 1))
    step("generations", lambda: ", ".join(map(generation, store.generations())))
    step("restore-at 10", lambda: same(store.restore_at(10), large))
    step("restore-at 7", lambda: restored(store.restore_at(7)))
    step("oldest-kept", lambda: number(store.oldest_kept()))


def step(name, action) -> None:
    try:
        result = action()
    except Err as error:
        result = describe(error.value)
    print(f"{name}: {result}")


def try_open(name: str) -> str:
    with snapshot_store.open(name):
        return "ok"


def number(seq: int | None) -> str:
    return "none" if seq is None else str(seq)


def restored(snapshot: Snapshot | None) -> str:
    if snapshot is None:
        return "none"
    return f"{snapshot.seq} {describe(snapshot.soundness)} {one_line(snapshot.state)}"


def same(snapshot: Snapshot | None, state: str) -> str:
    """As restored(), of a state that is too large to be printed."""
    if snapshot is None:
        return "none"
    return f"{snapshot.seq} {'as created' if snapshot.state == state else 'changed'}"


def stream(store: Store, seq: int) -> str:
    writer = store.open_writer(seq)
    for piece in PIECES:
        writer.write(piece)
    SnapshotWriter.commit(writer)
    return "ok"


def discard(store: Store, seq: int) -> str:
    """Discards two writers: the second would be `busy` if the first were still open."""
    for _ in range(2):
        writer = store.open_writer(seq)
        writer.write(PIECES[0])
        SnapshotWriter.discard(writer)
    return "ok"


def read_in_pieces(reader: SnapshotReader | None) -> str:
    if reader is None:
        return "none"
    with reader:
        info = reader.info()
        pieces = list(iter(lambda: reader.read(5), b""))
    state = b"".join(pieces).decode()
    return f"{info.seq} of {info.size} bytes in {len(pieces)}: {one_line(state)}"


def generation(info: SnapshotInfo) -> str:
    return f"{info.seq} {info.size} bytes {describe(info.soundness)}"


def one_line(state: str) -> str:
    return state.replace("\n", "|")


def describe(case) -> str:
    """A case of a variant in the words of the WIT: `Error_InvalidState` is `invalid-state`."""
    name = type(case).__name__.partition("_")[2]
    words = "".join("-" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("-")
    return f"{words}: {case.value}" if hasattr(case, "value") else words
