// SPDX-License-Identifier: Apache-2.0
#include "crds/cloneset.h"

#include <string.h>

#include "crds/clone_internal.h"

#define DAY_SECONDS 86400
#define LABEL_VALUE "^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"
#define LABEL_KEY                                                                                  \
  "^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"
#define OWN_LABELS        "drover.dev/"
#define AMOUNT_FORM       "^(0|[1-9][0-9]{0,4}|[1-9]?[0-9]%|100%)$"
#define AMOUNT_MAX        99999
#define NO_AMOUNT_PATTERN "^0%?$"

static const char *const update_names[] = {"RollingUpdate", "OnDelete", NULL};
static const char *const scale_down_names[] = {"HighestOrdinal", "Newest", "Oldest",
                                               "NotReadyFirst", NULL};
static const char *const deletion_names[] = {"Delete", "Retain", NULL};

// ---- selector and template ------------------------------------------------------------------

static bool keys_are_labels(const struct strings *map)
{
  for (size_t i = 0; i + 1 < map->count; i += 2)
    if (!pattern_matches(LABEL_KEY, map->items[i]))
      return false;
  return true;
}

struct selector { // "selector" holds one map, which is all of it in the struct
  struct strings match_labels;
};

static bool selector_keys(const void *object)
{
  const struct selector *selector = object;
  return keys_are_labels(&selector->match_labels);
}

static const struct rule selector_rules[] = {
    {"matchLabels must hold names that labels may have", selector_keys},
    {NULL, NULL},
};

static const struct field selector_fields[] = {
    {"matchLabels", FIELD_MAP, AT(selector, match_labels), .max = CLONE_LABELS, .item_max = 253,
     .pattern = LABEL_VALUE,
     .help = "Labels that a Clone of this set has, all of them; they stand in template.labels, "
             "too."},
};
static const struct table selector_table =
    TABLE_WITH_RULES(struct selector, selector_fields, selector_rules);

// "template" as it lies in struct cloneset_spec: labels, and the rest right behind them.
struct set_template {
  struct strings labels;
  struct clone_template t;
};
_Static_assert(offsetof(struct cloneset_spec, t) - offsetof(struct cloneset_spec, labels) ==
                   offsetof(struct set_template, t),
               "labels and t of a set lie side by side");

static bool label_keys(const void *object)
{
  const struct set_template *template_ = object;
  return keys_are_labels(&template_->labels);
}

static bool labels_are_theirs(const void *object)
{
  const struct set_template *template_ = object;
  for (size_t i = 0; i + 1 < template_->labels.count; i += 2)
    if (str_starts(template_->labels.items[i], OWN_LABELS))
      return false;
  return true;
}

static bool storage_is_straight(const void *object)
{
  const struct set_template *template_ = object;
  return clone_storage_is_straight(&template_->t);
}

static bool disks_differ(const void *object)
{
  const struct set_template *template_ = object;
  return clone_disks_differ(&template_->t);
}

static bool hostnames_differ(const void *object)
{
  const struct set_template *template_ = object;
  return !template_->t.hostname || strstr(template_->t.hostname, "{ordinal}");
}

static bool macs_differ(const void *object)
{
  const struct set_template *template_ = object;
  const struct clone_network_spec *networks = template_->t.networks.items;
  for (size_t i = 0; i < template_->t.networks.count; i++)
    if (networks[i].mac)
      return false;
  return true;
}

static const struct rule template_rules[] = {
    {"labels must hold names that labels may have", label_keys},
    {"labels must not begin with drover.dev/, which drover sets itself", labels_are_theirs},
    {CLONE_STORAGE_SENTENCE, storage_is_straight},
    {CLONE_DISKS_SENTENCE, disks_differ},
    {"hostname must contain {ordinal}, so that no two clones have the same", hostnames_differ},
    {"networks must not give a mac, so that no two clones have the same", macs_differ},
    {NULL, NULL},
};

static const struct field template_fields[] = {
    {"labels", FIELD_MAP, AT(set_template, labels), .max = CLONE_LABELS, .item_max = 253,
     .pattern = LABEL_VALUE,
     .help = "Labels of the Clones, beside drover.dev/set, drover.dev/ordinal and "
             "drover.dev/revision."},
    TEMPLATE_ROWS(set_template, t.),
};
static const struct table template_table =
    TABLE_WITH_RULES(struct set_template, template_fields, template_rules);

