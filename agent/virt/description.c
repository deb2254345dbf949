/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent/virt/description.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <libxml/parser.h>
#include <libxml/tree.h>
#include <libxml/xpath.h>
#include <libxml/xpathInternals.h>
#include <stdlib.h>
#include <string.h>

#include "common/alloc.h"
#include "common/cleanup.h"

enum { METADATA_MAX = 64 * 1024, XPATH_STEPS_MAX = 1000 * 1000 };

#define OVIRT "http://ovirt.org/vm/1.0"

static const char *const nova[] = {"http://openstack.org/xmlns/libvirt/nova/1.0",
                                   "http://openstack.org/xmlns/libvirt/nova/1.1"};

static void free_doc(xmlDocPtr *doc)
{
    xmlFreeDoc(*doc);
}

static void free_buffer(xmlBufferPtr *buffer)
{
    xmlBufferFree(*buffer);
}

static void free_xml_text(xmlChar **text)
{
    xmlFree(*text);
}

static void free_context(xmlXPathContextPtr *context)
{
    xmlXPathFreeContext(*context);
}

static void free_expression(xmlXPathCompExprPtr *expression)
{
    xmlXPathFreeCompExpr(*expression);
}

static void free_object(xmlXPathObjectPtr *object)
{
    xmlXPathFreeObject(*object);
}

static void say_nothing(void *opaque, xmlErrorPtr error)
{
    (void)opaque;
    (void)error;
}

static xmlDocPtr read_xml(const char *xml)
{
    return xmlReadMemory(xml, (int)strlen(xml), NULL, "UTF-8",
                         XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                             XML_PARSE_NOBLANKS);
}

/* The first such child; uri NULL: of no namespace. */
static xmlNodePtr child_of(const struct _xmlNode *node, const char *name, size_t len,
                           const char *uri)
{
    xmlNodePtr child = node ? node->children : NULL;

    for (; child; child = child->next) {
        const char *its =
            child->type == XML_ELEMENT_NODE && child->ns ? (const char *)child->ns->href : NULL;

        if (child->type == XML_ELEMENT_NODE && strlen((const char *)child->name) == len &&
            memcmp(child->name, name, len) == 0 &&
            (uri ? its && strcmp(its, uri) == 0 : its == NULL))
            break;
    }
    return child;
}

static xmlNodePtr child(const struct _xmlNode *node, const char *name, const char *uri)
{
    return child_of(node, name, strlen(name), uri);
}

static char *copy_text(const xmlChar *text)
{
    return text && *text ? alloc_need(strdup((const char *)text)) : NULL;
}

static char *text_of(const struct _xmlNode *node)
{
    xmlChar *text CLEANUP(free_xml_text) = node ? xmlNodeGetContent(node) : NULL;

    return copy_text(text);
}

static char *attribute_of(xmlNodePtr node, const char *name)
{
    xmlChar *text CLEANUP(free_xml_text) =
        node ? xmlGetNoNsProp(node, (const xmlChar *)name) : NULL;

    return copy_text(text);
}

static void read_nova(const struct _xmlNode *metadata, struct description *ret)
{
    const char *uri = nova[1];
    xmlNodePtr instance = child(metadata, "instance", uri);
    xmlNodePtr project;

    if (!instance)
        instance = child(metadata, "instance", uri = nova[0]);
    project = child(child(instance, "owner", uri), "project", uri);
    ret->text[DESCRIPTION_FLAVOR] = attribute_of(child(instance, "flavor", uri), "name");
    ret->text[DESCRIPTION_PROJECT] = text_of(project);
    ret->text[DESCRIPTION_PROJECT_UUID] = attribute_of(project, "uuid");
    ret->text[DESCRIPTION_INSTANCE_NAME] = text_of(child(instance, "name", uri));
}

static uint64_t number_of(const struct _xmlNode *node)
{
    char *text AUTO_FREE = text_of(node);

    return text ? strtoull(text, NULL, 10) : 0;
}

/* On its own, with the namespaces it needs. */
static int copy_metadata(xmlNodePtr metadata, char **ret)
{
    xmlDocPtr doc CLEANUP(free_doc) = alloc_need(xmlNewDoc((const xmlChar *)"1.0"));
    xmlBufferPtr buffer CLEANUP(free_buffer) = alloc_need(xmlBufferCreate());
    xmlNodePtr copy = alloc_need(xmlDocCopyNode(metadata, doc, 1));

    xmlDocSetRootElement(doc, copy);
    xmlNodeDump(buffer, doc, copy, 0, 0);
    if (xmlBufferLength(buffer) > METADATA_MAX)
        return -E2BIG;
    *ret = alloc_need(strdup((const char *)xmlBufferContent(buffer)));
    return 0;
}

