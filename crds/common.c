// SPDX-License-Identifier: Apache-2.0
#include "crds/common.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "crds/tables_internal.h"

// ---- references -----------------------------------------------------------------------------

static const struct field ref_fields[] = {
    {"name", FIELD_STRING, AT(ref, name), .required = true, .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = NAME_PATTERN, .help = "Name of the object."},
    {"namespace", FIELD_STRING, AT(ref, ns), .min = 1, .max = NAMESPACE_BYTES,
     .pattern = NAMESPACE_PATTERN,
     .help = "Namespace of the object; by default the one of the object that refers to it."},
};
const struct table ref_table = TABLE(struct ref, ref_fields);

static const struct field name_ref_fields[] = {
    {"name", FIELD_STRING, AT(name_ref, name), .required = true, .min = 1, .max = LIMIT_NAME_BYTES,
     .pattern = NAME_PATTERN, .help = "Name, in the same namespace."},
};
const struct table name_ref_table = TABLE(struct name_ref, name_ref_fields);

// ---- TLS ------------------------------------------------------------------------------------

static bool tls_one_ca(const void *object)
{
  const struct tls_spec *tls = object;
  return !tls->ca_config_map || !tls->ca_secret;
}

static bool tls_insecure_alone(const void *object)
{
  const struct tls_spec *tls = object;
  return !tls->insecure_skip_verify ||
         (!tls->ca_config_map && !tls->ca_secret && !tls->fingerprint_sha256);
}

static const struct rule tls_rules[] = {
    {"at most one of caConfigMapRef and caSecretRef may be given", tls_one_ca},
    {"insecureSkipVerify cannot go with a CA or a fingerprint", tls_insecure_alone},
    {NULL, NULL},
};

static const struct field tls_fields[] = {
    {"caConfigMapRef", FIELD_POINTER, AT(tls_spec, ca_config_map), &name_ref_table,
     .help = "ConfigMap whose key ca.crt holds the certificates to trust (PEM)."},
    {"caSecretRef", FIELD_POINTER, AT(tls_spec, ca_secret), &name_ref_table,
     .help = "Secret whose key ca.crt holds the certificates to trust (PEM)."},
    {"fingerprintSHA256", FIELD_STRING, AT(tls_spec, fingerprint_sha256), .max = 95,
     .pattern = "^[0-9A-Fa-f]{2}(:?[0-9A-Fa-f]{2}){31}$",
     .help = "SHA-256 of the server's certificate (DER) in hexadecimal, colons allowed: this "
             "certificate is trusted and no other."},
    {"insecureSkipVerify", FIELD_BOOL, AT(tls_spec, insecure_skip_verify),
     .help = "Trusts any certificate. For trials only: whoever sits in between reads and changes "
             "everything."},
};
const struct table tls_spec_table = TABLE_WITH_RULES(struct tls_spec, tls_fields, tls_rules);

// ---- who may refer --------------------------------------------------------------------------

static const char *const from_names[] = {"Same", "All", "Selector", NULL};

static bool selector_agrees(const void *object)
{
  const struct allowed_namespaces *allowed = object;
  return (allowed->from == NAMESPACES_SELECTOR) == (allowed->selector.count > 0);
}

static const struct rule allowed_rules[] = {
    {"matchLabels must be given when from is Selector, and only then", selector_agrees},
    {NULL, NULL},
};

static const struct field allowed_fields[] = {
    {"from", FIELD_ENUM, AT(allowed_namespaces, from), .names = from_names, .fallback = "\"Same\"",
     .help = "Same: only the namespace of this object; All: every namespace; Selector: namespaces "
             "whose labels match."},
    {"matchLabels", FIELD_MAP, AT(allowed_namespaces, selector), .max = 16, .item_max = 253,
     .help = "Labels that a namespace must have, all of them."},
};
const struct table allowed_namespaces_table =
    TABLE_WITH_RULES(struct allowed_namespaces, allowed_fields, allowed_rules);

// ---- conditions -----------------------------------------------------------------------------

static const char *const condition_status_names[] = {"Unknown", "True", "False", NULL};

static const struct field condition_fields[] = {
    {"type", FIELD_STRING, AT(condition, type), .required = true,
     .help = "What the condition is about, in CamelCase."},
    {"status", FIELD_ENUM, AT(condition, status), .required = true, .names = condition_status_names,
     .help = "True, False or Unknown."},
    {"reason", FIELD_STRING, AT(condition, reason), .required = true,
     .help = "Why, in one CamelCase word."},
    {"message", FIELD_STRING, AT(condition, message), .required = true,
     .help = "Why, in a sentence that says what to do."},
    {"lastTransitionTime", FIELD_STRING, AT(condition, last_transition_time), .required = true,
     .help = "When status changed last, RFC 3339."},
    {"observedGeneration", FIELD_INT, AT(condition, observed_generation),
     .help = "The metadata.generation that the condition was found for."},
};
const struct table condition_table = TABLE(struct condition, condition_fields);

const struct condition *condition_find(const struct list *conditions, const char *type)
{
  const struct condition *items = conditions->items;
  for (size_t i = 0; i < conditions->count; i++)
    if (str_eq(items[i].type, type))
      return &items[i];
  return NULL;
}

// Returns true when the text is another one now.
static bool replace(char **text, const char *with)
{
  if (str_eq(*text, with))
    return false;
  free(*text);
  *text = str_dup(with);
  return true;
}

bool condition_set(struct list *conditions, const char *type, enum condition_status status,
                   const char *reason, const char *message, int64_t generation, int64_t now_wall_ms)
{
  struct condition *c = (struct condition *)condition_find(conditions, type);
  bool changed = !c || c->status != (int)status || c->observed_generation != generation;
  bool turned = !c || c->status != (int)status;
  if (!c && !(c = list_add(conditions, sizeof(*c), 0)))
    return false;
  char now[32];
  changed |= replace(&c->type, type);
  changed |= replace(&c->reason, reason);
  changed |= replace(&c->message, message ? message : "");
  if (turned)
    replace(&c->last_transition_time, clock_rfc3339(now_wall_ms, now));
  c->status = (int)status;
  c->observed_generation = generation;
  return changed;
}
