// SPDX-License-Identifier: Apache-2.0
// A new host key for sshd, made by ssh-keygen on our side.
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/command.h"
#include "base/runtime_folder.h"
#include "base/str.h"
#include "providers/lxd/lxd_internal.h"

static int read_text(const char *path, char *text, size_t size, struct err *err)
{
  cleanup_fclose FILE *f = fopen(path, "re");
  size_t length = f ? fread(text, 1, size - 1, f) : 0;
  text[length] = '\0';
  return length ? 0 : err_set(err, ERR_IO, "ssh-keygen made no key");
}

static int generate(const char *name, const char *dir, struct lxd_host_key *ret, struct err *err)
{
  cleanup_free char *key = str_printf("%s/key", dir);
  cleanup_free char *public = str_printf("%s/key.pub", dir);
  cleanup_free char *comment = str_printf("root@%s", name);
  if (!key || !public || !comment)
    return lxd_no_memory(err);
  const char *const argv[] = {"ssh-keygen", "-q",    "-t", "ed25519", "-N", "",
                              "-C",         comment, "-f", key,       NULL};
  struct command c = {.argv = argv, .timeout_ms = 10000};
  struct command_result r = {0};
  int failed = command_check(&c, &r, err);
  command_result_release(&r);
  if (failed || read_text(key, ret->private, sizeof(ret->private), err) != 0 ||
      read_text(public, ret->public, sizeof(ret->public), err) != 0)
    return err_prefix(err, "a new host key for '%s'", name);
  return 0;
}

int lxd_host_key_new(const char *name, struct lxd_host_key *ret, struct err *err)
{
  char *dir = NULL;
  if (runtime_folder_new(&dir, err) != 0)
    return -1;
  int failed = generate(name, dir, ret, err);
  runtime_folder_remove(dir);
  if (failed)
    lxd_host_key_release(ret);
  return failed;
}

void lxd_host_key_release(struct lxd_host_key *k)
{
  explicit_bzero(k, sizeof(*k));
}
