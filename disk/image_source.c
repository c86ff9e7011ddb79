// SPDX-License-Identifier: Apache-2.0
// Images in formats of QEMU. `qemu-img map` says, for each image of the chain, where in its file
// the guest's bytes lie; plain ones are read there directly, by lanes, from the readers of the
// chain. What has no plain place (compressed clusters, vhdx) is read through a qemu-nbd. The map is
// made by the first call of extents(), so that an interrupt can end it.
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "disk/ahead_internal.h"
#include "disk/fd_internal.h"
#include "disk/image_internal.h"
#include "disk/nbd_internal.h"
#include "disk/nbd_serve_internal.h"
#include "disk/places_internal.h"
#include "disk/qemu_internal.h"

// How far a cluster may reach beyond the end of a file of a format whose cluster size is not known.
#define SLACK_BYTES (1u << 20)
#define SECTOR      512u

struct image_source {
  struct source source;
  struct chain chain;
  struct nbd_server *servers[CHAIN_MAX]; // for readers that QEMU cannot open itself
  char *graphs[CHAIN_MAX];
  struct nbd_hub *qemu[CHAIN_MAX]; // where an image has something that only QEMU can read
  struct places places;
  bool mapped;
  _Atomic bool stopped;
};

// ---- opening --------------------------------------------------------------------------------

static int make_node(struct image_source *s, size_t i, struct qemu_node *ret, struct err *err)
{
  struct object_reader *r = s->chain.readers[i];
  *ret = (struct qemu_node){.format = s->chain.formats[i]};
  ret->socket_path = object_reader_nbd_socket(r);
  if (ret->socket_path)
    return 0;
  if (nbd_server_start(r, &s->servers[i], err) != 0)
    return -1;
  ret->socket_path = nbd_server_socket(s->servers[i]);
  return 0;
}

// QEMU opens the very file that we have open and have looked at, whatever its name means by now.
static int make_graph(struct image_source *s, size_t i, struct err *err)
{
  struct qemu_node node;
  char file_name[64];
  struct stat st;
  int fd = object_reader_file_fd(s->chain.readers[i]);
  if (fd < 0) {
    if (make_node(s, i, &node, err) != 0)
      return -1;
  } else {
    snprintf(file_name, sizeof(file_name), "/proc/%d/fd/%d", (int)getpid(), fd);
    node = (struct qemu_node){.format = s->chain.formats[i], .file_name = file_name};
    node.block_device = fstat(fd, &st) == 0 && S_ISBLK(st.st_mode);
  }
  s->graphs[i] = qemu_graph(&node);
  return s->graphs[i] ? 0 : err_set(err, ERR_NO_MEMORY, "no memory");
}

static void image_interrupt(struct source *source)
{
  struct image_source *s = (struct image_source *)source;
  atomic_store(&s->stopped, true);
  for (size_t i = 0; i < s->chain.count; i++) {
    object_interrupt(s->chain.readers[i]);
    struct nbd_hub *qemu = __atomic_load_n(&s->qemu[i], __ATOMIC_ACQUIRE);
    if (qemu)
      nbd_hub_interrupt(qemu);
  }
}

static void image_free(struct source *source)
{
  struct image_source *s = (struct image_source *)source;
  for (size_t i = 0; i < s->chain.count; i++) {
    if (s->qemu[i])
      nbd_hub_free(s->qemu[i]);
    nbd_server_free(s->servers[i]);
    free(s->graphs[i]);
  }
  chain_release(&s->chain);
  places_release(&s->places);
  free(s);
}

// ---- the map --------------------------------------------------------------------------------

struct mapping { // of one image of the chain
  struct image_source *image;
  size_t depth;
  struct places places;
  bool needs_qemu;
};

// QEMU reads what lies beyond the end of a file as zeros; only the rest of the last cluster may.
static int check_end(const struct mapping *m, const struct qemu_extent *e, struct err *err)
{
  const struct chain *c = &m->image->chain;
  uint64_t size = c->readers[m->depth]->size_bytes;
  uint64_t slack = SLACK_BYTES;
  if (c->formats[m->depth] == DISK_FORMAT_RAW)
    slack = SECTOR;
  else if (c->cluster_bytes[m->depth])
    slack = c->cluster_bytes[m->depth];
  // The last cluster must at least begin in the file.
  if (e->offset <= UINT64_MAX - e->length && (e->offset + e->length - 1) / slack * slack < size)
    return 0;
  return err_set(err, ERR_CORRUPT,
                 "the image is truncated: it has %" PRIu64 " bytes, but keeps data at %" PRIu64,
                 size, e->offset);
}

