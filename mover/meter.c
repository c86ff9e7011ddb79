// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "base/str.h"
#include "mover/report.h"

#define METER_MEMORY_S 5.0 // a second that long ago counts 1/e of the present one
#define BAR_WIDTH_MAX  30
#define BAR_WIDTH_MIN  8

void meter_update(struct meter *m, int64_t now_ms, uint64_t bytes)
{
  if (m->at_ms && now_ms <= m->at_ms)
    return;
  if (m->at_ms && bytes >= m->bytes) {
    double seconds = (double)(now_ms - m->at_ms) / 1000;
    double keep = exp(-seconds / METER_MEMORY_S);
    m->sum = m->sum * keep + (double)(bytes - m->bytes) / seconds * (1 - keep);
    m->weight = m->weight * keep + (1 - keep);
  } else { // begun, or counting begins anew
    m->sum = m->weight = 0;
  }
  m->at_ms = now_ms;
  m->bytes = bytes;
}

// Divided by what the weights add up to, the average is right from the first second on.
double meter_rate(const struct meter *m)
{
  return m->weight > 0 ? m->sum / m->weight : 0;
}

int64_t meter_eta_s(const struct meter *m, uint64_t remaining)
{
  double rate = meter_rate(m);
  double seconds = rate >= 1 ? ceil((double)remaining / rate) : -1;
  return seconds < 0 || seconds > 365.0 * 86400 ? -1 : (int64_t)seconds;
}

// Bytes done and to do of the present phase.
static uint64_t phase_done(const struct progress *p)
{
  return p->phase == COPY_VERIFYING ? p->verified_bytes : p->transferred_bytes;
}

struct progress progress_look(const struct tally *t, struct meter *m, int64_t now_ms)
{
  struct progress p = {
      .phase = atomic_load(&t->phase),
      .total_bytes = atomic_load(&t->total_bytes),
      .data_bytes = atomic_load(&t->data_bytes),
      .transferred_bytes = atomic_load(&t->transferred_bytes),
      .verified_bytes = atomic_load(&t->verified_bytes),
      .resent_bytes = atomic_load(&t->resent_bytes),
      .resumed_bytes = atomic_load(&t->resumed_bytes),
  };
  uint64_t done = phase_done(&p);
  // What an earlier copy moved is there at once; it says nothing of the speed of this one.
  uint64_t moved = p.transferred_bytes + p.resent_bytes + p.verified_bytes;
  uint64_t before = p.resumed_bytes + atomic_load(&t->resumed_resent_bytes);
  meter_update(m, now_ms, moved > before ? moved - before : 0);
  p.bytes_per_s = meter_rate(m);
  p.eta_s =
      p.phase == COPY_PREPARING || p.data_bytes < done ? -1 : meter_eta_s(m, p.data_bytes - done);
  return p;
}

double progress_fraction(const struct progress *p)
{
  uint64_t done = phase_done(p);
  if (p->phase == COPY_DONE)
    return 1;
  if (p->data_bytes == 0)
    return 0;
  return done >= p->data_bytes ? 1 : (double)done / (double)p->data_bytes;
}

void progress_text(const struct progress *p, struct buf *to)
{
  char done[32], all[32], rate[32], eta[32];
  if (p->phase == COPY_PREPARING) {
    buf_adds(to, "preparing");
    return;
  }
  if (p->phase == COPY_VERIFYING)
    buf_adds(to, "verifying  ");
  buf_printf(to, "%3.0f%%  %s of %s", floor(progress_fraction(p) * 100),
             str_human_bytes((double)phase_done(p), done),
             str_human_bytes((double)p->data_bytes, all));
  if (p->bytes_per_s >= 1)
    buf_printf(to, "  %s/s", str_human_bytes(p->bytes_per_s, rate));
  if (p->eta_s >= 0 && p->phase != COPY_DONE)
    buf_printf(to, "  eta %s", str_human_duration(p->eta_s, eta));
}

void progress_bar(const struct progress *p, int columns, struct buf *to)
{
  struct buf text __attribute__((cleanup(buf_release))) = BUF_INIT(512);
  progress_text(p, &text);
  int room = columns - (int)text.length - 5; // "[]", two blanks, the last column
  int width = room > BAR_WIDTH_MAX ? BAR_WIDTH_MAX : room;
  if (width >= BAR_WIDTH_MIN) {
    int filled = (int)(progress_fraction(p) * width);
    buf_addc(to, '[');
    for (int i = 0; i < width; i++)
      buf_addc(to, i < filled ? '=' : i == filled ? '>' : ' ');
    buf_adds(to, "]  ");
  }
  if (columns > 0 && (int)text.length >= columns)
    buf_add(to, buf_str(&text), (size_t)columns - 1);
  else
    buf_adds(to, buf_str(&text));
}
