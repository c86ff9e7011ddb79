// SPDX-License-Identifier: Apache-2.0
// Reading a checkpoint: twice, once to see how far it counts, and once for what it says. Nothing in
// it is believed before its sum is right, and sizes are bounded before memory is taken.
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "disk/checkpoint_internal.h"
#include "disk/fd_internal.h"

#define SUBJECT_AT(member) offsetof(struct checkpoint_subject, member)

static const struct field subject_fields[] = {
    {"version", FIELD_INT, SUBJECT_AT(version), .required = true, .min = 1, .max = INT32_MAX,
     .help = "of the plan"},
    {"sizeBytes", FIELD_INT, SUBJECT_AT(size_bytes), .required = true, .min = 0,
     .max = LIMIT_DISK_BYTES, .help = "size of the source, bytes"},
    {"source", FIELD_STRING, SUBJECT_AT(source), .required = true, .max = 255,
     .help = "identity of the source"},
    {"sample", FIELD_STRING, SUBJECT_AT(sample), .required = true, .max = 64,
     .help = "digest of samples of the source"},
    {"map", FIELD_STRING, SUBJECT_AT(map), .required = true, .max = 64,
     .help = "digest of where its data lies"},
    {"format", FIELD_STRING, SUBJECT_AT(format), .required = true, .max = 32,
     .help = "format that is written"},
    {"target", FIELD_STRING, SUBJECT_AT(target), .required = true, .max = 4096,
     .help = "where it is written"},
    {"noSparse", FIELD_BOOL, SUBJECT_AT(no_sparse), .help = "zeros are written"},
    {"hashed", FIELD_BOOL, SUBJECT_AT(hashed), .help = "the content digest is taken"},
    {"sha256", FIELD_BOOL, SUBJECT_AT(sha256), .help = "the SHA-256 of the object is taken"},
    {"state", FIELD_STRING, SUBJECT_AT(state), .required = true, .max = CHECKPOINT_STATE_BYTES - 1,
     .help = "of the unfinished target"},
};

const struct table checkpoint_subject_table = TABLE(struct checkpoint_subject, subject_fields);

void checkpoint_subject_release(struct checkpoint_subject *s)
{
  table_release(&checkpoint_subject_table, s);
}

const char *checkpoint_subject_differs(const struct checkpoint_subject *then,
                                       const struct checkpoint_subject *now)
{
  const struct {
    bool same;
    const char *why;
  } rows[] = {
      {then->version == now->version, "another version of drover wrote it"},
      {str_eq(then->target, now->target), "it is about another target"},
      {str_eq(then->format, now->format), "it is about another format"},
      {then->size_bytes == now->size_bytes, "it is about a source of another size"},
      {str_eq(then->source, now->source), "it is about another source, or the source has changed"},
      {str_eq(then->map, now->map), "the source has changed: its data lies elsewhere"},
      {str_eq(then->sample, now->sample), "the source has changed"},
      {then->no_sparse == now->no_sparse && then->hashed == now->hashed &&
           then->sha256 == now->sha256,
       "it is about a copy with other options"},
  };
  for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
    if (!rows[i].same)
      return rows[i].why;
  return NULL;
}

// Where the kernel does not tell: a name that is never the same again, so nothing after a mark
// counts.
void checkpoint_boot(char ret[BOOT_TEXT_BYTES])
{
  cleanup_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, ret, BOOT_TEXT_BYTES - 1);
  if (n <= 1) {
    snprintf(ret, BOOT_TEXT_BYTES, "unknown-%d", (int)getpid());
    return;
  }
  ret[n] = '\0';
  ret[strcspn(ret, "\n")] = '\0';
}

void checkpoint_sum(const uint8_t before[FRAME_SUM_BYTES], const void *frame, size_t length,
                    uint8_t ret[FRAME_SUM_BYTES])
{
  uint8_t whole[EVP_MAX_MD_SIZE];
  EVP_MD_CTX *ctx = EVP_MD_CTX_new();
  if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1 ||
      EVP_DigestUpdate(ctx, before, FRAME_SUM_BYTES) != 1 ||
      EVP_DigestUpdate(ctx, frame, length) != 1 || EVP_DigestFinal_ex(ctx, whole, NULL) != 1)
    abort();
  EVP_MD_CTX_free(ctx);
  memcpy(ret, whole, FRAME_SUM_BYTES);
}

// ---- frames ---------------------------------------------------------------------------------

struct frame {
  uint32_t type, length;
  uint64_t at, end; // in the file
  uint8_t *bytes;   // FRAME_HEAD_BYTES + FRAME_BYTES_MAX + FRAME_SUM_BYTES of room
  const uint8_t *payload;
  uint8_t sum[FRAME_SUM_BYTES];
};

static bool read_exactly(int fd, void *into, size_t length, uint64_t offset)
{
  struct err ignored = ERR_INIT;
  return fd_read_all(fd, into, length, offset, "", &ignored) == 0;
}

