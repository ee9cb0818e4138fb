#!/bin/sh
# Makes configure and Makefile.in from configure.ac and the Makemodule.am fragments.
set -e
cd "$(dirname "$0")"
exec autoreconf --force --install --warnings=all
