# shellcheck shell=sh
# tree-nginx.sh: mirrors for the tests of a front; sourced behind lib.sh.
#
#	tree_nginx NAME ADDRESS TREE   nginx with the file that is shipped; $pid and NAME.pid are its number. NAME.access:
#	                               status, bytes, method, path, who asks, and any password
#	$tree_nginx_prefix             what it is started by: ip netns exec SPACE

tree_nginx_prefix=
tree_nginx() {
	mkdir -p "$1.d"
	sed -e "s|listen 80;|listen $2;|" -e "s|/srv/mmoci;|$3;|" "$E2E_TOP/artifacts/nginx/static.conf" >"$1.static"
	cat >"$1.conf" <<-END
		daemon off; user root; worker_processes 1; pid $work/$1.d/pid; error_log $work/$1.error;
		events { worker_connections 1024; }
		http {
		  log_format short '\$status \$body_bytes_sent \$request_method \$request_uri "\$http_user_agent" "\$http_authorization"';
		  access_log $work/$1.access short;
		  client_body_temp_path $work/$1.d; proxy_temp_path $work/$1.d; fastcgi_temp_path $work/$1.d;
		  uwsgi_temp_path $work/$1.d; scgi_temp_path $work/$1.d;
		  include $work/$1.static;
		}
	END
	# shellcheck disable=SC2086 # a prefix of words
	start "$1" $tree_nginx_prefix nginx -e "$work/$1.error" -c "$work/$1.conf"
	echo "$pid" >"$1.pid"
	# shellcheck disable=SC2086
	eventually $tree_nginx_prefix curl -sf "http://$2/v2/"
}
