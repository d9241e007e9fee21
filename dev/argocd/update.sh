#!/bin/sh
# Rewrites go.mod and go.sum for another Argo CD: update.sh v3.5.7 v1.36.4 v0.0.0-20260914071520-c9c369efcc5b
# (its version, the Kubernetes patch release to take, and the gitops-engine, which it replaces by a folder of its own
# repository that is not in the module).
set -eu
version=$1 kubernetes=$2 engine=$3
staging=v0.${kubernetes#v1.}
cd "$(dirname "$0")"
rm -f go.mod go.sum
go mod init tailseal.dev/dev/argocd
mod=$(go mod download -json "github.com/argoproj/argo-cd/v3@$version" | sed -n 's/.*"GoMod": "\(.*\)".*/\1/p')
go mod edit -go=1.26.3 -require="github.com/argoproj/argo-cd/v3@$version" \
  -replace="k8s.io/kubernetes=k8s.io/kubernetes@$kubernetes" \
  -replace="github.com/argoproj/argo-cd/gitops-engine=github.com/argoproj/argo-cd/gitops-engine@$engine"
sed -n '/^replace/,$p' "$mod" | sed -n 's#^[[:space:]]*\([^ /]*[^ ]*\) => \([a-z][^ ]*\) \(v[^ ]*\).*#\1 \2 \3#p' |
  while read -r from to release; do
    case $from in
    k8s.io/legacy-cloud-providers | k8s.io/sample-*) continue ;;
    k8s.io/*) release=$staging ;;
    esac
    go mod edit -replace="$from=$to@$release"
  done
go mod tidy
