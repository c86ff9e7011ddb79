// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>

#include "base/cleanup.h"
#include "storage/storage_internal.h"

int storage_keys_new(const struct storage_config *c, struct storage_keys **ret, struct err *err)
{
  struct storage_keys *k = calloc(1, sizeof(*k));
  if (!k)
    return err_set(err, ERR_NO_MEMORY, "no memory for credentials");
  pthread_mutex_init(&k->lock, NULL);
  k->now.type = c->type;
  if (storage_credentials_copy(c, &k->now, err) < 0) {
    storage_keys_free(k);
    return -1;
  }
  *ret = k;
  return 0;
}

void storage_keys_free(struct storage_keys *k)
{
  if (!k)
    return;
  storage_config_release(&k->now);
  pthread_mutex_destroy(&k->lock);
  free(k);
}

int storage_keys_take(struct storage_keys *k, struct storage_config *ret, unsigned *ret_number,
                      struct err *err)
{
  LOCK_FOR_SCOPE(&k->lock);
  *ret = (struct storage_config){.type = k->now.type};
  *ret_number = k->number;
  if (storage_credentials_copy(&k->now, ret, err) == 0)
    return 0;
  storage_config_release(ret);
  return -1;
}

bool storage_keys_renew(struct storage_keys *k, unsigned number)
{
  LOCK_FOR_SCOPE(&k->lock);
  if (k->number != number) // another lane was first
    return true;
  struct storage_config fresh CLEANUP(storage_config_release) = {.type = k->now.type};
  struct err ignored = ERR_INIT;
  // What cannot be read is no better than what has expired; the server's own words say more.
  if (!k->renew || k->renew(k->arg, &fresh, &ignored) < 0 ||
      storage_credentials_equal(&k->now, &fresh) ||
      storage_credentials_copy(&fresh, &k->now, &ignored) < 0)
    return false;
  k->number++;
  return true;
}
