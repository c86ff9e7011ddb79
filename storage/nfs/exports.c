// SPDX-License-Identifier: Apache-2.0
// The list of what a server exports (RFC 1813 appendix I, MOUNTPROC3_EXPORT): only to say after a
// refused mount whether the export exists, because servers answer "access denied" either way.
#include <nfsc/libnfs.h>

#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw.h> // needs the two above
#include <poll.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "storage/nfs/nfs_internal.h"

#define EXPORTS_TIMEOUT_MS 5000
#define EXPORTS_MAX        10000

struct look {
  const char *path;
  bool done;
  int found; // 1, 0, or -1: not known
};

static void context_free(struct rpc_context **rpc)
{
  if (*rpc)
    rpc_destroy_context(*rpc);
}

// A folder below an export can be mounted as well.
static bool covers(const char *exported, const char *path)
{
  size_t n = strlen(exported);
  while (n && exported[n - 1] == '/')
    n--;
  return strncmp(path, exported, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static void on_list(struct rpc_context *rpc, int status, void *data, void *arg)
{
  struct look *l = arg;
  (void)rpc;
  l->done = true;
  if (status != 0 || !data)
    return;
  l->found = 0;
  const void *at = *(exports *)data;
  for (int seen = 0; at && seen < EXPORTS_MAX; seen++) {
    struct exportnode node; // libnfs decodes the list without aligning it
    memcpy(&node, at, sizeof(node));
    if (covers(node.ex_dir, l->path))
      l->found = 1;
    at = node.ex_next;
  }
}

int nfs_is_exported(struct nfs_lane *l, const char *address)
{
  const struct storage_config *c = l->store->config;
  struct look look = {.path = c->export_path, .found = -1};
  struct rpc_context *rpc CLEANUP(context_free) = rpc_init_context();
  if (c->mount_port || !rpc || mount_getexports_async(rpc, address, on_list, &look) < 0)
    return -1; // the list is asked for through the portmapper only
  int64_t deadline_ms = clock_ms() + EXPORTS_TIMEOUT_MS;
  while (!look.done && clock_ms() < deadline_ms && !stop_is_set(&l->stop)) {
    struct pollfd p = {.fd = rpc_get_fd(rpc), .events = (short)rpc_which_events(rpc)};
    if (poll(&p, 1, NFS_LOOK_EVERY_MS) < 0 || rpc_service(rpc, p.revents) < 0)
      break;
  }
  return look.found;
}
