// SPDX-License-Identifier: Apache-2.0
// Reading libvirt's XML by XPath and writing our own by libxml2's tree, never by printf. Documents
// come from a host that we do not trust more than we must: no network, no entities, bounded size.
#pragma once

#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

#define XML_DROVER_NS "https://drover.dev/libvirt/1" // of our mark in a domain's <metadata>

struct xml {
  xmlDocPtr doc;
  xmlXPathContextPtr xpath;
};

// Prefixes in expressions: "drover:" is ours, "osinfo:" that of libosinfo. `what` is for messages.
int xml_parse(struct xml *x, const char *text, const char *what, struct err *err);
void xml_release(struct xml *x);

// All of these: an expression from the node `from`, NULL = from the document. A broken expression
// counts as finding nothing.
char *xml_get(const struct xml *x, xmlNodePtr from, const char *path); // yours; NULL: no such node
bool xml_has(const struct xml *x, xmlNodePtr from, const char *path);
bool xml_is(const struct xml *x, xmlNodePtr from, const char *path, const char *value);
int64_t xml_int(const struct xml *x, xmlNodePtr from, const char *path, int64_t fallback);
xmlXPathObjectPtr xml_find(const struct xml *x, xmlNodePtr from, const char *path);

static inline void xml_nodes_release_(xmlXPathObjectPtr *nodes)
{
  if (*nodes)
    xmlXPathFreeObject(*nodes);
}
#define cleanup_nodes CLEANUP(xml_nodes_release_)

size_t xml_count(xmlXPathObjectPtr nodes);
xmlNodePtr xml_node(xmlXPathObjectPtr nodes, size_t i);

// Adds <name attribute="value" ...>text</name> and returns it; attributes alternate with values and
// end with NULL, a NULL value leaves its attribute out; text may be NULL. NULL: no memory, or
// parent NULL, so that a chain of calls needs one check.
xmlNodePtr xml_add(xmlNodePtr parent, const char *name, const char *text, ...)
    __attribute__((sentinel));
// The same, text being a decimal number.
xmlNodePtr xml_add_int(xmlNodePtr parent, const char *name, int64_t value, ...)
    __attribute__((sentinel));
// Removes every element or attribute that the expression finds; none of them within another.
void xml_drop(const struct xml *x, xmlNodePtr from, const char *path);
void xml_put(xmlNodePtr node, const char *text); // as the content of an element, in place of all
char *xml_text(xmlDocPtr doc);                   // yours; NULL: no memory
// What XML can carry: UTF-8 without control characters.
bool xml_can_carry(const char *text);
