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

const struct storage_ops storage_s3_ops = {
    .name = "s3",
    .keeps_owner = true,
    .describe = describe,
    .open = s3_open,
    .close = s3_close,
    .keys = web_store_keys,
    .round_trip_ms = web_store_round_trip_ms,
    .lane_open = web_store_lane_open,
    .lane_close = web_store_lane_close,
    .interrupt = web_store_interrupt,
    .check = s3_check,
    .stat = s3_stat,
    .list = s3_list,
    .remove = s3_remove,
    .remove_partial = s3_remove_partial,
    .get_range = s3_get_range,
    .put = s3_put,
    .writer = s3_writer,
    .mender = s3_mender,
};
