/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An intrusive circular doubly linked list; the head is a link as well. */

#include <stddef.h>

#include "base/cleanup.h"

typedef struct ListLink {
        struct ListLink *previous, *next;
} ListLink;

static inline void list_init(ListLink *head) {
        head->previous = head->next = head;
}

static inline bool list_is_empty(const ListLink *head) {
        return head->next == head;
}

static inline bool list_is_linked(const ListLink *link) {
        return link->next != NULL;
}

static inline void list_append(ListLink *head, ListLink *link) {
        link->previous = head->previous;
        link->next = head;
        head->previous->next = link;
        head->previous = link;
}

static inline void list_unlink(ListLink *link) {
        if (!link->next)
                return;
        link->previous->next = link->next;
        link->next->previous = link->previous;
        link->previous = link->next = NULL;
}

#define LIST_ENTRY(link, type, member) ((type *) ((char *) (link) - offsetof(type, member)))
/* Safe against unlinking the entry at hand. */
#define LIST_FOREACH(head, link)                                                             \
        for (ListLink *link = (head)->next, *_next_##link = link->next; link != (head);      \
             link = _next_##link, _next_##link = link->next)