static int add_place(void *arg, const struct qemu_extent *e, struct err *err)
{
  struct mapping *m = arg;
  if (e->start == 0 && e->length == 0) // a disk of 0 bytes
    return 0;
  if (e->start != m->places.size_bytes || e->length == 0 || e->length > LIMIT_DISK_BYTES)
    return err_set(err, ERR_PROTOCOL, "qemu-img map is not in order at %" PRIu64, e->start);
  if (e->plain && check_end(m, e, err) != 0)
    return -1;
  struct place p = {.length = e->length, .depth = (uint16_t)m->depth, .kind = PLACE_QEMU};
  if (!e->present)
    p.kind = PLACE_BELOW;
  else if (e->zero)
    p.kind = PLACE_ZERO;
  else if (e->plain) {
    p.kind = PLACE_FILE;
    p.offset = e->offset;
  }
  m->needs_qemu = m->needs_qemu || p.kind == PLACE_QEMU;
  return places_add(&m->places, &p, err);
}

static int start_qemu(struct image_source *s, size_t i, struct err *err)
{
  struct qemu_nbd *q;
  if (qemu_nbd_start(s->graphs[i], &q, err) != 0)
    return -1;
  struct nbd_address a = {.socket_path = qemu_nbd_socket(q)};
  struct nbd_hub *hub;
  if (nbd_hub_new(&a, (struct nbd_keeper){qemu_nbd_free, q}, &hub, err) != 0)
    return -1;
  __atomic_store_n(&s->qemu[i], hub, __ATOMIC_RELEASE);
  return 0;
}

// QEMU failed. Where its bytes come from our own server, that one knows why: the store did not
// answer, say. Returns -1.
static int blame(struct image_source *s, size_t depth, struct err *err)
{
  if (s->servers[depth])
    nbd_server_fault(s->servers[depth], err);
  return -1;
}

// Puts the image at a depth on top of what lies below it.
static int map_image(struct image_source *s, size_t depth, struct err *err)
{
  struct mapping m = {.image = s, .depth = depth};
  struct places joined = {0};
  int failed = qemu_map(s->graphs[depth], add_place, &m, &s->stopped, err);
  if (failed && !atomic_load(&s->stopped))
    blame(s, depth, err);
  if (!failed)
    failed = places_join(&m.places, &s->places, &joined, err);
  if (!failed && m.needs_qemu && !s->qemu[depth])
    failed = start_qemu(s, depth, err);
  places_release(&m.places);
  if (failed) {
    places_release(&joined);
    return -1;
  }
  places_release(&s->places);
  s->places = joined;
  return 0;
}

static int make_map(struct image_source *s, struct err *err)
{
  places_release(&s->places);
  for (size_t depth = s->chain.count; depth-- > 0;)
    if (map_image(s, depth, err) != 0)
      return -1;
  if (s->places.size_bytes != s->source.size_bytes)
    return err_set(err, ERR_CORRUPT,
                   "the image has %" PRIu64 " bytes, but its header says %" PRIu64,
                   s->places.size_bytes, s->source.size_bytes);
  s->mapped = true;
  return 0;
}

static int image_extents(struct source *source, struct extents *ret, struct err *err)
{
  struct image_source *s = (struct image_source *)source;
  if (!s->mapped && make_map(s, err) != 0)
    return -1;
  for (size_t i = 0; i < s->places.count; i++) {
    const struct place *p = &s->places.items[i];
    if (extents_add(ret, p->start, p->length, p->kind != PLACE_ZERO) != 0)
      return err_set(err, ERR_NO_MEMORY, "no memory for the extent map");
  }
  return 0;
}

// ---- lanes ----------------------------------------------------------------------------------

struct image_lane {
  void *readers[CHAIN_MAX];
  struct nbd_lane *qemu[CHAIN_MAX]; // opened when first needed
  struct ahead ahead;               // of images that are not local files
};

