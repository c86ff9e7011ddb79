// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/disk/help.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/command.h"
#include "base/str.h"

// ---- files and commands ---------------------------------------------------------------------

static char folder[64];
static char *paths[256];
static size_t path_count;

const char *help_folder(void)
{
  if (!*folder) {
    strcpy(folder, "/tmp/drover-disk-XXXXXX");
    assert_non_null(mkdtemp(folder));
    setenv("DROVER_RUNTIME_DIR", folder, 1); // what killed children leave goes with it
  }
  return folder;
}

const char *help_path(const char *name)
{
  char *path = str_printf("%s/%s", help_folder(), name);
  for (size_t i = 0; i < path_count; i++)
    if (str_eq(paths[i], path)) {
      free(path);
      return paths[i];
    }
  assert_true(path_count < ARRAY_SIZE(paths));
  return paths[path_count++] = path;
}

int help_cleanup(void **state)
{
  (void)state;
  if (*folder)
    help_run(NULL, "rm", "-rf", folder, (char *)NULL);
  while (path_count)
    free(paths[--path_count]);
  return 0;
}

int help_run(char **ret_output, const char *first, ...)
{
  const char *argv[40] = {first};
  va_list args;
  va_start(args, first);
  for (size_t i = 1; i < ARRAY_SIZE(argv) - 1 && (argv[i] = va_arg(args, const char *)); i++)
    ;
  va_end(args);
  struct command c = {.argv = argv, .timeout_ms = 60000};
  struct command_result r;
  struct err err = ERR_INIT;
  if (command_run(&c, &r, &err) != 0)
    fail_msg("%s: %s", first, err.message);
  if (r.exit_status != 0)
    print_message("%s %s: status %d: %s%s\n", first, argv[1] ? argv[1] : "", r.exit_status,
                  r.output, r.errors);
  int status = r.exit_status;
  if (ret_output)
    *ret_output = TAKE(r.output);
  command_result_release(&r);
  return status;
}

void help_write_file(const char *path, const void *bytes, size_t length)
{
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, length, f), length);
  assert_int_equal(fclose(f), 0);
}

uint8_t *help_read_file(const char *path, size_t *ret_length)
{
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  fseek(f, 0, SEEK_END);
  *ret_length = (size_t)ftell(f);
  rewind(f);
  uint8_t *bytes = malloc(*ret_length + 1);
  assert_non_null(bytes);
  assert_int_equal(fread(bytes, 1, *ret_length, f), *ret_length);
  fclose(f);
  return bytes;
}

void help_fill(uint8_t *at, size_t length, uint64_t seed)
{
  uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
  for (size_t i = 0; i < length; i += sizeof(x)) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    uint64_t word = x | 0x0101010101010101u; // no byte is zero
    memcpy(at + i, &word, length - i < sizeof(word) ? length - i : sizeof(word));
  }
}

// The program that docs/disk.md shows.
static char *documented_program(void)
{
  size_t length;
  char *page = (char *)help_read_file(DOCS_FOLDER "/disk.md", &length);
  page[length] = '\0';
  char *start = strstr(page, "```python\n");
  assert_non_null(start);
  start += strlen("```python\n");
  char *end = strstr(start, "```");
  assert_non_null(end);
  *end = '\0';
  char *program = str_dup(start);
  free(page);
  return program;
}

void help_python_digest(const char *path, char ret[128])
{
  char *program = documented_program();
  char *output = NULL;
  assert_int_equal(help_run(&output, "python3", "-c", program, path, (char *)NULL), 0);
  snprintf(ret, 128, "%.*s", (int)strcspn(output, "\n"), output);
  free(output);
  free(program);
}

struct source *help_open(const char *path)
{
  struct reach reach = {.kind = REACH_FILE, .path = (char *)(uintptr_t)path};
  struct source *s;
  struct err err = ERR_INIT;
  if (source_open_reach(&reach, &s, &err) != 0)
    fail_msg("%s", err.message);
  return s;
}

void help_read_digest(const char *path, char ret[128])
{
  struct source *s = help_open(path);
  struct copy_result r;
  struct tally tally = {0};
  struct err err = ERR_INIT;
  if (digest_source(s, 0, &tally, &r, &err) != 0)
    fail_msg("%s", err.message);
  memcpy(ret, r.content_digest, 128);
  copy_result_release(&r);
  source_free(s);
}

