// SPDX-License-Identifier: Apache-2.0
// XML from servers that are not trusted: no network, no entities, no DTD, limits of size and depth
// (libxml2's own, without XML_PARSE_HUGE). Names are compared without their namespace. A document
// owns its nodes and texts.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

#define XML_BYTES_MAX (8u << 20)

struct web_xml_doc; // freed with web_xml_doc_free()
struct web_xml_node;

struct web_xml_doc *web_xml_parse(const void *data, size_t length, struct err *err); // ERR_PROTOCOL
void web_xml_doc_free(struct web_xml_doc *d);                                        // NULL allowed
const struct web_xml_node *web_xml_root(const struct web_xml_doc *d);
bool web_xml_is(const struct web_xml_node *n, const char *name);
// First child element of that name (NULL: of any), and the next sibling after n.
const struct web_xml_node *web_xml_child(const struct web_xml_node *n, const char *name);
const struct web_xml_node *web_xml_next(const struct web_xml_node *n, const char *name);
// Text of the node into b (cut to fit), "" for NULL; returns b.
char *web_xml_text(const struct web_xml_node *n, char *b, size_t size);
// Text of the node whole, yours; NULL: no memory or n is NULL.
char *web_xml_text_dup(const struct web_xml_node *n);

// Building: <root xmlns="ns"><item>..</item>...</root>, escaped by the library.
struct web_xml_doc *web_xml_new(const char *root, const char *ns);
struct web_xml_node *web_xml_add(struct web_xml_doc *d, struct web_xml_node *parent,
                                 const char *name,
                                 const char *text); // parent NULL: the root; NULL: no memory
int web_xml_write(struct web_xml_doc *d, struct buf *into); // -1: no memory
