// SPDX-License-Identifier: Apache-2.0
#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "controller/progress_internal.h"
#include "controller/text_table.h"

#define PHASE_WIDTH 12 // "Transferring", "ShuttingDown"
#define BAR_MIN     10
#define BAR_MAX     40
#define FIGURES     42 // room for the longest figures behind the bar

static void add_bytes(const struct item *item, struct buf *to)
{
  char moved[32], all[32];
  const struct migration_progress *p = &item->progress;
  buf_adds(to, str_human_bytes((double)p->transferred_bytes, moved));
  if (!item->staged && p->data_bytes > 0)
    buf_printf(to, " of %s", str_human_bytes((double)p->data_bytes, all));
}

void progress_line_text(const struct item *item, struct buf *to)
{
  char b[32];
  const struct migration_progress *p = &item->progress;
  buf_printf(to, "%s: %s %" PRId64 "%%, ", item->label, item->phase, p->percent);
  add_bytes(item, to);
  if (p->bytes_per_second > 0)
    buf_printf(to, ", %s/s", str_human_bytes((double)p->bytes_per_second, b));
  if (p->bytes_per_second > 0 && p->eta_seconds >= 0)
    buf_printf(to, ", %s left", str_human_duration(p->eta_seconds, b));
}

// At most `columns` characters of text.
static void add_cut(struct buf *to, const char *text, size_t columns)
{
  size_t bytes = 0;
  size_t seen = 0;
  for (; text[bytes]; bytes++)
    if (((unsigned char)text[bytes] & 0xc0) != 0x80 && ++seen > columns)
      break;
  buf_add(to, text, bytes);
}

static void add_padded(struct buf *to, const char *text, size_t columns)
{
  add_cut(to, text, columns);
  for (size_t width = text_width(text); width < columns; width++)
    buf_addc(to, ' ');
}

static void add_moving(const struct item *item, int room, struct buf *to)
{
  char b[32];
  const struct migration_progress *p = &item->progress;
  int length = room - FIGURES;
  length = length < BAR_MIN ? BAR_MIN : length > BAR_MAX ? BAR_MAX : length;
  int64_t filled = length * (p->percent > 100 ? 100 : p->percent) / 100;
  buf_addc(to, '[');
  for (int i = 0; i < length; i++)
    buf_addc(to, i < filled ? '#' : '-');
  buf_printf(to, "] %3" PRId64 "%%  ", p->percent);
  add_bytes(item, to);
  if (p->bytes_per_second > 0)
    buf_printf(to, "  %s/s", str_human_bytes((double)p->bytes_per_second, b));
  if (p->bytes_per_second > 0 && p->eta_seconds >= 0)
    buf_printf(to, "  %s", str_human_duration(p->eta_seconds, b));
}

void progress_line_bar(const struct item *item, int label_width, int columns, struct buf *to)
{
  struct buf line CLEANUP(buf_release) = BUF_INIT(0);
  add_padded(&line, item->label, (size_t)label_width);
  buf_adds(&line, "  ");
  add_padded(&line, item->phase, PHASE_WIDTH);
  buf_addc(&line, ' ');
  if (item->moving)
    add_moving(item, columns - label_width - PHASE_WIDTH - 3, &line);
  else
    buf_adds(&line, item->message ? item->message : "");
  while (line.length && line.data[line.length - 1] == ' ')
    line.data[--line.length] = '\0';
  add_cut(to, buf_str(&line), (size_t)columns);
}
