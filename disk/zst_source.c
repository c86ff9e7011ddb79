// SPDX-License-Identifier: Apache-2.0
// Guest content of a raw.zst image (zst_internal.h). The seek table says where each frame lies and
// what it holds; a lane fetches a frame whole and decompresses it. Frames of zeros are known by
// their bytes, where there are many of them, and are not read again.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "disk/copy.h"
#include "disk/image_internal.h"
#include "disk/probe_internal.h"
#include "disk/zst_internal.h"

#define TABLE_STEP_BYTES (1u << 20)
#define ZERO_RUN_MIN     8 // shorter runs are not worth a request of their own

// ---- lanes ----------------------------------------------------------------------------------

struct zst_source {
  struct source source;
  struct object_reader *reader;
  struct zst_table table;
};

struct zst_lane {
  void *reader_lane;
  ZSTD_DCtx *zstd;
  uint8_t *stored; // a frame as it is stored
  size_t stored_room;
  uint8_t *plain; // the frame that was read last in pieces
  size_t plain_room;
  const struct zst_frame *cached; // what is in plain, or NULL
};

static void zst_lane_close(struct source *base, void *lane)
{
  struct zst_lane *l = lane;
  if (l->reader_lane)
    object_lane_close(((struct zst_source *)base)->reader, l->reader_lane);
  ZSTD_freeDCtx(l->zstd);
  free(l->stored);
  free(l->plain);
  free(l);
}

static int zst_lane_open(struct source *base, void **ret_lane, struct err *err)
{
  struct zst_lane *l = calloc(1, sizeof(*l));
  if (!l)
    return err_set(err, ERR_NO_MEMORY, "no memory for a lane");
  l->zstd = ZSTD_createDCtx();
  int failed = l->zstd ? object_lane_open(((struct zst_source *)base)->reader, &l->reader_lane, err)
                       : err_set(err, ERR_NO_MEMORY, "no memory for a decompressor");
  if (failed) {
    zst_lane_close(base, l);
    return -1;
  }
  *ret_lane = l;
  return 0;
}

static int make_room(uint8_t **room, size_t *have, size_t want, struct err *err)
{
  if (*have >= want)
    return 0;
  free(*room);
  *room = malloc(want);
  *have = *room ? want : 0;
  return *room ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a frame");
}

static size_t frame_stored(const struct zst_frame *f)
{
  return (size_t)(f[1].stored_at - f->stored_at);
}

static size_t frame_holds(const struct zst_frame *f)
{
  return (size_t)(f[1].disk_at - f->disk_at);
}

static int decompress(struct zst_source *s, struct zst_lane *l, const struct zst_frame *f,
                      uint8_t *into, struct err *err)
{
  size_t stored = frame_stored(f), holds = frame_holds(f);
  if (make_room(&l->stored, &l->stored_room, stored, err) != 0 ||
      object_read(s->reader, l->reader_lane, l->stored, stored, f->stored_at, err) != 0)
    return -1;
  size_t n = ZSTD_decompressDCtx(l->zstd, into, holds, l->stored, stored);
  if (ZSTD_isError(n))
    return err_set(err, ERR_CORRUPT,
                   "the image is damaged at offset %" PRIu64 " (offset %" PRIu64
                   " of the disk): %s",
                   f->stored_at, f->disk_at, ZSTD_getErrorName(n));
  if (n != holds)
    return err_set(err, ERR_CORRUPT,
                   "the image is damaged at offset %" PRIu64 ": a frame holds %zu bytes, its table "
                   "says %zu",
                   f->stored_at, n, holds);
  return 0;
}

// The last frame that begins at or before an offset.
static const struct zst_frame *frame_at(const struct zst_table *t, uint64_t offset)
{
  uint32_t low = 0, high = t->count;
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    if (t->frames[middle].disk_at <= offset)
      low = middle;
    else
      high = middle;
  }
  return &t->frames[low];
}

