#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tests/integration/clone-commands.sh: what people do to bases, clones and sets in the state of drover run: get,
# describe, scale, start, stop, roll out, delete. The machines are trees of systemd-nspawn that are off, so nothing but
# overlayfs (root) is needed; that machines start and answer is for the tests of the platforms. BUILD=build folder.
set -uo pipefail
. "$(dirname "$0")/lib.sh"

state=$work/state.db
machines=$work/machines

on() { local command=$1; shift; "$drover" "$command" --state "$state" "$@"; }
run() { timeout 60 "$drover" run --state "$state" "$@"; }
clones() { on get dclone -o json | jq -r '[.items[].metadata.name] | sort | join(" ")'; }
bases() { on get dclone -o json | jq -r '[.items[].status.base] | unique | join(" ")'; }

for name in tiny tinier; do
  mkdir -p "$machines/$name/etc" "$machines/$name/usr/lib" "$machines/$name/root"
  echo "ID=$name" > "$machines/$name/usr/lib/os-release"
done

# manifests BASE REPLICAS
manifests() {
  cat << END
apiVersion: drover.dev/v1alpha1
kind: Provider
metadata: {name: local}
spec: {type: Nspawn, endpoint: 'local:$machines'}
---
apiVersion: drover.dev/v1alpha1
kind: CloneBase
metadata: {name: tiny}
spec: {providerRef: {name: local}, template: {name: tiny}}
---
apiVersion: drover.dev/v1alpha1
kind: CloneBase
metadata: {name: tinier}
spec: {providerRef: {name: local}, template: {name: tinier}}
---
apiVersion: drover.dev/v1alpha1
kind: CloneSet
metadata: {name: web}
spec:
  replicas: $2
  baseRef: {name: $1}
  template: {labels: {app: web}, powerState: 'Off', cloneMode: PreferLinked}
END
}

# ---- it comes up ----
manifests tiny 3 > "$work/m.yaml"
is "drover run ends when the set is complete" 0 run -f "$work/m.yaml"
has "it says so" "3 of 3 available"
same "three clones" "web-0 web-1 web-2" "$(clones)"
is "the list of sets" 0 on get cset
has "the list of sets" "DESIRED   READY   UPDATED   BASE   AGE"
is "the list of clones" 0 on get clones
has "the list of clones" "SET   BASE   STATE     ADDRESS   MODE     BYTES   AGE"
is "the list of bases" 0 on get cbase
has "the list of bases" "template tiny"
is "the same again changes nothing" 0 run -f "$work/m.yaml"
has "the same again changes nothing" "cloneset/web unchanged"
is "labels of a clone" 0 on get dclone/web-2 -o json
labels=$(jq -c '.metadata.labels | .["drover.dev/revision"] |= length' <<< "$out")
same "labels of a clone" '{"app":"web","drover.dev/ordinal":"2","drover.dev/revision":10,"drover.dev/set":"web"}' "$labels"
is "what is known of a set" 0 on describe cset web
has "what is known of a set" "Updated:              3"

# ---- scale, start, stop ----
is "scale up" 0 on scale web 5
same "five clones" "web-0 web-1 web-2 web-3 web-4" "$(clones)"
is "scale down" 0 on scale cset/web 1
same "the highest go first" "web-0" "$(clones)"
is "scale to nothing" 0 on scale web 0
same "none is left" "" "$(clones)"
is "and up again" 0 on scale web 2
is "stop one that is off" 0 on stop web-0
is "asking alone does nothing else" 0 on scale web 4 --wait=false
same "asking alone does nothing else" "web-0 web-1" "$(clones)"
is "somebody carries it out" 0 run
same "somebody carries it out" "web-0 web-1 web-2 web-3" "$(clones)"
is "one that cannot start is told" 3 on start web-0
has "one that cannot start is told" "no init to start"
is "and stopped again it is well" 0 on stop dclone/web-0

# ---- wrong use ----
while IFS='|' read -r status sentence words; do
  # shellcheck disable=SC2086 # words are words
  is "$words: $sentence" "$status" on $words
  has "$words: $sentence" "$sentence"
done << 'END'
2|'x' is not a number of clones, from 0 to 10000|scale web x
2|'-1' is not a number of clones|scale web -- -1
2|'10001' is not a number of clones|scale web 10001
2|scale|scale web
1|there is no CloneSet 'nope' in namespace 'default'|scale nope 3
1|there is no CloneSet 'web' in namespace 'other'|scale web 3 -n other
2|'clone/web-0' is no CloneSet|scale clone/web-0 3
1|there is no Clone 'web-9'|start web-9
2|'cset/web' is no Clone|stop cset/web
2|did you mean clones|get clone5
END

# ---- roll out and back ----
manifests tinier 4 > "$work/m.yaml"
is "roll out" 0 run -f "$work/m.yaml"
same "all are of the new base" tinier "$(bases)"
same "with their names" "web-0 web-1 web-2 web-3" "$(clones)"
manifests tiny 4 > "$work/m.yaml"
is "roll back" 0 run -f "$work/m.yaml"
same "all are of the old base" tiny "$(bases)"
sed 's/baseRef: {name: tiny}/&\n  nameTemplate: "x{ordinal}"/' "$work/m.yaml" > "$work/other.yaml"
is "names do not change" 2 run -f "$work/other.yaml"
has "names do not change" "nameTemplate cannot be changed: make a new CloneSet"

# ---- delete ----
is "a set goes with its clones" 0 on delete cset web
same "no clones" "" "$(clones)"
same "no machines but the templates" "tinier tiny" "$(ls "$machines" | xargs)"
same "nothing mounted" "" "$(grep -F "$machines" /proc/mounts)"
is "bases go" 0 on delete cbase tiny tinier
is "their trees are not ours to remove" 0 test -d "$machines/tiny" -a -d "$machines/tinier"
is "and the provider" 0 on delete provider local
finish
