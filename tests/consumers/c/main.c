// The script that the consumers in every language do, a line of output a step.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumer.h"

// The generated names begin with the package's and the interface's.
#define minisnap(name) arcella_minisnap_snapshot_store_##name
#define MINISNAP(name) ARCELLA_MINISNAP_SNAPSHOT_STORE_##name
typedef minisnap(error_t) error_t;
typedef minisnap(soundness_t) soundness_t;
typedef minisnap(snapshot_info_t) info_t;
typedef minisnap(option_snapshot_t) restored_t;
typedef minisnap(own_snapshot_writer_t) writer_t;

// Non-ASCII text, plain and escaped, and every other escape.
static const char TEXT[] =
    "{\"é\":\"日本語 \\u00e9 \\ud83d\\ude00 \\\"\\\\\\/\\b\\f\\n\\r\\t\",\"😀\":\"𝄞\"}";
// Numbers that a 64-bit floating-point number does not hold.
static const char NUMBERS[] =
    "{\"big\":123456789012345678901234567890,\"above 2^53\":9007199254740993,\"float\":1.0e400}";
// A state in pieces that are cut inside a character.
static const char *const PIECES[] = {"[\"caf\xc3", "\xa9\",", " 1]"};
enum { PIECE_COUNT = sizeof PIECES / sizeof PIECES[0] };

// What the store is given stays the caller's: it is only read.
static consumer_string_t string(const char *text) {
  return (consumer_string_t){(uint8_t *)text, strlen(text)};
}

static consumer_list_u8_t piece(const char *bytes) {
  return (consumer_list_u8_t){(uint8_t *)bytes, strlen(bytes)};
}

// The store of the empty name.
static minisnap(borrow_store_t) store;

static void print_one_line(const uint8_t *text, size_t len) {
  for (size_t i = 0; i < len; i++) putchar(text[i] == '\n' ? '|' : text[i]);
}

static void print_with(const char *name, consumer_string_t problem) {
  printf("%s: %.*s", name, (int)problem.len, (const char *)problem.ptr);
}

// Prints an error, and frees what it holds.
static void print_error(error_t *error) {
  switch (error->tag) {
    case MINISNAP(ERROR_INVALID_NAME): print_with("invalid-name", error->val.invalid_name); break;
    case MINISNAP(ERROR_INVALID_STATE): print_with("invalid-state", error->val.invalid_state); break;
    case MINISNAP(ERROR_STALE): printf("stale: %" PRIu64, error->val.stale); break;
    case MINISNAP(ERROR_TOO_LARGE): printf("too-large: %" PRIu64, error->val.too_large); break;
    case MINISNAP(ERROR_CORRUPT): print_with("corrupt", error->val.corrupt); break;
    case MINISNAP(ERROR_NO_SPACE): print_with("no-space", error->val.no_space); break;
    case MINISNAP(ERROR_ACCESS_DENIED): print_with("access-denied", error->val.access_denied); break;
    case MINISNAP(ERROR_BUSY): print_with("busy", error->val.busy); break;
    case MINISNAP(ERROR_IO): print_with("io", error->val.io); break;
    case MINISNAP(ERROR_IN_DOUBT): print_with("in-doubt", error->val.in_doubt); break;
  }
  putchar('\n');
  minisnap(error_free)(error);
}

static void print_soundness(const soundness_t *soundness) {
  switch (soundness->tag) {
    case MINISNAP(SOUNDNESS_VERIFIED): printf("verified"); break;
    case MINISNAP(SOUNDNESS_UNVERIFIED): printf("unverified"); break;
    case MINISNAP(SOUNDNESS_DAMAGED): print_with("damaged", soundness->val.damaged); break;
    case MINISNAP(SOUNDNESS_UNREADABLE): print_with("unreadable", soundness->val.unreadable); break;
  }
}

// Every function returns whether it succeeded; its result or its error is in an out-parameter.
static void print_done(bool ok, error_t *error) {
  if (ok) puts("ok");
  else print_error(error);
}

