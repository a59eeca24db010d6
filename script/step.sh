# shellcheck shell=bash
# Sourced by the scripts of this folder. Changes to the repository root, and runs steps with their output in logs.
set -euo pipefail
# --help prints the comment at the top of the script.
if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  awk 'NR > 1 { if (!/^#/) exit; if (!/^# shellcheck/) { sub(/^# ?/, ""); print } }' "$0"
  exit 0
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build/log
case $(uname) in
  Darwin) jobs=$(sysctl -n hw.ncpu) ;;
  *) jobs=$(nproc) ;;
esac
export jobs

# step TEXT LOG COMMAND...: runs the command and prints one line with its time. The output goes to build/log/LOG. If the command fails,
# prints the end of the log and $advice, if set, and exits.
step() {
  local text=$1 log=build/log/$2 start=$SECONDS watcher='' status=0
  shift 2
  printf '%s ... ' "$text"
  if [ -t 1 ]; then
    watch_log "$text" "$log" &
    watcher=$!
  fi
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ -n "$watcher" ]; then
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    printf '\r\033[K%s ... ' "$text"
  fi
  if [ $status = 0 ]; then
    printf '%d s\n' $((SECONDS - start))
    return
  fi
  printf 'FAILED (exit code %d). The end of %s:\n' $status "$log"
  tail -n 25 "$log" | sed 's/^/  | /'
  if [ -n "${advice:-}" ]; then
    printf '%s\n' "$advice"
  fi
  exit 1
}

# Prints the progress of ninja or pip, once a second. For terminals.
watch_log() {
  while sleep 1; do
    printf '\r\033[K%s ... %s' "$1" "$(tail -c 300 "$2" 2>/dev/null | grep -oE '\[[0-9]+/[0-9]+\]' | tail -n 1 || true)"
  done
}

# configure PRESET, then compile PRESET [TARGET...]: a second time this takes a second. build PRESET [TARGET...] does both.
configure() {
  advice=$old_build_advice$1' and try again.'
  step "Configuring the $1 build" "configure-$1.log" cmake --preset "$1"
  advice=''
}

compile() {
  local preset=$1
  shift
  advice=$old_build_advice$preset' and try again.'
  step "Building ($preset, $jobs cores)" "build-$preset.log" cmake --build --preset "$preset" --parallel "$jobs" ${1:+--target "$@"}
  advice=''
}

build() {
  configure "$1"
  compile "$@"
}
old_build_advice='A changed compiler or MLX can leave an old build folder behind: remove build/'

# make_venv FOLDER: creates a new Python environment with the first Python that can.
make_venv() {
  local python
  for python in python3 python3.12 /usr/bin/python3; do
    if command -v "$python" >/dev/null && "$python" -m venv --clear "$1"; then
      return
    fi
  done
  echo 'No Python here could make a virtual environment (the venv module needs ensurepip: Debian has it in python3-venv).'
  return 1
}
