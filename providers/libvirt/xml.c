// SPDX-License-Identifier: Apache-2.0
#include <libxml/xpathInternals.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "providers/libvirt/xml_internal.h"

#define XML_MAX_BYTES (8u << 20) // domain capabilities are the largest: some 100 KiB

static void be_silent(void *arg, xmlErrorPtr error)
{
  (void)arg;
  (void)error;
}

static int register_prefixes(xmlXPathContextPtr xpath)
{
  static const char *const osinfo = "http://libosinfo.org/xmlns/libvirt/domain/1.0";
  return xmlXPathRegisterNs(xpath, BAD_CAST "drover", BAD_CAST XML_DROVER_NS) |
         xmlXPathRegisterNs(xpath, BAD_CAST "osinfo", BAD_CAST osinfo);
}

int xml_parse(struct xml *x, const char *text, const char *what, struct err *err)
{
  *x = (struct xml){0};
  size_t length = text ? strlen(text) : 0;
  if (length == 0 || length > XML_MAX_BYTES)
    return err_set(err, ERR_PROTOCOL, "%s: an XML document of %zu bytes", what, length);
  x->doc = xmlReadMemory(text, (int)length, NULL, NULL,
                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING);
  if (!x->doc)
    return err_set(err, ERR_PROTOCOL, "%s: not well-formed XML", what);
  x->xpath = xmlXPathNewContext(x->doc);
  if (!x->xpath || register_prefixes(x->xpath) != 0) {
    xml_release(x);
    return err_set(err, ERR_NO_MEMORY, "out of memory");
  }
  x->xpath->error = be_silent;
  return 0;
}

void xml_release(struct xml *x)
{
  if (x->xpath)
    xmlXPathFreeContext(x->xpath);
  if (x->doc)
    xmlFreeDoc(x->doc);
  *x = (struct xml){0};
}

xmlXPathObjectPtr xml_find(const struct xml *x, xmlNodePtr from, const char *path)
{
  xmlNodePtr start = from ? from : (xmlNodePtr)x->doc;
  xmlXPathObjectPtr found = xmlXPathNodeEval(start, BAD_CAST path, x->xpath);
  if (found && found->type != XPATH_NODESET) {
    xmlXPathFreeObject(found);
    return NULL;
  }
  return found;
}

size_t xml_count(xmlXPathObjectPtr nodes)
{
  return nodes && nodes->nodesetval ? (size_t)nodes->nodesetval->nodeNr : 0;
}

xmlNodePtr xml_node(xmlXPathObjectPtr nodes, size_t i)
{
  return i < xml_count(nodes) ? nodes->nodesetval->nodeTab[i] : NULL;
}

char *xml_get(const struct xml *x, xmlNodePtr from, const char *path)
{
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, from, path);
  if (xml_count(found) == 0)
    return NULL;
  xmlChar *content = xmlNodeGetContent(xml_node(found, 0));
  char *copy = str_dup((const char *)content);
  xmlFree(content);
  return copy;
}

bool xml_has(const struct xml *x, xmlNodePtr from, const char *path)
{
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, from, path);
  return xml_count(found) > 0;
}

bool xml_is(const struct xml *x, xmlNodePtr from, const char *path, const char *value)
{
  cleanup_free char *text = xml_get(x, from, path);
  return str_eq(text, value);
}

int64_t xml_int(const struct xml *x, xmlNodePtr from, const char *path, int64_t fallback)
{
  cleanup_free char *text = xml_get(x, from, path);
  int64_t value;
  return text && str_int64(text, &value) ? value : fallback;
}

static xmlNodePtr add(xmlNodePtr parent, const char *name, const char *text, va_list args)
{
  if (!parent)
    return NULL;
  xmlNodePtr node = xmlNewTextChild(parent, NULL, BAD_CAST name, BAD_CAST text);
  for (const char *key; node && (key = va_arg(args, const char *));) {
    const char *value = va_arg(args, const char *);
    if (value && !xmlNewProp(node, BAD_CAST key, BAD_CAST value))
      return NULL;
  }
  return node;
}

xmlNodePtr xml_add(xmlNodePtr parent, const char *name, const char *text, ...)
{
  va_list args;
  va_start(args, text);
  xmlNodePtr node = add(parent, name, text, args);
  va_end(args);
  return node;
}

xmlNodePtr xml_add_int(xmlNodePtr parent, const char *name, int64_t value, ...)
{
  char digits[24];
  snprintf(digits, sizeof(digits), "%lld", (long long)value);
  va_list args;
  va_start(args, value);
  xmlNodePtr node = add(parent, name, digits, args);
  va_end(args);
  return node;
}

void xml_drop(const struct xml *x, xmlNodePtr from, const char *path)
{
  cleanup_nodes xmlXPathObjectPtr found = xml_find(x, from, path);
  for (size_t i = 0; i < xml_count(found); i++) {
    xmlNodePtr node = xml_node(found, i);
    found->nodesetval->nodeTab[i] = NULL; // is looked at when the set is freed
    if (node->type == XML_ATTRIBUTE_NODE) {
      xmlRemoveProp((xmlAttrPtr)node);
    } else {
      xmlUnlinkNode(node);
      xmlFreeNode(node);
    }
  }
}

void xml_put(xmlNodePtr node, const char *text)
{
  xmlNodeSetContent(node, NULL);
  xmlNodeAddContent(node, BAD_CAST text); // escapes what must be
}

char *xml_text(xmlDocPtr doc)
{
  xmlChar *text = NULL;
  int length = 0;
  xmlDocDumpFormatMemoryEnc(doc, &text, &length, "UTF-8", 1);
  char *copy = str_dup((const char *)text);
  xmlFree(text);
  return copy;
}

bool xml_can_carry(const char *text)
{
  if (!text)
    return true;
  for (const char *c = text; *c; c++)
    if ((unsigned char)*c < 0x20 || *c == 0x7f)
      return false;
  return xmlCheckUTF8(BAD_CAST text);
}
