// SPDX-License-Identifier: Apache-2.0
// Source, object reader and target over an NBD hub.
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "disk/nbd_internal.h"

// Every server takes requests of this size; larger ones are cut (the protocol lets servers refuse
// more than 32 MiB).
#define REQUEST_BYTES (4u << 20)
#define ZERO_BYTES    (1ull << 30)
// A fresh raw file has a block of zeros at its start that QEMU wrote: still as good as empty.
#define NEARLY_EMPTY_BYTES (1u << 20)

static int pread_all(struct nbd_hub *h, struct nbd_handle *nbd, void *into, size_t length,
                     uint64_t offset, struct err *err)
{
  while (length) {
    size_t n = length < REQUEST_BYTES ? length : REQUEST_BYTES;
    if (nbd_pread(nbd, into, n, offset, 0) != 0)
      return nbd_hub_error(h, "read", err);
    into = (char *)into + n;
    offset += n;
    length -= n;
  }
  return 0;
}

static int export_size(struct nbd_hub *h, uint64_t *ret_bytes, struct err *err)
{
  struct nbd_lane *lane;
  if (nbd_hub_connect(h, false, &lane, err) != 0)
    return -1;
  int64_t size = nbd_get_size(lane->nbd);
  int failed = size < 0 ? nbd_hub_error(h, "size", err) : 0;
  nbd_hub_close(h, lane);
  *ret_bytes = (uint64_t)size;
  if (!failed && size > LIMIT_DISK_BYTES)
    return err_set(err, ERR_LIMIT, "%s: a disk of %" PRId64 " bytes is larger than the limit",
                   nbd_hub_name(h), size);
  return failed;
}

// ---- source ---------------------------------------------------------------------------------

struct nbd_source {
  struct source source;
  struct nbd_hub *hub;
};

static int source_lane(struct source *s, void **ret_lane, struct err *err)
{
  struct nbd_lane *lane;
  if (nbd_hub_connect(((struct nbd_source *)s)->hub, false, &lane, err) != 0)
    return -1;
  *ret_lane = lane;
  return 0;
}

static void source_lane_end(struct source *s, void *lane)
{
  nbd_hub_close(((struct nbd_source *)s)->hub, lane);
}

static int source_pread(struct source *s, void *lane, void *into, size_t length, uint64_t offset,
                        struct err *err)
{
  return pread_all(((struct nbd_source *)s)->hub, ((struct nbd_lane *)lane)->nbd, into, length,
                   offset, err);
}

static int source_map(struct source *s, struct extents *ret, struct err *err)
{
  return nbd_hub_extents(((struct nbd_source *)s)->hub, s->size_bytes, ret, &s->exact_map, err);
}

static void source_interrupted(struct source *s)
{
  nbd_hub_interrupt(((struct nbd_source *)s)->hub);
}

static void source_gone(struct source *s)
{
  nbd_hub_free(((struct nbd_source *)s)->hub);
  free(s);
}

static const struct source_ops source_ops = {.name = "nbd",
                                             .extents = source_map,
                                             .lane_open = source_lane,
                                             .lane_close = source_lane_end,
                                             .read = source_pread,
                                             .interrupt = source_interrupted,
                                             .free = source_gone};

int source_open_nbd(struct nbd_hub *h, struct source **ret, struct err *err)
{
  struct nbd_source *s = calloc(1, sizeof(*s));
  uint64_t size_bytes;
  if (!s || export_size(h, &size_bytes, err) != 0) {
    nbd_hub_free(h);
    if (!s)
      return err_set(err, ERR_NO_MEMORY, "no memory");
    free(s);
    return -1;
  }
  s->source = (struct source){.ops = &source_ops, .size_bytes = size_bytes, .exact_map = true};
  snprintf(s->source.identity, sizeof(s->source.identity), "nbd:%" PRIu64, size_bytes);
  s->hub = h;
  *ret = &s->source;
  return 0;
}

// ---- object reader --------------------------------------------------------------------------

struct nbd_reader {
  struct object_reader reader;
  struct nbd_hub *hub;
};

static int reader_lane(struct object_reader *r, void **ret_lane, struct err *err)
{
  struct nbd_lane *lane;
  if (nbd_hub_connect(((struct nbd_reader *)r)->hub, false, &lane, err) != 0)
    return -1;
  *ret_lane = lane;
  return 0;
}

static void reader_lane_end(struct object_reader *r, void *lane)
{
  nbd_hub_close(((struct nbd_reader *)r)->hub, lane);
}

static int reader_pread(struct object_reader *r, void *lane, void *into, size_t length,
                        uint64_t offset, struct err *err)
{
  return pread_all(((struct nbd_reader *)r)->hub, ((struct nbd_lane *)lane)->nbd, into, length,
                   offset, err);
}

static void reader_interrupted(struct object_reader *r)
{
  nbd_hub_interrupt(((struct nbd_reader *)r)->hub);
}

static void reader_gone(struct object_reader *r)
{
  nbd_hub_free(((struct nbd_reader *)r)->hub);
  free(r);
}

