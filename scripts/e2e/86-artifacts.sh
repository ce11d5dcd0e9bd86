# 86-artifacts.sh: what ships beside the program: manifests, chart, unit, and the container image, run without a container runtime.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"
GO=${GO:-go}

# --- manifests

helm=$E2E_TOP/.tools/helm-v3.19.5/helm
[ -x "$helm" ] || GOFLAGS='' GOBIN=${helm%/*} CGO_ENABLED=0 $GO install helm.sh/helm/v3/cmd/helm@v3.19.5 || die "helm cannot be had"
HELM_CACHE_HOME=$work/helm HELM_CONFIG_HOME=$work/helm HELM_DATA_HOME=$work/helm
export HELM_CACHE_HOME HELM_CONFIG_HOME HELM_DATA_HOME
check "helm lint" "$helm" lint --strict "$E2E_TOP/artifacts/chart"
mkdir -p "$work/rendered"
rendered() {
	"$helm" template site "$E2E_TOP/artifacts/chart" --kube-version 1.31.0 >"$work/rendered/default.yaml"
	"$helm" template site "$E2E_TOP/artifacts/chart" --kube-version 1.31.0 -f "$E2E_TOP/artifacts/test/full.yaml" >"$work/rendered/full.yaml"
	"$helm" template site "$E2E_TOP/artifacts/chart" --kube-version 1.31.0 -f "$E2E_TOP/artifacts/test/tls.yaml" >"$work/rendered/tls.yaml"
}
check "helm template" rendered
# wrong VALUE WHERE: values.schema.json refuses it, and says where it stands.
wrong() { refused 1 "$2" "$helm" template site "$E2E_TOP/artifacts/chart" --kube-version 1.31.0 --set "$1"; }
schema() {
	wrong replicas=two /replicas
	wrong replica=3 "'replica'"
	wrong image.pullPolicy=Sometimes /image/pullPolicy
	wrong image.name=x "'name'"
	wrong references=null "'references'"
	wrong store.size=20GB /store/size
	wrong follow=15 /follow
	wrong prefetch=some /prefetch
	wrong siteKey=abc 'siteKey: no armoured public key'
	wrong policy.default=maybe /policy/default
	wrong tls.ca=ca.crt /tls/secretName
	wrong 'extraEnv[0].value=x' /extraEnv/0
	wrong 'extraArgs[0]=-x' /extraArgs/0
	wrong service.port=0 /service/port
	wrong 'mirrors[0].name=de1' /mirrors/0
	wrong 'mirrors[0].name=de1,mirrors[0].url=de1.example.org' /mirrors/0/url
	wrong ingress.path=apt /ingress/path
	wrong podDisruptionBudget.maxUnavailable=half /podDisruptionBudget/maxUnavailable
}
check "values.schema.json refuses what is wrong, and says where" schema
# What templates may take for something else, and a secret key that was taken for the public one: it is not printed.
odd() {
	"$helm" template site "$E2E_TOP/artifacts/chart" --kube-version 1.31.0 -f "$E2E_TOP/artifacts/test/odd.yaml" >"$work/rendered/odd.yaml"
	[ "$(grep -c prometheus.io/scheme "$work/rendered/odd.yaml")" = 1 ] && [ "$(grep -c DOCKER_CONFIG "$work/rendered/odd.yaml")" = 1 ] || return 1
	! grep -e --base-url "$work/rendered/odd.yaml" || return 1
	"$mmoci" key new -o "$work/odd.asc"
	refused 1 'this is a secret key' "$helm" template site "$E2E_TOP/artifacts/chart" --kube-version 1.31.0 --set-file siteKey="$work/odd.asc" 2>&1 | tee "$work/odd.log"
	grep -q 'this is a secret key' "$work/odd.log" || return 1
	! grep -q 'BEGIN PGP PRIVATE' "$work/odd.log"
}
check "addresses, hosts and variables that need quotes; a secret key is refused and not printed" odd
decoded() { (cd "$E2E_TOP/artifacts/test" && RENDERED=$work/rendered GOFLAGS='' $GO test -count=1 ./...); }
check "static pod and rendered charts decode strictly with the types of Kubernetes, and are hardened" decoded

# The server starts with the chart's configuration and flags, without a registry.
chart_configuration() {
	for v in default full tls; do
		mkdir -p "$work/$v"
		awk '/^  mmoci.yaml: \|/ { on = 1; next } on && !/^    / { exit } on { sub(/^    /, ""); print }' "$work/rendered/$v.yaml" >"$work/$v/mmoci.yaml"
		awk '/^  policy.yaml: \|/ { on = 1; next } on && !/^    / { exit } on { sub(/^    /, ""); print }' "$work/rendered/$v.yaml" >"$work/$v/policy.yaml"
		awk '/^  mirrors.yaml: \|/ { on = 1; next } on && !/^    / { exit } on { sub(/^    /, ""); print }' "$work/rendered/$v.yaml" >"$work/$v/mirrors.yaml"
		"$mmoci" key new -o "$work/$v/site.asc"
		awk '/^        args:/ { on = 1; next } on && !/^        - / { exit } on { sub(/^        - /, ""); gsub(/"/, ""); print }' "$work/rendered/$v.yaml" >"$work/$v/args"
		grep -q -e '--store-size=20G' "$work/$v/args"
		cp /etc/ssl/certs/ca-certificates.crt "$work/$v/ca.crt"
		sed -i -e "s,/etc/mmoci-policy/,$work/$v/," -e "s,/etc/mmoci-mirrors/,$work/$v/," -e "s,/etc/mmoci-ca/,$work/$v/," -e "s,/etc/mmoci-tls/,$work/$v/," -e "s,/etc/mmoci/,$work/$v/," -e "s,/var/lib/mmoci,$work/$v/state," \
			-e 's,=:8000,=127.0.0.1:0,' -e 's,registry.example.org,127.0.0.1:1,' "$work/$v/args"
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=mirror -addext subjectAltName=IP:127.0.0.1 \
			-keyout "$work/$v/tls.key" -out "$work/$v/tls.crt"
		scheme=http
		! grep -q -e --tls-cert "$work/$v/args" || scheme=https
		cat "$work/$v/args"
		# shellcheck disable=SC2046 # words
		start "chart-$v" "$mmoci" $(cat "$work/$v/args")
		eventually grep -q 'listening on' "$work/chart-$v.log"
		url=$scheme://$(listening "$work/chart-$v.log")
		curl -s --cacert "$work/$v/tls.crt" "$url/readyz" | grep 'not ready'
		curl -s --cacert "$work/$v/tls.crt" "$url/metrics" | grep '^mmoci_build_info'
		[ ! -s "$work/$v/mirrors.yaml" ] || curl -s --cacert "$work/$v/tls.crt" "$url/metrics" | grep '^mmoci_mirror_used{mirror="de1"} 1'
		refused 1 503 "$mmoci" check --server-ca "$work/$v/tls.crt" "$url"
		stop "$pid"
	done
}
check "the chart's flags are the program's" chart_configuration

# The CronJob's command, with its mounts where they are here, as it is typed there.
daily() {
	mkdir -p daily/debs daily/tree/DEBIAN
	"$mmoci" key new -o daily/site.asc
	printf 'Package: alpha\nVersion: 1\nArchitecture: all\nMaintainer: Site <site@example.org>\nDescription: a\n' >daily/tree/DEBIAN/control
	dpkg-deb --root-owner-group -b daily/tree daily/debs/alpha.deb
	printf 'ref: oci:layout:a\nsign: {key: site.asc}\narchives:\n- {prefix: own, mode: curated, debs: ./debs}\n' >daily/mmoci.yaml
	python3 -c 'import yaml; c, = yaml.safe_load(open("'"$E2E_TOP"'/artifacts/samples/push-cronjob.yaml"))["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]; print(*c["command"], *c["args"])' |
		sed "s,^mmoci ,,; s,/site/,$work/daily/," >daily/args
	# shellcheck disable=SC2046 # words
	HOME=$work/daily "$mmoci" $(cat daily/args) --date 2026-01-01
	# shellcheck disable=SC2046 # words
	"$mmoci" $(sed -n "/^ExecStart=/{s,^ExecStart=/usr/bin/mmoci ,,;s,/etc/mmoci/,$work/daily/,p}" "$E2E_TOP/artifacts/samples/mmoci-push.service") --date 2026-01-01 2>&1 | grep 'changed: false'
}
check "the commands of the CronJob and of the unit for the daily push are the program's" daily

unit() {
	# The program is not installed where the unit says; that is all that may be wrong.
	for u in mmoci.service samples/mmoci-push.service samples/mmoci-push.timer samples/mmoci-export.service; do
		systemd-analyze verify --man=no "$E2E_TOP/artifacts/$u" 2>&1 | grep -v 'not executable: No such file' | grep -F "${u##*/}" && return 1
		case $u in *.service) systemd-analyze security --offline=true --threshold=15 "$E2E_TOP/artifacts/$u" | tail -n 1 ;; esac
	done
	systemd-analyze calendar "$(sed -n 's/^OnCalendar=//p' "$E2E_TOP/artifacts/samples/mmoci-push.timer")"
}
if command -v systemd-analyze >/dev/null; then
	check "systemd-analyze finds nothing wrong with the units, and little exposed" unit