// The frame at f->end, whose sum must follow from f->sum. False: there is none that counts.
static bool frame_next(const struct checkpoint *c, struct frame *f)
{
  uint32_t head[2];
  uint8_t sum[FRAME_SUM_BYTES];
  uint64_t at = f->end;
  if (!read_exactly(c->fd, head, sizeof(head), at))
    return false;
  f->type = le32toh(head[0]);
  f->length = le32toh(head[1]);
  if (f->length > FRAME_BYTES_MAX)
    return false;
  size_t whole = FRAME_HEAD_BYTES + (size_t)f->length + FRAME_SUM_BYTES;
  if (!read_exactly(c->fd, f->bytes, whole, at))
    return false;
  checkpoint_sum(f->sum, f->bytes, FRAME_HEAD_BYTES + f->length, sum);
  f->payload = f->bytes + FRAME_HEAD_BYTES;
  if (memcmp(sum, f->payload + f->length, FRAME_SUM_BYTES) != 0)
    return false;
  memcpy(f->sum, sum, sizeof(sum));
  f->at = at;
  f->end = at + whole;
  return true;
}

static int frame_init(struct frame *f, struct err *err)
{
  *f = (struct frame){.end = FILE_HEAD_BYTES};
  f->bytes = malloc(FRAME_HEAD_BYTES + FRAME_BYTES_MAX + FRAME_SUM_BYTES);
  return f->bytes ? 0 : err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
}

static void frame_release(struct frame *f)
{
  free(f->bytes);
}

// ---- how far it counts ----------------------------------------------------------------------

struct examination {
  uint64_t marked;                           // as the last mark says
  uint8_t marked_sum[FRAME_SUM_BYTES];       // of the frame that ends there
  bool this_boot;                            // the frames at the end are of this start of the host
  char state[CHECKPOINT_STATE_BYTES];        // as it was noted last; "": never
  uint64_t state_end;                        // of that frame
  char marked_state[CHECKPOINT_STATE_BYTES]; // the last one before a mark's place
};

static void damaged(struct checkpoint *c, const char *what)
{
  snprintf(c->damage, sizeof(c->damage), "%s", what);
}

static bool take_subject(struct checkpoint *c, const struct frame *f)
{
  cleanup_free char *text = strndup((const char *)f->payload, f->length);
  struct err ignored = ERR_INIT;
  return text && strlen(text) == f->length &&
         table_decode_text(&checkpoint_subject_table, text, "checkpoint", &c->subject, &ignored) ==
             0;
}

static bool is_this_boot(const struct frame *f)
{
  char boot[BOOT_TEXT_BYTES];
  checkpoint_boot(boot);
  return f->length == strlen(boot) && memcmp(f->payload, boot, f->length) == 0;
}

// The end of each frame with its sum, so that a mark's place can be gone back to: a mark names a
// place that was the end of the file a moment before, so a few are enough.
#define ENDS_KEPT 4096

struct ends {
  uint64_t at[ENDS_KEPT];
  uint8_t sum[ENDS_KEPT][FRAME_SUM_BYTES];
  uint64_t count;
};

static void ends_add(struct ends *e, const struct frame *f)
{
  uint64_t i = e->count++ % ENDS_KEPT;
  e->at[i] = f->end;
  memcpy(e->sum[i], f->sum, FRAME_SUM_BYTES);
}

static void take_mark(struct examination *x, const struct ends *e, const struct frame *f)
{
  uint64_t place;
  if (f->length != sizeof(place))
    return;
  memcpy(&place, f->payload, sizeof(place));
  place = le64toh(place);
  for (uint64_t i = 0; i < e->count && i < ENDS_KEPT; i++)
    if (e->at[i] == place && place > x->marked) {
      x->marked = place;
      memcpy(x->marked_sum, e->sum[i], FRAME_SUM_BYTES);
      if (x->state_end <= place)
        memcpy(x->marked_state, x->state, sizeof(x->state));
    }
}

static void take_state(struct examination *x, const struct frame *f)
{
  if (f->length >= sizeof(x->state))
    return;
  memcpy(x->state, f->payload, f->length);
  x->state[f->length] = '\0';
  x->state_end = f->end;
}

// False: no memory.
static bool set_state(struct checkpoint *c, const char *noted)
{
  if (!noted[0])
    return true;
  free(c->subject.state);
  c->subject.state = str_dup(noted);
  return c->subject.state != NULL;
}

static void walk(struct checkpoint *c, struct frame *f, struct ends *e, struct examination *x)
{
  while (frame_next(c, f)) {
    if (f->type == FRAME_BOOT)
      x->this_boot = is_this_boot(f);
    else if (f->type == FRAME_MARK)
      take_mark(x, e, f);
    else if (f->type == FRAME_STATE)
      take_state(x, f);
    ends_add(e, f);
  }
  c->end = f->end;
  memcpy(c->sum, f->sum, sizeof(c->sum));
  if (f->end < c->size_bytes)
    damaged(c, "it is cut or damaged, and counts up to there only");
  if (x->this_boot)
    return;
  c->rebooted = true;
  c->end = x->marked;
  memcpy(c->sum, x->marked_sum, sizeof(c->sum));
}

