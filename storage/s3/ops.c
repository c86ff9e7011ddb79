// SPDX-License-Identifier: Apache-2.0
#include "base/str.h"
#include "storage/s3/s3_internal.h"

static void describe(const struct storage_config *c, struct buf *into)
{
  buf_printf(into, "s3 bucket %s at ", c->bucket ? c->bucket : "(none)");
  if (str_empty(c->endpoint))
    buf_adds(into, "Amazon");
  else
    web_shown_url(c->endpoint, into);
}

static int lane_open(void *store, void **ret_lane, struct err *err)
{
  struct web_lane *lane = NULL;
  if (web_lane_new(((struct s3 *)store)->client, &lane, err) < 0)
    return -1;
  *ret_lane = lane;
  return 0;
}

static void lane_close(void *store, void *lane)
{
  (void)store;
  web_lane_free(lane);
}

static void interrupt(void *store, void *lane)
{
  (void)store;
  web_lane_interrupt(lane);
}

const struct storage_ops storage_s3_ops = {
    .name = "s3",
    .keeps_owner = true,
    .describe = describe,
    .open = s3_open,
    .close = s3_close,
    .lane_open = lane_open,
    .lane_close = lane_close,
    .interrupt = interrupt,
    .check = s3_check,
    .stat = s3_stat,
    .list = s3_list,
    .remove = s3_remove,
    .remove_partial = s3_remove_partial,
    .get_range = s3_get_range,
    .put = s3_put,
    .writer = s3_writer,
    .writer_ops = &s3_writer_ops,
    .writer_state = s3_writer_state,
};
