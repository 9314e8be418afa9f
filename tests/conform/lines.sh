# For the scripts beside it: verdicts, and the way into the private host. Sourced, not run.
#
# A script is called with PRIVATE_HOST and NACELLE_OCI, goes into the host with enter_host, and ends
# with finish. NACELLE_OCI in the environment wins over the argument.
set -uo pipefail

failures=0
ok() { echo "ok $1"; }
not_ok() {
  # One line, whatever the program said.
  echo "not ok $1: $(tr '\r\n' ' |' <<<"$2" | tail -c 600)"
  failures=$((failures + 1))
}
skip_all() {
  echo "skip $1: $2"
  exit 0
}
finish() { exit $((failures > 0)); }

# expect NAME WANTED_CODE WANTED_OUTPUT COMMAND...: the exit code and, unless empty, an extended
# regular expression that the output (both streams) must match. COMMAND may be an exported function.
expect() {
  local name=$1 code=$2 pattern=$3 said got
  shift 3
  said=$(timeout -k 5 60 bash -c '"$@"' - "$@" 2>&1 </dev/null | tr '\0' ' '; exit "${PIPESTATUS[0]}")
  got=$?
  if [[ $got != "$code" ]]; then
    not_ok "$name" "exit code $got, not $code: $said"
  # script(1) types an end of input of its own, which the terminal echoes somewhere in between. All of
  # it is read (no -q): who writes into a pipe that nobody reads any more has failed.
  elif [[ -n $pattern ]] && ! tr -d '\r\b' <<<"$said" | sed 's/\^[@D]//g' | grep -E -- "$pattern" >/dev/null; then
    not_ok "$name" "no '$pattern' in: $said"
  else
    ok "$name"
  fi
}

# eventually SECONDS COMMAND...: until it succeeds.
eventually() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# Runs the calling script again inside a private host, and everything after this line only there.
enter_host() {
  if [[ ${NACELLE_INSIDE:-} == 1 ]]; then return; fi
  export NACELLE_INSIDE=1
  exec "$1" "$(readlink -f "$0")" "$@"
}

# script(1) runs its command with $SHELL, or with sh, which knows neither exported functions nor %q.
export SHELL=/bin/bash

# in_terminal COMMAND...: with a terminal of its own, whose output goes to ours.
in_terminal() { script --quiet --return --command "$(printf '%q ' "$@")" /dev/null; }
export -f in_terminal eventually

# Control groups below the host's root that the host did not begin with.
groups_left() { find /sys/fs/cgroup -mindepth 1 -type d ! -path /sys/fs/cgroup/test; }
