/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Messages go to the journal, with fields, when standard error is the journal's own stream (the
 * service manager says so in $JOURNAL_STREAM), and else to standard error as plain lines: a
 * terminal, a pipe of a test and a system without a journal all get what was meant for them. One
 * message is one line, at most LINE_MAX_BYTES long; control characters from outside never reach a
 * terminal raw. Logging never fails loudly and keeps errno.
 */

#include "base/log.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "base/strutil.h"

#define LINE_MAX_BYTES 2048U
#define FIELD_MAX_BYTES 256U
#define FIELDS_MAX 10U

typedef enum LogTarget {
        LOG_TARGET_UNKNOWN,
        LOG_TARGET_STDERR,
        LOG_TARGET_JOURNAL,
} LogTarget;

/* The level and, derived once from the process's surroundings, where messages go. */
static struct {
        int level;
        LogTarget target;
        const char *program;
} state = { .level = LOG_INFO };

static const struct {
        const char *name;
        int level;
} levels[] = {
        { "error", LOG_ERR },
        { "warning", LOG_WARNING },
        { "notice", LOG_NOTICE },
        { "info", LOG_INFO },
        { "debug", LOG_DEBUG },
};

void log_set_level(int level) {
        assert(level >= LOG_ERR && level <= LOG_DEBUG);
        state.level = level;
}

int log_get_level(void) {
        return state.level;
}

int log_level_from_string(const char *s) {
        for (size_t i = 0; s && i < ELEMENTSOF(levels); i++)
                if (streq(s, levels[i].name))
                        return levels[i].level;
        return -EINVAL;
}

void log_set_program(const char *name) {
        state.program = name;
}

/* $JOURNAL_STREAM is "device:inode" of the stream that the service manager gave, see
 * systemd.exec(5). */
static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM"), *colon;
        uint64_t device, inode;
        struct stat st;

        colon = stream ? strchr(stream, ':') : NULL;
        if (!colon)
                return false;
        if (parse_u64_n(stream, (size_t) (colon - stream), 10, UINT64_MAX, &device) < 0 ||
            parse_u64(colon + 1, 10, UINT64_MAX, &inode) < 0)
                return false;
        return fstat(STDERR_FILENO, &st) >= 0 && st.st_dev == device && st.st_ino == inode;
}

static LogTarget log_target(void) {
        if (state.target == LOG_TARGET_UNKNOWN)
                state.target = stderr_is_journal() ? LOG_TARGET_JOURNAL : LOG_TARGET_STDERR;
        return state.target;
}

typedef struct Fields {
        char text[FIELDS_MAX][FIELD_MAX_BYTES];
        struct iovec iov[FIELDS_MAX + 1];
        size_t n;
} Fields;

static void _printf_(2, 3) fields_add(Fields *f, const char *format, ...) {
        char *text = f->text[f->n];
        va_list ap;

        assert(f->n < FIELDS_MAX);
        va_start(ap, format);
        (void) vsnprintf(text, FIELD_MAX_BYTES, format, ap);
        va_end(ap);
        f->iov[f->n++] = (struct iovec) { text, strlen(text) };
}

/* What a message is besides its text and context. */
typedef struct Origin {
        int level;
        int error;
        const char *file; /* NULL: not told */
        int line;
} Origin;

static int send_to_journal(const LogContext *c, const Origin *o, char *message) {
        Fields f;

        f.n = 0;
        fields_add(&f, "PRIORITY=%i", o->level);
        if (o->error != 0)
                fields_add(&f, "ERRNO=%i", abs(o->error));
        if (o->file) {
                fields_add(&f, "CODE_FILE=%s", o->file);
                fields_add(&f, "CODE_LINE=%i", o->line);
        }
        if (c->message_id)
                fields_add(&f, "MESSAGE_ID=%s", c->message_id);
        if (c->device)
                fields_add(&f, "PCI_SLOT=%s", c->device);
        if (c->group)
                fields_add(&f, "IOMMU_GROUP=%s", c->group);
        if (c->assignment)
                fields_add(&f, "ASSIGNMENT=%s", c->assignment);
        if (c->owner)
                fields_add(&f, "OWNER=%s", c->owner);
        if (c->job != 0)
                fields_add(&f, "JOB_ID=%" PRIu64, c->job);
        f.iov[f.n] = (struct iovec) { message, strlen(message) };
        return sd_journal_sendv(f.iov, (int) f.n + 1);
}

/* A line on standard error; a "<level>" prefix only where the journal reads it. */
static void send_to_stderr(int level, const char *message, bool prefix) {
        _cleanup_free_ char *safe = string_escape(message);
        char line[LINE_MAX_BYTES + 64];
        int n;

        if (prefix)
                n = snprintf(line, sizeof(line), "<%i>%s\n", level, safe ? safe : message);
        else if (state.program)
                n = snprintf(line, sizeof(line), "%s: %s\n", state.program, safe ? safe : message);
        else
                n = snprintf(line, sizeof(line), "%s\n", safe ? safe : message);
        if (n < 0)
                return;
        if ((size_t) n >= sizeof(line)) {
                n = sizeof(line) - 1;
                line[n - 1] = '\n';
        }
        /* Nobody to tell when this fails. */
        if (write(STDERR_FILENO, line, (size_t) n) < 0)
                return;
}

static void _printf_(3, 0)
        log_va(const LogContext *context, Origin origin, const char *format, va_list ap) {
        static const LogContext nothing = {};
        char buffer[sizeof("MESSAGE=") + LINE_MAX_BYTES] = "MESSAGE=";
        char *message = buffer + strlen("MESSAGE=");
        int saved = errno;

        errno = abs(origin.error);
        (void) vsnprintf(message, LINE_MAX_BYTES, format, ap);

        if (log_target() == LOG_TARGET_STDERR)
                send_to_stderr(origin.level, message, false);
        else if (send_to_journal(context ? context : &nothing, &origin, buffer) < 0)
                send_to_stderr(origin.level, message, true);
        errno = saved;
}

int log_full(int level, int error, const char *file, int line, const char *format, ...) {
        va_list ap;

        if (level <= state.level) {
                va_start(ap, format);
                log_va(NULL, (Origin) { level, error, file, line }, format, ap);
                va_end(ap);
        }
        return -abs(error);
}

int log_context(const LogContext *context, int level, int error, const char *format, ...) {
        va_list ap;

        if (level <= state.level) {
                va_start(ap, format);
                log_va(context, (Origin) { level, error, NULL, 0 }, format, ap);
                va_end(ap);
        }
        return -abs(error);
}