// ---- update ---------------------------------------------------------------------------------

static bool update_moves(const void *object)
{
  const struct cset_update_spec *update = object;
  return !pattern_matches(NO_AMOUNT_PATTERN, update->max_unavailable) ||
         !pattern_matches(NO_AMOUNT_PATTERN, update->max_surge);
}

static const struct rule update_rules[] = {
    {"maxUnavailable and maxSurge must not both be 0", update_moves},
    {NULL, NULL},
};

static const struct field update_fields[] = {
    {"type", FIELD_ENUM, AT(cset_update_spec, type), .names = update_names,
     .fallback = "\"RollingUpdate\"",
     .help = "RollingUpdate: clones are replaced, a few at a time; OnDelete: a clone is replaced "
             "when somebody deletes it."},
    {"partition", FIELD_INT, AT(cset_update_spec, partition), .fallback = "0", .min = 0,
     .max = LIMIT_CLONES_OF_SET,
     .help = "Clones with an ordinal below this one stay as they are, or become so again."},
    {"maxUnavailable", FIELD_STRING, AT(cset_update_spec, max_unavailable), .fallback = "\"1\"",
     .min = 1, .max = 5, .pattern = AMOUNT_FORM, .number_max = AMOUNT_MAX,
     .help = "How many clones may be missing during an update: a number, or a share of replicas "
             "such as 25%, rounded down."},
    {"maxSurge", FIELD_STRING, AT(cset_update_spec, max_surge), .fallback = "\"0\"", .min = 1,
     .max = 5, .pattern = AMOUNT_FORM, .number_max = AMOUNT_MAX,
     .help = "How many clones there may be beyond replicas during an update: a number, or a share "
             "of replicas such as 25%, rounded up."},
};
static const struct table update_table =
    TABLE_WITH_RULES(struct cset_update_spec, update_fields, update_rules);

// ---- spec -----------------------------------------------------------------------------------

static bool selector_matches_template(const void *object)
{
  const struct cloneset_spec *spec = object;
  for (size_t i = 0; i + 1 < spec->selector.count; i += 2)
    if (!str_eq(strings_map_get(&spec->labels, spec->selector.items[i]),
                spec->selector.items[i + 1]))
      return false;
  return true;
}

static bool names_differ(const void *object)
{
  const struct cloneset_spec *spec = object;
  return strstr(spec->name_template, "{ordinal}");
}

static const struct rule spec_rules[] = {
    {"selector.matchLabels must stand in template.labels, too", selector_matches_template},
    {"nameTemplate must contain {ordinal}", names_differ},
    {NULL, NULL},
};

static const struct field spec_fields[] = {
    {"replicas", FIELD_INT, AT(cloneset_spec, replicas), .fallback = "1", .min = 0,
     .max = LIMIT_CLONES_OF_SET, .help = "How many clones there shall be."},
    {"selector", FIELD_OBJECT, AT(cloneset_spec, selector), &selector_table,
     .help = "Which Clones belong to this set; by default those that it made. Cannot be changed."},
    {"baseRef", FIELD_OBJECT, AT(cloneset_spec, base), &name_ref_table, .required = true,
     .help = "CloneBase that the clones are made of. Another one is rolled out to all of them."},
    {"nameTemplate", FIELD_STRING, AT(cloneset_spec, name_template),
     .fallback = "\"{set}-{ordinal}\"", .min = 1, .max = 200, .pattern = CLONE_NAME_PATTERN,
     .help = "Names of the Clones; {set} is the name of this object and {ordinal} a number from "
             "0. Cannot be changed."},
    {"template", FIELD_OBJECT, AT(cloneset_spec, labels), &template_table,
     .help = "What the clones are like. A change is rolled out to all of them."},
    {"update", FIELD_OBJECT, AT(cloneset_spec, update), &update_table,
     .help = "How a change is rolled out."},
    {"scaleDown", FIELD_ENUM, AT(cloneset_spec, scale_down), .names = scale_down_names,
     .fallback = "\"HighestOrdinal\"",
     .help = "Which clones go first when there are too many. Clones with the annotation "
             "drover.dev/delete-first go before all others."},
    {"deletionPolicy", FIELD_ENUM, AT(cloneset_spec, deletion_policy), .names = deletion_names,
     .fallback = "\"Delete\"",
     .help =
         "What becomes of the machines of Clones that go: Delete, or Retain, which leaves them to "
         "you."},
    {"minReadySeconds", FIELD_INT, AT(cloneset_spec, min_ready_seconds), .fallback = "0", .min = 0,
     .max = DAY_SECONDS,
     .help = "Seconds that a clone must have been ready before it counts as available."},
    {"progressDeadlineSeconds", FIELD_INT, AT(cloneset_spec, progress_deadline_seconds),
     .fallback = "600", .min = 1, .max = 30 * DAY_SECONDS,
     .help = "Seconds without progress after which the set is reported as stalled."},
    {"suspend", FIELD_BOOL, AT(cloneset_spec, suspend),
     .help = "Makes and deletes no clones until it is taken away again."},
};
const struct table cloneset_spec_table =
    TABLE_WITH_RULES(struct cloneset_spec, spec_fields, spec_rules);

