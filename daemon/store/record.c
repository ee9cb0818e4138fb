/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Records to bytes and back. Everything of an assignment that a restarted daemon needs is written;
 * what dies with the daemon (its descriptor of the owner's process, the running job) is not. A
 * decoder believes nothing: enumerations, identifiers, counts and sizes are checked as if a client
 * had sent them, and all bytes must be used. Version 1 had no by-node and no memlock; its
 * assignments read with both unset. What the records mean together is fold.c's business.
 */

#include "store/record.h"

#include <assert.h>

#include "base/strutil.h"

#define TEXT_MAX CODEC_STRING_MAX
#define DIFFERS_MAX 4096U
#define FLAG_FORCE 1U
#define FLAG_BY_NODE 2U
#define FLAG_RELEASE_WANTED 4U
#define FLAG_POLICY 8U /* the rules it was made by follow at the end */
#define FLAG_VF_TOKEN 16U /* follows at the very end */
#define FLAGS_ALL (FLAG_FORCE | FLAG_BY_NODE | FLAG_RELEASE_WANTED | FLAG_POLICY | FLAG_VF_TOKEN)

/* ---- encoding ---- */

static void encode_strv(Encoder *e, char *const *v) {
        size_t n = strv_length(v);

        encode_u32(e, (uint32_t) n);
        for (size_t i = 0; i < n; i++)
                encode_string(e, v[i]);
}

static void encode_notices(Encoder *e, const Assignment *a) {
        uint32_t n = 0;

        for (size_t i = 0; i < EVENTS_MAX; i++)
                n += a->notices[i].number > 0;
        encode_u64(e, a->next_notice);
        encode_u32(e, n);
        for (size_t i = 0; i < EVENTS_MAX; i++) {
                const AssignmentNotice *v = a->notices + i;

                if (v->number == 0)
                        continue;
                encode_u64(e, v->number);
                encode_u64(e, v->at);
                encode_string(e, v->kind);
                encode_string(e, v->device);
                encode_string(e, v->details);
                encode_u8(e, v->acknowledged);
        }
}

static void encode_optional_plan(Encoder *e, const Plan *p) {
        encode_u8(e, p != NULL);
        if (p)
                encode_plan(e, p);
}

static void encode_assignment(Encoder *e, const Assignment *a) {
        encode_string(e, a->id);
        encode_string(e, a->owner);
        encode_u32(e, a->creator_uid);
        encode_u32(e, a->user_uid);
        encode_u32(e, a->user_gid);
        encode_strv(e, a->labels);
        encode_u8(e, (uint8_t) a->lifetime);
        encode_u8(e, (uint8_t) a->state);
        encode_string(e, a->bus_name);
        encode_u32(e, a->pid);
        encode_u64(e, a->pid_start);
        encode_u64(e, a->attach_deadline);
        encode_string(e, a->request_id);
        encode_u64(e, a->request_hash);
        encode_u8(e, (uint8_t) ((a->force ? FLAG_FORCE : 0) | (a->by_node ? FLAG_BY_NODE : 0) |
                                (a->release_wanted ? FLAG_RELEASE_WANTED : 0) |
                                (a->policy ? FLAG_POLICY : 0) |
                                (a->vf_token[0] ? FLAG_VF_TOKEN : 0)));
        encode_string(e, a->force_reason);
        encode_u64(e, a->created_at);
        encode_u64(e, a->job ? a->job->id : 0);
        encode_optional_plan(e, a->plan);
        encode_notices(e, a);
        encode_strv(e, a->differs);
        encode_u64(e, a->memlock);
        if (a->policy)
                encode_string(e, a->policy);
        if (a->vf_token[0])
                encode_string(e, a->vf_token);
}

static void encode_optional_assignment(Encoder *e, const Assignment *a) {
        encode_u8(e, a != NULL);
        if (a)
                encode_assignment(e, a);
}

void record_begin(Encoder *e, const Plan *plan, const char *assignment_id, const Assignment *a) {
        assert(e);
        assert(plan);
        encode_string(e, strempty(assignment_id));
        encode_plan(e, plan);
        encode_optional_assignment(e, a);
}

void record_end(Encoder *e, const char *plan_id, int outcome, const Assignment *a) {
        assert(e);
        assert(plan_id);
        encode_string(e, plan_id);
        encode_u8(e, (uint8_t) outcome);
        encode_optional_assignment(e, a);
}

void record_assignment(Encoder *e, const Assignment *a) {
        assert(e);
        assert(a);
        encode_assignment(e, a);
}

void record_forget(Encoder *e, const char *assignment_id) {
        assert(e);
        assert(assignment_id);
        encode_string(e, assignment_id);
}

void record_quarantine(Encoder *e, const char *device, const char *text) {
        assert(e);
        assert(device);
        encode_string(e, device);
        encode_string(e, text);
}

void record_next_job(Encoder *e, uint64_t next_job) {
        assert(e);
        encode_u64(e, next_job);
}

void record_boot(Encoder *e, const char *boot_id) {
        assert(e);
        assert(boot_id);
        encode_string(e, boot_id);
}

/* ---- decoding ---- */

static void bad(Decoder *d) {
        if (d->error == 0)
                d->error = -EBADMSG;
}

/* A string that must be there. */
static void decode_text(Decoder *d, size_t max, char **ret) {
        if (decode_string(d, max, ret) == 0 && !*ret)
                bad(d);
}

static bool id_is_valid(const char *s) {
        return s && strlen(s) == ASSIGNMENT_ID_MAX - 1 &&
               strspn(s, "0123456789abcdef") == ASSIGNMENT_ID_MAX - 1;
}

static void decode_id(Decoder *d, char **ret) {
        decode_text(d, ASSIGNMENT_ID_MAX - 1, ret);
        if (d->error == 0 && !id_is_valid(*ret))
                bad(d);
}

static void decode_strv(Decoder *d, size_t max_n, size_t max_size, char ***ret) {
        uint32_t n = decode_u32(d);

        if (n > max_n)
                bad(d);
        for (uint32_t i = 0; d->error == 0 && i < n; i++) {
                _cleanup_free_ char *s = NULL;

                decode_text(d, max_size, &s);
                if (d->error == 0 && strv_extend(ret, s) < 0)
                        d->error = -ENOMEM;
        }
}

static unsigned decode_enum(Decoder *d, unsigned end) {
        uint8_t v = decode_u8(d);

        if (v >= end)
                bad(d);
        return d->error == 0 ? v : 0;
}

static void decode_notices(Decoder *d, Assignment *a) {
        uint32_t n;

        a->next_notice = decode_u64(d);
        n = decode_u32(d);
        if (n > EVENTS_MAX || (d->error == 0 && a->next_notice == 0))
                bad(d);
        for (uint32_t i = 0; d->error == 0 && i < n; i++) {
                uint64_t number = decode_u64(d);
                AssignmentNotice *v = a->notices + number % EVENTS_MAX;

                if (number == 0 || number >= a->next_notice || v->number > 0) {
                        bad(d);
                        return;
                }
                v->number = number;
                v->at = decode_u64(d);
                decode_text(d, TEXT_MAX, &v->kind);
                (void) decode_string(d, TEXT_MAX, &v->device); /* the error sticks */
                (void) decode_string(d, TEXT_MAX, &v->details);
                v->acknowledged = decode_enum(d, 2);
        }
}

static void decode_optional_plan(Decoder *d, Plan **ret) {
        if (decode_enum(d, 2) == 1)
                (void) decode_plan(d, ret); /* the error sticks */
}

/* Which of the optional ones follow. */
static uint8_t decode_flags(Decoder *d, Assignment *a) {
        uint8_t flags = decode_u8(d);

        if (flags & ~FLAGS_ALL)
                bad(d);
        a->force = flags & FLAG_FORCE;
        a->by_node = flags & FLAG_BY_NODE;
        a->release_wanted = flags & FLAG_RELEASE_WANTED;
        return flags;
}

static void decode_token(Decoder *d, Assignment *a) {
        _cleanup_free_ char *token = NULL;

        decode_text(d, VF_TOKEN_MAX - 1, &token);
        if (token && !vf_token_is_valid(token))
                bad(d);
        else if (token)
                (void) string_copy(a->vf_token, sizeof(a->vf_token), token);
}

static void decode_fields(Decoder *d, unsigned version, Assignment *a, uint64_t *ret_job) {
        _cleanup_free_ char *id = NULL;
        uint8_t flags;

        decode_id(d, &id);
        if (id)
                (void) string_copy(a->id, sizeof(a->id), id); /* fits, as checked */
        decode_text(d, OWNER_MAX, &a->owner);
        a->creator_uid = decode_u32(d);
        a->user_uid = decode_u32(d);
        a->user_gid = decode_u32(d);
        decode_strv(d, LABELS_MAX, (size_t) LABEL_SIZE_MAX * 2, &a->labels);
        a->lifetime = (Lifetime) decode_enum(d, _LIFETIME_MAX);
        assignment_set_state(a, (AssignmentState) decode_enum(d, _ASSIGNMENT_STATE_MAX));
        (void) decode_string(d, TEXT_MAX, &a->bus_name); /* the error sticks */
        a->pid = decode_u32(d);
        a->pid_start = decode_u64(d);
        a->attach_deadline = decode_u64(d);
        (void) decode_string(d, REQUEST_ID_MAX, &a->request_id);
        a->request_hash = decode_u64(d);
        flags = decode_flags(d, a);
        (void) decode_string(d, TEXT_MAX, &a->force_reason);
        a->created_at = decode_u64(d);
        *ret_job = decode_u64(d);
        decode_optional_plan(d, &a->plan);
        decode_notices(d, a);
        decode_strv(d, DIFFERS_MAX, TEXT_MAX, &a->differs);
        if (version >= 2)
                a->memlock = decode_u64(d);
        else
                a->by_node = false;
        if (flags & FLAG_POLICY)
                decode_text(d, TEXT_MAX, &a->policy);
        if (flags & FLAG_VF_TOKEN)
                decode_token(d, a);
}

int decode_assignment(Decoder *d, unsigned version, Assignment **ret, uint64_t *ret_job) {
        _cleanup_(assignment_freep) Assignment *a = NULL;
        uint64_t job = 0;
        int r;

        assert(d);
        assert(ret);
        assert(ret_job);
        r = assignment_new(&a);
        if (r < 0)
                return r;
        decode_fields(d, version, a, &job);
        if (d->error < 0)
                return d->error;
        *ret = TAKE_PTR(a);
        *ret_job = job;
        return 0;
}

static void decode_optional_assignment(Decoder *d, unsigned version, RecordContent *c) {
        uint64_t job = 0;

        if (decode_enum(d, 2) == 0)
                return;
        if (decode_assignment(d, version, &c->assignment, &job) < 0 && d->error == 0)
                d->error = -ENOMEM;
        c->next_job = job > 0 && job < UINT64_MAX ? job + 1 : 0;
}

static void decode_begin(Decoder *d, unsigned version, RecordContent *c) {
        decode_text(d, ASSIGNMENT_ID_MAX - 1, &c->assignment_id);
        if (d->error == 0 && c->assignment_id[0] && !id_is_valid(c->assignment_id))
                bad(d);
        (void) decode_plan(d, &c->plan); /* the error sticks */
        if (d->error == 0 && !id_is_valid(c->plan->id))
                bad(d);
        decode_optional_assignment(d, version, c);
}

void record_content_done(RecordContent *c) {
        assert(c);
        plan_free(c->plan);
        free(c->plan_id);
        free(c->assignment_id);
        free(c->device);
        free(c->text);
        free(c->boot_id);
        assignment_free(c->assignment);
        *c = (RecordContent) {};
}

int record_decode(const JournalRecord *record, RecordContent *ret) {
        _cleanup_record_content_ RecordContent c = {};
        Decoder d;
        uint64_t job = 0;
        int r;

        assert(record);
        assert(ret);
        d = DECODER(record->payload, record->size);
        switch (record->type) {
        case RECORD_BEGIN:
                decode_begin(&d, record->version, &c);
                break;
        case RECORD_END:
                decode_id(&d, &c.plan_id);
                c.outcome = decode_u8(&d);
                decode_optional_assignment(&d, record->version, &c);
                break;
        case RECORD_ASSIGNMENT:
                r = decode_assignment(&d, record->version, &c.assignment, &job);
                if (r < 0)
                        return r;
                c.next_job = job > 0 && job < UINT64_MAX ? job + 1 : 0;
                break;
        case RECORD_FORGET:
                decode_id(&d, &c.assignment_id);
                break;
        case RECORD_QUARANTINE:
                decode_text(&d, TEXT_MAX, &c.device);
                (void) decode_string(&d, TEXT_MAX, &c.text); /* the error sticks */
                break;
        case RECORD_NEXT_JOB:
                c.next_job = decode_u64(&d);
                break;
        case RECORD_BOOT: /* 32 hexadecimal digits, as an id of ours */
                decode_id(&d, &c.boot_id);
                break;
        default:
                return -EBADMSG;
        }
        r = decoder_finish(&d);
        if (r < 0)
                return r;
        *ret = c;
        c = (RecordContent) {};
        return 0;
}
