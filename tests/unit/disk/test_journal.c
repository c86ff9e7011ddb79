// SPDX-License-Identifier: Apache-2.0
// The file of a checkpoint: who may use it, damage at each place of it, what counts after a restart
// of the host; and the state of a SHA-256 that lies in it.
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "disk/checkpoint_internal.h"
#include "disk/sha_internal.h"
#include "tests/unit/disk/help.h"

#define UNITS 9

static struct err err;

// ---- who may use it -------------------------------------------------------------------------

static void only_one_at_a_time(void **state)
{
  (void)state;
  struct checkpoint *c, *other;
  unlink(help_path("checkpoint"));
  assert_int_equal(checkpoint_open(help_path("checkpoint"), &c, &err), 0);
  assert_int_equal(checkpoint_open(help_path("checkpoint"), &other, &err), -1);
  assert_int_equal(err.kind, ERR_BUSY);
  assert_int_equal(checkpoint_remove_path(help_path("checkpoint"), &err), -1);
  assert_int_equal(err.kind, ERR_BUSY);
  checkpoint_close(c);
  assert_int_equal(access(help_path("checkpoint"), F_OK), -1); // nothing was written to it
  assert_int_equal(checkpoint_remove_path(help_path("checkpoint"), &err), 0);
}

static void not_a_checkpoint(void **state)
{
  (void)state;
  struct checkpoint *c;
  const char *path = help_path("checkpoint");
  unlink(help_path("checkpoint"));
  help_write_file(path, "somebody's only copy of a disk", 30);
  assert_int_equal(chmod(path, 0600), 0);
  assert_int_equal(checkpoint_open(path, &c, &err), -1);
  assert_int_equal(err.kind, ERR_EXISTS);
  struct stat st;
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_size, 30);
  assert_int_equal(chmod(path, 0666), 0);
  assert_int_equal(checkpoint_open(path, &c, &err), -1);
  assert_int_equal(err.kind, ERR_DENIED);
  unlink(path);
  assert_int_equal(symlink(help_path("disk"), path), 0);
  assert_int_equal(checkpoint_open(path, &c, &err), -1);
  unlink(path);
  assert_int_equal(mkdir(path, 0700), 0);
  assert_int_equal(checkpoint_open(path, &c, &err), -1);
  rmdir(path);
}

// ---- damage ---------------------------------------------------------------------------------

struct said {
  uint8_t hash[UNITS][CHECKPOINT_HASH_BYTES];
  bool unit[64], chunk[UNITS];
  int units;
};

static int hear_unit(void *arg, uint64_t unit, uint64_t data_bytes, struct err *e)
{
  (void)data_bytes;
  struct said *s = arg;
  if (unit >= ARRAY_SIZE(s->unit))
    return err_set(e, ERR_CORRUPT, "unit");
  s->units += !s->unit[unit];
  s->unit[unit] = true;
  return 0;
}

static int hear_hash(void *arg, uint64_t chunk, const uint8_t *hash, struct err *e)
{
  struct said *s = arg;
  if (chunk >= ARRAY_SIZE(s->hash))
    return err_set(e, ERR_CORRUPT, "chunk");
  memcpy(s->hash[chunk], hash, CHECKPOINT_HASH_BYTES);
  s->chunk[chunk] = true;
  return 0;
}

static int hear_sha(void *arg, const uint8_t *sha, struct err *e)
{
  (void)arg, (void)sha, (void)e;
  return 0;
}

// What a checkpoint of these bytes says; -1: nothing.
static int listen_to(const uint8_t *bytes, size_t length, struct said *ret)
{
  const char *path = help_path("damaged");
  struct checkpoint *c;
  struct checkpoint_sink sink = {ret, hear_unit, hear_hash, hear_sha};
  *ret = (struct said){0};
  help_write_file(path, bytes, length);
  assert_int_equal(chmod(path, 0600), 0);
  if (checkpoint_open(path, &c, &err) != 0)
    return -1;
  int rc = checkpoint_found(c) ? checkpoint_load(c, &sink, &err) : -1;
  checkpoint_close(c);
  return rc == 0 ? ret->units : -1;
}