static const struct object_reader_ops reader_ops = {.name = "nbd",
                                                    .lane_open = reader_lane,
                                                    .lane_close = reader_lane_end,
                                                    .read = reader_pread,
                                                    .interrupt = reader_interrupted,
                                                    .free = reader_gone};

int object_reader_nbd(struct nbd_hub *h, const char *name, struct object_reader **ret,
                      struct err *err)
{
  struct nbd_reader *r = calloc(1, sizeof(*r));
  uint64_t size_bytes;
  if (!r || export_size(h, &size_bytes, err) != 0) {
    nbd_hub_free(h);
    if (!r)
      return err_set(err, ERR_NO_MEMORY, "no memory");
    free(r);
    return -1;
  }
  r->reader = (struct object_reader){.ops = &reader_ops, .size_bytes = size_bytes};
  snprintf(r->reader.identity, sizeof(r->reader.identity), "nbd:%" PRIu64 ":%.100s", size_bytes,
           name);
  r->hub = h;
  *ret = &r->reader;
  return 0;
}

const char *object_reader_nbd_socket(const struct object_reader *r)
{
  return r->ops == &reader_ops ? nbd_hub_socket(((const struct nbd_reader *)r)->hub) : NULL;
}

// ---- target ---------------------------------------------------------------------------------

struct nbd_target {
  struct target target;
  struct nbd_hub *hub;
  struct nbd_lane *first; // for flush; and for all lanes where the server's cache is per connection
  bool multi_conn, can_zero, can_flush;
  char earlier[TARGET_STATE_BYTES]; // to go on with
  char state[TARGET_STATE_BYTES];
};

static int target_flags(struct nbd_target *t, struct err *err)
{
  struct nbd_handle *nbd = t->first->nbd;
  if (nbd_is_read_only(nbd) == 1)
    return err_set(err, ERR_DENIED, "%s offers this disk for reading only", nbd_hub_name(t->hub));
  t->multi_conn = nbd_can_multi_conn(nbd) == 1;
  t->can_zero = nbd_can_zero(nbd) == 1;
  t->can_flush = nbd_can_flush(nbd) == 1;
  int64_t size = nbd_get_size(nbd);
  if (size < 0)
    return nbd_hub_error(t->hub, "size", err);
  t->target.size_bytes = (uint64_t)size;
  return 0;
}

static int target_lane(struct target *target, void **ret_lane, struct err *err)
{
  struct nbd_target *t = (struct nbd_target *)target;
  struct nbd_lane *lane = t->first;
  if (t->multi_conn && nbd_hub_connect(t->hub, false, &lane, err) != 0)
    return -1;
  *ret_lane = lane;
  return 0;
}

static void target_lane_end(struct target *target, void *lane)
{
  struct nbd_target *t = (struct nbd_target *)target;
  if (lane != t->first)
    nbd_hub_close(t->hub, lane);
}

static int pwrite_all(struct nbd_target *t, struct nbd_handle *nbd, const void *from, size_t length,
                      uint64_t offset, struct err *err)
{
  while (length) {
    size_t n = length < REQUEST_BYTES ? length : REQUEST_BYTES;
    if (nbd_pwrite(nbd, from, n, offset, 0) != 0)
      return nbd_hub_error(t->hub, "write", err);
    from = (const char *)from + n;
    offset += n;
    length -= n;
  }
  return 0;
}

// libnbd lets one call at a time use a handle: lanes may share one.
static int target_wrote(struct target *target, void *lane, const void *from, size_t length,
                        uint64_t offset, struct err *err)
{
  return pwrite_all((struct nbd_target *)target, ((struct nbd_lane *)lane)->nbd, from, length,
                    offset, err);
}

static int write_zeros(struct nbd_target *t, struct nbd_handle *nbd, uint64_t length,
                       uint64_t offset, struct err *err)
{
  cleanup_free char *zeros = calloc(1, REQUEST_BYTES);
  if (!zeros)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  for (uint64_t done = 0; done < length; done += REQUEST_BYTES) {
    uint64_t left = length - done;
    size_t n = left < REQUEST_BYTES ? (size_t)left : REQUEST_BYTES;
    if (pwrite_all(t, nbd, zeros, n, offset + done, err) != 0)
      return -1;
  }
  return 0;
}

static int target_zeroed(struct target *target, void *lane, uint64_t length, uint64_t offset,
                         struct err *err)
{
  struct nbd_target *t = (struct nbd_target *)target;
  struct nbd_handle *nbd = ((struct nbd_lane *)lane)->nbd;
  if (!t->can_zero)
    return write_zeros(t, nbd, length, offset, err);
  while (length) {
    uint64_t n = length < ZERO_BYTES ? length : ZERO_BYTES;
    if (nbd_zero(nbd, n, offset, 0) != 0)
      return nbd_hub_error(t->hub, "zero", err);
    offset += n;
    length -= n;
  }
  return 0;
}

