// SPDX-License-Identifier: Apache-2.0
#include "disk/open.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "disk/file_target_internal.h"
#include "disk/image_internal.h"
#include "disk/nbd_internal.h"
#include "disk/qemu_internal.h"
#include "disk/split_vmdk_internal.h"
#include "disk/ssh_internal.h"

// The files of a disk, top first: names, formats, and readers as they are opened.
struct files {
  struct object_reader *readers[CHAIN_MAX];
  const char *paths[CHAIN_MAX];
  int formats[CHAIN_MAX];
  size_t count;
};

static int files_list(struct files *f, const char *path, int format, const struct list *backing,
                      struct err *err)
{
  size_t below = backing ? backing->count : 0;
  if (below + 1 > CHAIN_MAX)
    return err_set(err, ERR_LIMIT, "more than %d images in a chain", CHAIN_MAX);
  *f = (struct files){.paths = {path}, .formats = {format}, .count = below + 1};
  for (size_t i = 0; i < below; i++) {
    const struct reach_backing *b = &((const struct reach_backing *)backing->items)[i];
    f->paths[i + 1] = b->path;
    f->formats[i + 1] = b->format;
  }
  return 0;
}

static void files_close(struct files *f)
{
  for (size_t i = 0; i < f->count; i++)
    object_reader_free(f->readers[i]);
}

// From open readers to a source; they are gone afterwards in any case.
static int open_files(struct files *f, struct source **ret, struct err *err)
{
  struct chain chain;
  if ((f->formats[0] == DISK_FORMAT_VMDK || f->formats[0] == DISK_FORMAT_ANY) &&
      split_vmdk_is_descriptor(f->readers[0]))
    return source_open_split_vmdk(f->readers, f->paths, f->count, ret, err);
  if (chain_open(f->readers, f->formats, f->paths, f->count, &chain, err) != 0)
    return -1;
  int format = chain.formats[0];
  if (format != DISK_FORMAT_RAW && format != DISK_FORMAT_RAW_ZST)
    return source_open_chain(&chain, ret, err);
  struct object_reader *r = chain.readers[0];
  chain.readers[0] = NULL;
  chain_release(&chain);
  return format == DISK_FORMAT_RAW ? source_open_raw(r, ret, err)
                                   : source_open_raw_zst(r, ret, err);
}

// The files below the top one, which is open already. Those are local.
static int open_below(struct files *f, struct err *err)
{
  for (size_t i = 1; i < f->count; i++)
    if (object_reader_file(f->paths[i], &f->readers[i], err) != 0)
      return -1;
  return 0;
}

int source_open_image(struct object_reader *r, int format, const struct list *backing,
                      struct source **ret, struct err *err)
{
  struct files f;
  if (files_list(&f, r->local_path, format, backing, err) != 0) {
    object_reader_free(r);
    return -1;
  }
  f.readers[0] = r;
  if (open_below(&f, err) != 0) {
    files_close(&f);
    return -1;
  }
  return open_files(&f, ret, err);
}

// ---- sources by reach -----------------------------------------------------------------------

static int check_absolute(const char *path, struct err *err)
{
  if (path && *path == '/')
    return 0;
  return err_set(err, ERR_INVALID, "'%s' is not an absolute path", path ? path : "");
}

static int open_local(const struct reach *reach, struct source **ret, struct err *err)
{
  struct object_reader *r;
  if (check_absolute(reach->path, err) != 0 || object_reader_file(reach->path, &r, err) != 0)
    return -1;
  return source_open_image(r, reach->format, &reach->backing, ret, err);
}

static int hub_of_reach(const struct reach *reach, struct nbd_hub **ret, struct err *err)
{
  if (str_empty(reach->path) && str_empty(reach->host))
    return err_set(err, ERR_INVALID, "an NBD end needs a socket or a host");
  struct nbd_tls *tls;
  if (nbd_tls_new(reach, &tls, err) != 0)
    return -1;
  struct nbd_address a = {.socket_path = str_empty(reach->path) ? NULL : reach->path,
                          .host = reach->host,
                          .port = reach->port,
                          .export_name = reach->export_name,
                          .tls = tls};
  return nbd_hub_new(&a, (struct nbd_keeper){nbd_tls_free, tls}, ret, err);
}

// An export is a disk, unless the reach says that an image in some format lies in it.
static int open_nbd(const struct reach *reach, struct source **ret, struct err *err)
{
  struct nbd_hub *hub;
  if (hub_of_reach(reach, &hub, err) != 0)
    return -1;
  if (reach->format == DISK_FORMAT_ANY || reach->format == DISK_FORMAT_RAW)
    return source_open_nbd(hub, ret, err);
  struct files f = {.formats = {reach->format}, .count = 1};
  if (object_reader_nbd(hub, "export", &f.readers[0], err) != 0)
    return -1;
  return open_files(&f, ret, err);
}

static int hub_of_tunnel(struct ssh_tunnel *t, size_t index, struct nbd_hub **ret, struct err *err)
{
  struct nbd_address a = {.socket_path = ssh_tunnel_socket(t, index)};
  return nbd_hub_new(&a, (struct nbd_keeper){ssh_tunnel_unref, ssh_tunnel_ref(t)}, ret, err);
}