// ---- source ---------------------------------------------------------------------------------

static int ms_extents(struct source *s, struct extents *ret, struct err *err)
{
  (void)err;
  const struct memory_source *m = (const struct memory_source *)s;
  uint64_t at = 0;
  for (size_t i = 0; m->data && m->data[i][1]; i++) {
    extents_add(ret, at, m->data[i][0] - at, false);
    extents_add(ret, m->data[i][0], m->data[i][1], true);
    at = m->data[i][0] + m->data[i][1];
  }
  extents_add(ret, at, s->size_bytes - at, false);
  return 0;
}

static int ms_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                   struct err *err)
{
  (void)lane, (void)err;
  struct memory_source *m = (struct memory_source *)s;
  memcpy(into, m->bytes + offset, length);
  atomic_fetch_add(&m->reads, 1);
  atomic_fetch_add(&m->read_bytes, length);
  return 0;
}

static void ms_free(struct source *s)
{
  struct memory_source *m = (struct memory_source *)s;
  free(m->bytes);
  free(m);
}

static const struct source_ops ms_ops = {
    .name = "memory", .extents = ms_extents, .read = ms_read, .free = ms_free};

struct memory_source *memory_source_new(uint64_t size_bytes, const uint64_t (*data)[2])
{
  struct memory_source *m = calloc(1, sizeof(*m));
  assert_non_null(m);
  m->source = (struct source){.ops = &ms_ops, .size_bytes = size_bytes, .exact_map = true};
  m->bytes = calloc(size_bytes + 1, 1);
  assert_non_null(m->bytes);
  m->data = data;
  for (size_t i = 0; data && data[i][1]; i++)
    help_fill(m->bytes + data[i][0], data[i][1], i + 1);
  return m;
}

// ---- target ---------------------------------------------------------------------------------

static int mt_begin(struct target *t, uint64_t size_bytes, const struct extents *e, struct err *err)
{
  (void)t, (void)size_bytes, (void)e, (void)err;
  return 0;
}

static int hang(struct memory_target *m, struct err *err)
{
  LOCK_FOR_SCOPE(&m->lock);
  atomic_fetch_add(&m->hanging, 1);
  while (!m->interrupted)
    pthread_cond_wait(&m->changed, &m->lock);
  return err_set(err, ERR_UNREACHABLE, "the hanging target was interrupted");
}

static int mt_write(struct target *t, void *lane, const void *from, size_t length, uint64_t offset,
                    struct err *err)
{
  (void)lane;
  struct memory_target *m = (struct memory_target *)t;
  if (m->hang)
    return hang(m, err);
  if (m->fail_at && offset + length > m->fail_at)
    return err_set(err, ERR_NO_SPACE, "the memory target is full");
  memcpy(m->bytes + offset, from, length);
  atomic_fetch_add(&m->written_bytes, length);
  return 0;
}

static int mt_zero(struct target *t, void *lane, uint64_t length, uint64_t offset, struct err *err)
{
  (void)lane, (void)err;
  struct memory_target *m = (struct memory_target *)t;
  memset(m->bytes + offset, 0, length);
  atomic_fetch_add(&m->zeroed_bytes, length);
  return 0;
}

static int mt_finish(struct target *t, struct err *err)
{
  (void)err;
  ((struct memory_target *)t)->finished = true;
  return 0;
}

static int mt_reopen(struct target *t, struct source **ret, struct err *err)
{
  (void)err;
  const struct memory_target *m = (const struct memory_target *)t;
  static uint64_t whole[2][2];
  struct memory_source *s = memory_source_new(t->size_bytes, NULL);
  whole[0][1] = t->size_bytes;
  s->data = whole;
  memcpy(s->bytes, m->bytes, t->size_bytes);
  if (m->damage_at)
    s->bytes[m->damage_at] ^= 0x40;
  *ret = &s->source;
  return 0;
}

static void mt_interrupt(struct target *t)
{
  struct memory_target *m = (struct memory_target *)t;
  LOCK_FOR_SCOPE(&m->lock);
  m->interrupted = true;
  pthread_cond_broadcast(&m->changed);
}