static void print_seq(bool ok, const consumer_option_u64_t *seq, error_t *error) {
  if (!ok) print_error(error);
  else if (seq->is_some) printf("%" PRIu64 "\n", seq->val);
  else puts("none");
}

static void print_restored(bool ok, restored_t *restored, error_t *error) {
  if (!ok) {
    print_error(error);
    return;
  }
  if (!restored->is_some) {
    puts("none");
    return;
  }
  printf("%" PRIu64 " ", restored->val.seq);
  print_soundness(&restored->val.soundness);
  putchar(' ');
  print_one_line(restored->val.state.ptr, restored->val.state.len);
  putchar('\n');
  // What the store returns is the caller's to free.
  minisnap(option_snapshot_free)(restored);
}

// As print_restored, of a state that is too large to be printed.
static void print_same(bool ok, restored_t *restored, error_t *error, const char *state) {
  if (!ok) {
    print_error(error);
    return;
  }
  if (!restored->is_some) {
    puts("none");
    return;
  }
  consumer_string_t text = restored->val.state;
  bool same = text.len == strlen(state) && memcmp(text.ptr, state, text.len) == 0;
  printf("%" PRIu64 " %s\n", restored->val.seq, same ? "as created" : "changed");
  minisnap(option_snapshot_free)(restored);
}

static void try_open(const char *name) {
  consumer_string_t text = string(name);
  minisnap(own_store_t) opened;
  error_t error;
  bool ok = minisnap(open)(&text, &opened, &error);
  printf("open %s: ", name);
  print_done(ok, &error);
  if (ok) minisnap(store_drop_own)(opened);
}

static void names(void) {
  consumer_list_string_t names;
  error_t error;
  printf("names: ");
  if (!minisnap(names)(&names, &error)) {
    print_error(&error);
    return;
  }
  printf("%zu\n", names.len);
  consumer_list_string_free(&names);
}

static void newest_seq(void) {
  consumer_option_u64_t seq;
  error_t error;
  printf("newest-seq: ");
  print_seq(minisnap(method_store_newest_seq)(store, &seq, &error), &seq, &error);
}

static void create(const char *state, uint64_t seq) {
  consumer_string_t text = string(state);
  error_t error;
  print_done(minisnap(method_store_create)(store, &text, seq, &error), &error);
}

static void restore(const char *step) {
  restored_t restored;
  error_t error;
  printf("%s: ", step);
  print_restored(minisnap(method_store_restore)(store, &restored, &error), &restored, &error);
}

// Opens a writer, and writes the first pieces.
static bool begin(uint64_t seq, int count, writer_t *writer, error_t *error) {
  if (!minisnap(method_store_open_writer)(store, seq, writer, error)) return false;
  for (int i = 0; i < count; i++) {
    consumer_list_u8_t bytes = piece(PIECES[i]);
    if (!minisnap(method_snapshot_writer_write)(minisnap(borrow_snapshot_writer)(*writer), &bytes, error)) {
      minisnap(snapshot_writer_drop_own)(*writer);
      return false;
    }
  }
  return true;
}

static bool stream(uint64_t seq, error_t *error) {
  writer_t writer;
  // The commit takes the writer, whether it succeeds or not.
  return begin(seq, PIECE_COUNT, &writer, error) && minisnap(static_snapshot_writer_commit)(writer, error);
}

static void abandon(uint64_t seq) {
  writer_t writer;
  error_t error;
  if (!begin(seq, 1, &writer, &error)) exit(1);
  printf("create %" PRIu64 ", beside a writer: ", seq);
  create("{}", seq);
  minisnap(snapshot_writer_drop_own)(writer);
}

// The second writer would be `busy` if the first were still open.
static bool discard_two(uint64_t seq, error_t *error) {
  for (int i = 0; i < 2; i++) {
    writer_t writer;
    if (!begin(seq, 1, &writer, error)) return false;
    minisnap(static_snapshot_writer_discard)(writer);
  }
  return true;
}

