// The script that the consumers in every language do, a line of output a step.

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consumer.h"

// The generated names begin with the package's and the interface's.
#define store(name) arcella_minisnap_snapshot_store_##name
#define STORE(name) ARCELLA_MINISNAP_SNAPSHOT_STORE_##name
typedef store(error_t) error_t;
typedef store(snapshot_t) snapshot_t;
typedef store(snapshot_info_t) info_t;

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

static void print_one_line(const uint8_t *text, size_t len) {
  for (size_t i = 0; i < len; i++) putchar(text[i] == '\n' ? '|' : text[i]);
}

static void print_with(const char *name, consumer_string_t problem) {
  printf("%s: %.*s\n", name, (int)problem.len, (const char *)problem.ptr);
}

// Prints an error, and frees what it holds.
static void print_error(error_t *error) {
  switch (error->tag) {
    case STORE(ERROR_NOT_FOUND): puts("not-found"); break;
    case STORE(ERROR_INVALID_STATE): print_with("invalid-state", error->val.invalid_state); break;
    case STORE(ERROR_STALE): printf("stale: %" PRIu64 "\n", error->val.stale); break;
    case STORE(ERROR_TOO_LARGE): printf("too-large: %" PRIu64 "\n", error->val.too_large); break;
    case STORE(ERROR_CORRUPT): print_with("corrupt", error->val.corrupt); break;
    case STORE(ERROR_NO_SPACE): puts("no-space"); break;
    case STORE(ERROR_ACCESS_DENIED): puts("access-denied"); break;
    case STORE(ERROR_BUSY): puts("busy"); break;
    case STORE(ERROR_IO): print_with("io", error->val.io); break;
  }
  store(error_free)(error);
}

// Every function returns whether it succeeded; its result or its error is in an out-parameter.
static void print_done(bool ok, error_t *error) {
  if (ok) puts("ok");
  else print_error(error);
}

static void exists(void) {
  bool exists;
  error_t error;
  printf("exists: ");
  if (store(exists)(&exists, &error)) puts(exists ? "true" : "false");
  else print_error(&error);
}

static void create(const char *state, uint64_t seq) {
  consumer_string_t text = string(state);
  error_t error;
  print_done(store(create)(&text, seq, &error), &error);
}

static void print_restored(bool ok, snapshot_t *snapshot, error_t *error) {
  if (!ok) {
    print_error(error);
    return;
  }
  printf("%" PRIu64 " ", snapshot->seq);
  print_one_line(snapshot->state.ptr, snapshot->state.len);
  putchar('\n');
  // What the store returns is the caller's to free.
  store(snapshot_free)(snapshot);
}

static void restore(const char *step) {
  snapshot_t snapshot;
  error_t error;
  printf("%s: ", step);
  print_restored(store(restore)(&snapshot, &error), &snapshot, &error);
}

// As print_restored, of a state that is too large to be printed.
static void print_same(bool ok, snapshot_t *snapshot, error_t *error, const char *state) {
  if (!ok) {
    print_error(error);
    return;
  }
  bool same = snapshot->state.len == strlen(state) && memcmp(snapshot->state.ptr, state, snapshot->state.len) == 0;
  printf("%" PRIu64 " %s\n", snapshot->seq, same ? "as created" : "changed");
  store(snapshot_free)(snapshot);
}

static bool stream(uint64_t seq, error_t *error) {
  store(own_snapshot_writer_t) writer;
  if (!store(open_writer)(seq, &writer, error)) return false;
  for (int i = 0; i < PIECE_COUNT; i++) {
    consumer_list_u8_t bytes = piece(PIECES[i]);
    if (!store(method_snapshot_writer_write)(store(borrow_snapshot_writer)(writer), &bytes, error)) {
      store(snapshot_writer_drop_own)(writer);
      return false;
    }
  }
  // Takes the writer, whether it succeeds or not.
  return store(static_snapshot_writer_commit)(writer, error);
}

static void abandon(uint64_t seq) {
  store(own_snapshot_writer_t) writer;
  error_t error;
  if (!store(open_writer)(seq, &writer, &error)) exit(1);
  consumer_list_u8_t bytes = piece(PIECES[0]);
  if (!store(method_snapshot_writer_write)(store(borrow_snapshot_writer)(writer), &bytes, &error)) exit(1);
  printf("create %" PRIu64 ", beside a writer: ", seq);
  create("{}", seq);
  store(snapshot_writer_drop_own)(writer);
}

