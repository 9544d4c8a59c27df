{{- define "holdpoint.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "holdpoint.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "holdpoint.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "holdpoint.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "holdpoint.selector" -}}
app.kubernetes.io/name: {{ include "holdpoint.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "holdpoint.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "holdpoint.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "holdpoint.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "holdpoint.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "holdpoint.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Where the store is: a text, or { url, durable }. */}}
{{- define "holdpoint.storeUrl" -}}
{{- $store := default "sqlite:" .Values.config.store -}}
{{- if kindIs "map" $store -}}{{- default "sqlite:" $store.url -}}{{- else -}}{{- $store -}}{{- end -}}
{{- end -}}

{{/* What callers or reviewers type: as config says, else the Ingress, which is where TLS ends. */}}
{{- define "holdpoint.url" -}}
{{- $said := (default dict (index .root.Values.config .what)).url -}}
{{- default (printf "https://%s" (index .root.Values .what).ingress.host) $said -}}
{{- end -}}

{{/* The configuration as the program reads it: the chart's own parts are put over what is given. */}}
{{- define "holdpoint.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $spool := dict "spool" "/var/lib/holdpoint/spool" -}}
{{- $ports := dict "gate" "8080" "console" "8081" -}}
{{- range $what, $port := $ports -}}
{{- $url := dict "url" (include "holdpoint.url" (dict "root" $ "what" $what)) -}}
{{- $own := dict "listen" (printf "0.0.0.0:%s" $port) -}}
{{- with (index $.Values $what).tls -}}
{{- if .secretName -}}
{{- $files := printf "/etc/holdpoint-%s-tls" $what -}}
{{- $tls := dict "cert" (printf "%s/tls.crt" $files) "key" (printf "%s/tls.key" $files) -}}
{{- if .clientCaSecret -}}
{{- $tls = merge $tls (dict "clientCa" (printf "/etc/holdpoint-%s-ca/ca.crt" $what) "clientCert" .clientCert) -}}
{{- end -}}
{{- $_ := set $own "tls" $tls -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config $what (merge $own (default dict (index $config $what)) $url) -}}
{{- end -}}
{{- $_ := set $config "admin" (dict "listen" "0.0.0.0:9090") -}}
{{- $_ := set $config "audit" (merge $spool (default dict $config.audit)) -}}
{{- $_ := set $config "rules" "rules.yaml" -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What cannot work is refused here, before anything is installed. */}}
{{- define "holdpoint.check" -}}
{{- $many := or (gt (int .Values.replicaCount) 1) .Values.hpa.enabled -}}
{{- $sqlite := hasPrefix "sqlite:" (include "holdpoint.storeUrl" .) -}}
{{- if and $sqlite $many -}}
{{- fail "config.store: SQLite serves one replica; set replicaCount: 1 and hpa.enabled: false, or give the url of a Redis or Valkey store" -}}
{{- end -}}
{{- if and $sqlite (not .Values.persistence.enabled) -}}
{{- fail "persistence.enabled: a SQLite store needs a volume; set it to true, or give the url of a Redis or Valkey store in config.store" -}}
{{- end -}}
{{- if and $sqlite (not (hasPrefix "sqlite:/var/lib/holdpoint/" (include "holdpoint.storeUrl" .))) -}}
{{- fail "config.store: nothing else can be written to; put the file below /var/lib/holdpoint/, such as sqlite:/var/lib/holdpoint/holdpoint.db" -}}
{{- end -}}
{{- if not (or $sqlite .Values.config.keys) -}}
{{- fail "config.keys: with Redis every replica needs the same keys; write \"${env:HOLDPOINT_KEYS}\" and put HOLDPOINT_KEYS into existingSecret" -}}
{{- end -}}
{{- range $what := list "gate" "console" -}}
{{- $door := index $.Values $what -}}
{{- if and $door.tls.clientCaSecret (not $door.tls.secretName) -}}
{{- fail (printf "%s.tls.secretName: client certificates are asked for only where TLS ends at the pods; name the Secret with the certificate" $what) -}}
{{- end -}}
{{- if and $door.tls.secretName (default dict (index $.Values.config $what)).tls -}}
{{- fail (printf "config.%s.tls: %s.tls.secretName says where the certificate is; remove one of them" $what $what) -}}
{{- end -}}
{{- if and $door.ingress.enabled (not $door.ingress.host) -}}
{{- fail (printf "%s.ingress.host: an Ingress without a host would answer for every name; set it" $what) -}}
{{- end -}}
{{- if not (or $door.ingress.host (default dict (index $.Values.config $what)).url) -}}
{{- fail (printf "config.%s.url: say where it is reached (https://…), or set %s.ingress.host" $what $what) -}}
{{- end -}}
{{- end -}}
{{- end -}}
