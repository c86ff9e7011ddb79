// SPDX-License-Identifier: Apache-2.0
// Copies that are killed and go on: at each step, at random moments, around the renaming of the
// file, with a damaged checkpoint, with another source, after a restart of the host.
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "disk/file_target_internal.h"
#include "tests/unit/disk/help.h"

static const uint64_t mixed[][2] = {
    {0, 3 * MIB}, {10 * MIB, 65536}, {17 * MIB, 30 * MIB}, {60 * MIB, 3 * MIB}, {0, 0}};
#define DISK_BYTES (64 * MIB + 512)
#define READS      14 // more than the disk takes

// Without an argument of the program only some of all kills and setups are tried.
static bool thorough;

static struct err err;
static char warnings[4096];

static void take_warning(void *arg, const char *text)
{
  (void)arg;
  size_t n = strlen(warnings);
  snprintf(warnings + n, sizeof(warnings) - n, "%s\n", text);
}

// ---- a source that kills --------------------------------------------------------------------

static struct source_ops killing_ops;
static int (*real_read)(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                        struct err *e);
static _Atomic int reads_left; // 0: never

static int killing_read(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                        struct err *e)
{
  if (atomic_fetch_sub(&reads_left, 1) == 1)
    raise(SIGKILL);
  return real_read(s, lane, into, length, offset, e);
}

static struct memory_source *new_source(bool tells)
{
  struct memory_source *s = memory_source_new(DISK_BYTES, mixed);
  memset(s->bytes + 20 * MIB, 0, 5 * MIB); // zeros inside data
  real_read = s->source.ops->read;
  killing_ops = *s->source.ops;
  killing_ops.read = killing_read;
  s->source.ops = &killing_ops;
  s->source.tells_changes = tells;
  snprintf(s->source.identity, sizeof(s->source.identity), "memory:1");
  atomic_store(&reads_left, 0);
  return s;
}

// ---- a file that kills when it is complete --------------------------------------------------

enum end { END_NONE, END_BEFORE_SEAL, END_AFTER_SEAL, END_BEFORE_COMMIT, END_AFTER_COMMIT };

static enum end killing_end;
static const struct object_writer_ops *real_writer;
static struct object_writer_ops killing_writer;

static void at(enum end end)
{
  if (killing_end == end)
    raise(SIGKILL);
}

static int killing_seal(struct object_writer *w, struct err *e)
{
  at(END_BEFORE_SEAL);
  int rc = real_writer->seal(w, e);
  at(END_AFTER_SEAL);
  return rc;
}

static int killing_commit(struct object_writer *w, struct err *e)
{
  at(END_BEFORE_COMMIT);
  int rc = real_writer->commit(w, e);
  at(END_AFTER_COMMIT);
  return rc;
}

static void let_kill(struct object_writer *w)
{
  real_writer = w->ops;
  killing_writer = *w->ops;
  killing_writer.seal = killing_seal;
  killing_writer.commit = killing_commit;
  w->ops = &killing_writer;
}

// ---- one copy -------------------------------------------------------------------------------

struct setup {
  bool in_place; // a file target; else a file object
  int format;    // of the object
  int lanes;
  bool tells, no_sha;
  bool compress, guesses; // qcow2, head last: asked for; the source has no map
  uint32_t parts_max;     // so few that later parts are larger; 0 = any
};

static const struct setup setups[] = {
    {.in_place = true, .lanes = 1, .tells = true},
    {.in_place = true, .lanes = 4, .tells = true},
    {.in_place = true, .lanes = 3},
    {.format = DISK_FORMAT_RAW, .lanes = 1, .tells = true},
    {.format = DISK_FORMAT_RAW, .lanes = 4, .tells = true, .no_sha = true},
    {.format = DISK_FORMAT_RAW, .lanes = 2},
    {.format = DISK_FORMAT_QCOW2, .lanes = 4, .tells = true},
    {.format = DISK_FORMAT_QCOW2, .lanes = 16, .tells = true},
    {.format = DISK_FORMAT_QCOW2, .lanes = 1},
    {.format = DISK_FORMAT_RAW_ZST, .lanes = 1, .tells = true},
    {.format = DISK_FORMAT_RAW_ZST, .lanes = 4},
    {.format = DISK_FORMAT_RAW_ZST, .lanes = 2, .parts_max = 3},
    {.format = DISK_FORMAT_VMDK, .lanes = 4, .tells = true},
    {.format = DISK_FORMAT_QCOW2, .lanes = 1, .tells = true, .compress = true},
    {.format = DISK_FORMAT_QCOW2, .lanes = 4, .compress = true},
    {.format = DISK_FORMAT_QCOW2, .lanes = 3, .guesses = true},
};

