// SPDX-License-Identifier: Apache-2.0
#include "kube/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/str.h"
#include "kube/file.h"

struct credentials {
  const struct kube_config *config;
  pthread_mutex_t mutex; // guards what follows; held while a plug-in runs
  struct identity now;   // version 0: never filled
  int64_t read_ms;       // when files were last looked at
  int64_t expires_wall_ms;
};

void identity_release(struct identity *i)
{
  secret_release(&i->bearer);
  secret_release(&i->key_pem);
  free(i->cert_pem);
  *i = (struct identity){0};
}

static int identity_copy(const struct identity *from, struct identity *to, struct err *err)
{
  *to = (struct identity){.certificate = from->certificate, .version = from->version};
  to->cert_pem = str_dup(from->cert_pem);
  if (secret_copy(&to->bearer, &from->bearer) == 0 &&
      secret_copy(&to->key_pem, &from->key_pem) == 0 && !to->cert_pem == !from->cert_pem)
    return 0;
  identity_release(to);
  return err_set(err, ERR_NO_MEMORY, "no memory for credentials");
}

struct credentials *credentials_new(const struct kube_config *config)
{
  struct credentials *c = calloc(1, sizeof(*c));
  if (!c)
    return NULL;
  c->config = config;
  pthread_mutex_init(&c->mutex, NULL);
  return c;
}

void credentials_free(struct credentials *c)
{
  if (!c)
    return;
  identity_release(&c->now);
  pthread_mutex_destroy(&c->mutex);
  free(c);
}

static int read_certificate(const struct kube_config *config, struct identity *ret, struct err *err)
{
  struct secret cert CLEANUP(secret_release) = {0};
  if (config->client_cert_pem) {
    ret->cert_pem = str_dup(config->client_cert_pem);
    return secret_copy(&ret->key_pem, &config->client_key_pem);
  }
  if (!config->client_cert_file)
    return 0;
  if (kube_file_read(config->client_cert_file, &cert, err) != 0)
    return -1;
  ret->cert_pem = str_dup(secret_reveal(&cert));
  if (config->client_key_file)
    return kube_file_read(config->client_key_file, &ret->key_pem, err);
  return secret_copy(&ret->key_pem, &config->client_key_pem);
}

static int read_static(const struct kube_config *config, struct identity *ret, struct err *err)
{
  if (read_certificate(config, ret, err) != 0)
    return -1;
  if (config->token_file)
    return kube_file_read_token(config->token_file, &ret->bearer, err);
  return secret_copy(&ret->bearer, &config->token);
}

static bool same_secret(const struct secret *a, const struct secret *b)
{
  return a->length == b->length && memcmp(secret_reveal(a), secret_reveal(b), a->length) == 0;
}

// Counts what changed, so that clients know whether to connect anew.
static void adopt(struct credentials *c, struct identity *fresh)
{
  bool same_certificate =
      str_eq(c->now.cert_pem, fresh->cert_pem) && same_secret(&c->now.key_pem, &fresh->key_pem);
  bool same = same_certificate && same_secret(&c->now.bearer, &fresh->bearer);
  fresh->certificate = c->now.certificate + (c->now.version == 0 || !same_certificate);
  fresh->version = c->now.version + (c->now.version == 0 || !same);
  identity_release(&c->now);
  c->now = *fresh;
  *fresh = (struct identity){0};
}

static bool stale(const struct credentials *c, uint64_t refused)
{
  if (c->now.version == 0 || (refused && refused == c->now.version))
    return true;
  if (c->config->exec.command)
    return c->expires_wall_ms && clock_wall_ms() >= c->expires_wall_ms;
  return clock_ms() - c->read_ms >= CREDENTIALS_READ_AGAIN_MS;
}

static int renew(struct credentials *c, struct err *err)
{
  struct identity fresh CLEANUP(identity_release) = {0};
  struct err why = ERR_INIT;
  int64_t expires_wall_ms = 0;
  bool by_exec = c->config->exec.command != NULL;
  int failed = by_exec ? kube_exec_run(c->config, &fresh, &expires_wall_ms, &why)
                       : read_static(c->config, &fresh, &why);
  if (failed && (by_exec || c->now.version == 0))
    return err_set(err, why.kind == ERR_NONE ? ERR_NO_MEMORY : why.kind, "credentials: %s",
                   why.message);
  c->read_ms = clock_ms();
  // A file that is being replaced can be missing for a moment: what was read before may still do.
  if (failed)
    return 0;
  c->expires_wall_ms = expires_wall_ms;
  adopt(c, &fresh);
  return 0;
}

int credentials_get(struct credentials *c, uint64_t refused, struct identity *ret, struct err *err)
{
  LOCK_FOR_SCOPE(&c->mutex);
  if (stale(c, refused) && renew(c, err) != 0)
    return -1;
  return identity_copy(&c->now, ret, err);
}
