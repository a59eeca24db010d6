# hidden.sh WORK FOLDER...: runs in its own mount namespace with an empty environment. Hides the folders, then runs m2bert
# from WORK/tree.
set -euo pipefail
export PATH=/usr/bin:/bin:/usr/sbin:/sbin
work=$1
shift
mkdir "$work/empty"
mount --make-rprivate /
for folder in "$@"; do
  if [ -d "$folder" ]; then mount --bind "$work/empty" "$folder"; fi
  test -z "$(ls -A "$folder" 2>/dev/null)"
done
cd "$work"
env -i tree/bin/m2bert --version
env -i tree/bin/m2bert embed --model model/model.safetensors --config model/config.yaml --tokenizer model/vocab.txt --text 'a b c 1 2' >vectors.jsonl
grep -qE '\[-?[0-9.]' vectors.jsonl
echo "embedded: $(head -c 120 vectors.jsonl) ..."