static void read_in_pieces(void) {
  store(own_snapshot_reader_t) reader;
  error_t error;
  printf("read in pieces: ");
  if (!store(open_reader)(&reader, &error)) {
    print_error(&error);
    return;
  }
  info_t info;
  store(method_snapshot_reader_info)(store(borrow_snapshot_reader)(reader), &info);
  uint8_t *state = malloc(info.size);
  size_t len = 0;
  int pieces = 0;
  for (;;) {
    consumer_list_u8_t bytes;
    if (!store(method_snapshot_reader_read)(store(borrow_snapshot_reader)(reader), 5, &bytes, &error)) {
      print_error(&error);
      exit(1);
    }
    if (bytes.len == 0) break;
    memcpy(state + len, bytes.ptr, bytes.len);
    len += bytes.len;
    pieces++;
    consumer_list_u8_free(&bytes);
  }
  store(snapshot_reader_drop_own)(reader);
  printf("%" PRIu64 " of %" PRIu64 " bytes in %d: ", info.seq, info.size, pieces);
  print_one_line(state, len);
  putchar('\n');
  free(state);
  store(snapshot_info_free)(&info);
}

static void list(void) {
  store(list_snapshot_info_t) infos;
  error_t error;
  printf("list: ");
  if (!store(list)(&infos, &error)) {
    print_error(&error);
    return;
  }
  for (size_t i = 0; i < infos.len; i++) {
    info_t *info = &infos.ptr[i];
    const char *layout = info->layout == STORE(LAYOUT_PAIR) ? "pair" : "numbered";
    printf("%s%" PRIu64 " %s %" PRIu64 " bytes ", i ? ", " : "", info->seq, layout, info->size);
    switch (info->soundness.tag) {
      case STORE(SOUNDNESS_VERIFIED): printf("verified"); break;
      case STORE(SOUNDNESS_UNVERIFIED): printf("unverified"); break;
      case STORE(SOUNDNESS_DAMAGED): {
        consumer_string_t problem = info->soundness.val.damaged;
        printf("damaged: %.*s", (int)problem.len, (const char *)problem.ptr);
        break;
      }
      case STORE(SOUNDNESS_UNREADABLE): {
        consumer_string_t problem = info->soundness.val.unreadable;
        printf("unreadable: %.*s", (int)problem.len, (const char *)problem.ptr);
        break;
      }
    }
  }
  putchar('\n');
  store(list_snapshot_info_free)(&infos);
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
  snapshot_t snapshot;
  error_t error;
  exists();
  restore("restore");
  printf("create 7: "), create("{\"counter\":1}", 7);
  restore("restore");
  exists();

  printf("create 6: "), create("{}", 6);
  printf("create 8, not JSON: "), create("{\"counter\":}", 8);
  printf("create 8, text: "), create(TEXT, 8);
  restore("restore");
  printf("create 9, numbers: "), create(NUMBERS, 9);
  restore("restore");

  char *large = large_state();
  printf("create 10, %zu bytes: ", strlen(large)), create(large, 10);
  printf("restore: ");
  print_same(store(restore)(&snapshot, &error), &snapshot, &error, large);

  printf("stream 11: "), print_done(stream(11, &error), &error);
  restore("restore");
  abandon(12);
  restore("restore, after the writer was dropped");
  read_in_pieces();

  printf("create %" PRIu64 ": ", UINT64_MAX), create("null", UINT64_MAX);
  restore("restore");
  printf("create %" PRIu64 ": ", UINT64_MAX - 1), create("null", UINT64_MAX - 1);
  list();
  printf("restore-at 10: ");
  print_same(store(restore_at)(10, &snapshot, &error), &snapshot, &error, large);
  printf("restore-at 7: ");
  print_restored(store(restore_at)(7, &snapshot, &error), &snapshot, &error);
  uint64_t oldest;
  printf("oldest-kept: ");
  if (store(oldest_kept)(&oldest, &error)) printf("%" PRIu64 "\n", oldest);
  else print_error(&error);
  free(large);
  return 0;
}