static void expect_part_of(const struct said *some, const struct said *all)
{
  for (size_t i = 0; i < ARRAY_SIZE(all->unit); i++)
    assert_true(!some->unit[i] || all->unit[i]);
  for (size_t i = 0; i < ARRAY_SIZE(all->hash); i++)
    if (some->chunk[i])
      assert_memory_equal(some->hash[i], all->hash[i], CHECKPOINT_HASH_BYTES);
}

// A checkpoint with UNITS units, each of one chunk with a hash; after each third a mark that covers
// all but the last. The bytes are yours.
static uint8_t *make_journal(size_t *ret_length)
{
  const char *path = help_path("checkpoint");
  char word[] = "word";
  struct checkpoint_subject subject = {1, 4 * MIB, word, word, word, word, word, .state = word};
  struct checkpoint_batch b = {0};
  struct checkpoint *c;
  uint8_t hash[CHECKPOINT_HASH_BYTES], sha[CHECKPOINT_SHA_BYTES] = {0};
  unlink(path);
  assert_int_equal(checkpoint_open(path, &c, &err), 0);
  assert_int_equal(checkpoint_start(c, &subject, &err), 0);
  for (uint64_t unit = 0; unit < UNITS; unit++) {
    help_fill(hash, sizeof(hash), unit);
    assert_int_equal(checkpoint_batch_unit(&b, unit, 1, 1, &err), 0);
    assert_int_equal(checkpoint_batch_hash(&b, unit, hash, &err), 0);
    uint64_t place = checkpoint_length(c);
    assert_int_equal(checkpoint_append(c, &b, unit % 2 ? sha : NULL, &err), 0);
    if (unit % 3 == 2)
      assert_int_equal(checkpoint_mark(c, place, &err), 0);
  }
  checkpoint_batch_release(&b);
  checkpoint_close(c);
  return help_read_file(path, ret_length);
}

static void cut_and_flipped_anywhere(void **state)
{
  (void)state;
  size_t length;
  uint8_t *bytes = make_journal(&length);
  struct said all, some;
  int units = listen_to(bytes, length, &all);
  assert_int_equal(units, UNITS);
  int before = -1;
  for (size_t n = 0; n < length; n++) {
    int now = listen_to(bytes, n, &some);
    expect_part_of(&some, &all);
    assert_true(now >= before && now <= units);
    before = now;
  }
  for (size_t n = 0; n < length; n++) {
    bytes[n] ^= (uint8_t)(1 << n % 8);
    int now = listen_to(bytes, length, &some);
    expect_part_of(&some, &all);
    assert_true(now <= units);
    bytes[n] ^= (uint8_t)(1 << n % 8);
  }
  free(bytes);
  unlink(help_path("damaged"));
}

// ---- after a restart of the host ------------------------------------------------------------

// Writes the frames again, as if another start of the host had written them.
static size_t of_another_boot(const uint8_t *from, size_t length, uint8_t *into)
{
  uint8_t sum[FRAME_SUM_BYTES] = {0};
  memcpy(into, from, FILE_HEAD_BYTES);
  size_t at = FILE_HEAD_BYTES;
  while (at + FRAME_HEAD_BYTES <= length) {
    uint32_t head[2];
    memcpy(head, from + at, sizeof(head));
    size_t whole = FRAME_HEAD_BYTES + le32toh(head[1]);
    memcpy(into + at, from + at, whole);
    if (le32toh(head[0]) == FRAME_BOOT)
      into[at + FRAME_HEAD_BYTES] ^= 1;
    checkpoint_sum(sum, into + at, whole, sum);
    memcpy(into + at + whole, sum, FRAME_SUM_BYTES);
    at += whole + FRAME_SUM_BYTES;
  }
  return at;
}

