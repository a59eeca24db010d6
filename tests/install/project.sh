# project.sh CMAKE PROJECT COMPILER TREE: builds the project outside the checkout against the installed tree, and runs it.
# A second source file includes every installed header, so that none can depend on a header that is not installed.
set -euo pipefail
cmake=$1 project=$2 compiler=$3 tree=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$project" "$work/project"
(cd "$tree/include" && find m2bert -name '*.h' | sort | sed 's/.*/#include "&"/') >"$work/project/all_headers.cpp"

"$cmake" -G Ninja -S "$work/project" -B "$work/build" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_PREFIX_PATH="$tree" >"$work/log"  2>&1 ||
  { cat "$work/log"; exit 1; }
"$cmake" --build "$work/build" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

said=$("$work/build/uses_all")
echo "$said"
case $said in
  *' 6 tokens, 12') ;;
  *) echo 'expected "<version> 6 tokens, 12"'; exit 1 ;;
esac
test "$("$work/build/uses_ops")" = 12

# The wheel contains netlib's slow reference BLAS: in a program that only uses find_package(m2bert), MLX must call OpenBLAS.
if [ "$(uname)" = Linux ]; then
  LD_DEBUG=bindings LD_DEBUG_OUTPUT="$work/bindings" "$work/build/uses_all" >/dev/null
  if ! grep -hE "libmlx.*libopenblas.*cblas_sgemm'" "$work"/bindings.*; then
    echo 'cblas_sgemm of libmlx is not bound to OpenBLAS:'
    grep -h "cblas_sgemm'" "$work"/bindings.* || echo '(not bound at all)'
    exit 1
  fi
fi
