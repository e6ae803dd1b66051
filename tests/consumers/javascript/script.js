// The script that the consumers in every language do, a line of output a step.

// Non-ASCII text, plain and escaped, and every other escape.
const TEXT = String.raw`{"é":"日本語 \u00e9 \ud83d\ude00 \"\\\/\b\f\n\r\t","😀":"𝄞"}`;
// Numbers that a 64-bit floating-point number does not hold.
const NUMBERS = '{"big":123456789012345678901234567890,"above 2^53":9007199254740993,"float":1.0e400}';
// A state in pieces that are cut inside a character.
const PIECES = [[0x5b, 0x22, 0x63, 0x61, 0x66, 0xc3], [0xa9, 0x22, 0x2c], [0x20, 0x31, 0x5d]].map(
  (bytes) => new Uint8Array(bytes),
);
// Sequence numbers are BigInts: a Number is exact up to 2^53 only.
const MAX_SEQ = 2n ** 64n - 1n;

/** Does the script with the imported interface, or another with the same functions. */
export function script({ open, names, SnapshotWriter }) {
  const tryOpen = (name) => () => {
    open(name);
    return 'ok';
  };
  step('open ../x', tryOpen('../x'));
  step('open agent-7', tryOpen('agent-7'));
  step('names', () => names().length);

  const store = open('');
  const create = (state, seq) => () => {
    store.create(state, seq);
    return 'ok';
  };
  const restore = () => restored(store.restore());
  const newestSeq = () => store.newestSeq() ?? 'none';

  step('newest-seq', newestSeq);
  step('restore', restore);
  step('create 7', create('{"counter":1}', 7n));
  step('restore', restore);
  step('newest-seq', newestSeq);

  step('create 6', create('{}', 6n));
  step('create 8, not JSON', create('{"counter":}', 8n));
  step('create 8, text', create(TEXT, 8n));
  step('restore', restore);
  step('create 9, numbers', create(NUMBERS, 9n));
  step('restore', restore);

  const large = `"${'é'.repeat(2_621_439)}"`;
  step(`create 10, ${new TextEncoder().encode(large).length} bytes`, create(large, 10n));
  step('restore', () => same(store.restore(), large));

  step('stream 11', () => {
    const writer = store.openWriter(11n);
    for (const piece of PIECES) writer.write(piece);
    SnapshotWriter.commit(writer);
    return 'ok';
  });
  step('restore', restore);
  const writer = store.openWriter(12n);
  writer.write(PIECES[0]);
  step('create 12, beside a writer', create('{}', 12n));
  writer[Symbol.dispose]();
  step('restore, after the writer was dropped', restore);
  step('discard 12', () => {
    // The second writer would be `busy` if the first were still open.
    for (let i = 0; i < 2; i++) {
      const writer = store.openWriter(12n);
      writer.write(PIECES[0]);
      SnapshotWriter.discard(writer);
    }
    return 'ok';
  });
  step('read in pieces', () => readInPieces(store.openReader()));

  step(`create ${MAX_SEQ}`, create('null', MAX_SEQ));
  step('restore', restore);
  step(`create ${MAX_SEQ - 1n}`, create('null', MAX_SEQ - 1n));
  step('generations', () => store.generations().map(generation).join(', '));
  step('restore-at 10', () => same(store.restoreAt(10n), large));
  step('restore-at 7', () => restored(store.restoreAt(7n)));
  step('oldest-kept', () => store.oldestKept() ?? 'none');
  store[Symbol.dispose]();
}

/** An error of the store is thrown with the variant as its `payload`; others are none of its. */
function step(name, action) {
  let result;
  try {
    result = action();
  } catch (error) {
    if (error.payload === undefined) throw error;
    result = describe(error.payload);
  }
  console.log(`${name}: ${result}`);
}

/** What is not there is undefined. */
function restored(snapshot) {
  if (snapshot === undefined) return 'none';
  const { state, seq, soundness } = snapshot;
  return `${seq} ${describe(soundness)} ${oneLine(state)}`;
}

/** As restored(), of a state that is too large to be printed. */
function same(snapshot, state) {
  if (snapshot === undefined) return 'none';
  return `${snapshot.seq} ${snapshot.state === state ? 'as created' : 'changed'}`;
}

function readInPieces(reader) {
  if (reader === undefined) return 'none';
  const { seq, size } = reader.info();
  const decoder = new TextDecoder();
  let state = '';
  let pieces = 0;
  for (let piece = reader.read(5n); piece.length > 0; piece = reader.read(5n)) {
    // A piece may end inside a character.
    state += decoder.decode(piece, { stream: true });
    pieces += 1;
  }
  reader[Symbol.dispose]();
  return `${seq} of ${size} bytes in ${pieces}: ${oneLine(state + decoder.decode())}`;
}

function generation({ seq, size, soundness }) {
  return `${seq} ${size} bytes ${describe(soundness)}`;
}

function oneLine(state) {
  return state.replaceAll('\n', '|');
}

/** A case of a variant. */
function describe({ tag, val }) {
  return val === undefined ? tag : `${tag}: ${val}`;
}
