#!/bin/sh
# Starts the agent anew, from the files beside this script. To be run by root.
# The image is {{ digest | plain }} in the bundle.
set -eu
cd -- "$(dirname -- "$0")"
{% if authority %}
# The engine trusts the registry by this certificate from its next pull on.
mkdir -p {{ trust }}
cp registry-ca.crt {{ trust }}/ca.crt
{% endif %}
{% if engine == "podman" %}
{% if socket %}
# The agent starts load generators through it, and podman has it switched off.
[ -S {{ socket }} ] || systemctl enable --now podman.socket
{% endif %}
# Containers come back after a restart of this machine by this service alone.
systemctl enable podman-restart.service || echo "warning: after a restart of this machine, run this script again" >&2
{% endif %}
{% if login %}
{{ engine }} login --username {{ user }} --password-stdin {{ registry }} < registry-password
{% endif %}
{{ engine }} pull {{ image }}
if {{ engine }} container inspect {{ name }} > /dev/null 2>&1; then
    {{ engine }} rm -f {{ name }}
fi
exec {{ command | plain }}
