# alone.sh CHECKOUT BUILD MLX TREE: runs `m2bert embed` from a copy of the installed tree with an empty environment, while checkout, build
# folder and MLX's wheel are hidden behind empty folders. Without permission for that, only checks the paths inside the files.
set -euo pipefail
checkout=$1 build=$2 mlx=$3 tree=$4
site_packages=$(dirname "$mlx")
if [ "$(uname)" != Linux ]; then
  echo 'SKIPPED: needs readelf and mount namespaces (Linux)'
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$tree" "$work/tree"

for file in "$work"/tree/bin/* "$work"/tree/lib/*.so "$work"/tree/lib/m2bert/mlx/lib/*.so; do
  if readelf -d "$file" | grep -E 'R(UN)?PATH' | grep -F -e "$checkout" -e "$build" -e "$site_packages"; then
    echo "$file looks for libraries in the checkout, the build folder or the wheel"
    exit 1
  fi
done
if grep -rlF -e "$checkout" -e "$build" -e "$site_packages" "$work/tree/lib/cmake" "$work/tree/include"; then
  echo 'the files above name the checkout, the build folder or the wheel'
  exit 1
fi

if ! unshare -m true 2>/dev/null; then
  echo 'SKIPPED: the run with checkout and wheel hidden needs the right to make a mount namespace (root)'
  exit 77
fi

model=$checkout/tests/golden/models/mixer-causal-residual-additions-monarch3-glu-embedding-L16
cp -r "$model" "$work/model"
# The model has 40 embeddings: as many tokens for it.
{ printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' {a..z} {0..8}; } >"$work/model/vocab.txt"
cp "$(dirname "${BASH_SOURCE[0]}")/hidden.sh" "$work/hidden.sh"
cd /
unshare -m env -i bash "$work/hidden.sh" "$work" "$checkout" "$build" "$site_packages"
