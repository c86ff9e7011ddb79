// SPDX-License-Identifier: Apache-2.0
#include <stdbool.h>
#include <string.h>
#include <yaml.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/yaml.h"

#define PLAIN_MAX_BYTES 256 // longer strings are quoted without looking

static int on_output(void *arg, unsigned char *bytes, size_t length)
{
  struct buf *to = arg;
  buf_add(to, bytes, length);
  return buf_ok(to);
}

// Whether the string is read back as just that when it stands without quotes. Other readers of YAML
// take dates for something of their own.
static bool may_be_plain(const char *text)
{
  struct json_object *back = NULL;
  bool date = strspn(text, "0123456789") == 4 && text[4] == '-';
  if (strlen(text) <= PLAIN_MAX_BYTES && !date)
    back = yaml_parse(text, strlen(text), NULL);
  bool same = json_object_is_type(back, json_type_string) &&
              strcmp(json_object_get_string(back), text) == 0;
  json_object_put(back);
  return same;
}

static bool emit_scalar(yaml_emitter_t *e, struct json_object *json)
{
  bool string = json_object_is_type(json, json_type_string);
  const char *text = string ? json_object_get_string(json) : json_object_to_json_string(json);
  yaml_scalar_style_t style = YAML_PLAIN_SCALAR_STYLE;
  if (string && strchr(text, '\n'))
    style = YAML_LITERAL_SCALAR_STYLE;
  else if (string && !may_be_plain(text))
    style = YAML_DOUBLE_QUOTED_SCALAR_STYLE;
  yaml_event_t event;
  return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
                                      (int)strlen(text), 1, 1, style) &&
         yaml_emitter_emit(e, &event);
}

static bool emit_node(yaml_emitter_t *e, struct json_object *json, int depth);

static bool emit_key(yaml_emitter_t *e, const char *name)
{
  struct json_object *key = json_object_new_string(name);
  bool good = key && emit_scalar(e, key);
  json_object_put(key);
  return good;
}

static bool emit_object(yaml_emitter_t *e, struct json_object *json, int depth)
{
  yaml_event_t event;
  bool empty = json_object_object_length(json) == 0;
  yaml_mapping_style_t style = empty ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE;
  bool good = yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, style) &&
              yaml_emitter_emit(e, &event);
  json_object_object_foreach(json, name, value)
  {
    good = good && emit_key(e, name) && emit_node(e, value, depth + 1);
  }
  return good && yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
}

static bool emit_array(yaml_emitter_t *e, struct json_object *json, int depth)
{
  yaml_event_t event;
  size_t count = json_object_array_length(json);
  yaml_sequence_style_t style = count ? YAML_BLOCK_SEQUENCE_STYLE : YAML_FLOW_SEQUENCE_STYLE;
  bool good = yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, style) &&
              yaml_emitter_emit(e, &event);
  for (size_t i = 0; good && i < count; i++)
    good = emit_node(e, json_object_array_get_idx(json, i), depth + 1);
  return good && yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
}

static bool emit_node(yaml_emitter_t *e, struct json_object *json, int depth)
{
  if (depth > YAML_MAX_DEPTH)
    return false;
  if (json_object_is_type(json, json_type_object))
    return emit_object(e, json, depth);
  if (json_object_is_type(json, json_type_array))
    return emit_array(e, json, depth);
  return emit_scalar(e, json);
}

static bool emit_document(yaml_emitter_t *e, struct json_object *json)
{
  yaml_event_t event;
  return yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) &&
         yaml_emitter_emit(e, &event) &&
         yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) &&
         yaml_emitter_emit(e, &event) && emit_node(e, json, 0) &&
         yaml_document_end_event_initialize(&event, 1) && yaml_emitter_emit(e, &event) &&
         yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(e, &event);
}

int yaml_write(struct json_object *json, struct buf *to, struct err *err)
{
  yaml_emitter_t emitter CLEANUP(yaml_emitter_delete);
  if (!yaml_emitter_initialize(&emitter))
    return err_set(err, ERR_NO_MEMORY, "no memory for YAML");
  yaml_emitter_set_output(&emitter, on_output, to);
  yaml_emitter_set_unicode(&emitter, 1);
  yaml_emitter_set_width(&emitter, -1);
  if (!emit_document(&emitter, json))
    return err_set(err, ERR_LIMIT, "not written as YAML: %s",
                   emitter.problem ? emitter.problem : "nested too deep");
  return 0;
}