// What the map calls zeros is never asked for; here is what zstd makes of it.
static int check_map(const struct zst_table *t, const struct zst_frame *f, const uint8_t *plain,
                     struct err *err)
{
  if (!t->blocks || frame_holds(f) > COPY_CHUNK_BYTES)
    return 0;
  for (size_t at = 0; at < frame_holds(f); at += BLOCK_BYTES) {
    size_t left = frame_holds(f) - at, n = left < BLOCK_BYTES ? left : BLOCK_BYTES;
    bool is_data = t->blocks[f - t->frames] >> at / BLOCK_BYTES & 1;
    if (!is_data && (plain[at] || memcmp(plain + at, plain + at + 1, n - 1) != 0))
      return err_set(err, ERR_CORRUPT,
                     "the image is damaged: its map of blocks has no data at offset %" PRIu64
                     " of the disk, but there is some",
                     f->disk_at + at);
  }
  return 0;
}

static int cache(struct zst_source *s, struct zst_lane *l, const struct zst_frame *f,
                 struct err *err)
{
  if (l->cached == f)
    return 0;
  l->cached = NULL;
  if (make_room(&l->plain, &l->plain_room, frame_holds(f), err) != 0 ||
      decompress(s, l, f, l->plain, err) != 0)
    return -1;
  if (check_map(&s->table, f, l->plain, err) != 0)
    return -1;
  l->cached = f;
  return 0;
}

static int zst_read(struct source *base, void *lane, void *into, size_t length, uint64_t offset,
                    struct err *err)
{
  struct zst_source *s = (struct zst_source *)base;
  struct zst_lane *l = lane;
  uint8_t *to = into;
  while (length) {
    const struct zst_frame *f = frame_at(&s->table, offset);
    size_t skip = (size_t)(offset - f->disk_at), left = frame_holds(f) - skip;
    size_t n = left < length ? left : length;
    if (n == frame_holds(f)) {
      if (decompress(s, l, f, to, err) != 0)
        return -1;
    } else {
      if (cache(s, l, f, err) != 0)
        return -1;
      memcpy(to, l->plain + skip, n);
    }
    to += n;
    offset += n;
    length -= n;
  }
  return 0;
}

// ---- zeros ----------------------------------------------------------------------------------

struct zero_frame {
  uint8_t bytes[ZST_ZERO_FRAME_BYTES];
  size_t length;
};

static bool may_be_zeros(const struct zst_frame *f, const struct zero_frame *z)
{
  return frame_holds(f) == COPY_CHUNK_BYTES && frame_stored(f) == z->length;
}

// Frames from `first` on that look like zeros by their lengths.
static uint32_t run_length(const struct zst_table *t, uint32_t first, const struct zero_frame *z)
{
  uint32_t n = 0;
  while (first + n < t->count && may_be_zeros(&t->frames[first + n], z))
    n++;
  return n;
}

