// SPDX-License-Identifier: Apache-2.0
// Connections of S3 and HTTP stores: one a lane, of the store itself and of its writers.
#include <stdlib.h>

#include "base/cleanup.h"
#include "storage/web_internal.h"

DEFINE_CLEANUP(web_lane_free, struct web_lane *)

int web_lane_new(struct http_client *client, struct web_lane **ret, struct err *err)
{
  struct web_lane *l CLEANUP(web_lane_free_p) = calloc(1, sizeof(*l));
  if (!l)
    return err_set(err, ERR_NO_MEMORY, "no memory for a connection");
  stop_init(&l->stop);
  l->session = http_session_new(client, err);
  if (!l->session)
    return -1;
  *ret = TAKE(l);
  return 0;
}

void web_lane_free(struct web_lane *l)
{
  if (!l)
    return;
  http_session_free(l->session);
  stop_release(&l->stop);
  free(l);
}

void web_lane_interrupt(void *lane)
{
  struct web_lane *l = lane;
  stop_set(&l->stop);
  http_session_interrupt(l->session);
}

// ---- of a store ----

int web_store_open(struct web_store *s, const struct storage_config *c,
                   const struct address_filter *allowed, struct err *err)
{
  struct http_settings settings = {
      .tls = {.ca_pem = c->ca_pem,
              .fingerprint_sha256 = c->fingerprint_sha256,
              .insecure = c->insecure_skip_verify},
      .allowed = allowed,
  };
  s->client = http_client_new(&settings, err);
  return s->client ? storage_keys_new(c, &s->keys, err) : -1;
}

void web_store_close(struct web_store *s)
{
  http_client_free(s->client);
  storage_keys_free(s->keys);
}

struct storage_keys *web_store_keys(void *store)
{
  return ((struct web_store *)store)->keys;
}

int64_t web_store_round_trip_ms(const void *store)
{
  return http_client_round_trip_ms(((const struct web_store *)store)->client);
}

int web_store_lane_open(void *store, void **ret_lane, struct err *err)
{
  struct web_lane *lane = NULL;
  if (web_lane_new(((struct web_store *)store)->client, &lane, err) < 0)
    return -1;
  *ret_lane = lane;
  return 0;
}

void web_store_lane_close(void *store, void *lane)
{
  (void)store;
  web_lane_free(lane);
}

void web_store_interrupt(void *store, void *lane)
{
  (void)store;
  web_lane_interrupt(lane);
}

// ---- of a writer ----

void web_writer_init(struct web_writer *w, const struct object_writer_ops *ops,
                     struct http_client *client)
{
  w->base = (struct object_writer){.ops = ops};
  w->client = client;
  lane_set_init(&w->lanes, web_lane_interrupt);
}

void web_writer_release(struct web_writer *w)
{
  lane_set_release(&w->lanes);
}

int web_writer_open_lane(struct web_writer *w, struct web_lane **ret, struct err *err)
{
  struct web_lane *lane CLEANUP(web_lane_free_p) = NULL;
  if (web_lane_new(w->client, &lane, err) < 0 || lane_set_add(&w->lanes, lane, err) < 0)
    return -1;
  *ret = TAKE(lane);
  return 0;
}

void web_writer_close_lane(struct web_writer *w, struct web_lane *lane)
{
  lane_set_remove(&w->lanes, lane);
  web_lane_free(lane);
}

int web_writer_lane_open(struct object_writer *w, void **ret_lane, struct err *err)
{
  struct web_lane *lane = NULL;
  if (web_writer_open_lane((struct web_writer *)w, &lane, err) < 0)
    return -1;
  *ret_lane = lane;
  return 0;
}

void web_writer_lane_close(struct object_writer *w, void *lane)
{
  web_writer_close_lane((struct web_writer *)w, lane);
}

void web_writer_interrupt(struct object_writer *w)
{
  lane_set_interrupt(&((struct web_writer *)w)->lanes);
}
