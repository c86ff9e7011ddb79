// SPDX-License-Identifier: Apache-2.0
// A checkpoint, as a file that somebody made: what it says, and going on with it. Unless the first
// byte is 0, the sums are made right first, so that what lies behind them is reached as well.
#include <fcntl.h>
#include <unistd.h>

#include "disk/checkpoint_internal.h"
#include "disk/crew_internal.h"
#include "disk/sha_internal.h"
#include "tests/fuzz/fuzz.h"

static char path[200];

static void make_sums(uint8_t *bytes, size_t size)
{
  uint8_t sum[FRAME_SUM_BYTES] = {0};
  for (size_t at = FILE_HEAD_BYTES; at + FRAME_HEAD_BYTES + FRAME_SUM_BYTES <= size;) {
    uint32_t length;
    memcpy(&length, bytes + at + 4, sizeof(length));
    if (length > size - at - FRAME_HEAD_BYTES - FRAME_SUM_BYTES)
      return;
    size_t whole = FRAME_HEAD_BYTES + length;
    checkpoint_sum(sum, bytes + at, whole, sum);
    memcpy(bytes + at + whole, sum, FRAME_SUM_BYTES);
    at += whole + FRAME_SUM_BYTES;
  }
}

static void put(const uint8_t *data, size_t size)
{
  char *bytes = fuzz_text(data + 1, size - 1);
  if (data[0])
    make_sums((uint8_t *)bytes, size - 1);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  MUST(fd >= 0 && write(fd, bytes, size - 1) == (ssize_t)size - 1);
  close(fd);
  free(bytes);
}

static int hear_unit(void *arg, uint64_t unit, uint64_t data_bytes, struct err *err)
{
  (void)data_bytes, (void)err;
  MUST(unit < CHECKPOINT_UNITS_MAX);
  ++*(uint64_t *)arg;
  return 0;
}

static int hear_hash(void *arg, uint64_t chunk, const uint8_t *hash, struct err *err)
{
  static uint8_t kept[CHECKPOINT_HASH_BYTES];
  (void)arg, (void)chunk, (void)err;
  memcpy(kept, hash, sizeof(kept));
  return 0;
}

// A state that is taken for one must do no harm when it is used.
static int hear_sha(void *arg, const uint8_t *state, struct err *err)
{
  static const struct crew crew;
  struct sha_turn *t;
  char text[65];
  (void)arg;
  MUST(sha_turn_new(&crew, &t, err) == 0);
  if (sha_turn_load(t, state))
    sha_turn_add(t, 0, "some more", 9);
  else
    sha_turn_text(t, 0, text);
  sha_turn_free(t);
  return 0;
}

// Units that it speaks of; -1: it cannot be loaded.
static int64_t load(struct checkpoint *c)
{
  uint64_t units = 0;
  struct err err = ERR_INIT;
  const struct checkpoint_sink sink = {&units, hear_unit, hear_hash, hear_sha};
  if (checkpoint_load(c, &sink, &err) == 0)
    return (int64_t)units;
  MUST(err.kind == ERR_CORRUPT && err.message[0]);
  return -1;
}

static void go_on(struct checkpoint *c)
{
  struct checkpoint_batch b = {0};
  struct err err = ERR_INIT;
  int64_t units = load(c);
  if (units < 0) {
    checkpoint_close(c);
    return;
  }
  MUST(checkpoint_resume(c, &err) == 0 && checkpoint_batch_unit(&b, 1, 2, 0, &err) == 0 &&
       checkpoint_append(c, &b, NULL, &err) == 0);
  checkpoint_batch_release(&b);
  checkpoint_close(c);
  MUST(checkpoint_open(path, &c, &err) == 0 && checkpoint_found(c) && !checkpoint_damage(c));
  MUST(load(c) == units + 1);
  checkpoint_close(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  const char *folder = getenv("DROVER_RUNTIME_DIR");
  struct checkpoint *c = NULL;
  struct err err = ERR_INIT;
  if (size < 1)
    return 0;
  snprintf(path, sizeof(path), "%s/checkpoint-%d", folder ? folder : "/tmp", (int)getpid());
  put(data, size);
  if (checkpoint_open(path, &c, &err) != 0) {
    MUST(err.message[0]);
  } else if (!checkpoint_found(c)) {
    checkpoint_close(c);
  } else {
    go_on(c);
  }
  unlink(path);
  return 0;
}
