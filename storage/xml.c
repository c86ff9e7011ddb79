// SPDX-License-Identifier: Apache-2.0
#include "storage/xml_internal.h"

#include <libxml/parser.h>
#include <libxml/tree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

// The structs are libxml2's own under names of ours, so that its headers stay in this file.
static xmlDocPtr doc_of(const struct web_xml_doc *d)
{
  return (xmlDocPtr)(uintptr_t)d;
}

static xmlNodePtr node_of(const struct web_xml_node *n)
{
  return (xmlNodePtr)(uintptr_t)n;
}

struct web_xml_doc *web_xml_parse(const void *data, size_t length, struct err *err)
{
  static const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
  const char *text = data;
  for (; length && strchr(" \t\r\n", *text) && *text;
       text++) // S3 keeps a long call alive with them
    length--;
  if (length > XML_BYTES_MAX)
    return err_set(err, ERR_PROTOCOL, "the server's XML is longer than %u bytes", XML_BYTES_MAX),
           NULL;
  xmlDocPtr doc = length ? xmlReadMemory(text, (int)length, NULL, NULL, options) : NULL;
  // Entities can only come from a DTD, which no store has a reason to send.
  if (doc && (xmlGetIntSubset(doc) || !xmlDocGetRootElement(doc))) {
    xmlFreeDoc(doc);
    doc = NULL;
  }
  if (!doc)
    err_set(err, ERR_PROTOCOL, "the server's answer is not the XML that was expected");
  return (struct web_xml_doc *)doc;
}

void web_xml_doc_free(struct web_xml_doc *d)
{
  if (d)
    xmlFreeDoc(doc_of(d));
}

const struct web_xml_node *web_xml_root(const struct web_xml_doc *d)
{
  return (const struct web_xml_node *)xmlDocGetRootElement(doc_of(d));
}

bool web_xml_is(const struct web_xml_node *n, const char *name)
{
  return n && (!name || str_eq((const char *)node_of(n)->name, name));
}

static const struct web_xml_node *first(xmlNodePtr n, const char *name)
{
  for (; n; n = n->next)
    if (n->type == XML_ELEMENT_NODE && web_xml_is((struct web_xml_node *)n, name))
      return (struct web_xml_node *)n;
  return NULL;
}

const struct web_xml_node *web_xml_child(const struct web_xml_node *n, const char *name)
{
  return n ? first(node_of(n)->children, name) : NULL;
}

const struct web_xml_node *web_xml_next(const struct web_xml_node *n, const char *name)
{
  return n ? first(node_of(n)->next, name) : NULL;
}

char *web_xml_text(const struct web_xml_node *n, char *b, size_t size)
{
  char *text = web_xml_text_dup(n);
  snprintf(b, size, "%s", text ? text : "");
  free(text);
  return b;
}

char *web_xml_text_dup(const struct web_xml_node *n)
{
  xmlChar *text = n ? xmlNodeGetContent(node_of(n)) : NULL;
  char *copy = str_dup((char *)text);
  xmlFree(text);
  return copy;
}

struct web_xml_doc *web_xml_new(const char *root, const char *ns)
{
  xmlDocPtr doc = xmlNewDoc(BAD_CAST "1.0");
  xmlNodePtr node = doc ? xmlNewDocNode(doc, NULL, BAD_CAST root, NULL) : NULL;
  if (node)
    xmlDocSetRootElement(doc, node);
  if (node && xmlNewNs(node, BAD_CAST ns, NULL))
    return (struct web_xml_doc *)doc;
  xmlFreeDoc(doc);
  return NULL;
}

struct web_xml_node *web_xml_add(struct web_xml_doc *d, struct web_xml_node *parent,
                                 const char *name, const char *text)
{
  xmlNodePtr above = parent ? node_of(parent) : xmlDocGetRootElement(doc_of(d));
  return (struct web_xml_node *)xmlNewTextChild(above, NULL, BAD_CAST name, BAD_CAST text);
}

int web_xml_write(struct web_xml_doc *d, struct buf *into)
{
  xmlChar *text = NULL;
  int length = 0;
  xmlDocDumpMemoryEnc(doc_of(d), &text, &length, "UTF-8");
  if (text)
    buf_add(into, text, (size_t)length);
  xmlFree(text);
  return text && buf_ok(into) ? 0 : -1;
}