static void only_what_is_durable_counts_after_a_restart(void **state)
{
  (void)state;
  const char *path = help_path("checkpoint");
  struct checkpoint *c;
  struct said s;
  size_t length;
  uint8_t *bytes = make_journal(&length);
  uint8_t *other = malloc(length);
  assert_int_equal(listen_to(bytes, length, &s), 9);
  assert_int_equal(of_another_boot(bytes, length, other), length);
  assert_int_equal(listen_to(other, length, &s), 8); // the last mark does not cover the last unit
  assert_int_equal(listen_to(other, length - 30, &s), 5);
  // Going on cuts it there, and makes that durable: it counts after one more restart.
  help_write_file(path, other, length);
  assert_int_equal(chmod(path, 0600), 0);
  assert_int_equal(checkpoint_open(path, &c, &err), 0);
  assert_int_equal(checkpoint_resume(c, &err), 0);
  checkpoint_close(c);
  free(bytes);
  bytes = help_read_file(path, &length);
  assert_int_equal(of_another_boot(bytes, length, bytes), length);
  assert_int_equal(listen_to(bytes, length, &s), 8);
  free(bytes);
  free(other);
}

static void expect_state(const uint8_t *bytes, size_t length, const char *expected)
{
  const char *path = help_path("damaged");
  struct checkpoint *c;
  help_write_file(path, bytes, length);
  assert_int_equal(chmod(path, 0600), 0);
  assert_int_equal(checkpoint_open(path, &c, &err), 0);
  assert_non_null(checkpoint_found(c));
  assert_string_equal(checkpoint_found(c)->state, expected);
  checkpoint_close(c);
}

// The last state counts, and after a restart the last one that was made durable.
static void states_of_the_target(void **state)
{
  (void)state;
  static const struct {
    const char *state;
    bool durable;
    const char *after_restart;
  } rows[] = {{"one", false, "word"}, {"two", true, "two"}, {"three", false, "two"}};
  size_t length;
  free(make_journal(&length));
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
    struct checkpoint *c;
    assert_int_equal(checkpoint_open(help_path("checkpoint"), &c, &err), 0);
    assert_int_equal(checkpoint_resume(c, &err), 0);
    assert_int_equal(checkpoint_note_state(c, rows[i].state, rows[i].durable, &err), 0);
    checkpoint_close(c);
    uint8_t *bytes = help_read_file(help_path("checkpoint"), &length);
    expect_state(bytes, length, rows[i].state);
    assert_int_equal(of_another_boot(bytes, length, bytes), length);
    expect_state(bytes, length, rows[i].after_restart);
    free(bytes);
  }
}

// ---- the state of a SHA-256 -----------------------------------------------------------------

static void sha_states(void **state)
{
  (void)state;
  struct crew crew = {0};
  struct sha_turn *a, *b;
  uint8_t saved[SHA_STATE_BYTES];
  char one[65], two[65];
  assert_int_equal(sha_turn_new(&crew, &a, &err), 0);
  assert_int_equal(sha_turn_new(&crew, &b, &err), 0);
  sha_turn_add(a, 0, "some bytes", 10);
  sha_turn_pass(a);
  sha_turn_save(a, saved);
  sha_turn_add(a, 100, "more", 4); // while its turn is not over, the saved state stays
  sha_turn_pass(a);
  assert_true(sha_turn_load(b, saved));
  assert_true(sha_turn_over(b, 0));
  assert_false(sha_turn_over(b, 1));
  assert_int_equal(sha_turn_wait(b, 1, &err), 0);
  sha_turn_add(b, 100, "more", 4);
  sha_turn_pass(b);
  sha_turn_text(a, 104, one);
  sha_turn_text(b, 104, two);
  assert_string_equal(one, two);
  for (size_t i = 0; i < 128 * 8; i++) { // hostile ones must do no harm
    uint8_t wrong[SHA_STATE_BYTES];
    memcpy(wrong, saved, sizeof(wrong));
    wrong[i / 8] ^= (uint8_t)(1 << i % 8);
    if (sha_turn_load(b, wrong))
      sha_turn_add(b, 10, one, sizeof(one));
  }
  sha_turn_free(a);
  sha_turn_free(b);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(only_one_at_a_time),
      cmocka_unit_test(not_a_checkpoint),
      cmocka_unit_test(cut_and_flipped_anywhere),
      cmocka_unit_test(only_what_is_durable_counts_after_a_restart),
      cmocka_unit_test(states_of_the_target),
      cmocka_unit_test(sha_states),
  };
  return cmocka_run_group_tests(tests, NULL, help_cleanup);
}