static bool new_only; // what has the name already is an error

static int copy_once(const struct setup *u, struct source *s, struct copy_result *r,
                     struct tally *tally)
{
  struct target *t = NULL;
  struct object_writer *w = NULL;
  struct checkpoint *c = NULL;
  warnings[0] = '\0';
  err = (struct err)ERR_INIT;
  if (checkpoint_open(help_path("checkpoint"), &c, &err) != 0)
    return -1;
  int rc = u->in_place ? target_open_file(help_path("disk"), &t, &err)
                       : object_writer_file(help_path("object"), "o/w/n/er", !new_only, &w, &err);
  if (w && killing_end)
    let_kill(w);
  struct copy_job job = {.source = s,
                         .target = t,
                         .object = w,
                         .options = {.format = u->format,
                                     .compress = u->compress,
                                     .lanes = u->lanes,
                                     .object_sha256 = w && !u->no_sha},
                         .checkpoint = c,
                         .target_name = "there",
                         .warn = take_warning};
  *tally = (struct tally){0};
  s->exact_map = !u->guesses;
  if (w)
    w->parts_max = u->parts_max;
  if (rc == 0)
    rc = copy_run(&job, tally, r, &err);
  target_free(t);
  if (w)
    object_writer_free(w);
  if (rc == 0)
    checkpoint_remove(c, NULL);
  checkpoint_close(c);
  return rc;
}

static void make_disk(void)
{
  help_write_file(help_path("disk"), "old content", 11);
  assert_int_equal(truncate(help_path("disk"), DISK_BYTES), 0);
}

static void wipe(void)
{
  unlink(help_path("checkpoint"));
  unlink(help_path("disk"));
  unlink(help_path("object"));
  new_only = false;
  make_disk();
}

// In a process of its own, which the n-th read of the source kills; whether it came to the end.
static bool copy_killed(const struct setup *u, const struct memory_source *s, int n)
{
  pid_t pid = fork();
  if (pid == 0) {
    struct copy_result r;
    struct tally tally;
    atomic_store(&reads_left, n);
    int rc = copy_once(u, (struct source *)&s->source, &r, &tally);
    _exit(rc == 0 ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  assert_true(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL : WEXITSTATUS(status) == 0);
  return !WIFSIGNALED(status);
}

static bool is_head_last(const struct setup *u)
{
  return u->compress || u->guesses;
}

static void expect_disk(const struct setup *u, const struct memory_source *s,
                        const struct copy_result *r)
{
  const char *path = help_path(u->in_place ? "disk" : "object");
  const char *raw = path;
  size_t length;
  if (!u->in_place && (u->format == DISK_FORMAT_QCOW2 || u->format == DISK_FORMAT_VMDK)) {
    raw = help_path("again.raw");
    run_ok("qemu-img", "check", "-q", path);
    run_ok("qemu-img", "convert", "-O", "raw", path, raw);
  }
  if (!u->in_place && u->format == DISK_FORMAT_RAW_ZST) {
    raw = help_path("again.raw");
    run_ok("zstd", "-d", "-q", "-f", path, "-o", raw);
  }
  uint8_t *bytes = help_read_file(raw, &length);
  assert_true(length >= DISK_BYTES); // qcow2 rounds up
  assert_memory_equal(bytes, s->bytes, DISK_BYTES);
  free(bytes);
  struct copy_result whole;
  struct tally tally = {0};
  assert_int_equal(digest_source((struct source *)&s->source, 4, &tally, &whole, &err), 0);
  assert_string_equal(r->content_digest, whole.content_digest);
  copy_result_release(&whole);
  char *sum;
  if (u->in_place || u->no_sha || is_head_last(u))
    return;
  assert_int_equal(help_run(&sum, "sha256sum", path, (char *)NULL), 0);
  assert_memory_equal(sum, r->object_sha256, 64);
  free(sum);
}

static void finish(const struct setup *u, const struct memory_source *s, struct tally *tally)
{
  struct copy_result r;
  if (copy_once(u, (struct source *)&s->source, &r, tally) != 0)
    fail_msg("%s", err.message);
  expect_disk(u, s, &r);
  copy_result_release(&r);
  assert_int_equal(access(help_path("checkpoint"), F_OK), -1);
}

// ---- kills ----------------------------------------------------------------------------------

// What is finished is left out, and not read again.
static bool leaves_out(const struct setup *u)
{
  return u->tells && u->format != DISK_FORMAT_RAW_ZST && u->format != DISK_FORMAT_VMDK &&
         !is_head_last(u);
}

// Then samples of the source are read before anything is moved.
static int first_read(const struct setup *u)
{
  return leaves_out(u) ? 17 : 1;
}

static void killed_at_each_step(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(setups); i += thorough ? 1 : 2) {
    const struct setup *u = &setups[i];
    struct memory_source *s = new_source(u->tells);
    uint64_t kept = 0;
    int stride = thorough ? (u->lanes == 1 ? 1 : 3) : 5;
    for (int n = first_read(u); n <= first_read(u) + READS; n += stride) {
      struct tally tally;
      wipe();
      if (copy_killed(u, s, n))
        break;
      finish(u, s, &tally);
      kept = tally.resumed_bytes > kept ? tally.resumed_bytes : kept;
      assert_true(tally.resent_bytes <= 64 * MIB);
      assert_true(tally.transferred_bytes == tally.data_bytes);
    }
    if (u->lanes == 1)
      assert_true(kept >= (leaves_out(u) ? 24 : 8) * MIB);
    source_free(&s->source);
  }
}

// With one lane each life finishes some chunks more, and none of them twice.
static void killed_again_and_again(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(setups); i += thorough ? 1 : 3) {
    const struct setup *u = &setups[i];
    struct memory_source *s = new_source(u->tells);
    struct tally tally = {0};
    wipe();
    int lives = 1;
    while (lives < 30 && !copy_killed(u, s, first_read(u) + (leaves_out(u) ? 6 : READS / 2)))
      lives++;
    if (leaves_out(u) && u->lanes == 1)
      assert_in_range(lives, 2, 8);
    finish(u, s, &tally);
    source_free(&s->source);
  }
}

