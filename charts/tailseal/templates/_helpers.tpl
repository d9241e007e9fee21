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

{{/* Everything the operator may do where it looks after providers. */}}
{{- define "tailseal.rules" -}}
# The user's intent: read only, but for status.
- apiGroups: [tailseal.dev]
  resources: [signingkeys, identityproviders, trustpolicies]
  verbs: [get, list, watch]
- apiGroups: [tailseal.dev]
  resources: [signingkeys/status, identityproviders/status, trustpolicies/status]
  verbs: [patch]
# What we own. Server-side apply is a patch, and a create where nothing is yet.
- apiGroups: [""]
  resources: [configmaps, secrets, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# The worker pods: which there are, and what they say.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch{{ if .Values.propagation.fast }}, patch, delete{{ end }}]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}