static int remote_readers(struct ssh_tunnel *t, struct files *f, struct err *err)
{
  for (size_t i = 0; i < f->count; i++) {
    struct nbd_hub *hub;
    if (hub_of_tunnel(t, i, &hub, err) != 0 ||
        object_reader_nbd(hub, f->paths[i], &f->readers[i], err) != 0)
      return -1;
    if (!ssh_tunnel_identity(t, i))
      continue;
    struct object_reader *r = f->readers[i];
    snprintf(r->identity, sizeof(r->identity), "%s", ssh_tunnel_identity(t, i));
    r->tells_changes = true;
  }
  return 0;
}

// Raw disks are read as exports, which show their holes; ANY becomes what the first bytes say.
static int open_tunnel(struct ssh_tunnel *t, struct files *f, struct source **ret, struct err *err)
{
  if (remote_readers(t, f, err) != 0) {
    files_close(f);
    return -1;
  }
  struct image_info info = {0};
  int failed = image_probe(f->readers[0], f->formats[0], &info, err);
  bool raw = !failed && info.format == DISK_FORMAT_RAW;
  image_info_release(&info);
  if (!failed && !raw)
    return open_files(f, ret, err);
  files_close(f);
  struct nbd_hub *hub;
  if (failed || hub_of_tunnel(t, 0, &hub, err) != 0)
    return -1;
  if (source_open_nbd(hub, ret, err) != 0)
    return -1;
  struct source *s = *ret;
  s->tells_changes = ssh_tunnel_identity(t, 0) != NULL;
  if (s->tells_changes)
    snprintf(s->identity, sizeof(s->identity), "%s", ssh_tunnel_identity(t, 0));
  return 0;
}

static int open_ssh(const struct reach *reach, struct source **ret, struct err *err)
{
  struct files f;
  struct ssh_tunnel *t;
  if (files_list(&f, reach->path, reach->format, &reach->backing, err) != 0 ||
      ssh_tunnel_open(reach, f.paths, f.count, false, &t, err) != 0)
    return -1;
  int failed = open_tunnel(t, &f, ret, err);
  ssh_tunnel_unref(t);
  return failed;
}

int source_open_reach(const struct reach *reach, struct source **ret, struct err *err)
{
  static int (*const openers[])(const struct reach *, struct source **, struct err *) = {
      [REACH_FILE] = open_local, [REACH_NBD] = open_nbd, [REACH_SSH] = open_ssh};
  char text[256];
  if (openers[reach->kind](reach, ret, err) != 0)
    return err_prefix(err, "%s", reach_text(reach, text));
  return 0;
}

// ---- targets by reach -----------------------------------------------------------------------

static int target_qemu(const char *path, int format, struct target **ret, struct err *err)
{
  struct qemu_nbd *q;
  if (qemu_nbd_start_writable(path, format, &q, err) != 0)
    return -1;
  struct nbd_address a = {.socket_path = qemu_nbd_socket(q)};
  struct nbd_hub *hub;
  if (nbd_hub_new(&a, (struct nbd_keeper){qemu_nbd_free, q}, &hub, err) != 0)
    return -1;
  return target_open_nbd(hub, ret, err);
}

static int check_written_format(const struct reach *reach, struct err *err)
{
  if (reach->format == DISK_FORMAT_RAW || reach->format == DISK_FORMAT_QCOW2)
    return 0;
  return err_set(err, ERR_UNSUPPORTED, "images are written as raw or qcow2, not as '%s'",
                 disk_format_names[reach->format]);
}

static int target_local(const struct reach *reach, struct target **ret, struct err *err)
{
  if (check_absolute(reach->path, err) != 0 || check_written_format(reach, err) != 0)
    return -1;
  if (reach->format == DISK_FORMAT_RAW)
    return target_open_file(reach->path, ret, err);
  return target_qemu(reach->path, reach->format, ret, err);
}

static int target_nbd(const struct reach *reach, struct target **ret, struct err *err)
{
  struct nbd_hub *hub;
  return hub_of_reach(reach, &hub, err) != 0 ? -1 : target_open_nbd(hub, ret, err);
}

static int target_ssh(const struct reach *reach, struct target **ret, struct err *err)
{
  struct ssh_tunnel *t;
  const char *const paths[] = {reach->path};
  if (check_written_format(reach, err) != 0 || ssh_tunnel_open(reach, paths, 1, true, &t, err) != 0)
    return -1;
  struct nbd_hub *hub;
  int failed = hub_of_tunnel(t, 0, &hub, err);
  if (!failed)
    failed = target_open_nbd(hub, ret, err);
  ssh_tunnel_unref(t);
  return failed;
}

static int open_target(const struct reach *reach, const char *owner, struct target **ret_target,
                       struct object_writer **ret_object, struct err *err)
{
  if (reach->create && reach->kind != REACH_FILE)
    return err_set(err, ERR_INVALID, "only local files are created by the mover");
  if (reach->create)
    return check_absolute(reach->path, err) != 0
               ? -1
               : object_writer_file(reach->path, owner, false, ret_object, err);
  static int (*const openers[])(const struct reach *, struct target **, struct err *) = {
      [REACH_FILE] = target_local, [REACH_NBD] = target_nbd, [REACH_SSH] = target_ssh};
  return openers[reach->kind](reach, ret_target, err);
}

int target_open_reach(const struct reach *reach, const char *owner, struct target **ret_target,
                      struct object_writer **ret_object, struct err *err)
{
  char text[256];
  *ret_target = NULL;
  *ret_object = NULL;
  if (open_target(reach, owner, ret_target, ret_object, err) != 0)
    return err_prefix(err, "%s", reach_text(reach, text));
  return 0;
}
