// SPDX-License-Identifier: Apache-2.0
// From libyaml's document graph, in which an alias is one more edge to the same node, to a JSON
// tree, in which it is a copy. Depth, nodes and bytes of the tree are bounded; a node that contains
// itself meets the bound on depth.
#include <string.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/str.h"
#include "crds/manifest_internal.h"

struct reading {
  yaml_document_t *document;
  size_t nodes;
  size_t bytes;
  struct err *err;
};

static int convert(struct reading *r, int id, int depth, struct json_object **ret);

static int node_err(struct reading *r, const yaml_node_t *node, enum err_kind kind,
                    const char *message)
{
  return err_set(r->err, kind, "line %zu: %s", node->start_mark.line + 1, message);
}

static bool is_merge(const yaml_node_t *key)
{
  return key->type == YAML_SCALAR_NODE && key->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
         key->data.scalar.length == 2 && memcmp(key->data.scalar.value, "<<", 2) == 0;
}

static int convert_scalar(struct reading *r, const yaml_node_t *node, struct json_object **ret)
{
  const char *text = (const char *)node->data.scalar.value;
  size_t length = node->data.scalar.length;
  r->bytes += length;
  if (r->bytes > LIMIT_MANIFEST_BYTES)
    return node_err(r, node, ERR_LIMIT, "the document is over the limit of 1 MiB of text");
  if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
    return manifest_plain_scalar(text, length, ret, r->err);
  *ret = json_object_new_string_len(text, (int)length);
  return *ret ? 0 : err_set(r->err, ERR_NO_MEMORY, "out of memory");
}

static int convert_sequence(struct reading *r, const yaml_node_t *node, int depth,
                            struct json_object **ret)
{
  struct json_object *array = json_object_new_array();
  for (yaml_node_item_t *item = node->data.sequence.items.start;
       array && item < node->data.sequence.items.top; item++) {
    struct json_object *value = NULL;
    if (convert(r, *item, depth + 1, &value) == 0 && json_object_array_add(array, value) == 0)
      continue;
    json_object_put(value);
    json_object_put(array);
    return -1;
  }
  *ret = array;
  return array ? 0 : err_set(r->err, ERR_NO_MEMORY, "out of memory");
}

// Keys are text; a number is taken as it is spelled.
static int check_key(struct reading *r, const yaml_node_t *key)
{
  if (key->type != YAML_SCALAR_NODE)
    return node_err(r, key, ERR_INVALID, "a key must be text");
  const char *text = (const char *)key->data.scalar.value;
  if (strlen(text) != key->data.scalar.length)
    return node_err(r, key, ERR_INVALID, "a key must not hold NUL characters");
  if (key->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
    return 0;
  struct json_object *value = NULL;
  if (manifest_plain_scalar(text, key->data.scalar.length, &value, r->err))
    return -1;
  bool ambiguous = !value || json_object_is_type(value, json_type_boolean);
  json_object_put(value);
  if (ambiguous)
    return node_err(r, key, ERR_INVALID, "this key is a boolean or null for YAML: quote it");
  return 0;
}

static int add_pair(struct reading *r, const yaml_node_pair_t *pair, int depth,
                    struct json_object *object)
{
  const yaml_node_t *key = yaml_document_get_node(r->document, pair->key);
  if (check_key(r, key))
    return -1;
  const char *name = (const char *)key->data.scalar.value;
  r->bytes += key->data.scalar.length;
  if (json_object_object_get_ex(object, name, NULL))
    return err_set(r->err, ERR_INVALID, "line %zu: the key '%.80s' stands twice",
                   key->start_mark.line + 1, name);
  struct json_object *value = NULL;
  if (convert(r, pair->value, depth + 1, &value))
    return -1;
  if (json_object_object_add(object, name, value) == 0)
    return 0;
  json_object_put(value);
  return err_set(r->err, ERR_NO_MEMORY, "out of memory");
}

// What the object does not have yet is taken from `from`: one mapping, or a list of them.
static int merge(struct reading *r, const yaml_node_t *key, struct json_object *from,
                 struct json_object *object)
{
  if (json_object_is_type(from, json_type_array)) {
    for (size_t i = 0; i < json_object_array_length(from); i++)
      if (merge(r, key, json_object_array_get_idx(from, i), object))
        return -1;
    return 0;
  }
  if (!json_object_is_type(from, json_type_object))
    return node_err(r, key, ERR_INVALID, "<< takes a mapping or a list of mappings");
  json_object_object_foreach(from, name, value)
  {
    if (!json_object_object_get_ex(object, name, NULL))
      json_object_object_add(object, name, json_object_get(value));
  }
  return 0;
}

static int add_merges(struct reading *r, const yaml_node_t *node, int depth,
                      struct json_object *object)
{
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top;
       pair++) {
    const yaml_node_t *key = yaml_document_get_node(r->document, pair->key);
    struct json_object *from = NULL;
    if (!is_merge(key))
      continue;
    int result = convert(r, pair->value, depth + 1, &from);
    if (result == 0)
      result = merge(r, key, from, object);
    json_object_put(from);
    if (result)
      return -1;
  }
  return 0;
}