static int add(struct extents *map, const struct zst_frame *f, bool is_data, struct err *err)
{
  if (frame_holds(f) && extents_add(map, f->disk_at, frame_holds(f), is_data) != 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  return 0;
}

// A frame with data: where the map of blocks is known, only those that hold some.
static int add_data(const struct zst_table *t, const struct zst_frame *f, struct extents *map,
                    struct err *err)
{
  uint64_t blocks = t->blocks ? t->blocks[f - t->frames] : UINT64_MAX;
  size_t holds = frame_holds(f);
  if (blocks == UINT64_MAX || holds > COPY_CHUNK_BYTES)
    return add(map, f, true, err);
  for (size_t at = 0; at < holds; at += BLOCK_BYTES) {
    size_t n = holds - at < BLOCK_BYTES ? holds - at : BLOCK_BYTES;
    if (extents_add(map, f->disk_at + at, n, blocks >> at / BLOCK_BYTES & 1) != 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  }
  return 0;
}

static int add_run(const struct probe *p, const struct zst_frame *f, uint32_t count,
                   const struct zero_frame *z, struct extents *map, struct err *err)
{
  uint32_t a_step = (uint32_t)(TABLE_STEP_BYTES / z->length);
  cleanup_free uint8_t *step = malloc(TABLE_STEP_BYTES);
  if (!step)
    return err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  for (uint32_t done = 0; done < count; done += a_step) {
    uint32_t n = count - done < a_step ? count - done : a_step;
    if (probe_read(p, step, n * z->length, f[done].stored_at, err) != 0)
      return -1;
    for (uint32_t i = 0; i < n; i++) {
      bool is_data = memcmp(step + i * z->length, z->bytes, z->length) != 0;
      if (add(map, &f[done + i], is_data, err) != 0)
        return -1;
    }
  }
  return 0;
}

static int add_frames(struct zst_source *s, const struct probe *p, struct extents *map,
                      struct err *err)
{
  struct zero_frame z;
  z.length = zst_zero_frame(COPY_CHUNK_BYTES, z.bytes);
  for (uint32_t i = 0; i < s->table.count;) {
    const struct zst_frame *f = &s->table.frames[i];
    uint32_t run = run_length(&s->table, i, &z);
    int failed =
        run >= ZERO_RUN_MIN ? add_run(p, f, run, &z, map, err) : add_data(&s->table, f, map, err);
    if (failed)
      return -1;
    i += run >= ZERO_RUN_MIN ? run : 1;
  }
  return 0;
}

static int zst_extents(struct source *base, struct extents *ret, struct err *err)
{
  struct zst_source *s = (struct zst_source *)base;
  struct probe p = {.reader = s->reader};
  if (object_lane_open(s->reader, &p.lane, err) != 0)
    return -1;
  int failed = add_frames(s, &p, ret, err);
  object_lane_close(s->reader, p.lane);
  return failed;
}

// ---- life -----------------------------------------------------------------------------------

static void zst_interrupt(struct source *base)
{
  object_interrupt(((struct zst_source *)base)->reader);
}

static void zst_free(struct source *base)
{
  struct zst_source *s = (struct zst_source *)base;
  object_reader_free(s->reader);
  zst_table_release(&s->table);
  free(s);
}

static const struct source_ops zst_ops = {.name = "raw.zst",
                                          .extents = zst_extents,
                                          .lane_open = zst_lane_open,
                                          .lane_close = zst_lane_close,
                                          .read = zst_read,
                                          .interrupt = zst_interrupt,
                                          .free = zst_free};

// The largest frame, stored and plain, and what zstd wants for itself.
static size_t lane_bytes(const struct zst_table *t)
{
  uint64_t stored = 0, plain = 0;
  for (uint32_t i = 0; i < t->count; i++) {
    uint64_t n = t->frames[i + 1].stored_at - t->frames[i].stored_at;
    stored = n > stored ? n : stored;
    n = frame_holds(&t->frames[i]);
    plain = n > plain ? n : plain;
  }
  return (size_t)(stored + plain + (1u << 20));
}

static int setup(struct zst_source *s, struct err *err)
{
  struct image_info info = {0};
  struct probe p = {.reader = s->reader, .info = &info};
  if (object_lane_open(s->reader, &p.lane, err) != 0)
    return -1;
  int failed = zst_table_read(&p, &s->table, err);
  object_lane_close(s->reader, p.lane);
  s->source.size_bytes = info.size_bytes;
  return failed;
}

int source_open_raw_zst(struct object_reader *r, struct source **ret, struct err *err)
{
  struct zst_source *s = calloc(1, sizeof(*s));
  if (!s) {
    object_reader_free(r);
    return err_set(err, ERR_NO_MEMORY, "no memory");
  }
  s->source = (struct source){.ops = &zst_ops, .exact_map = true};
  snprintf(s->source.identity, sizeof(s->source.identity), "%s", r->identity);
  s->source.round_trip_ms = r->round_trip_ms;
  s->reader = r;
  if (setup(s, err) != 0) {
    zst_free(&s->source);
    return -1;
  }
  s->source.lane_bytes = lane_bytes(&s->table);
  *ret = &s->source;
  return 0;
}
