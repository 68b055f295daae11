{{/*
What loyaltyd as a client in another pod needs to reach the service: its address, the CA, and a credential. All take a dict of root, credentials,
and a server in place of the release's own.
*/}}
{{- define "loyaltyd.clientServer" -}}
{{- $own := printf "%s://%s:%d" (ternary "https" "http" (eq (include "loyaltyd.tls" .root) "true")) (include "loyaltyd.serviceHost" .root) (int .root.Values.service.port) -}}
{{- default $own .server -}}
{{- end -}}

{{/* "true" if the CA is asked for. */}}
{{- define "loyaltyd.clientCa" -}}
{{- if and (hasPrefix "https:" (include "loyaltyd.clientServer" .)) (include "loyaltyd.tls" .root) (not .root.Values.tls.ca.systemRoots) }}true{{ end -}}
{{- end -}}

{{- define "loyaltyd.clientArgs" -}}
{{- $server := include "loyaltyd.clientServer" . -}}
- {{ printf "--server=%s" $server | quote }}
{{- if include "loyaltyd.clientCa" . }}
- --ca=/etc/loyaltyd/ca/ca.crt
{{- end }}
{{- if and (not .server) .root.Values.tls.serverName }}
- --server-name={{ .root.Values.tls.serverName }}
{{- end }}
{{- if .credentials.apiKey.existingSecret }}
- --api-key-file=/etc/loyaltyd/client/api-key
{{- if not (hasPrefix "https:" $server) }}
# Where a mesh encrypts, the key goes to it in the open.
- --insecure
{{- end }}
{{- end }}
{{- if (default dict .credentials.clientCertificate).existingSecret }}
- --client-cert=/etc/loyaltyd/client-certificate/tls.crt
- --client-key=/etc/loyaltyd/client-certificate/tls.key
{{- end }}
{{- end -}}

{{- define "loyaltyd.clientMounts" -}}
{{- if include "loyaltyd.clientCa" . }}
- name: ca
  mountPath: /etc/loyaltyd/ca
  readOnly: true
{{- end }}
{{- if .credentials.apiKey.existingSecret }}
- name: client
  mountPath: /etc/loyaltyd/client
  readOnly: true
{{- end }}
{{- if (default dict .credentials.clientCertificate).existingSecret }}
- name: client-certificate
  mountPath: /etc/loyaltyd/client-certificate
  readOnly: true
{{- end }}
{{- end -}}

{{- define "loyaltyd.clientVolumes" -}}
{{- if include "loyaltyd.clientCa" . }}
{{ include "loyaltyd.caVolume" .root }}
{{- end }}
{{- with .credentials.apiKey }}
{{- if .existingSecret }}
{{ include "loyaltyd.secretFile" (dict "volume" "client" "secret" .existingSecret "key" .key "path" "api-key") }}
{{- end }}
{{- end }}
{{- with (default dict .credentials.clientCertificate).existingSecret }}
- name: client-certificate
  secret:
    secretName: {{ . | quote }}
    defaultMode: 0440
    items:
      - key: tls.crt
        path: tls.crt
      - key: tls.key
        path: tls.key
{{- end }}
{{- end -}}
