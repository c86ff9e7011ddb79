// SPDX-License-Identifier: Apache-2.0
// Images in formats of QEMU. `qemu-img map` says where in which file the guest's bytes lie; plain
// ones are read there directly, by lanes, from the readers of the chain. What has no plain place
// (compressed clusters, vhdx) is read through a qemu-nbd. The map is made by the first call of
// extents(), so that an interrupt can end it.
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "disk/fd_internal.h"
#include "disk/image_internal.h"
#include "disk/nbd_internal.h"
#include "disk/nbd_serve_internal.h"
#include "disk/qemu_internal.h"

// 32 bytes each: 32 MiB. An image that is more fragmented is read through qemu-nbd as a whole.
#define PLACES_MAX (1u << 20)
// How far a cluster may reach beyond the end of a file of a format whose cluster size is not known.
#define SLACK_BYTES (1u << 20)

enum place_kind { PLACE_ZERO, PLACE_FILE, PLACE_QEMU };

struct place {
  uint64_t start, length, offset;
  uint16_t depth;
  uint16_t kind; // enum place_kind
};

struct image_source {
  struct source source;
  struct chain chain;
  struct nbd_server *servers[CHAIN_MAX]; // for readers that QEMU cannot open itself
  char *file_names[CHAIN_MAX];
  char *graph;
  struct place *places;
  size_t place_count, place_capacity;
  uint64_t mapped_to;
  bool mapped, too_fragmented, needs_qemu;
  struct nbd_hub *qemu; // when needs_qemu
  _Atomic bool stopped;
};

// ---- opening --------------------------------------------------------------------------------

// QEMU opens the very file that we have open and have looked at, whatever its name means by now.
static int local_node(struct image_source *s, size_t i, int fd, struct qemu_node *ret,
                      struct err *err)
{
  struct stat st;
  if (fstat(fd, &st) != 0)
    return err_set(err, ERR_IO, "stat of an open image failed");
  ret->block_device = S_ISBLK(st.st_mode);
  s->file_names[i] = str_printf("/proc/%d/fd/%d", (int)getpid(), fd);
  ret->file_name = s->file_names[i];
  return ret->file_name ? 0 : err_set(err, ERR_NO_MEMORY, "no memory");
}

static int make_node(struct image_source *s, size_t i, struct qemu_node *ret, struct err *err)
{
  struct object_reader *r = s->chain.readers[i];
  *ret = (struct qemu_node){.format = s->chain.formats[i]};
  int fd = object_reader_file_fd(r);
  if (fd >= 0)
    return local_node(s, i, fd, ret, err);
  ret->socket_path = object_reader_nbd_socket(r);
  if (ret->socket_path)
    return 0;
  if (nbd_server_start(r, &s->servers[i], err) != 0)
    return -1;
  ret->socket_path = nbd_server_socket(s->servers[i]);
  return 0;
}

static int make_graph(struct image_source *s, struct err *err)
{
  struct qemu_node nodes[CHAIN_MAX];
  for (size_t i = 0; i < s->chain.count; i++)
    if (make_node(s, i, &nodes[i], err) != 0)
      return -1;
  s->graph = qemu_graph(nodes, s->chain.count);
  return s->graph ? 0 : err_set(err, ERR_NO_MEMORY, "no memory");
}

static void image_interrupt(struct source *source)
{
  struct image_source *s = (struct image_source *)source;
  atomic_store(&s->stopped, true);
  for (size_t i = 0; i < s->chain.count; i++)
    object_interrupt(s->chain.readers[i]);
  struct nbd_hub *qemu = __atomic_load_n(&s->qemu, __ATOMIC_ACQUIRE);
  if (qemu)
    nbd_hub_interrupt(qemu);
}

static void image_free(struct source *source)
{
  struct image_source *s = (struct image_source *)source;
  if (s->qemu)
    nbd_hub_free(s->qemu);
  for (size_t i = 0; i < s->chain.count; i++) {
    nbd_server_free(s->servers[i]);
    free(s->file_names[i]);
  }
  chain_release(&s->chain);
  free(s->graph);
  free(s->places);
  free(s);
}

// ---- the map --------------------------------------------------------------------------------

static int grow_places(struct image_source *s, struct err *err)
{
  size_t capacity = s->place_capacity ? s->place_capacity * 2 : 256;
  struct place *places = reallocarray(s->places, capacity, sizeof(*places));
  if (!places)
    return err_set(err, ERR_NO_MEMORY, "no memory for the map of an image");
  s->places = places;
  s->place_capacity = capacity;
  return 0;
}