// The child says with a byte that it begins; then it is killed whenever it suits.
static void killed_at_random(void **state)
{
  (void)state;
  srandom((unsigned)getpid());
  for (int round = 0; round < 12; round++) {
    const struct setup *u = &setups[(size_t)random() % ARRAY_SIZE(setups)];
    struct memory_source *s = new_source(u->tells);
    struct tally tally;
    wipe();
    for (int kills = 0; kills < 3; kills++) {
      pid_t pid = fork();
      if (pid == 0) {
        struct copy_result r;
        _exit(copy_once(u, &s->source, &r, &tally) == 0 ? 0 : 1);
      }
      usleep((useconds_t)random() % 60000); // any moment will do
      kill(pid, SIGKILL);
      int status;
      assert_int_equal(waitpid(pid, &status, 0), pid);
      assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    }
    finish(u, s, &tally);
    source_free(&s->source);
  }
}

// ---- kills at the end -----------------------------------------------------------------------

static void kill_at_end(const struct setup *u, const struct memory_source *s, enum end end)
{
  wipe();
  new_only = true;
  killing_end = end;
  assert_false(copy_killed(u, s, 0));
  killing_end = END_NONE;
}

// From the last part on nothing is sent again, and the result is that of a copy that nobody killed.
static void killed_around_its_renaming(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(setups); i += thorough ? 1 : 2) {
    const struct setup *u = &setups[i];
    if (u->in_place)
      continue;
    struct memory_source *s = new_source(u->tells);
    // What is not read again is known by the same file; its other moments are those of the packed.
    for (enum end end = leaves_out(u) ? END_AFTER_COMMIT : END_BEFORE_SEAL; end <= END_AFTER_COMMIT;
         end++) {
      struct tally tally;
      kill_at_end(u, s, end);
      assert_int_equal(access(help_path("object"), F_OK), end == END_AFTER_COMMIT ? 0 : -1);
      finish(u, s, &tally);
      assert_int_equal(tally.resent_bytes, 0);
      // A chunk of zeros that its map calls data is in no part.
      assert_in_range(tally.resumed_bytes, tally.data_bytes - 4 * MIB, tally.data_bytes);
    }
    source_free(&s->source);
  }
}

