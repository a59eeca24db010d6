# components.sh CMAKE BUILD TREE: the components program, library and dev are the whole installed TREE, share no file, and hold what the Debian
# packages of these names need.
set -euo pipefail
cmake=$1 build=$2 tree=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for component in program library dev; do
  "$cmake" --install "$build" --prefix "$work/$component" --component $component >/dev/null
  (cd "$work/$component" && find . ! -type d | sort) >"$work/$component.txt"
done

sort "$work"/*.txt | uniq -d >"$work/shared"
if [ -s "$work/shared" ]; then
  echo 'in two components:'
  cat "$work/shared"
  exit 1
fi
(cd "$tree" && find . ! -type d | sort) | diff - <(sort "$work"/{program,library,dev}.txt)

# has COMPONENT PATTERN...: a file of the component matches each pattern.
has() {
  local component=$1 pattern
  shift
  for pattern; do
    grep -qE "^\./$pattern\$" "$work/$component.txt" || { echo "the component $component has no $pattern"; exit 1; }
  done
}
has program bin/m2bert share/man/man1/m2bert-eval-beir.1 share/bash-completion/completions/m2bert
has library 'lib[^/]*/libm2bert.(so.[0-9.]+|[0-9.]+dylib)' 'lib[^/]*/libm2bert_ops.(so.[0-9.]+|[0-9.]+dylib)' share/doc/m2bert/NOTICE
has dev 'lib[^/]*/libm2bert.(so|dylib)' include/m2bert/version.h 'lib[^/]*/cmake/m2bert/m2bertConfig.cmake'
if grep -E '\.h$|cmake' "$work/program.txt" "$work/library.txt"; then
  echo 'the files above belong to dev'
  exit 1
fi

for manual in "$work"/program/share/man/man1/*; do
  test -s "$manual"
done
