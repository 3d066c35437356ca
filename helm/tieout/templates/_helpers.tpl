{{- /* What several templates share. Each takes the root context unless it says otherwise. */ -}}

{{- define "tieout.name" -}}
{{- $name := .Release.Name -}}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- /* Takes a list: the root context and the component. */ -}}
{{- define "tieout.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- /* Takes a list: the root context and the component. */ -}}
{{- define "tieout.labels" -}}
{{- $root := index . 0 -}}
{{ include "tieout.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- end -}}

{{- define "tieout.config" -}}
{{- range list "tieout" "store" "api" }}
{{- if hasKey $.Values.config . }}{{ fail (printf "config.%s: the chart writes this section itself" .) }}{{ end }}
{{- end }}
{{- $own := dict
  "tieout" 1
  "store" (dict "dsn" "${env:TIEOUT_DSN}")
  "api" (dict "keys" (list "${env:TIEOUT_API_KEY}"))
-}}
{{- merge $own .Values.config | toYaml -}}
{{- end -}}

{{- /* What every pod has in common, up to its containers. */ -}}
{{- define "tieout.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- /* What every container has in common. Takes a list: the root context and the key of the DSN. */ -}}
{{- define "tieout.container" -}}
{{- $root := index . 0 -}}
image: {{ printf "%s:%s" $root.Values.image.repository ($root.Values.image.tag | default $root.Chart.AppVersion) | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
env:
  - name: TIEOUT_DSN
    valueFrom:
      secretKeyRef:
        name: {{ $root.Values.database.existingSecret | quote }}
        key: {{ index . 1 | quote }}
  - name: TIEOUT_API_KEY
    valueFrom:
      secretKeyRef:
        name: {{ $root.Values.api.existingSecret | quote }}
        key: {{ $root.Values.api.keyKey | quote }}
{{- with $root.Values.secrets }}
envFrom:
  {{- range . }}
  - secretRef:
      name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "tieout.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: http
readinessProbe:
  httpGet:
    path: /readyz
    port: http
  timeoutSeconds: 5
{{- end -}}
