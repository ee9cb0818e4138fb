/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Output. Colour and Unicode go to terminals only (or where --color=always says so); text that came
 * from outside passes through escaped() or a table, which escapes it, so that no device label and
 * no owner's name can drive the terminal. Memory that is short ends the client: it has nothing to
 * save.
 */

#include "output.h"

#include <assert.h>
#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>

#include "base/strutil.h"

static bool use_color, use_unicode, is_terminal;

static const char *const paints[_PAINT_MAX] = {
        [PAINT_NONE] = "",
        [PAINT_BOLD] = "\033[1m",
        [PAINT_DIM] = "\033[2m",
        [PAINT_GOOD] = "\033[32m",
        [PAINT_WARN] = "\033[33m",
        [PAINT_BAD] = "\033[1;31m",
};

/* Loading a locale costs as much as a call over the bus: only what is needed, where it is. */
static void load_locale(void) {
        static bool loaded;

        if (!loaded)
                (void) setlocale(LC_CTYPE, ""); /* an unknown locale is the C locale */
        loaded = true;
}

void output_init(ColorMode mode) {
        const char *term = getenv("TERM");

        is_terminal = isatty(STDOUT_FILENO);
        if (is_terminal)
                load_locale();
        use_unicode = is_terminal && streq(nl_langinfo(CODESET), "UTF-8");
        use_color = mode == COLOR_ALWAYS || (mode == COLOR_AUTO && is_terminal &&
                                             !getenv("NO_COLOR") && term && !streq(term, "dumb"));
}

bool output_is_terminal(void) {
        return is_terminal;
}

bool output_is_unicode(void) {
        return use_unicode;
}

const char *output_begin(Paint p) {
        return use_color ? paints[p] : "";
}

const char *output_end(void) {
        return use_color ? "\033[0m" : "";
}

Paint output_paint_of(const char *word) {
        static const struct { const char *word; Paint paint;
        } table[] = {
                { "available", PAINT_GOOD },  { "assigned", PAINT_BOLD },
                { "active", PAINT_GOOD },     { "done", PAINT_GOOD },
                { "ok", PAINT_GOOD },         { "held", PAINT_WARN },
                { "waiting", PAINT_WARN },    { "degraded", PAINT_WARN },
                { "recovering", PAINT_WARN }, { "reserved", PAINT_WARN },
                { "warn", PAINT_WARN },       { "undone", PAINT_WARN },
                { "preparing", PAINT_WARN },  { "releasing", PAINT_WARN },
                { "cleaning", PAINT_WARN },   { "cancelled", PAINT_WARN },
                { "quarantined", PAINT_BAD }, { "stuck", PAINT_BAD },
                { "gone", PAINT_BAD },        { "failed", PAINT_BAD },
                { "lost", PAINT_BAD },        { "error", PAINT_BAD },
                { "fail", PAINT_BAD },
        };

        for (size_t i = 0; word && i < ELEMENTSOF(table); i++)
                if (streq(word, table[i].word))
                        return table[i].paint;
        return PAINT_NONE;
}

void output_out_of_memory(void) {
        static const char text[] = "pciassignctl: out of memory\n";

        (void) !write(STDERR_FILENO, text, sizeof(text) - 1); /* nothing more can be done */
        _exit(1);
}

/* Printable ASCII, as nearly everything is. */
static bool is_plain(const char *s) {
        for (; *s; s++)
                if (*s < 0x20 || *s > 0x7e)
                        return false;
        return true;
}

const char *escaped(const char *s) {
        static char *ring[8];
        static unsigned next;
        char **slot;

        if (is_plain(strempty(s)))
                return strempty(s);
        slot = ring + next++ % ELEMENTSOF(ring);
        free(*slot);
        *slot = string_escape(strempty(s));
        if (!*slot)
                output_out_of_memory();
        return *slot;
}

_printf_(1, 0) static void print_complaint(const char *format, va_list ap) {
        _cleanup_free_ char *text = NULL;

        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                output_out_of_memory();
        }
        (void) fflush(stdout); /* output_finish() looks at its errors */
        (void) fprintf(stderr, "pciassignctl: %s\n", text);
}

int complain(int exit_code, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        print_complaint(format, ap);
        va_end(ap);
        return exit_code;
}

int complain_errno(int exit_code, int error, const char *format, ...) {
        va_list ap;

        errno = error;
        va_start(ap, format);
        print_complaint(format, ap);
        va_end(ap);
        return exit_code;
}

static int print_text(Json *j, bool pretty) {
        _cleanup_free_ char *text = json_to_text(j, pretty);

        if (!text)
                output_out_of_memory();
        (void) puts(text); /* output_finish() looks at its errors */
        return 0;
}

int print_json(Json *j) {
        return print_text(j, true);
}

int print_json_line(Json *j) {
        int r = print_text(j, false);

        (void) fflush(stdout); /* as above */
        return r;
}

int output_finish(int exit_code) {
        if (fflush(stdout) == 0 && !ferror(stdout))
                return exit_code;
        if (errno == EPIPE)
                return exit_code != 0 ? exit_code : 1;
        return complain(exit_code != 0 ? exit_code : 1, "cannot write the output: %m");
}

struct libscols_table *table_new(const Column *columns, size_t n) {
        struct libscols_table *t;

        assert(columns);
        load_locale(); /* widths of characters */
        t = scols_new_table();
        if (!t)
                output_out_of_memory();
        (void) scols_table_enable_colors(t, use_color);
        (void) scols_table_enable_ascii(t, !use_unicode);
        if (!is_terminal)
                (void) scols_table_set_termforce(
                        t, SCOLS_TERMFORCE_NEVER); /* full width in files and pipes */
        for (size_t i = 0; i < n; i++)
                if (!scols_table_new_column(t, columns[i].name, columns[i].width, columns[i].flags))
                        output_out_of_memory();
        return t;
}

void table_set(struct libscols_line *line, size_t column, const char *text, Paint paint) {
        _cleanup_free_ char *safe = string_escape(isempty(text) ? "-" : text);
        struct libscols_cell *cell;

        if (!safe || scols_line_set_data(line, column, safe) < 0)
                output_out_of_memory();
        cell = scols_line_get_cell(line, column);
        if (use_color && paint != PAINT_NONE && scols_cell_set_color(cell, paints[paint]) < 0)
                output_out_of_memory();
}

struct libscols_line *table_add(struct libscols_table *t, struct libscols_line *parent) {
        struct libscols_line *line = scols_table_new_line(t, parent);

        if (!line)
                output_out_of_memory();
        return line;
}

int table_print(struct libscols_table *t) {
        int r = scols_print_table(t);

        scols_unref_table(t);
        return r < 0 ? complain_errno(1, -r, "cannot print the table: %m") : 0;
}
