// SPDX-License-Identifier: Apache-2.0
#include "controller/local_path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/str.h"

static bool below(const char *folder, const char *path)
{
  size_t n = strlen(folder);
  while (n > 1 && folder[n - 1] == '/')
    n--;
  return strncmp(folder, path, n) == 0 && (path[n] == '\0' || path[n] == '/' || n == 1);
}

// The last name goes: "/a/b" becomes "/a", "/a" becomes "/". False at the root.
static bool cut_last(char *path)
{
  char *slash = strrchr(path, '/');
  if (!slash || !path[1])
    return false;
  slash[slash == path] = '\0';
  return true;
}

// Where it leads, yours; NULL when that cannot be told: a loop, a link to what is not there, a
// folder that may not be read. Of what is not there, the part that is there is followed.
static char *lead(const char *path)
{
  cleanup_free char *there = str_dup(path);
  struct stat st;
  while (there) {
    cleanup_free char *real = realpath(there, NULL);
    const char *rest = path + strlen(there);
    rest += strspn(rest, "/");
    if (real)
      return *rest ? str_printf("%s/%s", real[1] ? real : "", rest) : TAKE(real);
    if (errno != ENOENT || lstat(there, &st) == 0 || !cut_last(there))
      return NULL;
  }
  return NULL;
}

static bool is_allowed(const struct strings *allowed, const char *path)
{
  for (size_t i = 0; i < allowed->count; i++) {
    cleanup_free char *folder = lead(allowed->items[i]);
    if (folder && below(folder, path))
      return true;
  }
  return false;
}

int local_path_check(const struct strings *allowed, const char *path, const char *what,
                     struct err *err)
{
  bool straight = path[0] == '/' && !strstr(path, "/../") && !str_ends(path, "/..");
  cleanup_free char *real = straight ? lead(path) : NULL;
  if (real && is_allowed(allowed, real))
    return 0;
  bool elsewhere = real && !str_eq(real, path);
  return err_set(err, ERR_DENIED,
                 "%s names the local path '%s'%s%s%s, which this controller does not allow; start "
                 "it with --allow-local for a folder above it",
                 what, path, elsewhere ? " (a link to '" : "", elsewhere ? real : "",
                 elsewhere ? "')" : "");
}