static bool continues(const struct place *last, const struct place *p)
{
  if (last->kind != p->kind || last->start + last->length != p->start)
    return false;
  return p->kind != PLACE_FILE ||
         (last->depth == p->depth && last->offset + last->length == p->offset);
}

// QEMU reads what lies beyond the end of a file as zeros; only the rest of the last cluster may.
static int check_place(const struct image_source *s, const struct qemu_extent *e, struct err *err)
{
  if ((size_t)e->depth >= s->chain.count)
    return err_set(err, ERR_PROTOCOL, "qemu-img map names an image that is not in the chain");
  if (!e->plain)
    return 0;
  uint64_t size = s->chain.readers[e->depth]->size_bytes;
  uint32_t cluster = s->chain.cluster_bytes[e->depth];
  uint64_t slack = s->chain.formats[e->depth] == DISK_FORMAT_RAW ? 512
                   : cluster                                     ? cluster
                                                                 : SLACK_BYTES;
  if (e->offset > UINT64_MAX - e->length || e->offset + e->length >= size + slack)
    return err_set(err, ERR_CORRUPT,
                   "the image is truncated: it has %" PRIu64 " bytes, but keeps data at %" PRIu64,
                   size, e->offset);
  return 0;
}

static int add_place(void *arg, const struct qemu_extent *e, struct err *err)
{
  struct image_source *s = arg;
  if (e->start != s->mapped_to || e->length == 0 || e->length > s->source.size_bytes - e->start)
    return err_set(err, ERR_PROTOCOL, "qemu-img map is not in order at %" PRIu64, e->start);
  if (check_place(s, e, err) != 0)
    return -1;
  s->mapped_to += e->length;
  enum place_kind kind = e->zero ? PLACE_ZERO : e->plain ? PLACE_FILE : PLACE_QEMU;
  struct place p = {.start = e->start, .length = e->length, .kind = (uint16_t)kind};
  if (kind == PLACE_FILE) {
    p.offset = e->offset;
    p.depth = (uint16_t)e->depth;
  }
  s->needs_qemu = s->needs_qemu || kind == PLACE_QEMU;
  struct place *last = s->place_count ? &s->places[s->place_count - 1] : NULL;
  if (s->place_count == PLACES_MAX) { // from here on the last place swallows everything
    s->too_fragmented = s->needs_qemu = true;
    last->kind = PLACE_QEMU;
  }
  if (last && (s->too_fragmented || continues(last, &p))) {
    last->length += p.length;
    return 0;
  }
  if (s->place_count == s->place_capacity && grow_places(s, err) != 0)
    return -1;
  s->places[s->place_count++] = p;
  return 0;
}

static int start_qemu(struct image_source *s, struct err *err)
{
  struct qemu_nbd *q;
  if (qemu_nbd_start(s->graph, &q, err) != 0)
    return -1;
  struct nbd_address a = {.socket_path = qemu_nbd_socket(q)};
  struct nbd_hub *hub;
  if (nbd_hub_new(&a, (struct nbd_keeper){qemu_nbd_free, q}, &hub, err) != 0)
    return -1;
  __atomic_store_n(&s->qemu, hub, __ATOMIC_RELEASE);
  return 0;
}

static int make_map(struct image_source *s, struct err *err)
{
  s->place_count = 0;
  s->mapped_to = 0;
  s->needs_qemu = s->too_fragmented = false;
  if (qemu_map(s->graph, add_place, s, &s->stopped, err) != 0)
    return -1;
  if (s->mapped_to != s->source.size_bytes)
    return err_set(err, ERR_CORRUPT,
                   "the image has %" PRIu64 " bytes, but its header says %" PRIu64, s->mapped_to,
                   s->source.size_bytes);
  if (s->needs_qemu && start_qemu(s, err) != 0)
    return -1;
  s->mapped = true;
  return 0;
}

