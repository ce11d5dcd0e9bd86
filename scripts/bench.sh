#!/bin/sh
# bench.sh: figures of mmoci and of its peers, in turn in one run, as medians and ratios of pairs.
#
#   BENCH_PAIRS=9      pairs of each figure
#   BENCH_SCALE=1      size of the synthetic archives, as a share of the full one
#   BENCH_ROWS=        groups to run, by comma: daily disk registry scale static closure memory extract image
#                      image-scripts image-changed sources serve front pages rpm; empty: all
#   BENCH_REAL=        what scripts/real-upstream.sh laid out; empty: it is made (asks this host's apt sources)
#   BENCH_INDICES=     what scripts/real-indices.sh laid out; likewise
#   BENCH_SOURCES=     what scripts/real-sources.sh laid out, nginx among it; likewise
#
# A row that reads 0 is an error, and so is one that was not measured.
#
# Everything listens on loopback; scratch is in memory (/dev/shm) and below TMPDIR. Peers are Debian's
# aptly, apt-get, dnf (with dnf-plugins-core), createrepo_c, mmdebstrap, umoci, nginx and wrk, distribution's registry (docker-registry, or by go install), and stock oras-go calls.
# The table goes to standard output. Full size takes about half an hour and 3 GB of memory.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh
GO=${GO:-go}
rows=${BENCH_ROWS:-}
wantsImages() { wants image || wants image-scripts || wants image-changed; }
wants() { case ",$rows," in ,, | *,"$1",*) return 0 ;; esac; return 1; }
PATH=$PWD/.tools:$PATH # distribution, where scripts/e2e.sh --tools put it
need "$GO" nginx
if wants daily || wants disk; then need aptly gpg; fi
if wants serve || wants front || wants pages; then need wrk; fi
if wants rpm; then need rpmbuild createrepo_c dnf; fi
if wantsImages; then need mmdebstrap gzip dpkg-deb umoci; fi
tmp=$(mktemp -d /dev/shm/mmoci-bench.XXXXXX)
disk=$(mktemp -d)
trap 'rm -rf "$tmp" "$disk"' EXIT INT TERM
real=${BENCH_REAL:-}
if [ -z "$real" ] && { wants closure || wants extract || wantsImages; }; then
	need apt-get
	real=$disk/real
	scripts/real-upstream.sh --base "$real" docker.io postgresql-15 >/dev/null
fi
indices=${BENCH_INDICES:-}
if [ -z "$indices" ] && wants memory; then
	indices=$disk/indices
	scripts/real-indices.sh "$indices"
fi
sources=${BENCH_SOURCES:-}
if [ -z "$sources" ] && wants sources; then
	sources=$disk/sources
	scripts/real-sources.sh "$sources" nginx >/dev/null
fi
CGO_ENABLED=0 $GO build -trimpath -o "$disk/bin/mmoci" ./cmd/mmoci
CGO_ENABLED=0 $GO build -trimpath -o "$disk/bin/bench" ./scripts/bench
printf 'Commit %s, %s, %s cores of %s, %s.\n\n' "$(git rev-parse --short HEAD)" "$(uname -sr)" "$(nproc)" \
	"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$($GO version | cut -d' ' -f3)"
"$disk/bin/bench" -mmoci "$disk/bin/mmoci" -tmp "$tmp" -disk "$disk" -real "$real" -indices "$indices" -sources "$sources" \
	-pairs "${BENCH_PAIRS:-9}" -scale "${BENCH_SCALE:-1}" -rows "$rows"
