#!/bin/sh
# The image is {{ digest | plain }} in the bundle.
{% if beside %}
# The env-file stands beside this script.
cd -- "$(dirname -- "$0")" || exit 1
{% endif %}
exec {{ command | plain }}