static void examine_frames(struct checkpoint *c, struct frame *f, struct ends *e)
{
  struct examination x = {0};
  if (!frame_next(c, f) || f->type != FRAME_SUBJECT || !take_subject(c, f)) {
    damaged(c, "it is damaged, or of another version of drover");
    return;
  }
  ends_add(e, f);
  x.marked = f->end;
  memcpy(x.marked_sum, f->sum, sizeof(x.marked_sum));
  walk(c, f, e, &x);
  c->found = set_state(c, x.this_boot ? x.state : x.marked_state);
}

// Bytes that a checkpoint may begin with, also after a crash while it was begun.
static bool is_begun(const uint8_t *head, size_t length)
{
  static const uint8_t zeros[FILE_HEAD_BYTES];
  size_t n = length < strlen(FILE_MAGIC) ? length : strlen(FILE_MAGIC);
  return memcmp(head, FILE_MAGIC, n) == 0 || memcmp(head, zeros, length) == 0;
}

static int examine_head(struct checkpoint *c, struct frame *f, struct err *err)
{
  uint8_t head[FILE_HEAD_BYTES] = {0};
  uint64_t started, resent;
  size_t n = c->size_bytes < sizeof(head) ? (size_t)c->size_bytes : sizeof(head);
  if (!read_exactly(c->fd, head, n, 0))
    return err_set(err, ERR_IO, "the checkpoint %s cannot be read", c->path);
  if (!is_begun(head, n)) {
    if (!frame_next(c, f))
      return err_set(err, ERR_EXISTS, "%s is not a checkpoint: it is left alone", c->path);
    damaged(c, "its head is damaged");
  }
  if (n < sizeof(head))
    damaged(c, "it is cut");
  memcpy(&started, head + FILE_STARTED_AT, sizeof(started));
  started = le64toh(started);
  c->started = started < CHECKPOINT_UNITS_MAX ? started : CHECKPOINT_UNITS_MAX;
  memcpy(&resent, head + FILE_RESENT_AT, sizeof(resent));
  c->resent = le64toh(resent) < INT64_MAX ? le64toh(resent) : 0;
  return 0;
}

int checkpoint_examine(struct checkpoint *c, struct err *err)
{
  struct frame f CLEANUP(frame_release) = {0};
  if (c->size_bytes == 0)
    return 0;
  if (c->foreign)
    return err_set(err, ERR_DENIED, "the checkpoint %s can be written by others", c->path);
  if (c->size_bytes > CHECKPOINT_FILE_BYTES)
    return err_set(err, ERR_LIMIT, "the checkpoint %s is too large", c->path);
  struct ends *e cleanup_free = calloc(1, sizeof(*e));
  if (!e || frame_init(&f, err) != 0)
    return err_set(err, ERR_NO_MEMORY, "no memory for a checkpoint");
  if (examine_head(c, &f, err) != 0)
    return -1;
  if (!c->damage[0])
    examine_frames(c, &f, e);
  return 0;
}

// ---- what it says ---------------------------------------------------------------------------

static int malformed(struct err *err)
{
  return err_set(err, ERR_CORRUPT, "it says what cannot be");
}

static int load_units(const struct frame *f, const struct checkpoint_sink *sink, struct err *err)
{
  for (size_t at = 0; at < f->length;) {
    struct unit_record u;
    struct hash_record h;
    if (f->length - at < sizeof(u))
      return malformed(err);
    memcpy(&u, f->payload + at, sizeof(u));
    at += sizeof(u);
    uint32_t hashes = le32toh(u.hash_count);
    if (hashes > (f->length - at) / sizeof(h) || le64toh(u.unit) >= CHECKPOINT_UNITS_MAX)
      return malformed(err);
    for (uint32_t i = 0; i < hashes; i++, at += sizeof(h)) {
      memcpy(&h, f->payload + at, sizeof(h));
      if (sink->hash(sink->arg, le64toh(h.chunk), h.hash, err) != 0)
        return -1;
    }
    if (sink->unit(sink->arg, le64toh(u.unit), le64toh(u.data_bytes), err) != 0)
      return -1;
  }
  return 0;
}

static int load_frame(const struct frame *f, const struct checkpoint_sink *sink, struct err *err)
{
  switch (f->type) {
  case FRAME_SUBJECT:
  case FRAME_BOOT:
  case FRAME_MARK:
  case FRAME_STATE:
    return 0;
  case FRAME_UNITS:
    return load_units(f, sink, err);
  case FRAME_SHA:
    return f->length == CHECKPOINT_SHA_BYTES ? sink->sha(sink->arg, f->payload, err)
                                             : malformed(err);
  default:
    return malformed(err);
  }
}

int checkpoint_load(struct checkpoint *c, const struct checkpoint_sink *sink, struct err *err)
{
  struct frame f CLEANUP(frame_release) = {0};
  if (frame_init(&f, err) != 0)
    return -1;
  while (f.end < c->end) {
    if (!frame_next(c, &f))
      return err_set(err, ERR_CORRUPT, "it changed while it was read");
    if (load_frame(&f, sink, err) != 0)
      return -1;
  }
  return 0;
}
