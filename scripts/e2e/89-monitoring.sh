# 89-monitoring.sh: the alert rules pass promtool's check and tests; a real Prometheus that scrapes two real servers evaluates
# them, and has data for every query of the dashboard.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

monitoring=$E2E_TOP/artifacts/monitoring
rules() {
	promtool check rules "$monitoring/alerts.yaml"
	promtool test rules "$monitoring/alerts_test.yaml"
	# Each alert is in a test that expects it to fire.
	python3 - "$monitoring/alerts.yaml" "$monitoring/alerts_test.yaml" <<-'END'
		import sys, yaml
		alerts = {r["alert"] for g in yaml.safe_load(open(sys.argv[1]))["groups"] for r in g["rules"]}
		text = open(sys.argv[2]).read()
		missing = [a for a in alerts if '"%s"}\', value:' % a not in text and a != "MmociAbsent"]
		assert not missing, missing
	END
}
check "promtool: the alert rules are right, each fires in a test, and a mirror that is well sets none off" rules

# --- two servers with everything that they can have a number of

"$mmoci" key new -o site.asc >&2
"$mmoci" key new -o stranger.asc >&2
home=$(mktemp -d "${TMPDIR:-/tmp}/mmoci-gpg.XXXXXX")
trap 'GNUPGHOME=$home gpgconf --kill all; rm -rf "$home"; clean_up' EXIT
GNUPGHOME=$home gpg --batch --quiet --passphrase '' --quick-generate-key soon ed25519 sign 20d >&2
GNUPGHOME=$home gpg --batch --armor --export >soon.pub.asc # one of the site's keys that expires
"$E2E_TOP/scripts/e2e/synthetic.py" debs "$arch" 0 20 >&2
registry_start registry registry "$work/blobs"
hub=$pid
cat >mmoci.yaml <<-END
	ref: $registry/site/mirror:day
	sign: {key: $work/site.asc}
	trust: [$work/site.pub.asc, $work/soon.pub.asc]
	valid-for: 14d
	archives:
	- {prefix: own, mode: curated, debs: $work/debs}
END
"$mmoci" push >pushed.ref
printf 'default: allow\nrules:\n- {name: not-one, deny: package001, reason: because}\n' >policy.yaml
serve_start a -f mmoci.yaml --follow 1s --policy policy.yaml --store-size 1G
a=$serve
serve_start b -f mmoci.yaml --follow 1s --policy policy.yaml --policy-log-only --store-size 1G
b=$serve

port=$(free_port)
prometheus=http://127.0.0.1:$port
cp "$monitoring/alerts.yaml" .
cat >prometheus.yml <<-END
	global: {scrape_interval: 500ms, evaluation_interval: 1s}
	rule_files: [alerts.yaml]
	scrape_configs:
	- job_name: mirror
	  static_configs: [{targets: ["${a#http://}", "${b#http://}"]}]
END
scraping() {
	promtool check config prometheus.yml
	for url in $a $b; do curl -sf "$url/metrics" | promtool check metrics; done
}
check "promtool: Prometheus takes the configuration, and the metrics of the servers are well formed" scraping
start prometheus prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address="127.0.0.1:$port" --log.level=warn
eventually curl -sf "$prometheus/-/ready"

panels() {
	eventually sh -c "curl -sf '$prometheus/api/v1/targets' | jq -e '[.data.activeTargets[].health] == [\"up\", \"up\"]'"
	path=$("$mmoci" ls --json | jq -r '.[] | select(.name == "package001") | .path')
	curl -s -o denied.txt -w '%{http_code}' "$a/$path" | grep 403
	for _ in 1 2 3; do
		for url in $a $b; do
			"$mmoci" ls --json | jq -r '.[].path' | head -n 6 | while read -r p; do curl -s -o /dev/null "$url/$p"; done
			curl -s -o /dev/null "$url/own/dists/own/InRelease"
			curl -s -o /dev/null "$url/nothing"
			curl -s -o /dev/null "$url/"
		done
		sleep 1
	done
	# A snapshot of somebody else's is refused, and then the registry is away.
	"$mmoci" push -f mmoci.yaml --sign-key stranger.asc --replace-unverified --date "$(date -u -d '+1 minute' +%FT%TZ)" >stranger.ref || cat stranger.ref
	eventually sh -c "curl -sf $a/metrics | grep '^mmoci_snapshots_refused_total.*[1-9]$'"
	stop "$hub"
	eventually sh -c "curl -sf $a/metrics | grep '^mmoci_follow_errors_total.*[1-9]$'"
	sleep 2
	python3 - "$monitoring/dashboard.json" "$prometheus" <<-'END'
		import json, sys, urllib.parse, urllib.request
		dashboard = json.load(open(sys.argv[1]))
		empty = asked = 0
		for panel in dashboard["panels"]:
		    for target in panel["targets"]:
		        expr = target["expr"].replace("$__rate_interval", "15s").replace("$job", ".*").replace("$instance", ".*")
		        assert "$" not in expr, expr
		        with urllib.request.urlopen(sys.argv[2] + "/api/v1/query?" + urllib.parse.urlencode({"query": expr})) as r:
		            result = json.load(r)["data"]["result"]
		        asked += 1
		        if not result or all(v["value"][1] == "NaN" for v in result):
		            empty += 1
		            print("nothing for", panel["title"], ":", expr)
		        for word in [w for w in ("archive", "reference", "rule", "reason", "status", "file", "version", "instance") if "{{%s}}" % w in target["legendFormat"]]:
		            if result and not all(word in v["metric"] or word == "archive" for v in result):
		                empty += 1
		                print("no label", word, "for", panel["title"])
		print(asked, "queries,", empty, "without an answer")
		assert asked > 30 and not empty
		for v in dashboard["templating"]["list"][1:]:
		    name = v["query"]["query"].split(",")[-1].strip(" )")
		    with urllib.request.urlopen(sys.argv[2] + "/api/v1/label/%s/values?match[]=mmoci_build_info" % name) as r:
		        assert json.load(r)["data"], name
	END
}
check "every query of the dashboard has an answer from running servers" panels

alerts() {
	curl -sf "$prometheus/api/v1/rules" | jq -e '[.data.groups[].rules[].health] | length > 10 and all(. == "ok")'
	# A stranger's snapshot is told at once; that a tag cannot be asked for is about to be told.
	eventually sh -c "curl -sf '$prometheus/api/v1/alerts' | jq -e '[.data.alerts[] | select(.state == \"firing\") | .labels.alertname] | index(\"MmociSnapshotRefused\")'"
	eventually sh -c "curl -sf '$prometheus/api/v1/alerts' | jq -e '[.data.alerts[].labels.alertname] | index(\"MmociTagNotFollowed\")'"
	eventually sh -c "curl -sf '$prometheus/api/v1/alerts' | jq -e '[.data.alerts[].labels.alertname] | index(\"MmociKeyExpires\")'"
	same "MmociAbsent" null "$(curl -sf "$prometheus/api/v1/alerts" | jq '[.data.alerts[].labels.alertname] | index("MmociAbsent")')"
	# Rules that cannot be read.
	echo 'rules: [' >policy.yaml
	eventually sh -c "curl -sf '$prometheus/api/v1/alerts' | jq -e '[.data.alerts[].labels.alertname] | index(\"MmociFileBroken\")'"
}
check "Prometheus evaluates the alerts: a stranger's snapshot, a registry that is away, a key that ends, broken rules" alerts
