#!/bin/sh
# Rewrites go.mod and go.sum for another Kubernetes version: update.sh v1.36.4
# Kubernetes requires its staging modules at v0.0.0, which do not exist, so each one is replaced by its release.
set -eu
version=$1
staging=v0.${version#v1.}
cd "$(dirname "$0")"
rm -f go.mod go.sum
go mod init tailseal.dev/dev/kubernetes
mod=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
sed -n 's#^[[:space:]]*\(k8s.io/[a-z-]*\) => ./staging/src/.*#\1#p' "$mod" |
  grep -v -e sample-cli-plugin -e sample-controller |
  while read -r module; do echo "-replace=$module=$module@$staging"; done |
  xargs go mod edit -require="k8s.io/kubernetes@$version" -go=1.26.0 -godebug=default=go1.26
go mod tidy
