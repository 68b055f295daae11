{{/* The flags of loyaltyd serve. Secrets are files, of which only the path is here. */}}
{{- define "loyaltyd.serveArgs" -}}
{{- $v := .Values -}}
- serve
- --listen={{ $v.listen.address }}:{{ $v.listen.port }}
- --data=/var/lib/loyaltyd/{{ $v.storage.folder }}
- --drain-seconds={{ $v.drainSeconds }}
- {{ printf "--log=%s" $v.log.filter | quote }}
- --log-format={{ $v.log.format }}
{{- if $v.insecure }}
- --insecure
{{- end }}
{{- if $v.adminFromAnywhere }}
- --admin-from-anywhere
{{- end }}
{{- if $v.sandbox }}
- --sandbox
{{- end }}
{{- if not $v.compression }}
- --no-compression
{{- end }}
{{- if include "loyaltyd.tls" . }}
- --tls-cert=/etc/loyaltyd/tls/tls.crt
- --tls-key=/etc/loyaltyd/tls/tls.key
{{- if $v.tls.clientCa.existingSecret }}
- --tls-client-ca=/etc/loyaltyd/client-ca/ca.crt
{{- end }}
{{- end }}
{{- if include "loyaltyd.access" . }}
- --access=/etc/loyaltyd/access/{{ if $v.access.existingSecret }}{{ $v.access.key }}{{ else }}access.yaml{{ end }}
- --reflection={{ $v.reflection }}
- --health={{ $v.health }}
{{- end }}
{{- if $v.operatorKey.existingSecret }}
- --operator-key=/etc/loyaltyd/operator-key/operator.key
{{- end }}
{{- range $name, $text := $v.programs }}
- --program=/etc/loyaltyd/programs/{{ $name }}.yaml
{{- end }}
{{- $numbers := list
      (list "waiting-bytes" $v.waitingBytes) (list "queue" $v.queue) (list "threads" $v.threads)
      (list "max-request-bytes" $v.limits.maxRequestBytes) (list "max-header-bytes" $v.limits.maxHeaderBytes)
      (list "max-streams" $v.limits.maxStreams) (list "max-resets" $v.limits.maxResets) (list "max-connections" $v.limits.maxConnections)
      (list "max-connections-per-address" $v.limits.maxConnectionsPerAddress) (list "max-handshakes" $v.limits.maxHandshakes)
      (list "handshake-seconds" $v.limits.handshakeSeconds) (list "credential-seconds" $v.limits.credentialSeconds)
      (list "keepalive-seconds" $v.limits.keepaliveSeconds) (list "request-memory-bytes" $v.limits.requestMemoryBytes)
      (list "stall-seconds" $v.limits.stallSeconds) (list "max-call-seconds" $v.limits.maxCallSeconds)
      (list "requests-per-second" $v.limits.requestsPerSecond) }}
{{- range $numbers }}
{{- if ne (toString (index . 1)) "<nil>" }}
{{- /* A number of a values file is a float to Helm, which would print large ones with an exponent. */}}
- --{{ index . 0 }}={{ int64 (index . 1) }}
{{- end }}
{{- end }}
{{- if $v.grpcWeb.enabled }}
- --grpc-web
{{- range $v.grpcWeb.corsOrigins }}
- {{ printf "--cors-origin=%s" . | quote }}
{{- end }}
{{- end }}
{{- if $v.metrics.enabled }}
- --metrics-listen={{ $v.listen.address }}:{{ $v.metrics.port }}
{{- end }}
{{- if $v.otlp.endpoint }}
- {{ printf "--otlp-endpoint=%s" $v.otlp.endpoint | quote }}
{{- if ne (toString $v.otlp.sampleRatio) "<nil>" }}
- --otlp-sample-ratio={{ $v.otlp.sampleRatio }}
{{- end }}
{{- end }}
{{- range $v.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Nothing at all if there are none: a list that is empty is not one. */}}
{{- define "loyaltyd.serveVolumes" -}}
{{- with include "loyaltyd.serveVolumeList" . | trim -}}
volumes:
  {{- . | nindent 2 }}
{{- end -}}
{{- end -}}

{{- define "loyaltyd.serveVolumeList" -}}
{{- $exec := eq (include "loyaltyd.probesBy" .) "exec" }}
{{- if .Values.programs }}
- name: programs
  configMap:
    name: {{ include "loyaltyd.fullname" . }}-programs
{{- end }}
{{- if include "loyaltyd.tls" . }}
# Mounted as folders, and not as single files by subPath, which are never renewed.
- name: tls
  secret:
    secretName: {{ include "loyaltyd.tlsSecret" . | quote }}
    defaultMode: 0440
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
{{- if .Values.tls.clientCa.existingSecret }}
{{ include "loyaltyd.secretFile" (dict "volume" "client-ca" "secret" .Values.tls.clientCa.existingSecret "key" .Values.tls.clientCa.key "path" "ca.crt") }}
{{- end }}
{{- if and $exec (not .Values.tls.ca.systemRoots) }}
{{ include "loyaltyd.caVolume" . }}
{{- end }}
{{- end }}
{{- if include "loyaltyd.access" . }}
- name: access
  secret:
    secretName: {{ default (printf "%s-access" (include "loyaltyd.fullname" .)) .Values.access.existingSecret | quote }}
    defaultMode: 0440
{{- end }}
{{- if .Values.operatorKey.existingSecret }}
{{ include "loyaltyd.operatorKeyVolume" . }}
{{- end }}
{{- with .Values.trust }}
{{- if .existingSecret }}
{{ include "loyaltyd.secretFile" (dict "volume" "trust" "secret" .existingSecret "key" .key "path" "ca.crt") }}
{{- end }}
{{- end }}
{{- if and $exec .Values.probes.apiKey.existingSecret }}
{{ include "loyaltyd.secretFile" (dict "volume" "probe" "secret" .Values.probes.apiKey.existingSecret "key" .Values.probes.apiKey.key "path" "api-key") }}
{{- end }}
{{- end -}}
