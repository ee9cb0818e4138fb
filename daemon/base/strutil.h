/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Strings: whole-string range-checked numbers, growing buffers, string vectors, safe printing. */

#include <stdarg.h>

#include "base/cleanup.h"

/* Whole string, no sign, no blanks; base 10 or 16 (a "0x" prefix is allowed for 16), or 0 for
 * either by prefix. -EINVAL on syntax, -ERANGE above max. *ret untouched on failure. */
int parse_u64(const char *s, unsigned base, uint64_t max, uint64_t *ret);
int parse_u32(const char *s, unsigned base, uint32_t max, uint32_t *ret);
/* As parse_u64, on the first n bytes. */
int parse_u64_n(const char *s, size_t n, unsigned base, uint64_t max, uint64_t *ret);
int parse_bool(const char *s, bool *ret); /* 1 0 yes no true false on off */

bool string_is_safe(const char *s,
                    size_t max); /* valid UTF-8, no control characters, 1…max bytes */
bool utf8_is_valid(const char *s, size_t n);
bool glob_matches(const char *pattern, const char *s); /* * ? [..], linear, never recursive */
/* Cuts white space at both ends in place; returns the new start. */
char *string_strip(char *s);
/* Copies at most size-1 bytes and terminates; returns false if it was cut. */
bool string_copy(char *to, size_t size, const char *from);
/* Copy fit for a terminal: control characters and bad UTF-8 become \xNN. malloc'd, NULL on OOM. */
char *string_escape(const char *s);
int free_and_strdup(char **p, const char *s); /* s may be NULL; 0 or -ENOMEM */
char *strjoinf(const char *format, ...) _printf_(1, 2); /* asprintf that returns NULL on OOM */

/* A growing text buffer. After an allocation failed it stays at error -ENOMEM and swallows
 * input. */
typedef struct StrBuf {
        char *data; /* terminated once something was added; NULL before */
        size_t size, allocated;
        int error;
} StrBuf;

void strbuf_add(StrBuf *b, const char *s);
void strbuf_add_n(StrBuf *b, const void *data, size_t n);
void strbuf_addf(StrBuf *b, const char *format, ...) _printf_(2, 3);
char *strbuf_steal(StrBuf *b); /* malloc'd string, never NULL unless OOM; resets */
void strbuf_done(StrBuf *b);
#define _cleanup_strbuf_ _cleanup_(strbuf_done)

/* NULL-terminated vectors of owned strings. */
void strv_free(char **v);
DEFINE_CLEANUP(char **, strv_free);
#define _cleanup_strv_ _cleanup_(strv_freep)
size_t strv_length(char *const *v);
bool strv_contains(char *const *v, const char *s);
int strv_extend(char ***v, const char *s); /* copies s; 0 or -ENOMEM */
int strv_copy(char *const *v, char ***ret);
int strv_split(const char *s, const char *separators, char ***ret); /* skips empty words */
char *strv_join(char *const *v, const char *separator);
void strv_sort(char **v);

/* CRC-32C (Castagnoli), for records on disk. */
uint32_t crc32c(uint32_t seed, const void *data, size_t n);
/* 64-bit FNV-1a; start with HASH_INIT. Not for untrusted hash tables (hashmap.h is seeded). */
#define HASH_INIT UINT64_C(0xcbf29ce484222325)
uint64_t hash_bytes(uint64_t h, const void *data, size_t n);
