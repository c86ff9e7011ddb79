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

struct xml_doc; // freed with xml_doc_free()
struct xml_node;

struct xml_doc *xml_parse(const void *data, size_t length, struct err *err); // ERR_PROTOCOL
void xml_doc_free(struct xml_doc *d);                                        // NULL allowed
const struct xml_node *xml_root(const struct xml_doc *d);
bool xml_is(const struct xml_node *n, const char *name);
// First child element of that name (NULL: of any), and the next sibling after n.
const struct xml_node *xml_child(const struct xml_node *n, const char *name);
const struct xml_node *xml_next(const struct xml_node *n, const char *name);
// Text of the node into b (cut to fit), "" for NULL; returns b.
char *xml_text(const struct xml_node *n, char *b, size_t size);
// Text of the node whole, yours; NULL: no memory or n is NULL.
char *xml_text_dup(const struct xml_node *n);

// Building: <root xmlns="ns"><item>..</item>...</root>, escaped by the library.
struct xml_doc *xml_new(const char *root, const char *ns);
struct xml_node *xml_add(struct xml_doc *d, struct xml_node *parent, const char *name,
                         const char *text);         // parent NULL: the root; NULL: no memory
int xml_write(struct xml_doc *d, struct buf *into); // -1: no memory