int description_parse(const char *xml, struct description *ret)
{
    xmlDocPtr doc CLEANUP(free_doc) = xml ? read_xml(xml) : NULL;
    xmlNodePtr root = xmlDocGetRootElement(doc);
    struct description d = {0};
    xmlNodePtr metadata;
    int r;

    if (!xml) {
        *ret = d;
        return 0;
    }
    /* Without a document type there are no entities. libvirt writes neither. */
    if (!root || strcmp((const char *)root->name, "domain") != 0 || strstr(xml, "<!DOCTYPE"))
        return -EINVAL;
    metadata = child(root, "metadata", NULL);
    r = metadata ? copy_metadata(metadata, &d.metadata) : 0;
    if (r < 0)
        return r;
    /* libvirt writes KiB, whatever it was given. */
    d.memory_bytes = number_of(child(root, "memory", NULL)) * 1024;
    d.vcpus = (unsigned)number_of(child(root, "vcpu", NULL));
    d.text[DESCRIPTION_TITLE] = text_of(child(root, "title", NULL));
    read_nova(metadata, &d);
    *ret = d;
    return 0;
}

void description_clear(struct description *d)
{
    for (unsigned i = 0; i < DESCRIPTION_TEXTS; i++)
        free(d->text[i]);
    free(d->metadata);
    *d = (struct description){0};
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

bool description_equal(const struct description *a, const struct description *b)
{
    for (unsigned i = 0; i < DESCRIPTION_TEXTS; i++) {
        if (!same_text(a->text[i], b->text[i]))
            return false;
    }
    return a->memory_bytes == b->memory_bytes && a->vcpus == b->vcpus &&
           same_text(a->metadata, b->metadata);
}

bool description_has_ovirt(const struct description *d, const char *test)
{
    xmlDocPtr doc CLEANUP(free_doc) = d->metadata ? read_xml(d->metadata) : NULL;
    const struct _xmlNode *node = child(xmlDocGetRootElement(doc), "vm", OVIRT);
    char *text AUTO_FREE = NULL;

    while (node && *test != '=') {
        size_t len = strcspn(test, "/=");

        node = child_of(node, test, len, OVIRT);
        test += len + (test[len] == '/');
    }
    text = text_of(node);
    return node && fnmatch(test + 1, text ? text : "", 0) == 0;
}

static bool is_declared(const char *prefix, size_t len,
                        const struct description_namespace *namespace, size_t namespaces)
{
    for (size_t i = 0; i < namespaces; i++) {
        if (strlen(namespace[i].prefix) == len && memcmp(namespace[i].prefix, prefix, len) == 0)
            return true;
    }
    return false;
}

/* libxml2 looks prefixes up when it comes to them, which on another document may be never. */
static const char *check_prefixes(const char *xpath, const struct description_namespace *namespace,
                                  size_t namespaces)
{
    size_t len;

    for (const char *at = xpath; *at; at += len) {
        len = 1;
        if (*at == '"' || *at == '\'') {
            const char *end = strchr(at + 1, *at);

            len = end ? (size_t)(end - at) + 1 : strlen(at);
        } else if (*at == '$') {
            return "there are no variables";
        } else if (isalpha((unsigned char)*at) || *at == '_') {
            while (isalnum((unsigned char)at[len]) || (at[len] && strchr("_-.", at[len])))
                len++;
            if (at[len] == ':' && at[len + 1] != ':' &&
                !is_declared(at, len, namespace, namespaces))
                return "its prefixes must be declared in namespaces";
        }
    }
    return NULL;
}

/* 1, 0, or -EINVAL: it cannot be evaluated. */
static int evaluate(const char *xml, const char *xpath,
                    const struct description_namespace *namespace, size_t namespaces)
{
    xmlDocPtr doc CLEANUP(free_doc) = read_xml(xml);
    xmlXPathContextPtr context CLEANUP(free_context) = alloc_need(xmlXPathNewContext(doc));
    xmlXPathCompExprPtr expression CLEANUP(free_expression) = NULL;
    xmlXPathObjectPtr object CLEANUP(free_object) = NULL;

    context->error = say_nothing;
    context->opLimit = XPATH_STEPS_MAX;
    context->node = xmlDocGetRootElement(doc);
    for (size_t i = 0; i < namespaces; i++)
        xmlXPathRegisterNs(context, (const xmlChar *)namespace[i].prefix,
                           (const xmlChar *)namespace[i].uri);
    expression = xmlXPathCtxtCompile(context, (const xmlChar *)xpath);
    object = expression ? xmlXPathCompiledEval(expression, context) : NULL;
    return object ? xmlXPathCastToBoolean(object) : -EINVAL;
}

bool description_fits_xpath(const struct description *d, const char *xpath,
                            const struct description_namespace *namespace, size_t namespaces)
{
    return d->metadata && evaluate(d->metadata, xpath, namespace, namespaces) == 1;
}

const char *description_check_xpath(const char *xpath,
                                    const struct description_namespace *namespace,
                                    size_t namespaces)
{
    const char *why = check_prefixes(xpath, namespace, namespaces);

    if (why)
        return why;
    return evaluate("<metadata/>", xpath, namespace, namespaces) < 0 ? "must be an XPath 1.0 "
                                                                       "expression"
                                                                     : NULL;
}