// ---- status ---------------------------------------------------------------------------------

static const struct field failure_fields[] = {
    {"clone", FIELD_STRING, AT(cset_failure, clone), .help = "Name of the Clone."},
    {"reason", FIELD_STRING, AT(cset_failure, reason), .help = "Why, in one word."},
    {"message", FIELD_STRING, AT(cset_failure, message), .help = "Why, in a sentence."},
};
static const struct table failure_table = TABLE(struct cset_failure, failure_fields);

static const struct field memory_fields[] = {
    {"progressTime", FIELD_STRING, AT(cset_memory, progress_time),
     .help = "When the set came nearer to what is wanted last, RFC 3339."},
    {"powerState", FIELD_STRING, AT(cset_memory, power_state),
     .help = "powerState of the template, as the clones were told it last."},
};
static const struct table memory_table = TABLE(struct cset_memory, memory_fields);

static const struct field status_fields[] = {
    {"observedGeneration", FIELD_INT, AT(cloneset_status, observed_generation), .fallback = "-1",
     .help = "The metadata.generation that status speaks of."},
    {"replicas", FIELD_INT, AT(cloneset_status, replicas), .fallback = "0",
     .help = "How many clones there are."},
    {"readyReplicas", FIELD_INT, AT(cloneset_status, ready_replicas), .fallback = "0",
     .help = "How many of them are ready."},
    {"availableReplicas", FIELD_INT, AT(cloneset_status, available_replicas), .fallback = "0",
     .help = "How many of them have been ready for minReadySeconds."},
    {"updatedReplicas", FIELD_INT, AT(cloneset_status, updated_replicas), .fallback = "0",
     .help = "How many of them are as the template says now."},
    {"currentBase", FIELD_STRING, AT(cloneset_status, current_base),
     .help = "CloneBase of the last roll-out that was completed."},
    {"updateBase", FIELD_STRING, AT(cloneset_status, update_base),
     .help = "CloneBase that is rolled out."},
    {"currentRevision", FIELD_STRING, AT(cloneset_status, current_revision),
     .help = "Label drover.dev/revision of the last roll-out that was completed."},
    {"updateRevision", FIELD_STRING, AT(cloneset_status, update_revision),
     .help = "Label drover.dev/revision of what is rolled out."},
    {"selector", FIELD_STRING, AT(cloneset_status, selector),
     .help = "The selector as text, for the scale subresource."},
    {"bytesUsed", FIELD_INT, AT(cloneset_status, bytes_used),
     .help = "What all clones take beside their bases, bytes."},
    {"bytesSaved", FIELD_INT, AT(cloneset_status, bytes_saved),
     .help = "What full copies would take more, bytes."},
    {"failures", FIELD_LIST, AT(cloneset_status, failures), &failure_table,
     .help = "Clones that could not be made or do not run, at most 20 of them."},
    {"conditions", FIELD_LIST, AT(cloneset_status, conditions), &condition_table,
     .help = "Ready, Reconciling and Stalled."},
    {"runner", FIELD_OBJECT, AT(cloneset_status, memory), &memory_table,
     .help = "What drover must know after a restart; no interface for others."},
};
const struct table cloneset_status_table = TABLE(struct cloneset_status, status_fields);
