/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What reaches the terminal: colour only where wanted, nothing that came from outside unescaped. */

#include <libsmartcols.h>

#include "base/jsonx.h"

typedef enum ColorMode { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER, _COLOR_MODE_MAX } ColorMode;

typedef enum Paint {
        PAINT_NONE,
        PAINT_BOLD,
        PAINT_DIM,
        PAINT_GOOD,
        PAINT_WARN,
        PAINT_BAD,
        _PAINT_MAX
} Paint;

void output_init(ColorMode mode);
bool output_is_terminal(void); /* standard output is one */
bool output_is_unicode(void);  /* a terminal whose locale is UTF-8 */
/* The escape sequence that starts a paint, or "" without colour; output_end() ends it. */
const char *output_begin(Paint p);
const char *output_end(void);
Paint output_paint_of(const char *word); /* of a state, a health or a verdict */

/* Ends the program with a word: it has nothing to save. */
_Noreturn void output_out_of_memory(void);

/* Fit for a terminal: outside text is printed by way of this. Valid until the next eight calls, and
 * as long as the argument is. */
const char *escaped(const char *s);
/* "pciassignctl: " and the text on standard error; returns exit_code. */
int complain(int exit_code, const char *format, ...) _printf_(2, 3);
/* The same; %m is the text of error, a positive errno. */
int complain_errno(int exit_code, int error, const char *format, ...) _printf_(3, 4);

/* Prints a document and a newline; 0 or an exit code. */
int print_json(Json *j);
int print_json_line(Json *j);
/* Fails the program's output when standard output did (a full disk, a closed pipe). */
int output_finish(int exit_code);

typedef struct Column {
        const char *name;
        double width;
        int flags; /* SCOLS_FL_… */
} Column;
struct libscols_table *table_new(const Column *columns, size_t n);
/* Copies and escapes. NULL and "" print as "-". */
void table_set(struct libscols_line *line, size_t column, const char *text, Paint paint);
struct libscols_line *table_add(struct libscols_table *t, struct libscols_line *parent);
int table_print(struct libscols_table *t); /* frees it */
