/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Errno of a step → error code and a sentence. Each row says why the kernel gives that errno for
 * that kind of step (drivers/base/bus.c, drivers/pci/iov.c, drivers/vfio/group.c,
 * drivers/iommu/iommu.c) and what to do about it. Rows stand from special to general; the first
 * that fits is taken. Nothing is looked up here: findings come with the failure.
 */

#include "host/step-error.h"

#include <assert.h>

#include "base/strutil.h"

#define ANY_STEP _STEP_TYPE_INVALID

static const struct {
        StepType step;
        int error;
        ErrorCode code;
        const char *reason, *remedy;
} rows[] = {
        { STEP_PROVE_UNHELD, EBUSY, ERROR_BUSY, "it is still in use",
          "end the use, or try again later" },
        { STEP_PROVE_UNHELD, ENOTBLK, ERROR_HOST_CRITICAL, "the host itself uses it",
          "unmount, unroute or disconnect it first" },
        { STEP_UNBIND, ENODEV, ERROR_PLAN_STALE, "it is not on that driver any more",
          "ask for a new plan" },
        { STEP_SET_OVERRIDE, ESTALE, ERROR_PLAN_STALE, "somebody else changed it meanwhile",
          "ask for a new plan" },
        { STEP_PROBE, EBUSY, ERROR_BUSY,
          "its IOMMU group is owned by somebody through VFIO, or it has a driver already",
          "release the other functions of the group" },
        { STEP_PROBE, EINVAL, ERROR_FAILED,
          "the driver refused it, or its IOMMU group is owned through VFIO",
          "the kernel log says why" },
        { STEP_PROBE, STEP_ERROR_READ_BACK, ERROR_FAILED,
          "the kernel took the write but the driver did not bind",
          "is its module loaded? the kernel log says why it declined" },
        { STEP_TRIAL_ATTACH, EPERM, ERROR_NOT_VIABLE,
          "another function of the group is on a host driver, or the platform has no interrupt "
          "remapping",
          "assign the whole group, or enable interrupt remapping in firmware" },
        { STEP_TRIAL_ATTACH, EINVAL, ERROR_NOT_VIABLE,
          "firmware demands a direct mapping (RMRR) for the group",
          "such a device cannot be assigned" },
        { STEP_TRIAL_ATTACH, EBUSY, ERROR_BUSY, "somebody has the group's node open",
          "end the process that holds it" },
        { STEP_TRIAL_ATTACH, ENOENT, ERROR_NOT_SUPPORTED, "the group has no VFIO node",
          "load vfio-pci and see whether the kernel has CONFIG_VFIO_GROUP" },
        { STEP_RESET, ENOTTY, ERROR_NOT_SUPPORTED, "the device has no such reset",
          "see its reset methods" },
        { STEP_RESET, EINVAL, ERROR_NOT_SUPPORTED, "the device has no such reset",
          "see its reset methods" },
        { STEP_RESET, EBUSY, ERROR_BUSY, "somebody holds it",
          "it is reset after its holder let go" },
        { STEP_AWAIT_READY, ETIMEDOUT, ERROR_FAILED, "it did not answer in time",
          "reset it, or power its slot off and on" },
        { STEP_SET_RESET_METHOD, EINVAL, ERROR_NOT_SUPPORTED,
          "the device has none of these reset methods",
          "see its reset methods, or change the rule" },
        { STEP_SET_RESET_METHOD, ENOENT, ERROR_NOT_SUPPORTED, "the device cannot be reset",
          "change the rule" },
        { STEP_TAKE_REFERENCE, EIO, ERROR_FAILED, "its configuration space does not answer",
          "reset it" },
        { STEP_COMPARE_CONFIG, EIO, ERROR_FAILED, "its configuration space does not answer",
          "power its slot off and on" },
        { STEP_COMPARE_CONFIG, STEP_ERROR_READ_BACK, ERROR_FAILED,
          "it is not configured as before its owner had it",
          "look at the differences, and power the device off and on" },
        { STEP_HOOK, EACCES, ERROR_POLICY_DENIED, "the hook says no", "see what it printed" },
        { STEP_HOOK, ENOENT, ERROR_FAILED, "there is no such hook",
          "install it below hooks.d, or change the rule" },
        { STEP_HOOK, EPERM, ERROR_FAILED,
          "the hook is not a file of root that nobody else can write",
          "correct its owner and mode" },
        { STEP_HOOK, ENOEXEC, ERROR_FAILED, "the hook cannot be executed",
          "see its first line and its mode" },
        { STEP_HOOK, ETIMEDOUT, ERROR_FAILED, "the hook took too long and was ended",
          "see what it printed, or give it more time" },
        { STEP_HOOK, EPIPE, ERROR_FAILED, "the hook was ended by a signal", "see what it printed" },
        { STEP_SET_NUMVFS, ENOENT, ERROR_NOT_SUPPORTED, "its driver makes no virtual functions",
          "bind the driver of the physical function first" },
        { STEP_SET_NUMVFS, ERANGE, ERROR_INVALID, "that is more than it has",
          "see its sriov_totalvfs" },
        { STEP_SET_NUMVFS, EBUSY, ERROR_BUSY,
          "it has another number of virtual functions, or one of them is in use",
          "set the number to 0 first" },
        { STEP_SET_NUMVFS, ENOMEM, ERROR_FAILED,
          "firmware left no room for the BARs or bus numbers of so many",
          "ask for fewer, or boot with pci=realloc" },
        { STEP_SET_NUMVFS, STEP_ERROR_READ_BACK, ERROR_FAILED,
          "the kernel took the write and made another number", "the kernel log says why" },
        { STEP_AWAIT_VFS, ETIMEDOUT, ERROR_FAILED, "they did not all appear in time",
          "the kernel log says why" },
        { STEP_SET_AUTOPROBE, ENOENT, ERROR_NOT_SUPPORTED, "it is no physical function",
          "see its role in SR-IOV" },
        { STEP_SET_D3COLD, ENOENT, ERROR_NOT_SUPPORTED, "the platform has no D3cold",
          "change the rule" },
        { STEP_SET_NOSNOOP, ENOENT, ERROR_NOT_SUPPORTED, "it has no PCI Express capability",
          "change the rule" },
        { STEP_SET_NOSNOOP, EIO, ERROR_FAILED, "its configuration space does not answer",
          "reset it" },
        { STEP_SET_NOSNOOP, STEP_ERROR_READ_BACK, ERROR_NOT_SUPPORTED,
          "its No Snoop bit cannot be changed", "change the rule" },
        { STEP_SET_DOMAIN_TYPE, ENOENT, ERROR_NOT_SUPPORTED,
          "the kernel gives the group no domain type", "change the rule" },
        { STEP_SET_DOMAIN_TYPE, EINVAL, ERROR_NOT_SUPPORTED,
          "the kernel or the firmware demands another domain type of this group",
          "change the rule" },
        { STEP_SET_DOMAIN_TYPE, EPERM, ERROR_BUSY, "a host driver still has a member of the group",
          "unbind all members of the group first" },
        { STEP_SET_DOMAIN_TYPE, EBUSY, ERROR_BUSY, "a driver still has a member of the group",
          "unbind all members of the group first" },
        { STEP_RESIZE_BAR, ENOENT, ERROR_NOT_SUPPORTED, "this BAR is not resizable",
          "change the rule" },
        { STEP_RESIZE_BAR, EINVAL, ERROR_NOT_SUPPORTED, "this BAR has no such size",
          "see its resizable sizes" },
        { STEP_RESIZE_BAR, ENOSPC, ERROR_NOT_SUPPORTED,
          "the windows of the bridges above have no room for it",
          "ask for a smaller size, or boot with pci=realloc" },
        { STEP_RESIZE_BAR, 524, ERROR_NOT_SUPPORTED, "the host bridge keeps what firmware assigned",
          "resize in the firmware's setup" },
        { STEP_RESIZE_BAR, EBUSY, ERROR_BUSY, "a driver or virtual functions use it",
          "unbind its driver, and set the number of virtual functions to 0" },
        { STEP_VERIFY, STEP_ERROR_READ_BACK, ERROR_FAILED, "it is not as planned",
          "look at it again and ask for a new plan" },
        { STEP_COMMIT_STATE, ENOSPC, ERROR_FAILED, "the file system of the state directory is full",
          "make room there; releases still work" },
        { STEP_COMMIT_STATE, EDQUOT, ERROR_FAILED, "the quota of the state directory is used up",
          "make room there; releases still work" },
        { STEP_COMMIT_STATE, EROFS, ERROR_FAILED, "the state directory is read-only",
          "mount it read-write; releases still work" },
        { STEP_COMMIT_STATE, EPERM, ERROR_FAILED,
          "the state directory or a file in it is not root's or the daemon's, or others may write "
          "to it",
          "set owner and mode right; releases still work" },
        { STEP_COMMIT_STATE, EACCES, ERROR_FAILED, "the state directory cannot be written",
          "set owner and mode right; releases still work" },
        { STEP_COMMIT_STATE, ENOENT, ERROR_FAILED, "there is no state directory",
          "make it, mode 0700, for the daemon's user; releases still work" },
        { STEP_COMMIT_STATE, EIO, ERROR_FAILED, "what was written could not be read back",
          "look at the disk below the state directory; releases still work" },
        { ANY_STEP, ENODEV, ERROR_GONE, "it is gone", "see whether it was pulled out or removed" },
        { ANY_STEP, ESTALE, ERROR_PLAN_STALE, "it is not the device that the plan was made for",
          "ask for a new plan" },
        { ANY_STEP, ETIMEDOUT, ERROR_STUCK, "the kernel has not come back from it",
          "find who holds the device; nothing else is tried until the kernel returns" },
        { ANY_STEP, ECANCELED, ERROR_FAILED, "the job was cancelled", "ask again" },
        { ANY_STEP, EPERM, ERROR_NOT_SUPPORTED,
          "the kernel forbids it (lockdown, or a missing capability)",
          "see `pciassignctl doctor`" },
        { ANY_STEP, EACCES, ERROR_NOT_SUPPORTED,
          "the kernel forbids it (lockdown, or a missing capability)",
          "see `pciassignctl doctor`" },
        { ANY_STEP, EBUSY, ERROR_BUSY, "the kernel says it is busy",
          "try again when its user is done" },
        { ANY_STEP, STEP_ERROR_READ_BACK, ERROR_FAILED,
          "the kernel took the write but nothing changed", "the kernel log may say why" },
};