static int zero_data(struct nbd_target *t, const struct extents *map, struct err *err)
{
  for (size_t i = 0; i < map->count; i++) {
    const struct extent *x = &map->items[i];
    if (x->data && target_zeroed(&t->target, t->first, x->length, x->offset, err) != 0)
      return -1;
  }
  return 0;
}

// A server says little of what it serves; the engine looks at samples of it.
static void identity_of(const struct nbd_target *t, char ret[TARGET_STATE_BYTES])
{
  snprintf(ret, TARGET_STATE_BYTES - 2, "nbd:%" PRIu64, t->target.size_bytes);
}

static int empty_target(struct target *target, struct err *err)
{
  struct nbd_target *t = (struct nbd_target *)target;
  struct extents map = {0};
  bool exact;
  if (nbd_hub_extents(t->hub, target->size_bytes, &map, &exact, err) != 0) {
    extents_release(&map);
    return -1;
  }
  int failed = 0;
  if (exact && extents_data_bytes(&map, 0, target->size_bytes) <= NEARLY_EMPTY_BYTES) {
    failed = zero_data(t, &map, err);
    target->zeroed = failed == 0;
  }
  extents_release(&map);
  return failed;
}

static int target_began(struct target *target, uint64_t size_bytes, const struct extents *e,
                        struct err *err)
{
  (void)e, (void)size_bytes;
  struct nbd_target *t = (struct nbd_target *)target;
  if (nbd_hub_connect(t->hub, false, &t->first, err) != 0 || target_flags(t, err) != 0)
    return -1;
  char identity[TARGET_STATE_BYTES];
  identity_of(t, identity);
  if (target_take_up(target, identity, t->earlier)) {
    snprintf(t->state, sizeof(t->state), "%s", t->earlier);
    return 0;
  }
  if (empty_target(target, err) != 0)
    return -1;
  target_state_text(identity, target->zeroed, t->state);
  return 0;
}

static void target_resumes(struct target *target, const char *state)
{
  struct nbd_target *t = (struct nbd_target *)target;
  snprintf(t->earlier, sizeof(t->earlier), "%s", state);
}

// Without a flush nobody knows what the server still holds in memory.
static const char *target_stated(struct target *target)
{
  const struct nbd_target *t = (const struct nbd_target *)target;
  return t->can_flush ? t->state : NULL;
}

// A flush covers what was written over the same connection, and over all others only where the
// server says so (NBD protocol, NBD_FLAG_CAN_MULTI_CONN); where it does not, there is only one.
static int target_flushed(struct target *target, void *lane, struct err *err)
{
  struct nbd_target *t = (struct nbd_target *)target;
  const struct nbd_lane *l = lane ? lane : t->first;
  if (t->can_flush && nbd_flush(l->nbd, 0) != 0)
    return nbd_hub_error(t->hub, "flush", err);
  return 0;
}

static int target_finished(struct target *target, struct err *err)
{
  struct nbd_target *t = (struct nbd_target *)target;
  if (t->can_flush && nbd_flush(t->first->nbd, 0) != 0)
    return nbd_hub_error(t->hub, "flush", err);
  return 0;
}

// Another source over the same hub, which stays the target's.
struct reopened {
  struct nbd_source source;
  struct source_ops ops;
};

static void reopened_gone(struct source *s)
{
  free(s);
}

static int target_reopened(struct target *target, struct source **ret, struct err *err)
{
  struct nbd_target *t = (struct nbd_target *)target;
  struct reopened *r = calloc(1, sizeof(*r));
  if (!r)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  r->ops = source_ops;
  r->ops.free = reopened_gone;
  r->source.source = (struct source){.ops = &r->ops, .size_bytes = target->size_bytes};
  r->source.hub = t->hub;
  *ret = &r->source.source;
  return 0;
}

static void target_interrupted(struct target *target)
{
  nbd_hub_interrupt(((struct nbd_target *)target)->hub);
}

static void target_gone(struct target *target)
{
  struct nbd_target *t = (struct nbd_target *)target;
  if (t->first)
    nbd_hub_close(t->hub, t->first);
  nbd_hub_free(t->hub);
  free(t);
}

static const struct target_ops target_ops = {.name = "nbd",
                                             .begin = target_began,
                                             .lane_open = target_lane,
                                             .lane_close = target_lane_end,
                                             .write = target_wrote,
                                             .zero = target_zeroed,
                                             .finish = target_finished,
                                             .reopen = target_reopened,
                                             .resume = target_resumes,
                                             .state = target_stated,
                                             .flush = target_flushed,
                                             .interrupt = target_interrupted,
                                             .free = target_gone};

int target_open_nbd(struct nbd_hub *h, struct target **ret, struct err *err)
{
  struct nbd_target *t = calloc(1, sizeof(*t));
  if (!t) {
    nbd_hub_free(h);
    return err_set(err, ERR_NO_MEMORY, "no memory");
  }
  t->target.ops = &target_ops;
  t->hub = h;
  *ret = &t->target;
  return 0;
}
