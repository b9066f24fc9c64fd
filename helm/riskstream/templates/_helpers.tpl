{{/*
The name of every object. At most 52 characters, so that the StatefulSet's revision label fits into 63, and never
beginning with a digit or holding a dot, which a Service's name may not.
*/}}
{{- define "riskstream.fullname" -}}
{{- $chart := default .Chart.Name .Values.nameOverride -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name $chart) (contains $chart .Release.Name) -}}
{{- end -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "riskstream-%s" $name | trimSuffix "-riskstream" -}}
{{- end -}}
{{- $name | replace "." "-" | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "riskstream.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "riskstream.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "riskstream.selector" . }}
{{- end }}

{{- define "riskstream.metadata" -}}
name: {{ include "riskstream.fullname" . | quote }}
namespace: {{ .Release.Namespace | quote }}
labels:
  {{- include "riskstream.labels" . | nindent 2 }}
{{- end }}

{{- define "riskstream.serviceAccount" -}}
{{- default (ternary (include "riskstream.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end }}

{{- define "riskstream.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{/*
riskstream.yaml: the configuration as given, each provider's limit divided among the replicas where it has no share.
*/}}
{{- define "riskstream.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- range $name, $provider := $config.providers -}}
{{- with $provider.limit -}}
{{- if not (hasKey . "share") -}}
{{- $_ := set . "share" (printf "1/%d" (int $.Values.replicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/*
What of the configuration takes a restart; the rest is read again while the pods run.
*/}}
{{- define "riskstream.restartConfig" -}}
{{- $config := omit .Values.config "providers" "routes" "formats" "levels" "points" "cache" -}}
{{- with dig "cache" "capacity" nil .Values.config -}}
{{- $_ := set $config "cache" . -}}
{{- end -}}
{{- toYaml $config -}}
{{- end }}

{{/*
Stops an installation whose pods would be killed in the middle of their drain.
*/}}
{{- define "riskstream.checkGrace" -}}
{{- $shutdown := dig "pipeline" "shutdown" "25s" .Values.config | toString -}}
{{- if regexMatch "^[0-9]+(s|m)$" $shutdown -}}
{{- $seconds := regexFind "^[0-9]+" $shutdown | int -}}
{{- if hasSuffix "m" $shutdown -}}
{{- $seconds = mul 60 $seconds -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int $seconds) -}}
{{- fail (printf "terminationGracePeriodSeconds is %d, but config.pipeline.shutdown is %s: the pod would be killed while it drains. Make the first one longer." (int .Values.terminationGracePeriodSeconds) $shutdown) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "riskstream.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "riskstream.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
What `run` and `check` both need of a container. A variable that begins with a bracket is read as YAML, so an IPv6
address is quoted twice.
*/}}
{{- define "riskstream.environment" -}}
{{- $listen := printf "%s:%d" .Values.http.address (int .Values.http.port) -}}
env:
  - name: RISKSTREAM__ADMIN__LISTEN
    value: {{ ternary (squote $listen) $listen (hasPrefix "[" $listen) | quote }}
  - name: RISKSTREAM__KAFKA__INSTANCE
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- if .Values.staticMembership }}
  - name: RISKSTREAM__KAFKA__CONSUMER__GROUP.INSTANCE.ID
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  {{- end }}
  {{- with .Values.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: config
    mountPath: /etc/riskstream
    readOnly: true
  {{- range $index, $secret := .Values.secrets.existing }}
  - name: {{ printf "secret-%d" $index | quote }}
    mountPath: {{ printf "/run/secrets/%s" (default $secret.name $secret.directory) | quote }}
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "riskstream.volumes" -}}
volumes:
  - name: config
    configMap:
      name: {{ include "riskstream.fullname" . | quote }}
      items:
        - key: riskstream.yaml
          path: riskstream.yaml
        {{- range $name, $format := .Values.formats }}
        - key: {{ printf "format.%s.yaml" $name | quote }}
          path: {{ printf "formats/%s.yaml" $name | quote }}
        {{- end }}
  {{- range $index, $secret := .Values.secrets.existing }}
  - name: {{ printf "secret-%d" $index | quote }}
    secret:
      secretName: {{ $secret.name | quote }}
      defaultMode: 0440
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "riskstream.placement" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