/* ENODEV of an unbind is about the driver only if one was looked up; else the device is gone. */
static size_t find_row(const StepFailure *f) {
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                if (rows[i].error != -f->error ||
                    (rows[i].step != f->step->type && rows[i].step != ANY_STEP))
                        continue;
                if (rows[i].step == STEP_UNBIND && rows[i].error == ENODEV && !f->found)
                        continue;
                return i;
        }
        return SIZE_MAX;
}

static void add_finding(StrBuf *b, const StepFailure *f) {
        if (f->n_holders > 0) {
                const PciHolder *h = f->holders;

                strbuf_addf(b, " (held by %s, pid %u%s%s, through %s",
                            h->comm[0] ? h->comm : "a process", h->pid, h->unit[0] ? ", of " : "",
                            h->unit, h->what[0] ? h->what : "an open descriptor");
                if (f->n_holders > 1)
                        strbuf_addf(b, " and %zu more", f->n_holders - 1);
                strbuf_add(b, ")");
        } else if (f->detail)
                strbuf_addf(b, " (%s)", f->detail);
        else if (f->found)
                strbuf_addf(b, " (%s%s)", f->found[0] ? "it is on " : "it has no driver", f->found);
}

void step_failure_explain(const StepFailure *f, HostResult *ret) {
        _cleanup_free_ char *what = NULL;
        _cleanup_strbuf_ StrBuf b = {};
        int error;
        size_t row;

        assert(f);
        assert(f->step);
        assert(f->error < 0);
        assert(ret);
        error = -f->error;
        row = find_row(f);
        what = f->undo ? step_describe_undo(f->step) : step_describe(f->step);
        strbuf_addf(&b, "%s%s: ", f->undo ? "undoing: " : "", strempty(what));
        if (row < ELEMENTSOF(rows))
                strbuf_add(&b, rows[row].reason);
        else
                strbuf_addf(&b, "the kernel answered %s", strempty(strerrorname_np(error)));
        add_finding(&b, f);
        strbuf_addf(&b, "; %s",
                    row < ELEMENTSOF(rows) ? rows[row].remedy : "the kernel log may say why");

        ret->error = f->error;
        ret->code = row < ELEMENTSOF(rows) ? rows[row].code : ERROR_FAILED;
        (void) string_copy(ret->message, sizeof(ret->message), strempty(b.data));
        ret->holders = f->holders;
        ret->n_holders = f->n_holders;
}