static void read_in_pieces(void) {
  minisnap(option_own_snapshot_reader_t) opened;
  error_t error;
  printf("read in pieces: ");
  if (!minisnap(method_store_open_reader)(store, &opened, &error)) {
    print_error(&error);
    return;
  }
  if (!opened.is_some) {
    puts("none");
    return;
  }
  minisnap(borrow_snapshot_reader_t) reader = minisnap(borrow_snapshot_reader)(opened.val);
  info_t info;
  minisnap(method_snapshot_reader_info)(reader, &info);
  uint8_t *state = malloc(info.size);
  size_t len = 0;
  int pieces = 0;
  for (;;) {
    consumer_list_u8_t bytes;
    if (!minisnap(method_snapshot_reader_read)(reader, 5, &bytes, &error)) {
      print_error(&error);
      exit(1);
    }
    if (bytes.len == 0) break;
    memcpy(state + len, bytes.ptr, bytes.len);
    len += bytes.len;
    pieces++;
    consumer_list_u8_free(&bytes);
  }
  minisnap(snapshot_reader_drop_own)(opened.val);
  printf("%" PRIu64 " of %" PRIu64 " bytes in %d: ", info.seq, info.size, pieces);
  print_one_line(state, len);
  putchar('\n');
  free(state);
  minisnap(snapshot_info_free)(&info);
}

static void generations(void) {
  minisnap(list_snapshot_info_t) infos;
  error_t error;
  printf("generations: ");
  if (!minisnap(method_store_generations)(store, &infos, &error)) {
    print_error(&error);
    return;
  }
  for (size_t i = 0; i < infos.len; i++) {
    info_t *info = &infos.ptr[i];
    printf("%s%" PRIu64 " %" PRIu64 " bytes ", i ? ", " : "", info->seq, info->size);
    print_soundness(&info->soundness);
  }
  putchar('\n');
  minisnap(list_snapshot_info_free)(&infos);
}

static char *large_state(void) {
  const size_t count = 2621439;
  char *state = malloc(2 * count + 3);
  char *end = state;
  *end++ = '"';
  for (size_t i = 0; i < count; i++, end += 2) memcpy(end, "é", 2);
  *end++ = '"';
  *end = 0;
  return state;
}

int main(void) {
  try_open("../x");
  try_open("agent-7");
  names();
  consumer_string_t name = string("");
  minisnap(own_store_t) opened;
  restored_t restored;
  error_t error;
  if (!minisnap(open)(&name, &opened, &error)) exit(1);
  store = minisnap(borrow_store)(opened);
  newest_seq();
  restore("restore");
  printf("create 7: "), create("{\"counter\":1}", 7);
  restore("restore");
  newest_seq();

  printf("create 6: "), create("{}", 6);
  printf("create 8, not JSON: "), create("{\"counter\":}", 8);
  printf("create 8, text: "), create(TEXT, 8);
  restore("restore");
  printf("create 9, numbers: "), create(NUMBERS, 9);
  restore("restore");

  char *large = large_state();
  printf("create 10, %zu bytes: ", strlen(large)), create(large, 10);
  printf("restore: ");
  print_same(minisnap(method_store_restore)(store, &restored, &error), &restored, &error, large);

  printf("stream 11: "), print_done(stream(11, &error), &error);
  restore("restore");
  abandon(12);
  restore("restore, after the writer was dropped");
  printf("discard 12: "), print_done(discard_two(12, &error), &error);
  read_in_pieces();

  printf("create %" PRIu64 ": ", UINT64_MAX), create("null", UINT64_MAX);
  restore("restore");
  printf("create %" PRIu64 ": ", UINT64_MAX - 1), create("null", UINT64_MAX - 1);
  generations();
  printf("restore-at 10: ");
  print_same(minisnap(method_store_restore_at)(store, 10, &restored, &error), &restored, &error, large);
  printf("restore-at 7: ");
  print_restored(minisnap(method_store_restore_at)(store, 7, &restored, &error), &restored, &error);
  consumer_option_u64_t oldest;
  printf("oldest-kept: ");
  print_seq(minisnap(method_store_oldest_kept)(store, &oldest, &error), &oldest, &error);
  free(large);
  minisnap(store_drop_own)(opened);
  return 0;
}
