// SPDX-License-Identifier: Apache-2.0
// A plan is made in three steps: what is too many goes, then what a roll-out replaces, then what is
// missing comes. Each step sees what the one before left. All of it is sorting and one walk.
#include "reconcile/cloneset.h"

#include <stdlib.h>

#include "base/cleanup.h"

#define AMOUNT_MAX INT32_MAX // sums of a few of them cannot overflow

struct member { // a clone that is not being deleted
  size_t index;
  int64_t ordinal; // -1: adopted, or another one has its ordinal already
  bool available, stale, outside;
  bool goes; // by this plan
  int rank;  // order of going: rank, then first, then second
  int64_t first, second;
};

struct planner {
  struct set_wish w;
  const struct set_clone *clones;
  size_t count, burst;
  struct member *members; // `live` of them at first
  size_t member_count;
  int64_t *taken; // ordinals of all, sorted: also of what is being deleted
  int64_t live, available, stale, outside, adopted;
  int64_t fresh_waiting; // to stay, but not available (yet)
  struct set_plan *ret;
};

static int64_t clamp(int64_t value, int64_t min, int64_t max)
{
  return value < min ? min : value > max ? max : value;
}

static int64_t least(int64_t a, int64_t b)
{
  return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
  return a > b ? a : b;
}

static struct set_wish sane(const struct set_wish *wish)
{
  struct set_wish w = *wish;
  w.replicas = clamp(w.replicas, 0, AMOUNT_MAX);
  w.partition = clamp(w.partition, 0, AMOUNT_MAX);
  w.max_unavailable = clamp(w.max_unavailable, 0, AMOUNT_MAX);
  w.max_surge = clamp(w.max_surge, 0, AMOUNT_MAX);
  w.now_ms = most(w.now_ms, 0);
  if (!w.max_unavailable && !w.max_surge)
    w.max_unavailable = 1;
  return w;
}

// ---- what is there --------------------------------------------------------------------------

// Until it counts as available: 0 = it does, -1 = time alone does not bring it there.
static int64_t until_available_ms(const struct set_wish *w, const struct set_clone *c)
{
  if (!c->ready || c->failed || c->deleting)
    return -1;
  if (w->min_ready_ms <= 0)
    return 0;
  // A clock that went back gives no time away, and takes none.
  int64_t since_ms = c->ready_ms > 0 ? most(w->now_ms - c->ready_ms, 0) : 0;
  return most(w->min_ready_ms - since_ms, 0);
}

static void look_at(struct planner *p, size_t index)
{
  const struct set_clone *c = &p->clones[index];
  p->taken[index] = c->ordinal;
  if (c->deleting)
    return;
  int64_t left_ms = until_available_ms(&p->w, c);
  struct set_plan *ret = p->ret;
  if (left_ms > 0 && (ret->look_again_ms < 0 || left_ms < ret->look_again_ms))
    ret->look_again_ms = left_ms;
  p->members[p->member_count++] =
      (struct member){.index = index, .ordinal = most(c->ordinal, -1), .available = left_ms == 0};
  ret->replicas++;
  ret->ready += c->ready && !c->failed;
  ret->available += left_ms == 0;
  ret->updated += c->updated;
  ret->updated_available += c->updated && left_ms == 0;
}

