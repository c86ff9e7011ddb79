// SPDX-License-Identifier: Apache-2.0
#include "controller/checkpoints.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/str.h"
#include "disk/checkpoint.h"

#define SUFFIX ".checkpoint"

// "UID." or "UID.DISK." or the whole name. Uids hold no dot; those of a foreign API server no
// slash.
static char *name_of(const char *uid, const char *disk, int leg)
{
  char *name = !disk      ? str_printf("%s.", uid)
               : leg == 0 ? str_printf("%s.%s.", uid, disk)
                          : str_printf("%s.%s.%d" SUFFIX, uid, disk, leg);
  for (char *c = name; c && *c; c++)
    if (*c == '/')
      *c = '_';
  return name;
}

char *checkpoints_path(const struct manager *m, const char *uid, const char *disk, int leg)
{
  if (!m->checkpoints)
    return NULL;
  if (mkdir(m->checkpoints, 0700) != 0 && errno != EEXIST) {
    log_warning("movers cannot note what they have finished", "folder", m->checkpoints, "error",
                strerror(errno), NULL);
    return NULL;
  }
  cleanup_free char *name = name_of(uid, disk, leg);
  return name ? str_printf("%s/%s", m->checkpoints, name) : NULL;
}

static void remove_one(const struct manager *m, const char *name)
{
  cleanup_free char *path = str_printf("%s/%s", m->checkpoints, name);
  struct err failed = ERR_INIT;
  if (path && access(path, F_OK) == 0 && checkpoint_remove_path(path, &failed) != 0)
    log_warning("a checkpoint stays", "message", failed.message, NULL);
}

static void remove_many(const struct manager *m, const char *prefix)
{
  DIR *folder = opendir(m->checkpoints);
  if (!folder)
    return;
  for (struct dirent *e; (e = readdir(folder));)
    if (str_starts(e->d_name, prefix) && str_ends(e->d_name, SUFFIX))
      remove_one(m, e->d_name);
  closedir(folder);
}

void checkpoints_remove(const struct manager *m, const char *uid, const char *disk, int leg)
{
  cleanup_free char *name = name_of(uid, disk, leg);
  if (!m->checkpoints || !name)
    return;
  if (disk && leg)
    remove_one(m, name);
  else
    remove_many(m, name);
}

void checkpoints_end(const struct manager *m)
{
  if (m->checkpoints)
    rmdir(m->checkpoints); // only an empty one goes
}
