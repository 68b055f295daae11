{{/*
Combinations that make no sense, or would not be safe, each with what to do. The schema has refused already what is wrong by itself. All that
are found are told at once.
*/}}
{{- define "loyaltyd.refusals" -}}
{{- $v := .Values -}}
{{- $tls := include "loyaltyd.tls" . -}}
{{- $access := include "loyaltyd.access" . -}}
{{- $faults := list -}}
{{- if and (not $v.insecure) (not $tls) -}}
{{- $faults = append $faults "there is no TLS: set tls.existingSecret or tls.certManager, or insecure: true for a trial or where a mesh encrypts" -}}
{{- end -}}
{{- if and (not $v.insecure) (not $access) -}}
{{- $faults = append $faults "callers are not authenticated: set access.existingSecret, or insecure: true for a trial or where a mesh authenticates" -}}
{{- end -}}
{{- if and $v.insecure $tls $access -}}
{{- $faults = append $faults "insecure: true is not needed with TLS and an access file, and would hide it if one of them went: set it to false" -}}
{{- end -}}
{{- if and $v.tls.existingSecret $v.tls.certManager.enabled -}}
{{- $faults = append $faults "tls.existingSecret and tls.certManager.enabled both give a certificate: choose one" -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuerRef.name) -}}
{{- $faults = append $faults "tls.certManager.enabled needs the name of an issuer: set tls.certManager.issuerRef.name" -}}
{{- end -}}
{{- if and (not $tls) (or $v.tls.clientCa.existingSecret $v.tls.ca.existingSecret $v.tls.ca.systemRoots $v.tls.serverName) -}}
{{- $faults = append $faults "tls.clientCa, tls.ca and tls.serverName mean nothing without TLS: set tls.existingSecret or tls.certManager" -}}
{{- end -}}
{{- if and $v.tls.ca.systemRoots $v.tls.ca.existingSecret -}}
{{- $faults = append $faults "tls.ca.systemRoots and tls.ca.existingSecret both say whom to trust: choose one" -}}
{{- end -}}
{{- if and $access $v.adminFromAnywhere -}}
{{- $faults = append $faults "adminFromAnywhere is for a service without an access file, with which operators alone get backups: set it to false" -}}
{{- end -}}
{{- if and $v.access.existingSecret $v.access.inline -}}
{{- $faults = append $faults "access.existingSecret and access.inline both give an access file: choose one" -}}
{{- end -}}
{{- if and (not $access) (or (eq $v.reflection "closed") (eq $v.health "closed")) -}}
{{- $faults = append $faults "reflection: closed and health: closed ask for credentials that nobody has without an access file: set access.existingSecret" -}}
{{- end -}}
{{- if and (eq $v.health "closed") (not $v.probes.apiKey.existingSecret) -}}
{{- $faults = append $faults "health: closed shuts the probes out: set probes.apiKey.existingSecret to a secret with an API key" -}}
{{- end -}}
{{- if and $v.probes.apiKey.existingSecret (not $access) -}}
{{- $faults = append $faults "probes.apiKey is known to nobody without an access file: set access.existingSecret" -}}
{{- end -}}
{{- if and (eq $v.probes.by "grpc") (or $tls (eq $v.health "closed")) -}}
{{- $faults = append $faults "probes.by: grpc cannot be, for the kubelet speaks neither TLS nor gives credentials: set probes.by to auto or exec" -}}
{{- end -}}
{{- if gt (int $v.probes.timeoutSeconds) (int $v.probes.periodSeconds) -}}
{{- $faults = append $faults "probes.timeoutSeconds is more than probes.periodSeconds" -}}
{{- end -}}
{{- if and $v.grpcWeb.corsOrigins (not $v.grpcWeb.enabled) -}}
{{- $faults = append $faults "grpcWeb.corsOrigins means nothing without gRPC-Web: set grpcWeb.enabled" -}}
{{- end -}}
{{- if and $v.metrics.enabled (or (eq (int $v.metrics.port) (int $v.listen.port))) -}}
{{- $faults = append $faults "metrics.port and listen.port are the same" -}}
{{- end -}}
{{- if and (not $v.metrics.enabled) (or $v.metrics.serviceMonitor.enabled $v.metrics.prometheusRule.enabled $v.metrics.dashboard.enabled) -}}
{{- $faults = append $faults "metrics.serviceMonitor, metrics.prometheusRule and metrics.dashboard need metrics: set metrics.enabled" -}}
{{- end -}}
{{- if and $v.metrics.serviceMonitor.enabled $v.networkPolicy.enabled (not $v.networkPolicy.monitoring) -}}
{{- $faults = append $faults "metrics.serviceMonitor cannot be reached by anybody: name Prometheus in networkPolicy.monitoring" -}}
{{- end -}}
{{- if and (not $v.otlp.endpoint) (ne (toString $v.otlp.sampleRatio) "<nil>") -}}
{{- $faults = append $faults "otlp.sampleRatio means nothing without otlp.endpoint" -}}
{{- end -}}
{{- if and $v.otlp.endpoint $v.networkPolicy.enabled (not $v.networkPolicy.otlp) -}}
{{- $faults = append $faults "otlp.endpoint cannot be reached: name its peers in networkPolicy.otlp" -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (or $v.otlp.endpoint $v.networkPolicy.jwks $v.backup.enabled) (not $v.networkPolicy.dns) -}}
{{- $faults = append $faults "names cannot be looked up, which otlp, jwks and the backup need: name the DNS in networkPolicy.dns" -}}
{{- end -}}
{{- if and $v.sandbox (or $v.backup.enabled $v.restore.enabled) -}}
{{- $faults = append $faults "a sandbox has no backups: set backup.enabled and restore.enabled to false, or sandbox to false" -}}
{{- end -}}
{{- include "loyaltyd.backupRefusals" . | splitList "\n" | concat $faults | compact | join "\n" -}}
{{- end -}}

