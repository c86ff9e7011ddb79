// SPDX-License-Identifier: Apache-2.0
#include "disk/private_dir_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define TEMPLATE "/drover-XXXXXX"

int private_dir_make(struct private_dir *d, struct err *err)
{
  const char *base = getenv("TMPDIR");
  if (str_empty(base) || strlen(base) + sizeof(TEMPLATE) > PRIVATE_DIR_MAX)
    base = "/tmp";
  snprintf(d->path, sizeof(d->path), "%s" TEMPLATE, base);
  if (mkdtemp(d->path))
    return 0;
  int number = errno;
  *d->path = '\0';
  return err_errno(err, number, "make a private folder in %s", base);
}

void private_dir_remove(struct private_dir *d)
{
  if (!*d->path)
    return;
  DIR *dir = opendir(d->path);
  for (struct dirent *e; dir && (e = readdir(dir));)
    if (!str_eq(e->d_name, ".") && !str_eq(e->d_name, ".."))
      unlinkat(dirfd(dir), e->d_name, 0);
  if (dir)
    closedir(dir);
  rmdir(d->path);
  *d->path = '\0';
}
