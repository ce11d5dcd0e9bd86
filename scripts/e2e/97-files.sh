# 97-files.sh: tarballs and installers, judged by sha256sum, gpgv and curl: a list with digests, a SHA256SUMS that gpg signed, a push
# and a download that are killed and go on, in bounded memory. With E2E_LONG=1 the installer has 4 GB, else 256 MB.
set -eu
. "$E2E_TOP/scripts/e2e/lib.sh"

size=256M
[ -z "${E2E_LONG:-}" ] || size=4G

# --- fixtures

export GNUPGHOME="$work/gnupg"
mkdir -m 700 gnupg
agent_off() { gpgconf --kill gpg-agent; }
trap 'agent_off; clean_up' EXIT
for who in cd other; do
	gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-gen-key "$who <$who@example.org>" ed25519 sign never
	gpg --batch --armor --export "$who@example.org" >"$who.asc"
done
gpg --batch --export cd@example.org >cd.gpg
"$mmoci" key new -o site.asc >&2
gpg --dearmor <site.pub.asc >site.gpg

mkdir -p www/iso www/src
truncate -s "$size" www/iso/netinst.iso
echo marked | dd of=www/iso/netinst.iso bs=1 seek=200000000 conv=notrunc status=none
head -c 3000000 /dev/urandom >www/iso/dvd.iso
head -c 500000 /dev/urandom >www/src/tool-1.0.tar.gz
(cd www/iso && sha256sum ./*.iso >SHA256SUMS)
gpg --batch --quiet --local-user cd@example.org --detach-sign --output www/iso/SHA256SUMS.gpg www/iso/SHA256SUMS
cat >files.py <<'END'
import http.server, os, sys, time

class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def do_GET(self):
        path, start = 'www' + self.path, 0
        if not os.path.isfile(path):
            self.send_error(404)
            return
        size = os.path.getsize(path)
        if self.headers.get('Range'):
            start = int(self.headers['Range'].split('=')[1].split('-')[0])
        self.send_response(206 if start else 200)
        self.send_header('Content-Length', str(size - start))
        if start:
            self.send_header('Content-Range', 'bytes %d-%d/%d' % (start, size - 1, size))
        self.end_headers()
        sent = 0
        if self.command == 'GET':
            with open(path, 'rb') as f:
                f.seek(start)
                while data := f.read(1 << 20):
                    self.wfile.write(data)
                    sent += len(data)
                    if os.path.exists('slow') and size > 1 << 26:
                        time.sleep(0.02)
        print(self.command, self.path, start, sent, flush=True)

    do_HEAD = do_GET

server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Files)
server.serve_forever()
END
# measure.py FILE COMMAND..: peak memory in KiB and seconds of user time.
cat >measure.py <<'END'
import resource, subprocess, sys

code = subprocess.run(sys.argv[2:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], 'w').write('%d %.1f\n' % (used.ru_maxrss, used.ru_utime))
sys.exit(code)
END
up_port=$(free_port)
start files python3 files.py "$up_port"
eventually curl -sfo /dev/null "http://127.0.0.1:$up_port/iso/SHA256SUMS"

cat >list.txt <<END
# SHA256 PATH URL..
$(sha256sum <www/src/tool-1.0.tar.gz | cut -d' ' -f1) tools/tool-1.0.tar.gz http://127.0.0.1:$up_port/src/tool-1.0.tar.gz
END
cat >mmoci.yaml <<END
ref: oci:layout:stable
sign: {key: site.asc}
trust: [site.pub.asc]
archives:
- {prefix: files, format: files, from: [list.txt]}
- prefix: iso
  format: files
  sums: [{url: "http://127.0.0.1:$up_port/iso/SHA256SUMS", signature: SHA256SUMS.gpg, signed-by: cd.asc, take: ["*netinst.iso"]}]
END

# --- a push that is killed goes on where it was, in bounded memory

touch slow
"$mmoci" push --date 2026-02-01T00:00:00Z >killed.out 2>killed.err &
push=$!
echo $push >>pids
sleep 3
kill -9 $push 2>/dev/null || :
wait $push 2>/dev/null || :
rm slow
kept=$(find xdg -name 'part-*' -size +1M | wc -l)
check "what came of the installer is kept over a kill" test "$kept" = 1
check "the same push goes on" python3 measure.py push.time "$mmoci" push --date 2026-02-01T00:00:00Z
check "the installer is asked for from where it was" grep -q '^GET /iso/netinst.iso [1-9][0-9]* [1-9]' files.log
check "push takes at most 64 MiB" test "$(cut -d' ' -f1 push.time)" -le 65536
check "nothing is kept any more" test -z "$(find xdg -name 'part-*')"
say "push: $(cat push.time) (KiB, seconds of user time)"
check "verify, with upstream's key" "$mmoci" verify --require upstream --keyring iso=cd.asc

# --- what serve gives, by other people's programs

serve_start srv oci:layout:stable
mkdir got
(cd got && curl -sSfO "$serve/iso/SHA256SUMS" && curl -sSfO "$serve/iso/SHA256SUMS.asc")
check "gpgv takes SHA256SUMS under the site's key" gpgv -q --keyring "$work/site.gpg" got/SHA256SUMS.asc got/SHA256SUMS
curl -sSf -r 0-99999999 -o got/netinst.iso "$serve/iso/netinst.iso"
check "curl goes on with a download" curl -sSf --continue-at - -o got/netinst.iso "$serve/iso/netinst.iso"
check "sha256sum -c" sh -c 'cd got && sha256sum --quiet -c SHA256SUMS'
curl -sSf -o got/up.sums "$serve/upstream/iso/SHA256SUMS"
curl -sSf -o got/up.asc "$serve/upstream/iso/SHA256SUMS.asc"
check "gpgv takes upstream's list under upstream's key" gpgv -q --keyring "$work/cd.gpg" got/up.asc got/up.sums
check "a builder asks the mirror by one prefix" sh -c "curl -sSf '$serve/mirror/127.0.0.1:$up_port/src/tool-1.0.tar.gz' | cmp - www/src/tool-1.0.tar.gz"

# --- pull

check "pull" python3 measure.py pull.time "$mmoci" pull -o out
check "pull takes at most 64 MiB" test "$(cut -d' ' -f1 pull.time)" -le 65536
check "sha256sum -c of what was pulled" sh -c 'cd out/iso && sha256sum --quiet -c SHA256SUMS'

# --- signatures that are none

gpg --batch --quiet --yes --local-user other@example.org --detach-sign --output www/iso/SHA256SUMS.gpg www/iso/SHA256SUMS
check "a list under another key is refused" refused 3 "is not a trusted key" "$mmoci" push oci:wrong:stable
check "nothing was pushed" not test -e wrong/index.json