fi

# --- the container image

image() {
	# Aside, so that nobody edits it in between.
	mkdir -p "$work/source"
	cd "$E2E_TOP"
	cp -R go.mod go.sum cmd internal pkg scripts "$work/source"
	(cd "$work/source" && GOFLAGS='' $GO run ./internal/image/build -o "$work/dist" -tag mmoci:v1)
	mv "$work/source" "$work/elsewhere"
	(cd "$work/elsewhere" && umask 077 && TZ=Asia/Tokyo GOFLAGS='' $GO run ./internal/image/build -o "$work/again" -arch "$arch" -tag mmoci:v1)
	cmp "$work/dist/mmoci-$arch.tar" "$work/again/mmoci-$arch.tar"
	jq -r '.manifests[].digest' "$work/dist/image/index.json"
	crane validate --tarball "$work/dist/mmoci-$arch.tar"
}
check "the image is built without a daemon, the same twice" image
pushed() {
	registry_start registry registry "$work/blobs"
	rm -rf "$work/pushed"
	(cd "$work/elsewhere" && GOFLAGS='' $GO run ./internal/image/build -o "$work/pushed" -tag mmoci:v1 -push "$registry/site/mmoci:v1") | tee pushed.ref
	same "the layout's digest" "$(jq -r '.manifests[0].digest' "$work/dist/image/index.json")" "$(sed 's/.*@//' pushed.ref)"
	same "the tag's digest" "$(sed 's/.*@//' pushed.ref)" "$(crane digest --insecure "$registry/site/mmoci:v1")"
	for a in amd64 arm64; do
		skopeo inspect --tls-verify=false --override-arch $a "docker://$registry/site/mmoci:v1" | tee inspected.json
		jq -e --arg a $a '.Architecture == $a and .Os == "linux" and .Labels["org.opencontainers.image.title"] == "mmoci"' inspected.json
	done
	crane validate --insecure --remote "$registry/site/mmoci:v1"
}
check "pushed to a registry it is the same image, for both architectures" pushed
unpacked() {
	rm -rf "$work/bundle" "$work/flat"
	# umoci wants a manifest under the tag, not an index.
	skopeo copy -q --override-arch "$arch" "oci:$work/dist/image:v1" "oci:$work/flat:v1"
	umoci unpack --image "$work/flat:v1" "$work/bundle"
	jq -e '.process.user.uid == 65532 and .process.args[0] == "/usr/bin/mmoci"' "$work/bundle/config.json"
	chroot --userspec=65532:65532 "$work/bundle/rootfs" /usr/bin/mmoci --version
	# It serves from in there, as nobody, and its own check says so.
	chroot "$work/bundle/rootfs" /usr/bin/mmoci key new -o /etc/mmoci/site.asc
	mkdir -p "$work/bundle/rootfs/etc/mmoci/debs" "$work/tree/DEBIAN"
	printf 'Package: alpha\nVersion: 1\nArchitecture: %s\nMaintainer: Site <site@example.org>\nDescription: a\n' "$arch" >"$work/tree/DEBIAN/control"
	dpkg-deb --root-owner-group -b "$work/tree" "$work/bundle/rootfs/etc/mmoci/debs" >/dev/null
	printf 'ref: oci:layout:a\nsign: {key: site.asc}\ntrust: [site.pub.asc]\narchives:\n- {prefix: own, mode: curated, debs: ./debs}\n' >"$work/bundle/rootfs/etc/mmoci/mmoci.yaml"
	chroot "$work/bundle/rootfs" /usr/bin/mmoci push -f /etc/mmoci/mmoci.yaml --date 2026-01-01
	chmod -R a+rX "$work/bundle/rootfs/etc/mmoci"
	port=$(free_port)
	# shellcheck disable=SC2046 # words
	start in-image env -i $(jq -r '.process.env[]' "$work/bundle/config.json") /usr/sbin/chroot --userspec=65532:65532 "$work/bundle/rootfs" /usr/bin/mmoci serve --listen "127.0.0.1:$port"
	eventually chroot --userspec=65532:65532 "$work/bundle/rootfs" /usr/bin/mmoci check "http://127.0.0.1:$port"
	chroot "$work/bundle/rootfs" /usr/bin/mmoci check "http://127.0.0.1:$port"
	curl -sf "http://127.0.0.1:$port/own/pool/main/alpha/alpha_1_$arch.deb" -o /dev/null
}
check "unpacked by umoci its program runs, pushes, serves as nobody and passes its check" unpacked