static int fill_mapping(struct reading *r, const yaml_node_t *node, int depth,
                        struct json_object *object)
{
  for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top;
       pair++)
    if (!is_merge(yaml_document_get_node(r->document, pair->key)) &&
        add_pair(r, pair, depth, object))
      return -1;
  return add_merges(r, node, depth, object);
}

static int convert_mapping(struct reading *r, const yaml_node_t *node, int depth,
                           struct json_object **ret)
{
  struct json_object *object = json_object_new_object();
  if (!object)
    return err_set(r->err, ERR_NO_MEMORY, "out of memory");
  if (fill_mapping(r, node, depth, object)) {
    json_object_put(object);
    return -1;
  }
  *ret = object;
  return 0;
}

// libyaml gives these tags to nodes that have none, so that !!str cannot be told from no tag.
static bool has_foreign_tag(const yaml_node_t *node)
{
  static const char *const tags[] = {YAML_STR_TAG, YAML_SEQ_TAG, YAML_MAP_TAG};
  for (size_t i = 0; node->tag && i < ARRAY_SIZE(tags); i++)
    if (strcmp((const char *)node->tag, tags[i]) == 0)
      return false;
  return true;
}

static int convert(struct reading *r, int id, int depth, struct json_object **ret)
{
  const yaml_node_t *node = yaml_document_get_node(r->document, id);
  if (depth > MANIFEST_DEPTH_MAX)
    return node_err(r, node, ERR_LIMIT, "nested too deeply");
  if (++r->nodes > MANIFEST_NODES_MAX)
    return node_err(r, node, ERR_LIMIT, "too many values, with those that aliases stand for");
  if (has_foreign_tag(node))
    return node_err(r, node, ERR_INVALID, "tags are not supported: remove it, or quote the value");
  switch (node->type) {
  case YAML_SCALAR_NODE:
    return convert_scalar(r, node, ret);
  case YAML_SEQUENCE_NODE:
    return convert_sequence(r, node, depth, ret);
  case YAML_MAPPING_NODE:
    return convert_mapping(r, node, depth, ret);
  default:
    return node_err(r, node, ERR_INVALID, "unknown kind of node");
  }
}

static int syntax_err(const yaml_parser_t *parser, const char *name, struct err *err)
{
  const char *problem = parser->problem ? parser->problem : "cannot be read";
  return err_set(err, parser->error == YAML_MEMORY_ERROR ? ERR_NO_MEMORY : ERR_INVALID,
                 "%s:%zu: not YAML: %s", name, parser->problem_mark.line + 1, problem);
}

// An empty document gives nothing.
static int add_document(yaml_document_t *document, const char *name, struct manifests *ret,
                        struct err *err)
{
  const yaml_node_t *root = yaml_document_get_root_node(document);
  struct reading r = {.document = document, .err = err};
  struct json_object *json = NULL;
  if (convert(&r, 1, 0, &json))
    return err_prefix(err, "%s", name);
  if (!json)
    return 0;
  return manifests_add(ret, json, name, root->start_mark.line + 1, err);
}

static int parse_all(yaml_parser_t *parser, const char *name, struct manifests *ret,
                     struct err *err)
{
  for (;;) {
    yaml_document_t document CLEANUP(yaml_document_delete);
    if (!yaml_parser_load(parser, &document)) {
      memset(&document, 0, sizeof(document));
      return syntax_err(parser, name, err);
    }
    if (!yaml_document_get_root_node(&document))
      return 0;
    if (add_document(&document, name, ret, err))
      return -1;
  }
}

int manifests_parse_yaml(const char *text, size_t length, const char *name, struct manifests *ret,
                         struct err *err)
{
  yaml_parser_t parser;
  if (!yaml_parser_initialize(&parser))
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
  int result = parse_all(&parser, name, ret, err);
  yaml_parser_delete(&parser);
  return result;
}