static void image_lane_close(struct source *source, void *lane)
{
  struct image_source *s = (struct image_source *)source;
  struct image_lane *l = lane;
  for (size_t i = 0; i < s->chain.count; i++) {
    if (l->readers[i])
      object_lane_close(s->chain.readers[i], l->readers[i]);
    if (l->qemu[i])
      nbd_hub_close(s->qemu[i], l->qemu[i]);
  }
  ahead_release(&l->ahead);
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

static int read_file(struct image_source *s, struct image_lane *l, size_t i, uint8_t *into,
                     size_t length, uint64_t offset, struct err *err)
{
  const struct place *p = &s->places.items[i];
  struct object_reader *r = s->chain.readers[p->depth];
  uint64_t at = p->offset + (offset - p->start);
  uint64_t there = at < r->size_bytes ? r->size_bytes - at : 0;
  size_t n = there < length ? (size_t)there : length;
  memset(into + n, 0, length - n); // the rest of a cluster beyond the end of the file
  if (n == 0)
    return 0;
  if (object_reader_file_fd(r) >= 0)
    return object_read(r, l->readers[p->depth], into, n, at, err);
  return ahead_read(&l->ahead, r, l->readers[p->depth], p->depth, into, n, at,
                    ahead_run_end(&s->places, i, offset), err);
}

// Some reads that fail QEMU answers by hanging up (a chunk of a structured reply cannot be taken
// back). When it takes the next connection, it was not QEMU that failed.
static int qemu_failed(struct image_source *s, struct image_lane *l, size_t depth, size_t length,
                       uint64_t offset, struct err *err)
{
  bool image_is_bad = err->kind == ERR_INVALID || err->kind == ERR_IO;
  if (atomic_load(&s->stopped))
    return -1;
  if (err->kind == ERR_UNREACHABLE) {
    nbd_hub_close(s->qemu[depth], l->qemu[depth]);
    l->qemu[depth] = NULL;
    image_is_bad = nbd_hub_connect(s->qemu[depth], false, &l->qemu[depth], NULL) == 0;
  }
  if (image_is_bad && !atomic_load(&s->stopped))
    err_set(err, ERR_CORRUPT,
            "the image is damaged: it cannot be read at byte %" PRIu64 " of the disk, or in the "
            "%zu bytes from there on",
            offset, length);
  return blame(s, depth, err);
}

static int read_qemu(struct image_source *s, struct image_lane *l, size_t depth, uint8_t *into,
                     size_t length, uint64_t offset, struct err *err)
{
  if (!l->qemu[depth] && nbd_hub_connect(s->qemu[depth], false, &l->qemu[depth], err) != 0)
    return -1;
  if (nbd_pread(l->qemu[depth]->nbd, into, length, offset, 0) != 0) {
    nbd_hub_error(s->qemu[depth], "read", err);
    return qemu_failed(s, l, depth, length, offset, err);
  }
  return 0;
}

static int image_read(struct source *source, void *lane, void *into, size_t length, uint64_t offset,
                      struct err *err)
{
  struct image_source *s = (struct image_source *)source;
  uint8_t *at = into;
  for (size_t i = places_find(&s->places, offset); length && i < s->places.count; i++) {
    const struct place *p = &s->places.items[i];
    uint64_t left = p->start + p->length - offset;
    size_t n = left < length ? (size_t)left : length;
    int failed = 0;
    if (p->kind == PLACE_ZERO)
      memset(at, 0, n);
    else if (p->kind == PLACE_FILE)
      failed = read_file(s, lane, i, at, n, offset, err);
    else
      failed = read_qemu(s, lane, p->depth, at, n, offset, err);
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

// All files of the chain together: a change below the top one changes the disk as well.
static void identify(struct image_source *s)
{
  struct buf all CLEANUP(buf_release) = BUF_INIT(0);
  unsigned char md[EVP_MAX_MD_SIZE] = {0};
  struct buf hex CLEANUP(buf_release) = BUF_INIT(0);
  s->source.tells_changes = true;
  s->source.lane_bytes = AHEAD_BYTES;
  for (size_t i = 0; i < s->chain.count; i++) {
    buf_printf(&all, "%s\n", s->chain.readers[i]->identity);
    s->source.tells_changes = s->source.tells_changes && s->chain.readers[i]->tells_changes;
    if (s->chain.readers[i]->round_trip_ms > s->source.round_trip_ms)
      s->source.round_trip_ms = s->chain.readers[i]->round_trip_ms;
  }
  EVP_Digest(buf_str(&all), all.length, md, NULL, EVP_sha256(), NULL);
  buf_add_hex(&hex, md, 16);
  snprintf(s->source.identity, sizeof(s->source.identity), "%.110s %s",
           s->chain.readers[0]->identity, buf_str(&hex));
}

static struct image_source *new_source(struct chain *c, struct err *err)
{
  struct image_source *s = calloc(1, sizeof(*s));
  if (!s) {
    chain_release(c);
    err_set(err, ERR_NO_MEMORY, "no memory");
    return NULL;
  }
  s->chain = *c;
  *c = (struct chain){0};
  s->source = (struct source){
      .ops = &image_ops, .size_bytes = s->chain.size_bytes & ~511ull, .exact_map = true};
  identify(s);
  return s;
}

int source_open_chain(struct chain *c, struct source **ret, struct err *err)
{
  struct image_source *s = new_source(c, err);
  for (size_t i = 0; s && i < s->chain.count; i++)
    if (make_graph(s, i, err) != 0) {
      image_free(&s->source);
      return -1;
    }
  if (!s)
    return -1;
  *ret = &s->source;
  return 0;
}

int source_open_places(struct chain *c, struct places *p, struct source **ret, struct err *err)
{
  struct image_source *s = new_source(c, err);
  if (!s) {
    places_release(p);
    return -1;
  }
  s->places = *p;
  *p = (struct places){0};
  s->mapped = true;
  *ret = &s->source;
  return 0;
}
