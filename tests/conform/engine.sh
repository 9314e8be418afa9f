# For the scripts that try the engine: nacelled in the private host, clients from Debian sid in a
# chroot of it, an image. Sourced after lines.sh, run with PRIVATE_HOST and NACELLE_OCI.
cache=${NACELLE_CACHE:-/var/cache/nacelle}
build=$(dirname "$(dirname "$(readlink -f "${NACELLE_OCI:-$2}")")")
programs=${NACELLE_PROGRAMS:-$build/nacelle}
rootfs=$cache/rootfs/busybox
sid=$cache/peers/sid
socket=/run/nacelle/nacelle.sock

# need_engine NAME: skips, with the reason, where something is missing; goes into the host.
need_engine() {
  [[ $(id -u) == 0 ]] || skip_all "$1" "needs root"
  if [[ ${NACELLE_INSIDE:-} != 1 ]]; then
    local said
    said=$("$here/../../tools/rootfs" --busybox 2>&1) ||
      skip_all "$1" "no busybox root file system: ${said##*$'\n'}"
    said=$("$here/../../tools/peers" 2>&1)
    [[ -x $sid/usr/bin/docker ]] || skip_all "$1" "no docker in $sid: ${said##*$'\n'}"
  fi
}

# Starts the engine; its log is $work/nacelled.log.
start_engine() {
  mkdir -p "$work"/{home,upper,work,sid}
  export HOME=$work/home TMPDIR=$work work sid
  unset DOCKER_CONFIG DOCKER_HOST NACELLE_HOST HTTP_PROXY HTTPS_PROXY http_proxy https_proxy
  mount -t overlay overlay -o "lowerdir=$sid,upperdir=$work/upper,workdir=$work/work" "$work/sid"
  local each
  for each in proc sys dev run tmp; do mount --rbind "/$each" "$work/sid/$each"; done
  run_engine
  eventually 20 curl -sf --unix-socket "$socket" http://d/_ping ||
    { not_ok engine_starts "$(tail -n 3 "$work/nacelled.log")"; finish; }
  tar -C "$rootfs" -c . | docker import --change 'CMD ["/bin/sh"]' - busybox:latest >/dev/null
}
run_engine() {
  "$programs/nacelled" --data-root "$work/data" "$@" >>"$work/nacelled.log" 2>&1 &
  engine=$!
}
stop_engine() {
  kill "$engine"
  wait "$engine" 2>/dev/null
}
# Ends nacelle-core too, so that the host is as it was.
stop_all() {
  stop_engine
  local pid
  for pid in $(pgrep -x nacelle-core); do kill -9 "$pid" 2>/dev/null; done
}

# bring_program NAME DIRECTORY: a program of this machine's, in /bin, and the libraries it needs, as
# files of a root.
bring_program() {
  local path file
  path=$(command -v "$1") && install -D "$path" "$2/bin/$1" || return
  for file in $(ldd "$path" | grep -o '/[^ )]*'); do install -D "$file" "$2$file" || return; done
}
# start_agent NAME: an ssh-agent at $work/NAME, which has a key called key-NAME.
start_agent() {
  local said
  said=$(ssh-agent -a "$work/$1") || return
  sed -n 's/^SSH_AGENT_PID=\([0-9]*\).*/\1/p' <<<"$said" >>"$work/agents.pids"
  ssh-keygen -q -t ed25519 -N '' -C "key-$1" -f "$work/$1.key" && SSH_AUTH_SOCK=$work/$1 ssh-add -q "$work/$1.key"
}
# start_repositories PORT: git://127.0.0.1:PORT/whole, with a tag v1, a branch other, links that lead
# out and a submodule, git://127.0.0.1:PORT/part.
start_repositories() (
  export GIT_{AUTHOR,COMMITTER}_{NAME,EMAIL}=somebody GIT_CONFIG_NOSYSTEM=1 GIT_ALLOW_PROTOCOL=git:file
  mkdir -p "$work/git" && cd "$work/git" || exit
  git init -q -b main part && echo part >part/part && git -C part add . && git -C part commit -q -m part || exit
  git daemon --reuseaddr --export-all --base-path="$work/git" --listen=127.0.0.1 --port="$1" >"$work/git.log" 2>&1 &
  echo $! >"$work/git.pid"
  git init -q -b main whole && cd whole && mkdir sub || exit
  printf 'FROM busybox\nCOPY . /all/\n' >Dockerfile; echo first >word; echo deep >sub/word; cp Dockerfile sub/
  ln -s /etc out; ln -s ../../../../etc/passwd passwd; echo 'exit 0' >run; chmod +x run
  git add . && git commit -q -m first && git tag v1 && git branch other || exit
  echo second >word && git commit -q -a -m second && eventually 20 git submodule -q add git://127.0.0.1:"$1"/part && git commit -q -m third
)
stop_repositories() { kill "$(cat "$work/git.pid")"; }
stop_agents() { kill $(cat "$work/agents.pids"); }

in_sid() { chroot "$work/sid" env PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$work/home" DOCKER_HOST="unix:///run/nacelle/nacelle.sock" "$@"; }
docker() { in_sid docker "$@"; }
export -f in_sid docker