static int image_extents(struct source *source, struct extents *ret, struct err *err)
{
  struct image_source *s = (struct image_source *)source;
  if (!s->mapped && make_map(s, err) != 0)
    return -1;
  for (size_t i = 0; i < s->place_count; i++) {
    const struct place *p = &s->places[i];
    if (extents_add(ret, p->start, p->length, p->kind != PLACE_ZERO) != 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  }
  return 0;
}

// ---- lanes ----------------------------------------------------------------------------------

struct image_lane {
  void *readers[CHAIN_MAX];
  struct nbd_lane *qemu; // opened when first needed
};

static void image_lane_close(struct source *source, void *lane)
{
  struct image_source *s = (struct image_source *)source;
  struct image_lane *l = lane;
  for (size_t i = 0; i < s->chain.count; i++)
    if (l->readers[i])
      object_lane_close(s->chain.readers[i], l->readers[i]);
  if (l->qemu)
    nbd_hub_close(s->qemu, l->qemu);
  free(l);
}

static int image_lane_open(struct source *source, void **ret_lane, struct err *err)
{
  struct image_source *s = (struct image_source *)source;
  if (!s->mapped)
    return err_set(err, ERR_INTERNAL, "an image is read before its map was asked for");
  struct image_lane *l = calloc(1, sizeof(*l));
  if (!l)
    return err_set(err, ERR_NO_MEMORY, "no memory");
  for (size_t i = 0; i < s->chain.count; i++)
    if (object_lane_open(s->chain.readers[i], &l->readers[i], err) != 0) {
      image_lane_close(source, l);
      return -1;
    }
  *ret_lane = l;
  return 0;
}

static size_t find_place(const struct image_source *s, uint64_t offset)
{
  size_t low = 0;
  size_t high = s->place_count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if (s->places[middle].start <= offset)
      low = middle;
    else
      high = middle;
  }
  return low;
}

static int read_file(struct image_source *s, struct image_lane *l, const struct place *p,
                     uint8_t *into, size_t length, uint64_t offset, struct err *err)
{
  struct object_reader *r = s->chain.readers[p->depth];
  uint64_t at = p->offset + (offset - p->start);
  uint64_t there = at < r->size_bytes ? r->size_bytes - at : 0;
  size_t n = there < length ? (size_t)there : length;
  memset(into + n, 0, length - n); // the rest of a cluster beyond the end of the file
  return n ? object_read(r, l->readers[p->depth], into, n, at, err) : 0;
}

static int read_qemu(struct image_source *s, struct image_lane *l, uint8_t *into, size_t length,
                     uint64_t offset, struct err *err)
{
  if (!l->qemu && nbd_hub_connect(s->qemu, false, &l->qemu, err) != 0)
    return -1;
  if (nbd_pread(l->qemu->nbd, into, length, offset, 0) != 0)
    return nbd_hub_error(s->qemu, "read", err);
  return 0;
}

static int image_read(struct source *source, void *lane, void *into, size_t length, uint64_t offset,
                      struct err *err)
{
  struct image_source *s = (struct image_source *)source;
  uint8_t *at = into;
  for (size_t i = find_place(s, offset); length && i < s->place_count; i++) {
    const struct place *p = &s->places[i];
    uint64_t left = p->start + p->length - offset;
    size_t n = left < length ? (size_t)left : length;
    int failed = 0;
    if (p->kind == PLACE_ZERO)
      memset(at, 0, n);
    else if (p->kind == PLACE_FILE)
      failed = read_file(s, lane, p, at, n, offset, err);
    else
      failed = read_qemu(s, lane, at, n, offset, err);
    if (failed)
      return -1;
    at += n;
    offset += n;
    length -= n;
  }
  return 0;
}

static const struct source_ops image_ops = {.name = "image",
                                            .extents = image_extents,
                                            .lane_open = image_lane_open,
                                            .lane_close = image_lane_close,
                                            .read = image_read,
                                            .interrupt = image_interrupt,
                                            .free = image_free};

int source_open_chain(struct chain *c, struct source **ret, struct err *err)
{
  struct image_source *s = calloc(1, sizeof(*s));
  if (!s) {
    chain_release(c);
    return err_set(err, ERR_NO_MEMORY, "no memory");
  }
  s->chain = *c;
  *c = (struct chain){0};
  s->source = (struct source){
      .ops = &image_ops, .size_bytes = s->chain.size_bytes & ~511ull, .exact_map = true};
  snprintf(s->source.identity, sizeof(s->source.identity), "%s", s->chain.readers[0]->identity);
  if (make_graph(s, err) != 0) {
    image_free(&s->source);
    return -1;
  }
  *ret = &s->source;
  return 0;
}