static const struct setup packed = {.format = DISK_FORMAT_RAW_ZST, .lanes = 1};

// What stands under the name by now is somebody else's, or has been worked on.
static void a_finished_file_that_is_not_ours(void **state)
{
  (void)state;
  const struct setup raw = {.format = DISK_FORMAT_RAW, .lanes = 2, .tells = true};
  const struct setup *const both[] = {&packed, &raw};
  const struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
  for (int i = 0; i < 4; i++) {
    const struct setup *u = both[i / 2];
    struct memory_source *s = new_source(u->tells);
    struct copy_result r;
    struct tally tally;
    kill_at_end(u, s, END_AFTER_COMMIT);
    if (i % 2) {
      assert_int_equal(utimensat(AT_FDCWD, help_path("object"), times, 0), 0);
    } else {
      run_ok("cp", "-p", help_path("object"), help_path("copy"));
      run_ok("mv", help_path("copy"), help_path("object"));
    }
    assert_int_equal(copy_once(u, &s->source, &r, &tally), -1);
    assert_int_equal(err.kind, ERR_EXISTS);
    source_free(&s->source);
  }
}

// The file that was linked to its name and not yet unlinked from the temporary one.
static void killed_between_link_and_unlink(void **state)
{
  (void)state;
  struct memory_source *s = new_source(packed.tells);
  struct tally tally;
  char *part = object_part_path(help_path("object"), "o/w/n/er");
  kill_at_end(&packed, s, END_BEFORE_COMMIT);
  assert_int_equal(link(part, help_path("object")), 0);
  finish(&packed, s, &tally);
  assert_int_equal(tally.resumed_bytes, tally.data_bytes);
  assert_int_equal(access(part, F_OK), -1);
  free(part);
  source_free(&s->source);
}

static void a_finished_file_of_another_source(void **state)
{
  (void)state;
  struct memory_source *s = new_source(packed.tells);
  struct copy_result r;
  struct tally tally;
  kill_at_end(&packed, s, END_AFTER_COMMIT);
  s->bytes[61 * MIB] ^= 1;
  assert_int_equal(copy_once(&packed, &s->source, &r, &tally), -1);
  assert_int_equal(err.kind, ERR_CONFLICT);
  source_free(&s->source);
}

// ---- what must not be used ------------------------------------------------------------------

static const struct setup in_place = {.in_place = true, .lanes = 1, .tells = true};

static struct memory_source *half_done(const struct setup *u)
{
  struct memory_source *s = new_source(u->tells);
  wipe();
  assert_false(copy_killed(u, s, first_read(u) + 7));
  return s;
}

static void expect_not_used(const struct setup *u, struct memory_source *s, const char *why)
{
  struct tally tally;
  finish(u, s, &tally);
  assert_int_equal(tally.resumed_bytes, 0);
  if (!strstr(warnings, why))
    fail_msg("no '%s' in: %s", why, warnings);
  source_free(&s->source);
}

static void another_source(void **state)
{
  (void)state;
  for (int format = DISK_FORMAT_RAW; format <= DISK_FORMAT_QCOW2; format++) {
    const struct setup u = {.format = format, .lanes = 1, .tells = true};
    struct memory_source *other = half_done(&u);
    snprintf(other->source.identity, sizeof(other->source.identity), "memory:2");
    memset(other->bytes + MIB, 0, MIB); // must not shine through
    expect_not_used(&u, other, "another source");
  }
  struct memory_source *s = half_done(&in_place);
  snprintf(s->source.identity, sizeof(s->source.identity), "memory:2");
  s->bytes[MIB] ^= 1;
  expect_not_used(&in_place, s, "another source");
  s = half_done(&in_place); // the same name, and other content
  s->bytes[0] ^= 1;
  expect_not_used(&in_place, s, "the source has changed");
  s = half_done(&in_place);
  s->source.size_bytes -= 512;
  struct copy_result r;
  struct tally tally;
  assert_int_equal(copy_once(&in_place, &s->source, &r, &tally), 0);
  assert_non_null(strstr(warnings, "another size"));
  copy_result_release(&r);
  source_free(&s->source);
}