static void mt_free(struct target *t)
{
  struct memory_target *m = (struct memory_target *)t;
  pthread_mutex_destroy(&m->lock);
  pthread_cond_destroy(&m->changed);
  free(m->bytes);
  free(m);
}

static const struct target_ops mt_ops = {.name = "memory",
                                         .begin = mt_begin,
                                         .write = mt_write,
                                         .zero = mt_zero,
                                         .finish = mt_finish,
                                         .reopen = mt_reopen,
                                         .interrupt = mt_interrupt,
                                         .free = mt_free};

struct memory_target *memory_target_new(uint64_t size_bytes)
{
  struct memory_target *m = calloc(1, sizeof(*m));
  assert_non_null(m);
  m->target = (struct target){.ops = &mt_ops, .size_bytes = size_bytes};
  m->bytes = malloc(size_bytes);
  assert_non_null(m->bytes);
  memset(m->bytes, 0xee, size_bytes); // what was there before
  pthread_mutex_init(&m->lock, NULL);
  pthread_cond_init(&m->changed, NULL);
  return m;
}

// ---- writer ---------------------------------------------------------------------------------

static int mw_begin(struct object_writer *w, uint64_t size_bytes, struct err *err)
{
  (void)err;
  struct memory_writer *m = (struct memory_writer *)w;
  m->bytes = calloc(size_bytes + 1, 1);
  m->length = size_bytes;
  return 0;
}

static int mw_read_body(struct memory_writer *m, uint64_t offset, const struct object_body *body,
                        struct err *err)
{
  size_t step = m->step ? m->step : body->length;
  for (uint64_t at = 0; at < body->length;) {
    size_t n = body->length - at < step ? (size_t)(body->length - at) : step;
    if (object_body_read(body, at, m->bytes + offset + at, n, err) != 0)
      return -1;
    at += n;
    if (m->restart_at_mib && at >= (uint64_t)m->restart_at_mib * MIB) {
      m->restart_at_mib = 0;
      memset(m->bytes + offset, 0xdd, at);
      at = 0;
    }
  }
  return 0;
}

// As an HTTP PUT takes it: piece by piece until it ends.
static int mw_read_open(struct memory_writer *m, const struct object_body *body, struct err *err)
{
  size_t step = m->step ? m->step : MIB, n = 1;
  for (uint64_t at = 0; n; at += n) {
    if (body->read_some(body->arg, at, m->bytes + at, step, &n, err) != 0)
      return -1;
    m->length = at + n;
    if (m->restart_at_mib && at + n >= (uint64_t)m->restart_at_mib * MIB) {
      m->restart_at_mib = 0;
      memset(m->bytes, 0xdd, at + n);
      at = n = 0;
      if (body->read_some(body->arg, 0, m->bytes, step, &n, err) != 0)
        return -1;
    }
  }
  return 0;
}

static int mw_lane_open(struct object_writer *w, void **ret_lane, struct err *err)
{
  (void)ret_lane, (void)err;
  atomic_fetch_add(&((struct memory_writer *)w)->lanes, 1);
  return 0;
}

static int mw_write_part(struct object_writer *w, void *lane, uint32_t number, uint64_t offset,
                         const struct object_body *body, struct err *err)
{
  (void)lane;
  struct memory_writer *m = (struct memory_writer *)w;
  while (m->hang && !atomic_load(&m->interrupted))
    atomic_store(&m->hanging, true);
  if (m->hang)
    return err_set(err, ERR_UNREACHABLE, "the hanging writer was interrupted");
  atomic_fetch_add(&m->parts, 1);
  atomic_store(&m->last_part, number);
  uint64_t largest = atomic_load(&m->largest_part);
  while (body->length > largest &&
         !atomic_compare_exchange_weak(&m->largest_part, &largest, body->length))
    ;
  if (body->length == OBJECT_LENGTH_OPEN)
    return mw_read_open(m, body, err);
  __atomic_store_n(&m->was_in_memory, body->bytes != NULL, __ATOMIC_RELAXED);
  return mw_read_body(m, offset, body, err);
}

