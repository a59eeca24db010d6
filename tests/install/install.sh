# install.sh CMAKE BUILD TREE: installs into another folder and moves it to TREE, because the installed tree must be relocatable.
set -euo pipefail
cmake=$1 build=$2 tree=$3
rm -rf "$tree" "$tree.first"
"$cmake" --install "$build" --prefix "$tree.first" >/dev/null
mv "$tree.first" "$tree"
test -x "$tree/bin/m2bert"
test -f "$tree/include/m2bert/error.h"
test -f "$tree/share/doc/m2bert/LICENSE"
