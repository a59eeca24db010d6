# install.sh CMAKE BUILD TREE: installs into another folder and moves it to TREE, because the installed tree must be relocatable.
set -euo pipefail
cmake=$1 build=$2 tree=$3
rm -rf "$tree" "$tree.first"
"$cmake" --install "$build" --prefix "$tree.first" >/dev/null
mv "$tree.first" "$tree"
test -x "$tree/bin/m2bert"
test -f "$tree/include/m2bert/error.h"
test -f "$tree/share/doc/m2bert/LICENSE"
others='^[0-9a-f]+ . ((typeinfo|vtable|typeinfo name|guard variable) for )?(boost|spdlog|fmt|YAML|nlohmann)(::|$)'
if [ "$(uname)" = Linux ] && nm -DC --defined-only "$tree"/lib*/libm2bert.so | grep -E "$others"; then
  echo 'libm2bert shares symbols of other libraries with the programs that use it'
  exit 1
fi