{{- define "loyaltyd.backupRefusals" -}}
{{- $v := .Values -}}
{{- $access := include "loyaltyd.access" . -}}
{{- $key := $v.backup.credentials.apiKey.existingSecret -}}
{{- $certificate := $v.backup.credentials.clientCertificate.existingSecret -}}
{{- $faults := list -}}
{{- if $v.backup.enabled -}}
{{- if and (not $access) (not $v.adminFromAnywhere) -}}
{{- $faults = append $faults "backup.enabled needs a service that gives backups to other pods: set access.existingSecret and backup.credentials, or adminFromAnywhere: true for a trial" -}}
{{- end -}}
{{- if and $access (not $key) (not $certificate) -}}
{{- $faults = append $faults "backup.enabled needs an operator's credential: set backup.credentials.apiKey.existingSecret or backup.credentials.clientCertificate.existingSecret" -}}
{{- end -}}
{{- if and $certificate (not $v.tls.clientCa.existingSecret) -}}
{{- $faults = append $faults "backup.credentials.clientCertificate is verified by nobody: set tls.clientCa.existingSecret" -}}
{{- end -}}
{{- if and $certificate $v.backup.server (not (hasPrefix "https:" $v.backup.server)) -}}
{{- $faults = append $faults "backup.credentials.clientCertificate can be shown by TLS alone: begin backup.server with https://" -}}
{{- end -}}
{{- if and $key $certificate -}}
{{- $faults = append $faults "backup.credentials.apiKey and backup.credentials.clientCertificate both say who takes backups: choose one" -}}
{{- end -}}
{{- end -}}
{{- if eq (include "loyaltyd.backupClaim" .) (include "loyaltyd.keysClaim" .) -}}
{{- $faults = append $faults "backup.claim and backup.keysClaim are the same: the members' keys belong on another volume than what they open" -}}
{{- end -}}
{{- if and $v.restore.createClaim (not $v.restore.enabled) -}}
{{- $faults = append $faults "restore.createClaim means nothing without restore.enabled" -}}
{{- end -}}
{{- $bytes := 0 -}}
{{- range $name, $text := $v.programs -}}
{{- $bytes = add $bytes (len $name) (len $text) -}}
{{- end -}}
{{- if gt (int64 $bytes) 1000000 -}}
{{- $faults = append $faults (printf "programs have %d bytes, more than a ConfigMap holds (1,000,000): publish some with loyaltyd program publish" (int64 $bytes)) -}}
{{- end -}}
{{- $own := list "listen" "data" "program" "insecure" "admin-from-anywhere" "sandbox" "operator-key" "no-compression" "drain-seconds" "waiting-bytes"
      "queue" "threads" "log" "log-format" "tls-cert" "tls-key" "tls-client-ca" "access" "reflection" "health" "max-request-bytes" "max-header-bytes"
      "max-streams" "max-resets" "max-connections" "max-connections-per-address" "max-handshakes" "handshake-seconds" "credential-seconds"
      "keepalive-seconds" "stall-seconds" "max-call-seconds" "requests-per-second" "request-memory-bytes" "grpc-web" "cors-origin" "metrics-listen"
      "otlp-endpoint" "otlp-sample-ratio" -}}
{{- range $v.extraArgs -}}
{{- $flag := regexReplaceAll "^--([a-z0-9-]*).*$" . "${1}" -}}
{{- if has $flag $own -}}
{{- $faults = append $faults (printf "extraArgs: --%s is given by a value of the chart; see values.yaml" $flag) -}}
{{- end -}}
{{- end -}}
{{- range $v.extraEnv -}}
{{- if hasPrefix "LOYALTYD_" (upper .name) -}}
{{- $faults = append $faults (printf "extraEnv: %s would be a flag of loyaltyd serve: set the value of the chart that gives it, or extraArgs" .name) -}}
{{- end -}}
{{- if and (eq .name "SSL_CERT_FILE") $v.trust.existingSecret -}}
{{- $faults = append $faults "extraEnv: SSL_CERT_FILE is what trust.existingSecret gives: set one of them" -}}
{{- end -}}
{{- end -}}
{{- $faults | join "\n" -}}
{{- end -}}

{{- define "loyaltyd.refuse" -}}
{{- with include "loyaltyd.refusals" . -}}
{{- fail (printf "\n\nThese values cannot be:\n- %s\n" (. | splitList "\n" | join "\n- ")) -}}
{{- end -}}
{{- end -}}
