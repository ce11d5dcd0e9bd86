// Package test decodes the manifests strictly, with the types of Kubernetes.
// It is a module of its own: nothing of this is needed to build mmoci.
package test

import (
	"bytes"
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// decode reads documents strictly: an unknown or repeated field is an error.
func decode(t *testing.T, name string, data []byte) []any {
	t.Helper()
	var out []any
	for _, doc := range bytes.Split(data, []byte("\n---\n")) {
		var head struct{ APIVersion, Kind string }
		if err := yaml.Unmarshal(doc, &head); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var v any
		switch head.APIVersion + " " + head.Kind {
		case " ":
			continue // a comment
		case "v1 Pod":
			v = &corev1.Pod{}
		case "v1 Service":
			v = &corev1.Service{}
		case "v1 ConfigMap":
			v = &corev1.ConfigMap{}
		case "v1 PersistentVolumeClaim":
			v = &corev1.PersistentVolumeClaim{}
		case "apps/v1 Deployment":
			v = &appsv1.Deployment{}
		case "batch/v1 CronJob":
			v = &batchv1.CronJob{}
		case "batch/v1 Job":
			v = &batchv1.Job{}
		case "networking.k8s.io/v1 Ingress":
			v = &networkingv1.Ingress{}
		case "policy/v1 PodDisruptionBudget":
			v = &policyv1.PodDisruptionBudget{}
		case "monitoring.coreos.com/v1 ServiceMonitor":
			v = &monitoringv1.ServiceMonitor{}
		default:
			t.Fatalf("%s: %s %s", name, head.APIVersion, head.Kind)
		}
		if err := yaml.UnmarshalStrict(doc, v); err != nil {
			t.Fatalf("%s: %s: %v\n%s", name, head.Kind, err, doc)
		}
		out = append(out, v)
	}
	return out
}

// hardened is what holds of every pod of ours.
func hardened(t *testing.T, name string, s *corev1.PodSpec) {
	t.Helper()
	if s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken || s.ServiceAccountName != "" {
		t.Errorf("%s: a service account", name)
	}
	if c := s.SecurityContext; c == nil || c.RunAsNonRoot == nil || !*c.RunAsNonRoot || c.RunAsUser == nil || *c.RunAsUser == 0 || c.SeccompProfile == nil {
		t.Errorf("%s: security context %+v", name, c)
	}
	for _, c := range s.Containers {
		sc := c.SecurityContext
		if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem || sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation ||
			sc.Capabilities == nil || len(sc.Capabilities.Drop) != 1 || sc.Capabilities.Drop[0] != "ALL" {
			t.Errorf("%s: container %s: %+v", name, c.Name, sc)
		}
		mounted := map[string]bool{}
		for _, v := range s.Volumes {
			mounted[v.Name] = true
		}
		for _, m := range c.VolumeMounts {
			if !mounted[m.Name] || m.SubPath != "" {
				t.Errorf("%s: mount %s", name, m.Name)
			}
		}
	}
}

func probed(t *testing.T, name string, c *corev1.Container) {
	t.Helper()
	for what, p := range map[string]*corev1.Probe{"/healthz": c.LivenessProbe, "/readyz": c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil || p.HTTPGet.Path != what {
			t.Errorf("%s: no probe of %s", name, what)
		}
	}
}

// TestStaticPod looks at the manifest that ships, or at the one that STATIC_POD names.
func TestStaticPod(t *testing.T) {
	data, err := os.ReadFile(cmp.Or(os.Getenv("STATIC_POD"), "../static-pod.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	docs := decode(t, "static-pod.yaml", data)
	if len(docs) != 1 {
		t.Fatalf("%d documents", len(docs))
	}
	pod := docs[0].(*corev1.Pod)
	hardened(t, "static pod", &pod.Spec)
	probed(t, "static pod", &pod.Spec.Containers[0])
	for _, v := range pod.Spec.Volumes {
		if v.HostPath == nil {
			t.Errorf("volume %s is no hostPath", v.Name)
		}
	}
	for _, e := range pod.Spec.Containers[0].Env {
		if e.ValueFrom != nil {
			t.Errorf("%s: from elsewhere", e.Name)
		}
	}
	if len(pod.Spec.Containers[0].EnvFrom) > 0 {
		t.Error("environment from elsewhere")
	}
}

func TestCronJob(t *testing.T) {
	const name = "push-cronjob.yaml"
	data, err := os.ReadFile("../samples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	docs := decode(t, name, data)
	if len(docs) != 1 {
		t.Fatalf("%d documents", len(docs))
	}
	job := docs[0].(*batchv1.CronJob).Spec
	hardened(t, name, &job.JobTemplate.Spec.Template.Spec)
	if job.ConcurrencyPolicy != batchv1.ForbidConcurrent || len(strings.Fields(job.Schedule)) != 5 || job.JobTemplate.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("job %+v", job)
	}
}

// TestBuildJob: each pod of the farm has an index, its script knows how many there are, and no service account's token is in it.
func TestBuildJob(t *testing.T) {
	const name = "build-job.yaml"
	data, err := os.ReadFile("../samples/" + name)
	if err != nil {
		t.Fatal(err)
	}
	docs := decode(t, name, data)
	if len(docs) != 1 {
		t.Fatalf("%d documents", len(docs))
	}
	job := docs[0].(*batchv1.Job).Spec
	pod := &job.Template.Spec
	if job.CompletionMode == nil || *job.CompletionMode != batchv1.IndexedCompletion || job.Completions == nil || pod.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("job %+v", job)
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("the token of a service account is in it")
	}
	pods := ""
	for _, e := range pod.Containers[0].Env {
		if e.Name == "PODS" {
			pods = e.Value
		}
	}
	if want := strconv.Itoa(int(*job.Completions)); pods != want {
		t.Errorf("PODS is %q, completions %s", pods, want)
	}
}

// TestChart reads what `helm template` rendered into the directory RENDERED, a file for each set of values.
func TestChart(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(os.Getenv("RENDERED"), "*.yaml"))
	if err != nil || os.Getenv("RENDERED") == "" || len(files) == 0 {
		t.Fatalf("RENDERED names no directory of rendered charts (%v)", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		kinds, scheme := map[string]int{}, corev1.URISchemeHTTP
		odd := strings.HasSuffix(file, "odd.yaml")
		if odd || strings.HasSuffix(file, "tls.yaml") {
			scheme = corev1.URISchemeHTTPS
		}
		for _, doc := range decode(t, file, append([]byte("\n"), data...)) {
			switch d := doc.(type) {
			case *appsv1.Deployment:
				kinds["deployment"]++
				hardened(t, file, &d.Spec.Template.Spec)
				server := &d.Spec.Template.Spec.Containers[0]
				probed(t, file, server)
				if server.LivenessProbe.HTTPGet.Scheme != scheme || server.ReadinessProbe.HTTPGet.Scheme != scheme {
					t.Errorf("%s: probes are not by %s", file, scheme)
				}
				if tls := slices.Contains(server.Args, "--tls-key=/etc/mmoci-tls/tls.key"); tls != (scheme == corev1.URISchemeHTTPS) {
					t.Errorf("%s: %s and %v", file, scheme, server.Args)
				}
				if full := strings.HasSuffix(file, "full.yaml"); slices.ContainsFunc(server.Env, func(e corev1.EnvVar) bool { return e.Name == "GOMEMLIMIT" }) != full {
					t.Errorf("%s: environment %v", file, server.Env)
				}
				if odd && (!slices.Contains(server.Args, "--trusted-proxy=2001:db8::") || !slices.Contains(server.Args, "--via=registry.example.org/site/x:") || len(server.Env) != 1) {
					t.Errorf("%s: %q, %v", file, server.Args, server.Env)
				}
				for k, v := range d.Spec.Selector.MatchLabels {
					if d.Spec.Template.Labels[k] != v {
						t.Errorf("%s: selector %s", file, k)
					}
				}
			case *corev1.Pod:
				kinds["test"]++
				hardened(t, file, &d.Spec)
				args := d.Spec.Containers[0].Args
				if d.Annotations["helm.sh/hook"] != "test" || args[0] != "check" || !strings.HasPrefix(args[len(args)-1], strings.ToLower(string(scheme))+"://") {
					t.Errorf("%s: test %+v", file, d)
				}
			case *corev1.Service:
				kinds["service"]++
				if d.Spec.Selector["app.kubernetes.io/name"] != "mmoci" {
					t.Errorf("%s: service selects %v", file, d.Spec.Selector)
				}
			case *corev1.ConfigMap:
				kinds["configmap"]++
				if text, ok := d.Data["policy.yaml"]; ok && !strings.Contains(text, "default:") {
					t.Errorf("%s: policy %q", file, text)
				}
			case *corev1.PersistentVolumeClaim:
				kinds["claim"]++
			case *networkingv1.Ingress:
				kinds["ingress"]++
			case *policyv1.PodDisruptionBudget:
				kinds["budget"]++
				if d.Spec.MaxUnavailable == nil || d.Spec.Selector.MatchLabels["app.kubernetes.io/name"] != "mmoci" {
					t.Errorf("%s: budget %+v", file, d.Spec)
				}
			case *monitoringv1.ServiceMonitor:
				kinds["monitor"]++
				e := d.Spec.Endpoints
				if len(e) != 1 || e[0].Port != "http" || e[0].Path != "/metrics" || d.Spec.Selector.MatchLabels["app.kubernetes.io/name"] != "mmoci" || d.Labels["release"] != "prometheus" {
					t.Errorf("%s: monitor %+v", file, d)
				} else if tls := e[0].TLSConfig; scheme == corev1.URISchemeHTTPS && (tls == nil || tls.ServerName == nil || tls.CA.Secret == nil) {
					t.Errorf("%s: the monitor trusts %+v", file, e[0])
				}
			}
		}
		full, one := strings.HasSuffix(file, "full.yaml"), strings.HasSuffix(file, "tls.yaml")
		if (kinds["budget"] == 1) == one || (kinds["monitor"] == 1) != one {
			t.Errorf("%s: %v", file, kinds)
		}
		configMaps := 2
		if full { // mirrors
			configMaps++
		}
		if kinds["deployment"] != 1 || kinds["test"] != 1 || kinds["service"] != 1 || kinds["configmap"] != configMaps || (kinds["ingress"] == 1) != (full || odd) || (kinds["claim"] == 1) != full {
			t.Errorf("%s: %v", file, kinds)
		}
	}
}

// TestSchema: values.schema.json knows every value of values.yaml, and no other.
func TestSchema(t *testing.T) {
	var values map[string]any
	var schema map[string]any
	for file, v := range map[string]*map[string]any{"values.yaml": &values, "values.schema.json": &schema} {
		data, err := os.ReadFile("../chart/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(data, v); err != nil {
			t.Fatal(err)
		}
	}
	sameKeys(t, "values", values, schema)
}

// elsewhere are values that are not the chart's own: of a parent chart, and Kubernetes' objects as they are.
var elsewhere = []string{"values.global", "values.resources.claims"}

func sameKeys(t *testing.T, at string, values, schema map[string]any) {
	t.Helper()
	known, ok := schema["properties"].(map[string]any)
	if !ok {
		return // free
	}
	if schema["additionalProperties"] != false {
		t.Errorf("%s: an unknown key is not refused", at)
	}
	for key, value := range values {
		below, ok := known[key].(map[string]any)
		if !ok {
			t.Errorf("%s.%s is not in the schema", at, key)
			continue
		}
		if m, ok := value.(map[string]any); ok && len(m) > 0 {
			sameKeys(t, at+"."+key, m, below)
		}
	}
	for key := range known {
		if _, ok := values[key]; !ok && !slices.Contains(elsewhere, at+"."+key) {
			t.Errorf("%s.%s is not in values.yaml", at, key)
		}
	}
}
