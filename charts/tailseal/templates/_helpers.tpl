{{/* Name of everything installed: the release, with the chart's name unless it is in there already. */}}
{{- define "tailseal.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select the operator's pods; they never change over upgrades. */}}
{{- define "tailseal.selector" -}}
app.kubernetes.io/name: tailseal
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "tailseal.labels" -}}
{{ include "tailseal.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "tailseal.serviceAccountName" -}}
{{- default (printf "%s-operator" (include "tailseal.fullname" .)) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "tailseal.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "tailseal.subject" -}}
- kind: ServiceAccount
  name: {{ include "tailseal.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* Namespaces of IdentityProviders and SigningKeys, as JSON; none in cluster-wide mode. */}}
{{- define "tailseal.providerNamespaces" -}}
{{- if .Values.clusterWide -}}
[]
{{- else -}}
{{- .Values.providerNamespaces | default .Values.namespaces | default (list .Release.Namespace) | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{/* What the operator may do where policies are. */}}
{{- define "tailseal.rules.tenants" -}}
# The user's intent: read only, but for status.
- apiGroups: [tailseal.dev]
  resources: [trustpolicies, oauthclients]
  verbs: [get, list, watch]
- apiGroups: [tailseal.dev]
  resources: [trustpolicies/status, oauthclients/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/*
What bounds that select namespaces by labels need, which only an operator for all namespaces can be given.
*/}}
{{- define "tailseal.rules.namespaces" -}}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end -}}

{{/*
What the operator may do where providers are. Called with the chart's root and the names of IdentityProviders and
SigningKeys there, if they are known: then it may write nothing but what these own.
*/}}
{{- define "tailseal.rules.providers" -}}
- apiGroups: [tailseal.dev]
  resources: [signingkeys, identityproviders]
  verbs: [get, list, watch]
- apiGroups: [tailseal.dev]
  resources: [signingkeys/status, identityproviders/status]
  verbs: [patch]
{{- if .names }}
{{- $secrets := .names.clientSecrets | default list }}
{{- $configMaps := list }}
{{- $workloads := list }}
{{- $numbered := list }}
{{- $claims := list }}
{{- $nodes := list }}
{{- range .names.signingKeys }}
{{- $secrets = append $secrets (printf "%s-signingkey" .) }}
{{- $configMaps = append $configMaps (printf "%s-jwks" .) }}
{{- end }}
{{- range $provider := .names.identityProviders }}
{{- range list "issuer" "signing" "credentials" "tls" "tailnet" }}
{{- $secrets = append $secrets (printf "%s-%s" $provider .) }}
{{- end }}
{{- range list "accepted" "publish" "policies" "clients" "serve" }}
{{- $configMaps = append $configMaps (printf "%s-%s" $provider .) }}
{{- end }}
{{- range until 64 }}
{{- $configMaps = append $configMaps (printf "%s-policies-%02d" $provider .) }}
{{- end }}
{{- range list "sts" "idp" }}
{{- $workloads = append $workloads (printf "%s-%s" $provider .) }}
{{- end }}
{{- range until 8 }}
{{- $numbered = append $numbered (printf "%s-idp-%d" $provider .) }}
{{- $claims = concat $claims (list (printf "%s-idp-%d-state" $provider .) (printf "%s-idp-%d-tailnet" $provider .)) }}
{{- $nodes = append $nodes (printf "%s-idp-%d-tailnet" $provider .) }}
{{- end }}
{{- end }}
# Reading knows no names: what users refer to is called as they like, and RBAC cannot tell labels.
- apiGroups: [""]
  resources: [configmaps, secrets, persistentvolumeclaims, services, serviceaccounts]
  verbs: [get, list, watch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch]
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch]
# Server-side apply names what it creates, so that even this right can be limited to names.
{{- with $secrets }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson . }}
  verbs: [create, patch, delete]
{{- end }}
{{- with $configMaps }}
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: {{ toJson . }}
  verbs: [create, patch, delete]
{{- end }}
{{- with $workloads }}
- apiGroups: [""]
  resources: [services]
  resourceNames: {{ toJson . }}
  verbs: [create, patch, delete]
- apiGroups: [""]
  resources: [serviceaccounts]
  resourceNames: {{ toJson (concat . $numbered) }}
  verbs: [create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  resourceNames: {{ toJson (concat . $numbered) }}
  verbs: [create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  resourceNames: {{ toJson . }}
  verbs: [create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  resourceNames: {{ toJson . }}
  verbs: [create, patch, delete]
{{- end }}
{{- with $numbered }}
# A node of the tailnet may write its own Secret. Kubernetes lets nobody give a right that he has not got: so `update`.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  resourceNames: {{ toJson . }}
  verbs: [create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  resourceNames: {{ toJson $nodes }}
  verbs: [create, patch, update]
{{- end }}
# What replicas keep is never deleted for anybody.
{{- with $claims }}
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  resourceNames: {{ toJson . }}
  verbs: [create, patch]
{{- end }}
{{- else }}
# What we own. Server-side apply is a patch, and a create where nothing is yet.
- apiGroups: [""]
  resources: [configmaps, secrets, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
# What replicas keep is never deleted for anybody.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# A node of the tailnet may write its own Secret. Kubernetes lets nobody give a right that he has not got: so `update`.
- apiGroups: [rbac.authorization.k8s.io]
  resources: [roles, rolebindings]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [update]
{{- end }}
# The worker pods: which there are, and what they say.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch{{ if .root.Values.propagation.fast }}, patch, delete{{ end }}]
{{- end -}}
