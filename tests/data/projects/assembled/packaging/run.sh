#!/bin/sh -e
exec grafana "$@"