static void another_format(void **state)
{
  (void)state;
  const struct setup raw = {.format = DISK_FORMAT_RAW, .lanes = 1, .tells = true};
  const struct setup qcow2 = {.format = DISK_FORMAT_QCOW2, .lanes = 1, .tells = true};
  expect_not_used(&qcow2, half_done(&raw), "another format");
  const struct setup zstd = {
      .format = DISK_FORMAT_QCOW2, .lanes = 1, .tells = true, .compress = true};
  expect_not_used(&zstd, half_done(&qcow2), "another format");
}

static void what_was_begun_is_gone(void **state)
{
  (void)state;
  const struct setup u = {.format = DISK_FORMAT_RAW, .lanes = 1, .tells = true};
  struct memory_source *s = half_done(&u);
  char *part = object_part_path(help_path("object"), "o/w/n/er");
  size_t length;
  uint8_t *bytes = help_read_file(part, &length);
  memset(bytes, 0, length);
  assert_int_equal(unlink(part), 0); // and one of that name comes to be, with nothing in it
  help_write_file(part, bytes, length);
  expect_not_used(&u, s, "is gone");
  free(bytes);
  free(part);
}

static void another_target_of_that_name(void **state)
{
  (void)state;
  struct memory_source *s = half_done(&in_place);
  int fd = open(help_path("disk"), O_RDWR);
  assert_true(fd >= 0);
  assert_int_equal(ftruncate(fd, 0), 0); // the same file, and what was written is not in it
  assert_int_equal(ftruncate(fd, DISK_BYTES), 0);
  close(fd);
  expect_not_used(&in_place, s, "does not hold what was written");
}

// Between two lives chunks change that were finished, and one that was not.
static void a_source_that_does_not_tell(void **state)
{
  (void)state;
  for (size_t i = 0; i < ARRAY_SIZE(setups); i++) {
    const struct setup *u = &setups[i];
    if (u->tells)
      continue;
    struct memory_source *s = new_source(false);
    wipe();
    assert_false(copy_killed(u, s, 8));
    s->bytes[17] ^= 1;
    memset(s->bytes + 17 * MIB, 0, 2 * MIB);
    s->bytes[61 * MIB] ^= 1;
    struct tally tally;
    finish(u, s, &tally);
    assert_int_equal(s->read_bytes >= tally.data_bytes, 1);
    source_free(&s->source);
  }
}

// The first part comes out shorter, so what is behind it has the same bytes in another place.
static void parts_that_move(void **state)
{
  (void)state;
  struct memory_source *s = new_source(packed.tells);
  struct tally tally;
  wipe();
  assert_false(copy_killed(&packed, s, 10));
  memset(s->bytes + MIB, 1, 100000);
  finish(&packed, s, &tally);
  source_free(&s->source);
}

// ---- damage ---------------------------------------------------------------------------------

// The same checkpoint, cut and flipped here and there, and a copy with each.
static void copies_with_damaged_checkpoints(void **state)
{
  (void)state;
  for (int n = 0; n < 16; n++) {
    struct memory_source *s = half_done(&in_place);
    size_t length;
    uint8_t *bytes = help_read_file(help_path("checkpoint"), &length);
    size_t at = length * (size_t)(n / 2) / 8;
    bytes[at] ^= 0x10;
    help_write_file(help_path("checkpoint"), bytes, n % 2 ? length : at);
    assert_int_equal(chmod(help_path("checkpoint"), 0600), 0);
    struct tally tally;
    finish(&in_place, s, &tally);
    free(bytes);
    source_free(&s->source);
  }
}

int main(int argc, char **argv)
{
  (void)argv;
  thorough = argc > 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(killed_at_each_step),
      cmocka_unit_test(killed_again_and_again),
      cmocka_unit_test(killed_at_random),
      cmocka_unit_test(killed_around_its_renaming),
      cmocka_unit_test(a_finished_file_that_is_not_ours),
      cmocka_unit_test(killed_between_link_and_unlink),
      cmocka_unit_test(a_finished_file_of_another_source),
      cmocka_unit_test(another_source),
      cmocka_unit_test(another_format),
      cmocka_unit_test(what_was_begun_is_gone),
      cmocka_unit_test(another_target_of_that_name),
      cmocka_unit_test(a_source_that_does_not_tell),
      cmocka_unit_test(parts_that_move),
      cmocka_unit_test(copies_with_damaged_checkpoints),
  };
  return cmocka_run_group_tests(tests, NULL, help_cleanup);
}
