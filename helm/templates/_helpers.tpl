{{- define "loyaltyd.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/*
The name of all objects. A StatefulSet's name has 52 characters at most, and some objects add a suffix. Services' names are DNS labels that begin
with a letter, while a release's name may have dots and begin with a digit. A name that had to be changed gets a hash of what it was, so that two
releases never have the same.
*/}}
{{- define "loyaltyd.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "loyaltyd.name" . -}}
{{- $wanted := .Release.Name -}}
{{- if not (contains $name .Release.Name) -}}
{{- $wanted = printf "%s-%s" .Release.Name $name -}}
{{- end -}}
{{- if regexMatch "^[a-z][a-z0-9-]{0,39}$" $wanted -}}
{{- $wanted -}}
{{- else -}}
{{- $clean := regexReplaceAll "[^a-z0-9-]" $wanted "-" -}}
{{- if not (regexMatch "^[a-z]" $clean) -}}
{{- $clean = printf "l-%s" $clean -}}
{{- end -}}
{{- printf "%s-%s" ($clean | trunc 31 | trimSuffix "-") (sha256sum $wanted | trunc 8) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A label that is given twice, as one of all objects and of this kind of them, is there once: the chart's own, or else the nearer one. */}}
{{- define "loyaltyd.labels" -}}
{{- include "loyaltyd.labelsWith" (list . dict) -}}
{{- end -}}

{{- define "loyaltyd.labelsWith" -}}
{{- $root := index . 0 -}}
{{- $own := include "loyaltyd.ownLabels" $root | fromYaml -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.commonLabels) (deepCopy (index . 1)) $own) -}}
{{- end -}}

{{- define "loyaltyd.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/part-of: loyaltyd
{{ include "loyaltyd.instance" . }}
{{- end -}}

{{/* Of pods: without the chart's version, which would restart them when nothing of theirs has changed. */}}
{{- define "loyaltyd.podLabels" -}}
{{- $root := index . 0 -}}
{{- $own := omit (include "loyaltyd.ownLabels" $root | fromYaml) "helm.sh/chart" "app.kubernetes.io/version" -}}
{{- toYaml (mergeOverwrite (deepCopy $root.Values.commonLabels) (deepCopy (index . 1)) $own) -}}
{{- end -}}

{{- define "loyaltyd.instance" -}}
app.kubernetes.io/name: {{ include "loyaltyd.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "loyaltyd.selector" -}}
{{ include "loyaltyd.instance" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "loyaltyd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "loyaltyd.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "loyaltyd.image" -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- with .Values.image.digest }}@{{ . }}{{ end -}}
{{- end -}}

{{/* "true" or nothing, as everything that a template asks for. */}}
{{- define "loyaltyd.tls" -}}
{{- if or .Values.tls.existingSecret .Values.tls.certManager.enabled }}true{{ end -}}
{{- end -}}

{{- define "loyaltyd.access" -}}
{{- if or .Values.access.existingSecret .Values.access.inline }}true{{ end -}}
{{- end -}}

{{- define "loyaltyd.tlsSecret" -}}
{{- default (printf "%s-tls" (include "loyaltyd.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{- define "loyaltyd.serviceHost" -}}
{{- printf "%s.%s.svc" (include "loyaltyd.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "loyaltyd.serverName" -}}
{{- default (include "loyaltyd.serviceHost" .) .Values.tls.serverName -}}
{{- end -}}

{{- define "loyaltyd.loopback" -}}
{{- if eq .Values.listen.address "[::]" }}[::1]{{ else }}127.0.0.1{{ end -}}
{{- end -}}

{{/* The kubelet's probe speaks gRPC without TLS and without credentials. */}}
{{- define "loyaltyd.probesBy" -}}
{{- if eq .Values.probes.by "auto" -}}
{{- if or (include "loyaltyd.tls" .) (eq .Values.health "closed") }}exec{{ else }}grpc{{ end -}}
{{- else -}}
{{- .Values.probes.by -}}
{{- end -}}
{{- end -}}

{{- define "loyaltyd.probe" -}}
{{- if eq (include "loyaltyd.probesBy" .) "grpc" -}}
grpc:
  port: {{ .Values.listen.port }}
{{- else -}}
exec:
  command:
    - /loyaltyd
    - status
    {{- if include "loyaltyd.tls" . }}
    - --server=https://{{ include "loyaltyd.loopback" . }}:{{ .Values.listen.port }}
    - --server-name={{ include "loyaltyd.serverName" . }}
    {{- if not .Values.tls.ca.systemRoots }}
    - --ca=/etc/loyaltyd/ca/ca.crt
    {{- end }}
    {{- else }}
    - --server=http://{{ include "loyaltyd.loopback" . }}:{{ .Values.listen.port }}
    {{- end }}
    {{- if .Values.probes.apiKey.existingSecret }}
    - --api-key-file=/etc/loyaltyd/probe/api-key
    {{- end }}
{{- end }}
timeoutSeconds: {{ .Values.probes.timeoutSeconds }}
{{- end -}}

{{- define "loyaltyd.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: {{ int64 .Values.podSecurity.runAsUser }}
runAsGroup: {{ int64 .Values.podSecurity.runAsGroup }}
fsGroup: {{ int64 .Values.podSecurity.fsGroup }}
# The volume's files are looked through only if their folder has another group.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "loyaltyd.securityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What the pods of all kinds have in common. */}}
{{- define "loyaltyd.podCommon" -}}
serviceAccountName: {{ include "loyaltyd.serviceAccountName" . }}
automountServiceAccountToken: false
# A service's variables would begin with LOYALTYD_, as those of the flags do.
enableServiceLinks: false
securityContext:
  {{- include "loyaltyd.podSecurityContext" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "loyaltyd.container" -}}
image: {{ include "loyaltyd.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "loyaltyd.securityContext" . | nindent 2 }}
{{- end -}}

{{/* A secret's key as a file; only its name is a value. */}}
{{- define "loyaltyd.secretFile" -}}
- name: {{ .volume }}
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
    items:
      - key: {{ .key | quote }}
        path: {{ .path }}
{{- end -}}

{{/* The CA that clients in the cluster trust. */}}
{{- define "loyaltyd.caVolume" -}}
{{- include "loyaltyd.secretFile" (dict "volume" "ca" "secret" (default (include "loyaltyd.tlsSecret" .) .Values.tls.ca.existingSecret)
      "key" .Values.tls.ca.key "path" "ca.crt") -}}
{{- end -}}

{{- define "loyaltyd.operatorKeyVolume" -}}
{{- include "loyaltyd.secretFile" (dict "volume" "operator-key" "secret" .Values.operatorKey.existingSecret
      "key" .Values.operatorKey.key "path" "operator.key") -}}
{{- end -}}

{{- define "loyaltyd.backupClaim" -}}
{{- default (printf "%s-backup" (include "loyaltyd.fullname" .)) .Values.backup.claim.existingClaim -}}
{{- end -}}

{{- define "loyaltyd.keysClaim" -}}
{{- default (printf "%s-backup-keys" (include "loyaltyd.fullname" .)) .Values.backup.keysClaim.existingClaim -}}
{{- end -}}

{{/* The claim that the StatefulSet's one pod has. */}}
{{- define "loyaltyd.dataClaim" -}}
{{- printf "data-%s-0" (include "loyaltyd.fullname" .) -}}
{{- end -}}

{{- define "loyaltyd.claimSpec" -}}
accessModes: [{{ .accessMode }}]
{{- with .storageClassName }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .size | quote }}
{{- end -}}

{{/* Where the network policy lets DNS through; only where something is looked up. */}}
{{- define "loyaltyd.dnsEgress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  to:
    {{- toYaml .Values.networkPolicy.dns | nindent 4 }}
{{- end -}}

{{- define "loyaltyd.otlpPort" -}}
{{- $port := regexFind ":[0-9]+$" (trimSuffix "/" .Values.otlp.endpoint) | trimPrefix ":" -}}
{{- if $port }}{{ $port }}{{ else if hasPrefix "https:" .Values.otlp.endpoint }}443{{ else }}4317{{ end -}}
{{- end -}}
