/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pciassignd: puts host, store, engine and bus together and runs the event loop.
 */

int main(int argc, char **argv) {
        return 0;
}
