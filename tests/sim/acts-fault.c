/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What goes wrong in the world: steps that fail, hang or lie, other hands on the devices, cards
 * that come and go, lost events, a disk that is full or dying, and the deaths of the daemon and of
 * the whole machine.
 */

#include "base/strutil.h"
#include "world.h"

WorldDevice *world_draw_device(World *w) {
        return w->devices + world_draw(w, (uint32_t) w->n_devices);
}

/* What shares its slot is no longer ours alone either. */
static void taint(World *w, PciAddress a) {
        for (size_t i = 0; i < w->n_devices; i++)
                if (w->devices[i].address.bus == a.bus)
                        w->devices[i].tainted = true;
}

void act_fault(World *w) {
        static const int errors[] = { EBUSY, EINVAL, EIO, EPERM, ENODEV };
        const WorldDevice *d = world_draw_device(w);
        SimFault f = {
                .device = d->address,
                .step = (StepType) world_draw(w, _STEP_TYPE_MAX),
                .kind = (SimFaultKind) world_draw(w, _SIM_FAULT_KIND_MAX),
                .error = errors[world_draw(w, ELEMENTSOF(errors))],
                .delay = world_draw(w, 20) * USEC_PER_SEC,
                .times = 1 + world_draw(w, 2),
        };

        if (host_sim_inject(w->host, &f) < 0)
                return;
        w->report->faults++;
        taint(w, d->address);
        world_note(w, "fault %d (%s) in %s of %s", f.kind, strerrorname_np(f.error),
                   step_type_to_string(f.step), PCI_ADDRESS_TEXT(d->address));
}

void act_clear(World *w) {
        world_note(w, "all faults are lifted");
        host_sim_clear_faults(w->host);
        disk_clear();
        host_sim_set_state_error(w->host, 0);
}

/* ---- other hands ---- */

void act_hold(World *w) {
        const WorldDevice *d = world_draw_device(w);
        bool lets_go = world_chance(w, 50);

        if (d->critical)
                return;
        taint(w, d->address);
        world_note(w, lets_go ? "somebody lets %s go" : "somebody holds %s",
                   PCI_ADDRESS_TEXT(d->address));
        if (lets_go)
                (void) host_sim_unhold(w->host, d->address);
        else
                (void) host_sim_hold(w->host, d->address, 4711, "foreign");
}

void act_rebind(World *w) {
        static const char *const drivers[] = { "", "vfio-pci", "pci-stub" };
        const WorldDevice *d = world_draw_device(w);
        const char *driver = drivers[world_draw(w, ELEMENTSOF(drivers))];

        if (d->critical)
                return;
        taint(w, d->address);
        world_note(w, "another tool binds %s to \"%s\"", PCI_ADDRESS_TEXT(d->address), driver);
        (void) host_sim_rebind(w->host, d->address, driver);
}

/* Its owner must hear of it, once the kernel has said so. */
static void expect_loss(World *w, WorldDevice *d) {
        const Device *shown = inventory_device(engine_inventory(w->engine), d->address);

        d->expect_lost = shown && !shown->gone && shown->assignment &&
                         shown->assignment->state == ASSIGNMENT_ACTIVE && !shown->assignment->job;
}

void act_pull(World *w) {
        WorldDevice *d = world_draw_device(w);

        if (d->critical)
                return;
        taint(w, d->address);
        expect_loss(w, d);
        world_note(w, "%s is pulled out", PCI_ADDRESS_TEXT(d->address));
        (void) host_sim_surprise_remove(w->host, d->address);
}

void act_attention(World *w) {
        WorldDevice *d = world_draw_device(w);

        if (d->critical)
                return;
        taint(w, d->address);
        world_note(w, "the attention button of %s is pressed", PCI_ADDRESS_TEXT(d->address));
        (void) host_sim_press_attention(w->host, d->address);
}

void act_error(World *w) {
        WorldDevice *d = world_draw_device(w);
        SimErrorKind kind = (SimErrorKind) world_draw(w, _SIM_ERROR_KIND_MAX);

        if (d->critical)
                return;
        taint(w, d->address);
        world_note(w, "error %d of %s", kind, PCI_ADDRESS_TEXT(d->address));
        (void) host_sim_error(w->host, d->address, kind);
}

void act_put(World *w) {
        WorldDevice *d = world_draw_device(w);
        bool other = world_chance(w, 40);
        const char *json = other ? d->other_json : d->json;

        if (d->critical)
                return;
        taint(w, d->address);
        if (host_sim_add(w->host, json, strlen(json), NULL) < 0)
                return;
        d->expect_lost = d->quarantined = false; /* which follows the hardware */
        d->owner[0] = 0;
        world_note(w, other ? "another card comes in the place of %s" : "%s is put in",
                   PCI_ADDRESS_TEXT(d->address));
}

void act_lose_events(World *w) {
        uint32_t n = 1 + world_draw(w, 4);

        world_note(w, "the next %u events are lost", n);
        host_sim_lose_events(w->host, n);
}

/* `udevadm trigger`: nothing may come of it. */
void act_synthetic(World *w) {
        const WorldDevice *d = world_draw_device(w);
        uint64_t before;

        world_settle(w);
        before = engine_inventory(w->engine)->generation;
        if (host_sim_loses_events(w->host) || host_sim_trigger(w->host, d->address) < 0)
                return;
        world_note(w, "somebody triggers an event of %s", PCI_ADDRESS_TEXT(d->address));
        world_settle(w);
        if (engine_inventory(w->engine)->generation != before)
                world_fail(w, INVARIANT_KERNEL_FACTS_WIN,
                           "a synthetic event of %s changed something",
                           PCI_ADDRESS_TEXT(d->address));
}

/* ---- disk, daemon, machine ---- */

void act_disk(World *w) {
        DiskFault f = (DiskFault) world_draw(w, _DISK_FAULT_MAX);
        unsigned after = world_draw(w, 6), times = f < DISK_CRASH_BEFORE ? 1 + world_draw(w, 4) : 1;

        disk_inject(f, after, times);
        w->disk_was_faulty |= f < DISK_CRASH_BEFORE;
        w->report->faults++;
        world_note(w, "disk, after %u more: %s, %u times", after, disk_fault_to_string(f), times);
        if (!world_chance(w, 30))
                return;
        w->state_was_faulty = true;
        host_sim_set_state_error(w->host, world_chance(w, 50) ? ENOSPC : EIO);
        world_note(w, "the state directory cannot be written");
}

void act_crash_later(World *w) {
        w->crash_in = 1 + world_draw(w, 60);
        world_note(w, "the daemon is to die in %u callbacks", w->crash_in);
}

void act_restart(World *w) {
        world_note(w, "the daemon ends; life %u", w->life + 1);
        world_restart(w);
}

void act_swap(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);
        WorldDevice *d = world_draw_device(w);

        for (unsigned i = 0; i < 8; i++) { /* one that matters, if there is one */
                const Device *shown = inventory_device(inventory, d->address);

                if (shown && shown->assignment)
                        break;
                d = world_draw_device(w);
        }
        if (d->critical || host_sim_is_held(w->host, d->address))
                return;
        taint(w, d->address);
        world_note(w, "the daemon ends; another card comes in the place of %s; life %u",
                   PCI_ADDRESS_TEXT(d->address), w->life + 1);
        world_restart_with_other_card(w, d);
}

void act_reboot(World *w) {
        if (w->boots >= WORLD_BOOTS_MAX)
                return;
        world_note(w, "the machine boots again");
        world_reboot(w);
}