static int by_number(const void *a, const void *b)
{
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static int by_ordinal(const void *a, const void *b)
{
  const struct member *x = a, *y = b;
  if (x->ordinal != y->ordinal)
    return x->ordinal < y->ordinal ? -1 : 1;
  return (x->index > y->index) - (x->index < y->index);
}

static int by_rank(const void *a, const void *b)
{
  const struct member *x = a, *y = b;
  if (x->rank != y->rank)
    return x->rank < y->rank ? -1 : 1;
  if (x->first != y->first)
    return x->first < y->first ? -1 : 1;
  if (x->second != y->second)
    return x->second < y->second ? -1 : 1;
  return (x->index > y->index) - (x->index < y->index);
}

// Two with one ordinal (a label edited by hand): the second counts, but has no place of its own.
static void tell_doubles_apart(struct planner *p)
{
  int64_t last = -1;
  for (size_t i = 0; i < p->member_count; i++) {
    struct member *m = &p->members[i];
    if (m->ordinal >= 0 && m->ordinal == last)
      m->ordinal = -1;
    else
      last = m->ordinal;
    p->adopted += m->ordinal < 0;
  }
}

// With maxSurge, ordinals at or above replicas are for the time of a roll-out, so that at its end
// they are 0 to replicas - 1 again. Without it nothing is ever made there, and what a scale-down
// left there stays; likewise where the policy leaves gaps on purpose.
static bool surge_is_outside(const struct planner *p)
{
  return p->w.max_surge > 0 && p->w.scale_down == SET_HIGHEST_ORDINAL;
}

static void judge(struct planner *p, struct member *m)
{
  const struct set_clone *c = &p->clones[m->index];
  int64_t places = most(p->w.replicas - p->adopted, 0);
  m->stale = !c->updated && !p->w.on_delete && most(m->ordinal, 0) >= p->w.partition;
  m->outside = surge_is_outside(p) && m->ordinal >= places;
  p->live++;
  p->available += m->available;
  p->stale += m->stale;
  p->outside += m->outside;
  p->fresh_waiting += !m->stale && !m->available;
}

static int look(struct planner *p)
{
  p->members = calloc(p->count + 1, sizeof(*p->members));
  p->taken = calloc(p->count + 1, sizeof(*p->taken));
  if (!p->members || !p->taken)
    return -1;
  for (size_t i = 0; i < p->count; i++)
    look_at(p, i);
  qsort(p->members, p->member_count, sizeof(*p->members), by_ordinal);
  qsort(p->taken, p->count, sizeof(*p->taken), by_number);
  tell_doubles_apart(p);
  for (size_t i = 0; i < p->member_count; i++)
    judge(p, &p->members[i]);
  return 0;
}

// ---- what goes ------------------------------------------------------------------------------

static void let_go(struct planner *p, struct member *m)
{
  if (p->ret->delete_count == p->burst)
    return;
  p->ret->deletes[p->ret->delete_count++] = m->index;
  m->goes = true;
  p->live--;
  p->available -= m->available;
  p->stale -= m->stale;
  p->outside -= m->outside;
  p->fresh_waiting -= !m->stale && !m->available;
}

static int64_t least_available(const struct planner *p)
{
  return p->w.replicas - p->w.max_unavailable;
}

static int64_t surge_wanted(const struct planner *p)
{
  return least(p->w.max_surge, p->stale);
}

static void order_by_policy(const struct planner *p, struct member *m)
{
  const struct set_clone *c = &p->clones[m->index];
  int64_t keys[][2] = {
      [SET_HIGHEST_ORDINAL] = {-m->ordinal, 0},
      [SET_NEWEST] = {-most(c->created_ms, 0), -m->ordinal},
      [SET_OLDEST] = {c->created_ms, -m->ordinal},
      [SET_NOT_READY_FIRST] = {c->ready && !c->failed, -m->ordinal},
  };
  m->first = keys[p->w.scale_down][0];
  m->second = keys[p->w.scale_down][1];
}

enum { GO_ASKED, GO_BROKEN, GO_OUTSIDE_WAITING, GO_OUTSIDE, GO_BROKEN_YOUNG, GO_GOOD };

// A broken clone goes before good ones, but for one younger than those outside: it was made to take
// the place of one of them. It would be made again for the same reason, and again.
static int rank_of(const struct planner *p, const struct member *m, int64_t outside_since_ms)
{
  const struct set_clone *c = &p->clones[m->index];
  if (c->delete_first)
    return GO_ASKED;
  if (c->failed)
    return m->outside || c->created_ms <= outside_since_ms ? GO_BROKEN : GO_BROKEN_YOUNG;
  if (m->outside)
    return m->available ? GO_OUTSIDE : GO_OUTSIDE_WAITING;
  return GO_GOOD;
}

static void order_for_scale_down(struct planner *p)
{
  int64_t outside_since_ms = INT64_MAX;
  for (size_t i = 0; i < p->member_count; i++)
    if (p->members[i].outside)
      outside_since_ms = least(outside_since_ms, p->clones[p->members[i].index].created_ms);
  for (size_t i = 0; i < p->member_count; i++) {
    order_by_policy(p, &p->members[i]);
    p->members[i].rank = rank_of(p, &p->members[i], outside_since_ms);
  }
  qsort(p->members, p->member_count, sizeof(*p->members), by_rank);
}

// More than maxSurge explains is a scale-down, and goes at once. The rest may be what a roll-out
// has made: it goes when those that it stood in for are available, each when it is its turn.
static void remove_excess(struct planner *p)
{
  int64_t excess = p->live - p->w.replicas - surge_wanted(p);
  int64_t at_once = p->live - p->w.replicas - p->w.max_surge;
  if (excess <= 0)
    return;
  order_for_scale_down(p);
  for (int64_t i = 0; i < excess && i < (int64_t)p->member_count; i++) {
    struct member *m = &p->members[i];
    if (i < at_once || !m->available || p->available > least_available(p))
      let_go(p, m);
  }
}

static void order_for_roll_out(struct planner *p)
{
  for (size_t i = 0; i < p->member_count; i++) {
    struct member *m = &p->members[i];
    const struct set_clone *c = &p->clones[m->index];
    m->rank = !m->stale || m->goes ? 4
              : c->delete_first    ? 0
              : c->failed          ? 1
              : !m->available      ? 2
                                   : 3;
    m->first = -m->ordinal;
    m->second = 0;
  }
  qsort(p->members, p->member_count, sizeof(*p->members), by_rank);
}

// Of what is not available now, only as many go as could all fail to come back: a platform that
// does not answer, or a new base that does not start, must not cost the whole set.
static void remove_stale(struct planner *p)
{
  if (p->stale == 0)
    return;
  order_for_roll_out(p);
  for (size_t i = 0; i < p->member_count && p->members[i].rank < 4; i++) {
    struct member *m = &p->members[i];
    if (p->live - p->fresh_waiting <= least_available(p))
      return;
    if (!m->available || p->available > least_available(p))
      let_go(p, m);
  }
}

// ---- what comes -----------------------------------------------------------------------------

// Makes the lowest ordinals from `from` on, below `end`, that nobody has; at most `want` of them.
static int64_t create_free(struct planner *p, int64_t from, int64_t end, int64_t want, int64_t room)
{
  struct set_plan *ret = p->ret;
  int64_t made = 0;
  want = least(want, room);
  size_t next = 0;
  for (int64_t o = from; o < end && made < want; o++) {
    while (next < p->count && p->taken[next] < o)
      next++;
    if (next < p->count && p->taken[next] == o)
      continue;
    ret->creates[ret->create_count] = o;
    ret->create_old[ret->create_count++] = o < p->w.partition && !p->w.on_delete;
    made++;
  }
  return made;
}

static int create_missing(struct planner *p)
{
  int64_t replicas = p->w.replicas, surge = surge_wanted(p);
  int64_t room = most(replicas + p->w.max_surge - (int64_t)p->count, 0);
  if ((uint64_t)room > p->burst)
    room = (int64_t)p->burst;
  p->ret->creates = calloc((size_t)room + 1, sizeof(*p->ret->creates));
  p->ret->create_old = calloc((size_t)room + 1, sizeof(*p->ret->create_old));
  if (!p->ret->creates || !p->ret->create_old)
    return -1;
  // A name that is still taken is waited for: its clone comes back under it.
  bool outside = surge_is_outside(p);
  int64_t places = outside ? most(replicas - p->adopted, 0) : replicas;
  int64_t want = outside ? places : replicas + surge - p->live;
  int64_t made = create_free(p, 0, places, want, room);
  want = outside ? surge - p->outside : replicas + surge - most(replicas, p->live + made);
  create_free(p, replicas, INT64_MAX, want, room - made);
  return 0;
}

static int plan(struct planner *p)
{
  if (look(p) != 0)
    return -1;
  p->ret->deletes = calloc(p->member_count + 1, sizeof(*p->ret->deletes));
  if (!p->ret->deletes)
    return -1;
  remove_excess(p);
  size_t too_many = p->ret->delete_count;
  remove_stale(p);
  p->ret->replaced_count = p->ret->delete_count - too_many;
  if (create_missing(p) != 0)
    return -1;
  p->ret->complete = p->ret->delete_count == 0 && p->ret->create_count == 0 && p->stale == 0 &&
                     p->outside == 0 && p->live == p->w.replicas && p->available == p->w.replicas &&
                     p->member_count == p->count;
  return 0;
}

int set_plan(const struct set_wish *wish, const struct set_clone *clones, size_t count,
             size_t burst, struct set_plan *ret)
{
  *ret = (struct set_plan){.look_again_ms = -1};
  struct planner p = {
      .w = sane(wish), .clones = clones, .count = count, .burst = burst, .ret = ret};
  int status = plan(&p);
  free(p.members);
  free(p.taken);
  if (status != 0)
    set_plan_release(ret);
  return status;
}

void set_plan_release(struct set_plan *p)
{
  free(p->creates);
  free(p->create_old);
  free(p->deletes);
  *p = (struct set_plan){.look_again_ms = -1};
}