static int mw_commit(struct object_writer *w, struct err *err)
{
  (void)err;
  ((struct memory_writer *)w)->length = w->size_bytes;
  ((struct memory_writer *)w)->committed = true;
  return 0;
}

static int mw_abort(struct object_writer *w, struct err *err)
{
  (void)w, (void)err;
  return 0;
}

static void mw_interrupt(struct object_writer *w)
{
  atomic_store(&((struct memory_writer *)w)->interrupted, true);
}

static void mw_free(struct object_writer *w)
{
  struct memory_writer *m = (struct memory_writer *)w;
  free(m->bytes);
  free(m);
}

static const struct object_writer_ops mw_ops = {.name = "memory",
                                                .begin = mw_begin,
                                                .lane_open = mw_lane_open,
                                                .write_part = mw_write_part,
                                                .commit = mw_commit,
                                                .abort = mw_abort,
                                                .interrupt = mw_interrupt,
                                                .free = mw_free};

struct memory_writer *memory_writer_new(void)
{
  struct memory_writer *m = calloc(1, sizeof(*m));
  assert_non_null(m);
  m->writer.ops = &mw_ops;
  m->writer.any_length = true;
  return m;
}

// ---- copies ---------------------------------------------------------------------------------

void help_copy(struct source *s, struct object_writer *w, const struct copy_options *o,
               struct copy_result *ret)
{
  struct err err = ERR_INIT;
  struct tally tally = {0};
  struct copy_job job = {.source = s, .object = w, .options = *o};
  if (copy_run(&job, &tally, ret, &err) != 0)
    fail_msg("%s", err.message);
}

void help_copy_to_file(struct source *s, const char *path, const struct copy_options *o,
                       struct copy_result *ret)
{
  struct err err = ERR_INIT;
  struct object_writer *w;
  assert_int_equal(object_writer_file(path, "unit/test", true, &w, &err), 0);
  help_copy(s, w, o, ret);
  object_writer_free(w);
}

void help_copy_refused(struct source *s, struct object_writer *w, const struct copy_options *o,
                       enum err_kind kind, ...)
{
  struct copy_job job = {.source = s, .object = w, .options = *o};
  struct copy_result r;
  struct tally tally = {0};
  struct err err = ERR_INIT;
  assert_int_equal(copy_run(&job, &tally, &r, &err), -1);
  assert_int_equal(err.kind, kind);
  va_list words;
  va_start(words, kind);
  for (const char *word; (word = va_arg(words, const char *));)
    if (!strstr(err.message, word))
      fail_msg("'%s' is not in '%s'", word, err.message);
  va_end(words);
}

void help_same_in_parts(const struct copy_options *o, bool exact_map, bool first_is_last)
{
  static const uint64_t data[][2] = {{0, 25 * MIB}, {90 * MIB, 9 * MIB}, {0, 0}};
  static const struct {
    uint64_t part_min_bytes;
    uint32_t parts;
    int lanes;
  } rows[] = {{5 * MIB, 3, 1}, {5 * MIB, 3, 7}, {24 * MIB, 2, 4}, {0, 3, 4}};
  struct memory_source *m = memory_source_new(130 * MIB, data);
  const char *path = help_path("parts");
  struct copy_result r, again;
  m->source.exact_map = exact_map;
  help_copy_to_file(&m->source, path, o, &r);
  size_t length;
  uint8_t *bytes = help_read_file(path, &length);
  assert_int_equal(length, r.stored_bytes);
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct memory_writer *w = memory_writer_new();
    struct copy_options with = *o;
    with.lanes = rows[i].lanes;
    w->writer.part_min_bytes = rows[i].part_min_bytes;
    w->writer.parts_max = 10000;
    help_copy(&m->source, &w->writer, &with, &again);
    assert_int_equal(w->length, length);
    assert_memory_equal(w->bytes, bytes, length);
    assert_string_equal(again.object_sha256, r.object_sha256);
    assert_true(w->parts >= rows[i].parts);
    assert_int_equal(w->last_part == 0, first_is_last);
    copy_result_release(&again);
    object_writer_free(&w->writer);
  }
  copy_result_release(&r);
  free(bytes);
  source_free(&m->source);
}
