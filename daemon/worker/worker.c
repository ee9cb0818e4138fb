/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The worker's side of the conversation. A daemon that died closes the connection: that is looked
 * for before each thing that changes the system, because from then on nobody follows what is done
 * here.
 */

#include "worker/worker.h"

#include <assert.h>
#include <poll.h>

#include "base/clock.h"
#include "base/strutil.h"

void worker_send(Worker *w, ProtocolType type, const int *fds, size_t n_fds) {
        int r;

        assert(w);
        r = w->gone ? -EPIPE : protocol_send(w->socket, type, &w->encoder, fds, n_fds);
        if (r < 0)
                w->gone = true; /* a message that cannot be sent leaves the daemon as blind as none
                                   at all */
        encoder_reset(&w->encoder);
}

void worker_progress(Worker *w, const PciAddress *at) {
        encode_u8(&w->encoder, at != NULL);
        encode_address(&w->encoder, at ? *at : (PciAddress) {});
        worker_send(w, PROTOCOL_PROGRESS, NULL, 0);
}

/* Each message wakes the daemon, which may take the processor from under the step: what is over
 * waits for the next step that can sleep, or for the end. */
static void encode_gathered(Worker *w) {
        encode_steps(&w->encoder, w->steps, w->n_steps);
        w->n_steps = 0;
}

static void send_steps(Worker *w) {
        encode_gathered(w);
        worker_send(w, PROTOCOL_STEPS, NULL, 0);
}

static void add_step(Worker *w, const ProtocolStep *s) {
        if (w->n_steps >= ELEMENTSOF(w->steps))
                send_steps(w);
        w->steps[w->n_steps++] = *s;
}

void worker_step_started(Worker *w, size_t step, bool undo, bool quick) {
        assert(w);
        add_step(w, &(ProtocolStep) { .step = (uint32_t) step, .undo = undo });
        if (!quick)
                send_steps(w);
}

void worker_step_done(Worker *w, size_t step, bool undo, int error) {
        assert(w);
        add_step(w, &(ProtocolStep){
                            .step = (uint32_t) step, .undo = undo, .done = true, .error = error });
}

void worker_evidence(Worker *w, size_t step, const char *text) {
        encode_evidence(&w->encoder, (uint32_t) step, text);
        worker_send(w, PROTOCOL_EVIDENCE, NULL, 0);
}

void worker_finish(Worker *w, const HostResult *result) {
        encode_gathered(w);
        encode_result(&w->encoder, result);
        worker_send(w, PROTOCOL_FINISHED, NULL, 0);
}

void worker_finish_simple(Worker *w, int error, const char *what) {
        HostResult result = {
                .outcome = error < 0 ? HOST_OUTCOME_FAILED : HOST_OUTCOME_DONE,
                .error = MIN(error, 0),
                .code = error < 0 ? ERROR_FAILED : ERROR_NONE,
                .failed_step = SIZE_MAX,
        };

        if (error == -ENODEV)
                result.code = ERROR_GONE;
        if (error < 0)
                (void) snprintf(result.message, sizeof(result.message), "%s: %s", what,
                                errno_text(-error));
        worker_finish(w, &result);
}

static void receive_cancellation(Worker *w) {
        _cleanup_(protocol_message_done) ProtocolMessage m = {};
        int r = protocol_receive(w->socket, &m);

        if (r > 0 && m.type == PROTOCOL_CANCEL)
                w->cancelled = true;
        else if (r != -EAGAIN)
                w->gone = true; /* the end of the stream, or a daemon that does not keep to the
                                   protocol */
}

static void wait_for_word(Worker *w, int msec) {
        struct pollfd p = { .fd = w->socket, .events = POLLIN };

        if (!w->gone && poll(&p, 1, msec) > 0)
                receive_cancellation(w);
}

bool worker_may_go_on(Worker *w) {
        assert(w);
        wait_for_word(w, 0);
        return !w->gone && !w->cancelled;
}

bool worker_pause(Worker *w, unsigned msec) {
        usec_t until = now_boottime() + msec * USEC_PER_MSEC;

        assert(w);
        while (!w->gone && !w->cancelled) {
                usec_t now = now_boottime();

                if (now >= until)
                        return true;
                wait_for_word(w, (int) ((until - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC));
        }
        return false;
}

int worker_critical(Worker *w, Critical **ret) {
        int r;

        assert(w);
        assert(ret);
        if (!w->critical) {
                r = critical_new(&w->tree, &w->critical);
                if (r < 0)
                        return r;
        }
        *ret = w->critical;
        return 0;
}
